"""Pairs as on board: a tile above its surroundings, cut from a whole picture.

Which square the surroundings are says docs/second-stage.md; `winnow_edge.loop.surroundings` cuts
the same from lines as they come.
"""

from __future__ import annotations

import numpy as np

from winnow_edge.loop.band import UInt8Array, bin_lines


class Cutter:
    """Cuts pairs of side `side` from a picture `grey` uint8 [H, W]; beyond it is `nodata`."""

    def __init__(self, grey: UInt8Array, side: int, nodata: int = 0) -> None:
        self._side, self._grey, self._nodata = side, grey, nodata
        self._binned: dict[int, UInt8Array] = {}

    def pair(self, line: int, sample: int, scale: int) -> UInt8Array:
        """The pair uint8 [2 side, side, 1] of the tile at binned `line` and `sample` of `scale`."""
        half = self._side // 2
        tile = self._cut(scale, line, sample)
        around = self._cut(2 * scale, (line - half) // 2, (sample - half) // 2)
        return np.concatenate([tile, around])[..., None]

    def _cut(self, scale: int, top: int, left: int) -> UInt8Array:
        if scale not in self._binned:
            self._binned[scale] = bin_lines(self._grey, scale)
        binned, side = self._binned[scale], self._side
        found = np.full((side, side), self._nodata, np.uint8)
        first, start = max(top, 0), max(left, 0)
        part = binned[first : max(top + side, 0), start : max(left + side, 0)]
        found[first - top :, start - left :][: part.shape[0], : part.shape[1]] = part
        return found
