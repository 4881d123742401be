"""Surroundings: what lies around a tile, for the second stage.

The surroundings of a tile of side T at scale s are the square of 2 T tile pixels about the same
centre, box-binned by 2 s: T x T bins of the whole swath binned by 2 s, the first of them
``(origin - T // 2) // 2``, rounded down, along each axis. Bins beyond the swath are nodata, 0
where the instrument has no such value; a bin that the swath's edge cuts averages what is there.

So they depend on the swath alone. They are cut out as soon as their last line is there. A
detection is never decided before that: it stays open until no tile to come can touch it, and a
tile of its own scale that begins behind it ends half a tile behind its surroundings.
"""

from __future__ import annotations

import weakref

import numpy as np

from winnow_edge.loop.band import UInt8Array, bin_lines

SPARE = 4
"""Rows held beyond those that are needed: bins that a block or a tile begins or ends within."""


class Surroundings:
    """The last lines of a swath at twice the tiles' scale, uint8; row n lies at n modulo their
    number.

    While a block is decided the next one is in already, and once in a while one more: a tile of the
    first of them may lie, with its surroundings, so far before the last line.
    """

    def __init__(
        self, samples: int, block: int, *, tile: int, scale: int, channels: int, nodata: int | None
    ) -> None:
        self.scale, self._tile = 2 * scale, tile
        self._nodata = nodata or 0
        width = -(-samples // self.scale)
        height = -(-2 * block // self.scale) + tile + SPARE
        colour = () if channels == 1 else (channels,)
        self._ring: UInt8Array = np.zeros((height, width, *colour), np.uint8)
        self._rows, self._ended = 0, False
        self._open: list[weakref.ref[Window]] = []

    def append(self, lines: UInt8Array) -> None:
        """Bin lines, uint8 (n, samples[, 3]); a partial bin is taken only at the swath's end."""
        binned = bin_lines(lines, self.scale)
        if self._ring.ndim > binned.ndim:
            binned = np.broadcast_to(binned[..., None], (*binned.shape, self._ring.shape[2]))
        places = np.arange(self._rows, self._rows + len(binned)) % len(self._ring)
        self._ring[places] = binned
        self._rows += len(binned)
        self._serve()

    def end(self) -> None:
        """The swath has ended: what is not there is nodata."""
        self._ended = True
        self._serve()

    def around(self, origin: int, column: int) -> Window:
        """What lies around the tile at binned row `origin` and `column`, of the tile's scale."""
        half = self._tile // 2
        window = Window((origin - half) // 2, (column - half) // 2)
        self._open.append(weakref.ref(window))
        self._serve()
        return window

    def _serve(self) -> None:
        """Cut out all squares whose lines are there; forget those that nobody wants any more."""
        waiting = []
        for reference in self._open:
            window = reference()
            if window is None:
                continue
            if self._ended or window.top + self._tile <= self._rows:
                window.fill(self._cut(window.top, window.left))
            else:
                waiting.append(reference)
        self._open = waiting

    def _cut(self, top: int, left: int) -> UInt8Array:
        tile, ring = self._tile, self._ring
        out = np.full((tile, tile, *ring.shape[2:]), self._nodata, np.uint8)
        rows = np.arange(max(top, 0), min(top + tile, self._rows))
        first, end = max(left, 0), min(left + tile, ring.shape[1])
        if len(rows) and first < end:
            part = ring[rows % len(ring), first:end]
            down, right = int(rows[0]) - top, first - left
            out[down : down + len(part), right : right + part.shape[1]] = part
        return out


class Window:
    """The surroundings of one tile, once they are there; `top` and `left` in binned pixels."""

    def __init__(self, top: int, left: int) -> None:
        self.top, self.left = top, left
        self._pixels: UInt8Array | None = None

    def fill(self, pixels: UInt8Array) -> None:
        """Keep the pixels."""
        self._pixels = pixels

    def pixels(self) -> UInt8Array:
        """Uint8 (tile, tile[, 3]). Raises RuntimeError while they are not there."""
        if self._pixels is None:
            raise RuntimeError("a detection was decided before its surroundings were there")
        return self._pixels
