"""When a smooth function of time is positive: passes, eclipses, ranges within a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]
Interval = tuple[float, float]
Level = Callable[[Times], npt.NDArray[np.float64]]
"""Seconds (n) to values (n)."""
_CHUNK = 50_000
_GOLDEN = (np.sqrt(5) - 1) / 2


def positive(level: Level, start: float, end: float, step: float) -> list[Interval]:
    """The intervals of `start` to `end` (s) in which `level` is over 0, to a millisecond.

    `level` is sampled every `step` seconds; a peak between samples is looked for about each highest
    one, so that an interval shorter than `step` is found where the function has one peak there.
    """
    found: list[Interval] = []
    for times, values in _sampled(level, start, end, step):
        edges = _crossings(level, times, values)
        bounds = np.concatenate([times[:1], edges, times[-1:]])
        over = level((bounds[:-1] + bounds[1:]) / 2) > 0
        for (left, right), held in zip(pairwise(bounds.tolist()), over, strict=True):
            if not held or right <= left:
                continue
            if found and left - found[-1][1] < 1e-3:
                found[-1] = (found[-1][0], right)
            else:
                found.append((left, right))
    return found


def _sampled(
    level: Level, start: float, end: float, step: float
) -> Iterator[tuple[Times, npt.NDArray[np.float64]]]:
    """Samples in chunks that share their ends, with the tops of the peaks that samples miss."""
    count = max(2, int(np.ceil((end - start) / step)) + 1)
    grid = np.linspace(start, end, count)
    for first in range(0, count - 1, _CHUNK):
        # A sample more on either side: a peak may lie at the joint.
        low, high = max(0, first - 1), min(count, first + _CHUNK + 2)
        times = grid[low:high]
        values = level(times)
        middle = values[1:-1]
        tops = np.flatnonzero((middle <= 0) & (middle >= values[:-2]) & (middle >= values[2:])) + 1
        peaks = _peaks(level, times[tops - 1], times[tops + 1])
        times = np.concatenate([times, peaks])
        values = np.concatenate([values, level(peaks)])
        order = np.argsort(times, kind="stable")
        order = order[(times[order] >= grid[first]) & (times[order] <= grid[high - 1])]
        last = grid[min(first + _CHUNK, count - 1)]
        order = order[times[order] <= last]
        yield times[order], values[order]


def _peaks(level: Level, left: Times, right: Times) -> Times:
    """The highest places between, by golden sections, all at once (n)."""
    for _ in range(40 if left.size else 0):
        width = _GOLDEN * (right - left)
        a, b = right - width, left + width
        higher = level(a) > level(b)
        left, right = np.where(higher, left, a), np.where(higher, b, right)
    return (left + right) / 2


def _crossings(level: Level, times: Times, values: npt.NDArray[np.float64]) -> Times:
    """Where the sign changes, by halving, all at once (n), ascending."""
    at = np.flatnonzero((values[:-1] > 0) != (values[1:] > 0))
    left, right, rising = times[at], times[at + 1], values[at] <= 0
    for _ in range(32 if at.size else 0):
        middle = (left + right) / 2
        before = (level(middle) <= 0) == rising
        left, right = np.where(before, middle, left), np.where(before, right, middle)
    return (left + right) / 2


def common(some: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """What lies in one of `some` and in one of `others`; both ascend and do not overlap.

    >>> common([(0, 10), (20, 30)], [(5, 25)])
    [(5, 10), (20, 25)]
    """
    found: list[Interval] = []
    first = 0
    for start, end in some:
        while first < len(others) and others[first][1] <= start:
            first += 1
        for low, high in others[first:]:
            if low >= end:
                break
            found.append((max(start, low), min(end, high)))
    return found
