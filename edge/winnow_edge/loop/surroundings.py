"""Surroundings: what lies around a tile, for the second stage and for its context.

The surroundings of a tile of side T at scale s are the square of 2 or 3 T tile pixels about the
same centre, box-binned by 2 s or 3 s: T x T bins of the whole swath binned so, the first of them
``(origin - T // 2) // 2`` or ``(origin - T - 1) // 3``, rounded down, along each axis. Bins beyond
the swath are nodata, 0 where the instrument has no such value; a bin that the swath's edge cuts
averages what is there.

So they depend on the swath alone. They are cut out as soon as their last line is there. A
detection is never decided before that: it stays open until no tile to come can touch it, and a
tile of its own scale that begins behind it ends with or behind its surroundings.
"""

from __future__ import annotations

import weakref
from typing import Final

import numpy as np

from winnow_edge.loop.band import UInt8Array, bin_lines
from winnow_edge.products.kinds import Box, View

SPARE = 4
"""Rows held beyond those that are needed: bins that a block or a tile begins or ends within."""


TIMES: Final = (2, 3)
"""How many times the tile surroundings can be."""


class Surroundings:
    """The last lines of a swath at two or three `times` the tiles' scale, uint8; row n lies at n
    modulo their number.

    While a block is decided the next one is in already, and once in a while one more: a tile of the
    first of them may lie, with its surroundings, so far before the last line.
    """

    def __init__(
        self,
        samples: int,
        block: int,
        *,
        tile: int,
        scale: int,
        channels: int,
        nodata: int | None,
        times: int = 2,
    ) -> None:
        self.scale, self._tile, self._times = times * scale, tile, times
        self._samples, self._lines = samples, 0
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
        self._lines += len(lines)
        self._serve()

    def end(self) -> None:
        """The swath has ended: what is not there is nodata."""
        self._ended = True
        self._serve()

    def around(self, origin: int, column: int) -> Window:
        """What lies around the tile at binned row `origin` and `column`, of the tile's scale."""
        # A line less than the middle, so that a tile that begins behind this one ends with it.
        before = self._tile // 2 if self._times == 2 else self._tile + 1
        window = Window((origin - before) // self._times, (column - before) // self._times)
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
                window.fill(self._cut(window.top, window.left), self._there(window))
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

    def _there(self, window: Window) -> Box:
        """The part of a window that lies within the swath."""
        scale, tile = self.scale, self._tile
        line, sample = max(window.top, 0) * scale, max(window.left, 0) * scale
        end = min((window.top + tile) * scale, self._lines)
        right = min((window.left + tile) * scale, self._samples)
        return Box(line, sample, end - line, right - sample)


class Window:
    """The surroundings of one tile, once they are there; `top` and `left` in binned pixels."""

    def __init__(self, top: int, left: int) -> None:
        self.top, self.left = top, left
        self._pixels: UInt8Array | None = None
        self._box = Box(0, 0, 0, 0)

    @property
    def there(self) -> bool:
        """Whether the pixels are there."""
        return self._pixels is not None

    def fill(self, pixels: UInt8Array, box: Box) -> None:
        """Keep the pixels, of which those in the `box` lie within the swath."""
        self._pixels, self._box = pixels, box

    def view(self, scale: int) -> View:
        """What lies within the swath, of bins of `scale`. Raises as `pixels`."""
        pixels, box = self.pixels(), self._box
        down, right = box.line // scale - self.top, box.sample // scale - self.left
        rows, columns = -(-box.lines // scale), -(-box.samples // scale)
        return View(box, scale, pixels[down : down + rows, right : right + columns])

    def pixels(self) -> UInt8Array:
        """Uint8 (tile, tile[, 3]). Raises RuntimeError while they are not there."""
        if self._pixels is None:
            raise RuntimeError("a detection was decided before its surroundings were there")
        return self._pixels
