"""When and where tiles were seen, and which classes can be there then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from winnow_edge.clock.season import solar_longitude
from winnow_edge.mission import ClassRule
from winnow_edge.place.geometry import Geometry
from winnow_edge.products.kinds import Box
from winnow_edge.products.tail import Seen

Integers = npt.NDArray[np.int64]


class Placing:
    """Of one swath: its geometry, and the places and seasons of the classes `names`.

    What is not known bars nothing: a class is left out only at places and in seasons that are known
    to be others.
    """

    def __init__(
        self, geometry: Geometry, rules: Mapping[str, ClassRule], names: Sequence[str]
    ) -> None:
        self._geometry = geometry
        known = (geometry.places, geometry.start, geometry.moments)
        self._known = any(what is not None for what in known)
        own = [rules.get(name, ClassRule()) for name in names]
        self._south = np.array([rule.latitude[0] if rule.latitude else -90.0 for rule in own])
        self._north = np.array([rule.latitude[1] if rule.latitude else 90.0 for rule in own])
        self._in_season = np.array([_in_season(rule, geometry) for rule in own])
        bounded = any(rule.latitude for rule in own) and geometry.places is not None
        self._bars = bounded or not self._in_season.all()

    def seen(
        self,
        line: Integers | int,
        lines: Integers | int,
        sample: Integers | int,
        samples: Integers | int,
    ) -> Seen | None:
        """When and where the middles of tiles were seen, of boxes int64 (n,); None: never known."""
        if not self._known:
            return None
        down = np.atleast_1d(line + lines / 2 - 0.5).astype(np.float64)
        across = np.atleast_1d(sample + samples / 2 - 0.5).astype(np.float64)
        geometry = self._geometry
        nowhere = np.full(len(down), np.nan)
        where = (nowhere, nowhere) if geometry.places is None else geometry.places.at(down, across)
        return Seen(geometry.instants(down), geometry.tai, *where)

    def of(self, box: Box) -> Seen | None:
        """As `seen`, of one tile."""
        return self.seen(box.line, box.lines, box.sample, box.samples)

    def allowed(self, seen: Seen | None) -> npt.NDArray[np.bool_] | None:
        """Which classes tiles can be detections of, bool (n, classes); None: all of them."""
        if seen is None or not self._bars:
            return None
        north = seen.latitude[:, None]
        outside = (north < self._south) | (north > self._north)  # NaN is neither
        allowed: npt.NDArray[np.bool_] = ~outside & self._in_season
        return allowed


def _in_season(rule: ClassRule, geometry: Geometry) -> bool:
    """Whether a swath is of a class's season; True where its time is not known."""
    start = geometry.start
    if not rule.season or start is None or not start.tai:
        return True
    first, last = rule.season
    now = solar_longitude(start)
    return first <= now <= last if first < last else now >= first or now <= last
