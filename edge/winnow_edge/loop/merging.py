"""Merging: one detection per feature, decided while the swath goes by.

Tiles overlap and so do scales, so one feature is found several times. Greedy non-maximum
suppression keeps, class by class, the detection with the highest posterior and drops those whose
box shares more than `limit` of the smaller box with one that is kept (intersection over smaller
area, as in SAHI), then goes on with the next. That is a rule about the whole swath; `Merger`
reaches the same result in one pass. A detection is *closed* when no tile still to come can touch
its box. It is kept as soon as it is closed and no undecided detection of higher rank touches it,
and dropped as soon as one that is kept does. What is open or undecided is all the state there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.products.kinds import Box, Detection, Window

Rank = tuple[float, int]


@dataclass(eq=False, slots=True)
class _Candidate:
    detection: Detection
    rank: Rank
    lower: list[_Candidate] = field(default_factory=list)
    """Detections of lower rank that touch this one."""
    undecided_higher: int = 0
    dropped: bool = False


class Merger:
    """Streaming greedy non-maximum suppression with `Box.overlap` above `limit`."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._open: defaultdict[int, list[_Candidate]] = defaultdict(list)
        self._undecided: list[_Candidate] = []
        self._dropped: list[tuple[int, int]] = []

    def __len__(self) -> int:
        """Detections that are not decided yet."""
        return len(self._undecided)

    def add(self, detections: Sequence[Detection]) -> None:
        """Take in the detections of a row of tiles."""
        by_class: defaultdict[int, list[_Candidate]] = defaultdict(list)
        for detection in detections:
            by_class[detection.class_index].append(_Candidate(detection, _rank(detection)))
        for class_index, fresh in by_class.items():
            known = self._open[class_index]
            self._relate(fresh, known)
            known += fresh
            self._undecided += fresh

    def advance(self, horizon: float) -> list[Detection]:
        """Decide what can be decided when every tile to come begins at or after line `horizon`.

        Returns the detections that are kept, by tile and class; `merged` counts those that touch
        them and rank lower, themselves included.
        """
        if not self._undecided and not any(self._open.values()):
            return []
        for class_index, known in self._open.items():
            if any(_end(c) <= horizon for c in known):
                self._open[class_index] = [c for c in known if _end(c) > horizon]
        kept: list[Detection] = []
        # Higher ranks first: what they decide is known when the lower ones are looked at.
        for candidate in sorted(self._undecided, key=_rank_of):
            if candidate.dropped or candidate.undecided_higher or _end(candidate) > horizon:
                continue
            kept.append(replace(candidate.detection, merged=1 + len(candidate.lower)))
            self._dropped += [
                (other.detection.tile_index, other.detection.class_index)
                for other in candidate.lower
                if _drop(other)
            ]
            candidate.dropped = True  # decided; leaves the list below
        self._undecided = [c for c in self._undecided if not c.dropped]
        return sorted(kept, key=lambda d: (d.tile_index, d.class_index))

    def take_dropped(self) -> list[tuple[int, int]]:
        """Tile index and class of the detections that were dropped since this was last asked."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def save(self) -> list[dict[str, Any]]:
        """The state as JSON values, without pixels, which `restore` asks for again."""
        live = {id(c): c for c in self._undecided}
        for known in self._open.values():
            live.update((id(c), c) for c in known)
        for candidate in self._undecided:
            live.update((id(c), c) for c in candidate.lower)
        return [
            {
                "tile": c.detection.tile_index,
                "box": [getattr(c.detection.box, n) for n in Box.__slots__],
                "scale": c.detection.scale,
                "class": c.detection.class_index,
                "posterior": c.detection.posterior,
                "dropped": c.dropped,
            }
            for c in sorted(live.values(), key=lambda c: c.detection.tile_index)
        ]

    def restore(
        self,
        state: Iterable[dict[str, Any]],
        pixels: dict[int, npt.NDArray[np.uint8]],
        windows: Mapping[int, Window] | None = None,
    ) -> None:
        """Take up a saved state; `pixels` holds the tile of every detection that is not dropped,
        `windows` its surroundings where there is a second stage."""
        empty = np.empty((0, 0), np.uint8)
        by_class: defaultdict[int, list[_Candidate]] = defaultdict(list)
        for entry in state:
            tile = empty if entry["dropped"] else pixels[entry["tile"]]
            detection = Detection(
                entry["tile"],
                Box(*entry["box"]),
                entry["scale"],
                entry["class"],
                entry["posterior"],
                tile,
                window=windows.get(entry["tile"]) if windows else None,
            )
            candidate = _Candidate(detection, _rank(detection), dropped=entry["dropped"])
            by_class[detection.class_index].append(candidate)
        for class_index, fresh in by_class.items():
            self._relate(fresh, [])
            self._open[class_index] = fresh  # those that are closed leave with the next advance
            self._undecided += [c for c in fresh if not c.dropped]

    def _relate(self, fresh: list[_Candidate], known: list[_Candidate]) -> None:
        """Note which of `fresh` touch which of `known` and of each other."""
        everyone = known + fresh
        touching = _overlaps(fresh, everyone) > self._limit
        for number, candidate in enumerate(fresh):
            # Each pair once: with all known ones, and with the fresh ones before it.
            for index in np.flatnonzero(touching[number, : len(known) + number]):
                other = everyone[index]
                high, low = (
                    (candidate, other) if candidate.rank < other.rank else (other, candidate)
                )
                high.lower.append(low)
                if not high.dropped:
                    low.undecided_higher += 1


def _drop(candidate: _Candidate) -> bool:
    """Drop a candidate; False if it was before."""
    if candidate.dropped:
        return False
    candidate.dropped = True
    # Its place still counts for `merged`; its pixels are not needed any more.
    nothing = np.empty((0, 0), np.uint8)
    candidate.detection = replace(candidate.detection, pixels=nothing, window=None)
    for other in candidate.lower:
        other.undecided_higher -= 1
    return True


def _overlaps(some: list[_Candidate], others: list[_Candidate]) -> npt.NDArray[np.float64]:
    """`Box.overlap` of each with each, shape (len(some), len(others))."""
    a, b = _corners(some)[:, None], _corners(others)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    area_a = np.prod(a[..., 2:] - a[..., :2], axis=-1)
    area_b = np.prod(b[..., 2:] - b[..., :2], axis=-1)
    result: npt.NDArray[np.float64] = shared / np.minimum(area_a, area_b)
    return result


def _corners(candidates: list[_Candidate]) -> npt.NDArray[np.int64]:
    boxes = [c.detection.box for c in candidates]
    rows = [(b.line, b.sample, b.line + b.lines, b.sample + b.samples) for b in boxes]
    return np.array(rows, np.int64).reshape(-1, 4)


def _end(candidate: _Candidate) -> int:
    box = candidate.detection.box
    return box.line + box.lines


def _rank(detection: Detection) -> Rank:
    """Sorts the higher posterior first, then the earlier tile."""
    return (-detection.posterior, detection.tile_index)


def _rank_of(candidate: _Candidate) -> Rank:
    return candidate.rank
