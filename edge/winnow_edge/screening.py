"""Screening: which tiles are not worth a net."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def nodata_counts(
    rows: npt.NDArray[np.int8], columns: Sequence[int], nodata: int
) -> npt.NDArray[np.int64]:
    """Nodata pixels of every tile in a row of tiles.

    `rows` int8 (tile, samples[, 3]) quantized; `columns` the tiles' first samples; `nodata` the
    quantized value, which every channel must have. Column counts are summed up along the row once,
    so a tile costs two look-ups however far tiles overlap.
    """
    tile = len(rows)
    empty = rows == nodata
    if empty.ndim == 3:
        empty = empty.all(axis=2)
    # Sums of at most 255 fit 8 bits, which is several times faster than a wider accumulator.
    kind = np.uint8 if tile < 256 else np.uint16
    per_column = np.add.reduce(empty.view(np.uint8), axis=0, dtype=kind)
    running = np.zeros(len(per_column) + 1, np.int64)
    np.cumsum(per_column, out=running[1:])
    first = np.asarray(columns)
    counts: npt.NDArray[np.int64] = running[first + tile] - running[first]
    return counts


def screened(
    rows: npt.NDArray[np.int8], columns: Sequence[int], nodata: int | None, nodata_max: float
) -> npt.NDArray[np.bool_]:
    """Which tiles of a row have a share of nodata pixels above `nodata_max`."""
    if nodata is None:
        return np.zeros(len(columns), np.bool_)
    counts = nodata_counts(rows, columns, nodata)
    result: npt.NDArray[np.bool_] = counts > nodata_max * len(rows) ** 2
    return result
