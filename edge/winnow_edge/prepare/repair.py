"""Readout errors repaired before anything looks at the lines: dead samples, isolated bright pixels.

A detector element that is dead or stuck gives a column along the whole swath; a readout error or a
cosmic ray gives one bright pixel. A net may take the one for a crest and the other for ice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.errors import MissionError
from winnow_edge.mission import Instrument
from winnow_edge.sources.contract import Lines, LineSource

LEARN_LINES = 64
"""Fewer first lines than these say nothing about a detector's elements."""
_NEIGHBOURS = 4
"""Samples on each side that a column is compared with."""
_DEVIATIONS = 20.0
"""Robust standard deviations by which a dead or stuck element stands out from its neighbours."""
_CHUNK = 1024
"""Samples that are judged at once, to bound memory."""


class Repair:
    """The readout errors of one swath: `dead` samples, bright `pixels` repaired so far.

    `dead` are those that the instrument gives, and those that `learn` finds. `too_few` says that
    the swath had under `LEARN_LINES` lines and was not searched.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.dead = sorted(instrument.dead_samples)
        self.pixels = 0
        self.too_few = False
        self.limit, self._nodata = instrument.bright_pixels, instrument.nodata

    def learn(self, lines: Lines) -> None:
        """Find dead samples in the first lines of the swath."""
        self.too_few = len(lines) < LEARN_LINES
        if not self.too_few:
            self.dead = sorted({*self.dead, *find_dead(lines, self._nodata)})

    def as_json(self) -> dict[str, Any]:
        """What was repaired, as JSON values."""
        done: dict[str, Any] = {"samples": self.dead, "pixels": self.pixels}
        return {**done, "searched": False} if self.too_few else done


class RepairedSource:
    """Another source's lines, repaired.

    Dead samples take the mean of their nearest working neighbours. With `Instrument.bright_pixels`
    at n > 0, a pixel more than n above each of its eight neighbours takes their median; a line is
    held back until the next is there. Raises MissionError for a dead sample that no line has.
    """

    def __init__(self, source: LineSource, repair: Repair) -> None:
        self._source, self._repair = source, repair
        self.name, self.samples, self.lines = source.name, source.samples, source.lines
        self.channels, self.bits = source.channels, source.bits
        self.truncated: str | None = None
        self.fingerprint = source.fingerprint
        if repair.dead and repair.dead[-1] >= source.samples:
            raise MissionError(
                f"`dead_samples` names sample {repair.dead[-1]}, "
                f"{source.name} has 0 to {source.samples - 1}"
            )
        self._held: Lines | None = None
        self._buffer: Lines | None = None
        self._ended = self._giving = False

    def read(self, out: Lines) -> int | None:
        """See `LineSource.read`."""
        if self._repair.limit:
            return self._read_held(out)
        return self._read(out)

    def close(self) -> None:
        """See `LineSource.close`."""
        self._source.close()

    def _read(self, out: Lines) -> int | None:
        """Lines whose dead samples are repaired."""
        got = self._source.read(out)
        if got and self._repair.dead:
            fix_columns(out[:got], self._repair.dead)
        self.truncated = self._source.truncated
        return got

    def _read_held(self, out: Lines) -> int | None:
        """Lines between one before and one after them: `_held` is the last two raw lines."""
        if self._buffer is None or len(self._buffer) < len(out) + 2:
            self._buffer = np.empty((len(out) + 2, *out.shape[1:]), out.dtype)
        buffer = self._buffer
        kept = 0
        if self._held is not None:
            kept = len(self._held)
            buffer[:kept] = self._held
        # The first of those kept was given out before, unless this is the beginning.
        given = 1 if self._giving else 0
        while not self._ended and kept < given + 2:
            got = self._read(buffer[kept : len(out) + 1 + given])
            if got is None:
                break
            self._ended = got == 0
            kept += got
        due = kept - given - (0 if self._ended else 1)
        due = min(max(due, 0), len(out))
        if not due:
            self._held = buffer[:kept].copy()
            return 0 if self._ended else None
        self._repair.pixels += fix_bright(buffer[:kept], self._repair.limit, out[:due], first=given)
        self._held = buffer[given + due - 1 : kept].copy()
        self._giving = True
        return due


def find_dead(lines: npt.NDArray[Any], nodata: int | None = None) -> list[int]:
    """Samples of (n, samples[, 3]) lines whose element does not work.

    Such a sample has one value throughout where its neighbours vary, or differs from the median of
    its eight neighbours by far more than others do. A line counts for a sample only if none of
    those eight is `nodata`, and the sample only if some vary on both its sides: at a border or in
    burnt-in text neighbours have nothing to say. So of two dead elements within four samples that
    both read `nodata` neither is found: name such in `dead_samples`.
    """
    some = lines[:: max(len(lines) // LEARN_LINES, 1)]
    some = some if some.ndim == 2 else some.mean(axis=2)
    side = 2 * _NEIGHBOURS + 1
    varies = np.pad(some.min(axis=0) != some.max(axis=0), _NEIGHBOURS)
    beside = np.lib.stride_tricks.sliding_window_view(varies, side)
    bounded = (beside[:, :_NEIGHBOURS].sum(axis=1) < 2) | (
        beside[:, _NEIGHBOURS + 1 :].sum(axis=1) < 2
    )
    judged: list[int] = []
    off: list[float] = []
    stuck: list[bool] = []
    for first in range(0, some.shape[1] - side + 1, _CHUNK):
        part = some[:, first : first + _CHUNK + side - 1]
        windows = np.lib.stride_tricks.sliding_window_view(part, side, axis=1)
        around = np.sort(np.delete(windows, _NEIGHBOURS, axis=2), axis=2)
        usual = around[..., _NEIGHBOURS - 1 : _NEIGHBOURS + 1].mean(axis=2)
        here = windows[..., _NEIGHBOURS].astype(np.float64)
        counts = np.ones(here.shape, bool) if nodata is None else (around != nodata).all(axis=2)
        middle = slice(first + _NEIGHBOURS, first + _NEIGHBOURS + here.shape[1])
        enough = np.flatnonzero(~bounded[middle] & (counts.sum(axis=0) >= LEARN_LINES // 2))
        counts = counts[:, enough]
        here, usual = (np.where(counts, values[:, enough], np.nan) for values in (here, usual))
        judged += (first + _NEIGHBOURS + enough).tolist()
        off += np.abs(np.nanmean(here - usual, axis=0)).tolist()
        constant = [np.nanmin(v, axis=0) == np.nanmax(v, axis=0) for v in (here, usual)]
        stuck += (constant[0] & ~constant[1]).tolist()
    if not judged:
        return []
    # 1.4826 x the median of absolute deviations estimates a standard deviation (Rousseeuw, Croux).
    limit = max(_DEVIATIONS * 1.4826 * float(np.median(off)), 1.0)
    return [n for n, o, s in zip(judged, off, stuck, strict=True) if s or o > limit]


def fix_columns(lines: npt.NDArray[Any], dead: Sequence[int]) -> None:
    """Give dead samples of (n, samples[, 3]) lines the mean of their nearest working neighbours."""
    bad = set(dead)
    width = lines.shape[1]
    for sample in dead:
        left = next((n for n in range(sample - 1, -1, -1) if n not in bad), None)
        right = next((n for n in range(sample + 1, width) if n not in bad), None)
        if left is None or right is None:
            near = left if right is None else right
            if near is not None:
                lines[:, sample] = lines[:, near]
            continue
        total = lines[:, left].astype(np.uint32) + lines[:, right]
        lines[:, sample] = (total + 1) // 2


def fix_bright(lines: npt.NDArray[Any], limit: int, out: npt.NDArray[Any], *, first: int) -> int:
    """Copy `lines[first : first + len(out)]` to `out` with isolated bright pixels repaired.

    Lines before and after those, where there are any, are looked at as neighbours. In colour a
    pixel is as bright as its brightest channel. Returns the pixels repaired.
    """
    count = len(out)
    grey = lines if lines.ndim == 2 else lines.max(axis=2)
    out[...] = lines[first : first + count]
    # The brightest of each pixel's neighbours, beside it and in the rows above and below.
    beside = np.zeros_like(grey)
    beside[:, 1:] = grey[:, :-1]
    np.maximum(beside[:, :-1], grey[:, 1:], out=beside[:, :-1])
    rows = np.maximum(beside, grey)
    around = beside[first : first + count]
    if first:
        np.maximum(around, rows[first - 1 : first - 1 + count], out=around)
    else:
        np.maximum(around[1:], rows[: count - 1], out=around[1:])
    below = rows[first + 1 : first + 1 + count]
    np.maximum(around[: len(below)], below, out=around[: len(below)])
    here = grey[first : first + count]
    found = np.argwhere((here > around) & (here - np.minimum(around, here) > limit))
    for line, sample in found.tolist():
        at = first + line
        top, left = max(at - 1, 0), max(sample - 1, 0)
        window = lines[top : at + 2, left : sample + 2].reshape(-1, *lines.shape[2:])
        middle = (at - top) * (min(sample + 2, lines.shape[1]) - left) + sample - left
        out[line, sample] = np.median(np.delete(window, middle, axis=0), axis=0)
    return len(found)
