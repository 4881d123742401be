"""Places along a swath, between the lines of which they are known."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from winnow_edge.place.place import Floats, Place

MAX_STEP_DEG: Final = 30.0
"""Between entries that lie further apart no place is known: nobody flies like this."""
_NARROW: Final = 1e-9
"""Radians under which an arc is straight."""


class Places(Protocol):
    """Where the samples of a swath lie."""

    def at(self, line: Floats, sample: Floats) -> tuple[Floats, Floats]:
        """Latitude and longitude east (-180 to 180) in degrees, float (n,), of places in the swath,
        float (n,) each; NaN where they are not known."""


class Fixed:
    """The whole swath is at one place."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def at(self, line: Floats, sample: Floats) -> tuple[Floats, Floats]:
        """See `Places.at`."""
        east = np.nan if self._place.longitude is None else self._place.longitude
        east = east - 360 if east > 180 else east
        return np.full(len(line), self._place.latitude), np.full(len(line), east)


class Track:
    """Places of some lines, float (m,) each and `line` ascending; between them the way is a great
    circle. `longitude` may be NaN: then latitude alone is known.

    `left` and `right` are the places, latitude and longitude (m, 2), of the first and the last of
    `samples` samples; without them all samples of a line are where the line is. Before the first
    line and after the last nothing is known, nor in `gaps`, bool (m - 1,), from line to line.
    """

    def __init__(
        self,
        line: Floats,
        latitude: Floats,
        longitude: Floats,
        *,
        left: Floats | None = None,
        right: Floats | None = None,
        samples: int = 1,
        gaps: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self._line, self._samples = line, samples
        self._east = bool(np.isfinite(longitude).all())
        middle = _vectors(latitude, longitude if self._east else np.zeros_like(latitude))
        self._edges = middle, middle
        if left is not None and right is not None and self._east and samples > 1:
            self._edges = _vectors(*left.T), _vectors(*right.T)
        self._steps = tuple(map(_steps, self._edges))
        self._broken = np.maximum(*self._steps) > np.radians(MAX_STEP_DEG)
        if gaps is not None:
            self._broken |= gaps

    @property
    def breaks(self) -> int:
        """Steps between entries over which nothing is known."""
        return int(self._broken.sum())

    def at(self, line: Floats, sample: Floats) -> tuple[Floats, Floats]:
        """See `Places.at`."""
        after = np.clip(np.searchsorted(self._line, line, side="right"), 1, len(self._line) - 1)
        first, last = self._line[after - 1], self._line[after]
        share = np.clip((line - first) / (last - first), 0, 1)
        across = np.clip(sample / max(self._samples - 1, 1), 0, 1)[:, None]
        left, right = (
            _between(edge[after - 1], edge[after], step[after - 1], share)
            for edge, step in zip(self._edges, self._steps, strict=True)
        )
        x, y, z = (left * (1 - across) + right * across).T
        north, east = np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))
        known = (line >= self._line[0]) & (line <= self._line[-1]) & ~self._broken[after - 1]
        return np.where(known, north, np.nan), np.where(known & self._east, east, np.nan)


def _steps(vectors: Floats) -> Floats:
    """Angles (m - 1,) in radians from each of the vectors (m, 3) to the next."""
    across = np.linalg.norm(np.cross(vectors[:-1], vectors[1:]), axis=1)
    steps: Floats = np.arctan2(across, (vectors[:-1] * vectors[1:]).sum(axis=1))
    return steps


def _between(first: Floats, last: Floats, step: Floats, share: Floats) -> Floats:
    """Vectors (n, 3) so far on the way from `first` to `last`, which are `step` (n,) radians apart
    (K. Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985: slerp)."""
    wide = np.maximum(step, _NARROW)
    before = np.where(step > _NARROW, np.sin((1 - share) * wide) / np.sin(wide), 1 - share)
    behind = np.where(step > _NARROW, np.sin(share * wide) / np.sin(wide), share)
    return first * before[:, None] + last * behind[:, None]


def _vectors(latitude: Floats, longitude: Floats) -> Floats:
    """Unit vectors (m, 3): between them there are neither poles nor a date line."""
    north, east = np.radians(latitude), np.radians(longitude)
    flat = np.cos(north)
    return np.stack([flat * np.cos(east), flat * np.sin(east), np.sin(north)], axis=-1)
