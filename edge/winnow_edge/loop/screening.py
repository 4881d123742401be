"""Screening: which tiles are not worth a net."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.mission import Screening

CENTRE = 1 / 16
"""Side of the middle square that `nodata_centre` looks at, as a share of the tile's."""


def value_counts(
    rows: npt.NDArray[np.int8], columns: Sequence[int], value: int
) -> npt.NDArray[np.int64]:
    """Pixels of the quantized `value` in every tile of a row of tiles.

    `rows` int8 (tile, samples[, 3]); `columns` the tiles' first samples; in colour every channel
    must have the value. Column counts are summed up along the row once, so a tile costs two
    look-ups however far tiles overlap.
    """
    tile = len(rows)
    same = rows == value
    if same.ndim == 3:
        same = same.all(axis=2)
    # Sums of at most 255 fit 8 bits, which is several times faster than a wider accumulator.
    kind = np.uint8 if tile < 256 else np.uint16
    per_column = np.add.reduce(same.view(np.uint8), axis=0, dtype=kind)
    return _per_tile(per_column, columns, tile)


def contrasts(rows: npt.NDArray[np.int8], columns: Sequence[int]) -> npt.NDArray[np.float64]:
    """Standard deviation of every tile in a row of tiles, in quantized steps.

    Every fourth line is looked at: neighbours say much the same, and it costs a quarter.
    """
    tile = len(rows)
    some = rows[::4]
    wide = some.astype(np.int32)
    if wide.ndim == 3:
        wide = wide.mean(axis=2).astype(np.int32)
    count = len(some) * tile
    total = _per_tile(wide.sum(axis=0), columns, tile)
    squares = _per_tile(np.einsum("ij,ij->j", wide, wide), columns, tile)
    mean = total / count
    result: npt.NDArray[np.float64] = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
    return result


def salience(rows: npt.NDArray[np.int8], columns: Sequence[int]) -> npt.NDArray[np.float64]:
    """Salience of every tile in a row of tiles, in quantized steps.

    The difference between the means of a tile's inner half and of what surrounds it (Wagstaff et
    al. 2013, dynamic landmarking), plus the standard deviation of the inner half: a crater is as
    often a lit and a shadowed half as it is dark or bright.
    """
    tile = len(rows)
    quarter, inner = tile // 4, max(tile // 2, 1)
    wide = rows.astype(np.int32)
    if wide.ndim == 3:
        wide = wide.mean(axis=2).astype(np.int32)
    middle = wide[quarter : quarter + inner]
    first = np.asarray(columns)
    whole = _per_tile(wide.sum(axis=0), columns, tile)
    total = _per_tile(middle.sum(axis=0), first + quarter, inner)
    squares = _per_tile(np.einsum("ij,ij->j", middle, middle), first + quarter, inner)
    mean = total / inner**2
    around = (whole - total) / (tile**2 - inner**2)
    spread = np.sqrt(np.maximum(squares / inner**2 - mean * mean, 0.0))
    result: npt.NDArray[np.float64] = np.abs(mean - around) + spread
    return result


class Screen:
    """The mission's limits for one swath: `nodata` and `white` are quantized values (None: there
    is no such value), `step` the pixel values that a quantized step stands for, `share` the part
    of a row of tiles that is shown, the most salient first."""

    def __init__(
        self,
        limits: Screening,
        *,
        nodata: int | None,
        white: int | None,
        step: float,
        share: float = 1.0,
    ) -> None:
        self._limits, self._nodata, self._white, self._step = limits, nodata, white, step
        self._share = share

    def __call__(self, rows: npt.NDArray[np.int8], columns: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Which tiles of a row are screened."""
        limits, area = self._limits, len(rows) ** 2
        out = np.zeros(len(columns), np.bool_)
        if self._nodata is not None and limits.nodata_max < 1:
            out |= value_counts(rows, columns, self._nodata) > limits.nodata_max * area
        if self._nodata is not None and limits.nodata_centre:
            side = max(1, round(len(rows) * CENTRE))
            top = (len(rows) - side) // 2
            middle = rows[top : top + side]
            first = [column + top for column in columns]
            out |= value_counts(middle, first, self._nodata) == side * side
        if self._white is not None and limits.saturated_max < 1:
            out |= value_counts(rows, columns, self._white) > limits.saturated_max * area
        if limits.contrast_min > 0:
            out |= contrasts(rows, columns) * self._step < limits.contrast_min
        if self._share < 1:
            out |= self._dull(rows, columns, out)
        return out

    def _dull(
        self, rows: npt.NDArray[np.int8], columns: Sequence[int], out: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """All but the most salient share of the tiles that are not `out` already."""
        dull = np.zeros(len(out), np.bool_)
        left = np.flatnonzero(~out)
        if not len(left):
            return dull
        keep = math.ceil(self._share * len(left))
        score = salience(rows, [columns[n] for n in left.tolist()])
        # Stable: of equals the first stays, on every machine.
        order = np.argsort(-score, kind="stable")
        dull[left[order[keep:]]] = True
        return dull


def _per_tile(
    per_column: npt.NDArray[Any], columns: Sequence[int] | npt.NDArray[np.intp], tile: int
) -> npt.NDArray[np.int64]:
    running = np.zeros(len(per_column) + 1, np.int64)
    np.cumsum(per_column, out=running[1:])
    first = np.asarray(columns)
    sums: npt.NDArray[np.int64] = running[first + tile] - running[first]
    return sums
