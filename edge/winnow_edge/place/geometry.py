"""When and where the lines of a swath were seen, as far as anybody has told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from winnow_edge.clock.cuc import MOST_NS, Instant, decode_cuc, encode_cuc
from winnow_edge.clock.utc import format_utc
from winnow_edge.errors import PacketError
from winnow_edge.place.place import Floats
from winnow_edge.place.track import Places

UNKNOWN: Final = -1
"""Stands for a time that is not known."""


@dataclass(frozen=True)
class Moments:
    """Times of some lines: `line` float (m,) ascending, `ns` int64 (m,) TAI, not descending."""

    line: Floats
    ns: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Geometry:
    """When and where a swath was seen.

    `start` is the time of line 0, by the word of `start_source`; `line_time_us` lies between two
    lines. `moments` and `places` are known by the word of `source`, a file of digest `sha256`, of
    whose entries `entries` are used and `left_out` make no sense; `altitude_m` is the least and the
    greatest altitude that it told. `late` where an earlier run began the swath without it. `faults`
    say in one line each
    what was not believed.
    """

    start: Instant | None = None
    start_source: str | None = None
    line_time_us: float | None = None
    moments: Moments | None = None
    places: Places | None = None
    source: str | None = None
    sha256: str | None = None
    entries: int = 0
    left_out: int = 0
    altitude_m: tuple[float, float] | None = None
    late: bool = False
    faults: tuple[str, ...] = ()

    @property
    def tai(self) -> bool:
        """Whether times are on the scale TAI, not the mission clock's own."""
        return self.moments is not None or self.start is None or self.start.tai

    def instants(self, line: Floats) -> npt.NDArray[np.int64]:
        """Nanoseconds, int64 (n,), at lines, float (n,); `UNKNOWN` where it is not known."""
        step = None if self.line_time_us is None else self.line_time_us * 1000
        if self.moments is not None:
            return _bounded(_between(self.moments, line, step))
        if self.start is None or step is None:
            return np.full(len(line), UNKNOWN, np.int64)
        return _bounded(self.start.ns + _whole(line * step))

    def about(self) -> dict[str, Any]:
        """What the ground is told, JSON values; empty where nothing is known."""
        told: dict[str, Any] = {}
        if self.start is not None:
            told["start"] = {
                "utc": format_utc(self.start) if self.start.tai else None,
                "cuc": encode_cuc(self.start).hex(),
                "source": self.start_source,
            }
            if self.line_time_us is not None:
                told["line_time_us"] = self.line_time_us
        if self.source is not None or self.faults:
            told["geometry"] = {
                "source": self.source,
                "sha256": self.sha256,
                "entries": self.entries,
                "left_out": self.left_out,
                **({"altitude_m": list(self.altitude_m)} if self.altitude_m else {}),
                "faults": list(self.faults),
            }
        return told

    def started(self, start: Instant, source: str) -> Geometry:
        """With a start that `source` gave, such as comes back from its time code as it is."""
        return replace(self, start=decode_cuc(encode_cuc(start))[0], start_source=source)

    def flown(self, altitudes: Iterable[float]) -> Geometry:
        """With the least and the greatest of some altitudes in metres; as it is without any."""
        told = tuple(altitudes)
        return replace(self, altitude_m=(min(told), max(told))) if told else self

    def is_news(self, told: dict[str, Any]) -> bool:
        """Whether there is a file now, and was none when a run `told` what it knew."""
        known = told.get("geometry")
        return self.sha256 is not None and not (isinstance(known, dict) and known.get("sha256"))

    def as_begun(self, told: dict[str, Any]) -> Geometry:
        """This geometry for a swath that an earlier run began with what it `told`.

        A start that was known is that run's. What nobody told then is known from here on; what
        comes from another file than that run's is not.
        """
        start, source = _start_of(told.get("start"))
        known = told.get("geometry")
        digest = known.get("sha256") if isinstance(known, dict) else None
        same = replace(self, start=start, start_source=source)
        if digest == self.sha256:
            return same
        if self.is_news(told):
            fault = "geometry came late: the first lines have no places"
            late = replace(self, late=True, faults=(*self.faults, fault))
            if start is None:
                return late
            return replace(late, start=start, start_source=source, moments=None)
        fault = "geometry is not what it was when the swath began: no places from here on"
        return replace(same, moments=None, places=None, faults=(*self.faults, fault))


def _between(moments: Moments, line: Floats, step: float | None) -> npt.NDArray[np.int64]:
    """Times between moments; before and after them by `step` nanoseconds a line, if known."""
    # Offsets from the first moment, which floats hold to the nanosecond over months.
    origin = int(moments.ns[0])
    offset = np.interp(line, moments.line, (moments.ns - origin).astype(np.float64))
    before, after = line < moments.line[0], line > moments.line[-1]
    if step is not None:
        offset += np.where(before, (line - moments.line[0]) * step, 0)
        offset += np.where(after, (line - moments.line[-1]) * step, 0)
    ns = origin + _whole(offset)
    return ns if step is not None else np.where(before | after, UNKNOWN, ns)


def _whole(ns: Floats) -> npt.NDArray[np.int64]:
    """Whole nanoseconds; of more than any code holds, just so many."""
    return np.rint(np.clip(ns, -float(MOST_NS), float(MOST_NS))).astype(np.int64)


def _bounded(ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.where((ns >= 0) & (ns <= MOST_NS), ns, UNKNOWN)


def _start_of(told: Any) -> tuple[Instant | None, str | None]:
    """The start that `Geometry.about` told of."""
    try:
        return decode_cuc(bytes.fromhex(told["cuc"]))[0], str(told["source"])
    except (KeyError, TypeError, ValueError, PacketError):
        return None, None
