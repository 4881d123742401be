"""16-bit samples to 8 bits, by limits that are fixed or learned once and then frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.mission import Instrument


class Stretch:
    """A linear stretch of 16-bit samples between two limits.

    The limits are the instrument's `stretch_limits`, else its `stretch_percentiles` of the first
    lines, nodata left out: of those that `learn` is given, or `apply` at first. They never change
    within a swath, so brightness means the same on its first line and on its last. Where the
    instrument has a nodata value, it becomes 0 and data 1 to 255, so that dark ground is not taken
    for nodata.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._nodata = instrument.nodata
        self._percentiles = instrument.stretch_percentiles
        self.limits: tuple[int, int] | None = None
        self._table: npt.NDArray[np.uint8] | None = None
        if instrument.stretch_limits:
            low, high = instrument.stretch_limits
            self._freeze(low, high)

    @property
    def nodata(self) -> int | None:
        """The nodata value after the stretch."""
        return None if self._nodata is None else 0

    def apply(self, lines: npt.NDArray[Any], out: npt.NDArray[np.uint8]) -> None:
        """Stretch uint16 `lines` into `out`, uint8 of the same shape."""
        if self._table is None:
            self.learn(lines)
        assert self._table is not None
        np.take(self._table, lines, out=out)

    def learn(self, lines: npt.NDArray[Any]) -> None:
        """Take the limits from uint16 `lines`, for good."""
        self._freeze(*self._percentiles_of(lines))

    def _percentiles_of(self, lines: npt.NDArray[Any]) -> tuple[int, int]:
        counts = np.zeros(65_536, np.intp)
        for line in lines:  # bincount makes 8-byte integers of all that it is given
            counts += np.bincount(line.reshape(-1), minlength=65_536)
        if self._nodata is not None:
            counts[self._nodata] = 0
        running = np.cumsum(counts)
        if not running[-1]:
            return 0, 65_535
        low, high = (
            int(np.searchsorted(running, max(share / 100 * running[-1], 1)))
            for share in self._percentiles
        )
        return low, max(high, low + 1)

    def _freeze(self, low: int, high: int) -> None:
        self.limits = (low, high)
        first = 0 if self._nodata is None else 1
        share = np.clip((np.arange(65_536) - low) / (high - low), 0.0, 1.0)
        self._table = (first + np.round(share * (255 - first))).astype(np.uint8)
        if self._nodata is not None:
            self._table[self._nodata] = 0
