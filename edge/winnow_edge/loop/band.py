"""The band: the lines held in memory, binned and quantized once per scale.

Each scale keeps the last `tile` binned rows in front of those of the current block, in one
contiguous array, so that every tile that a block completes is a plain slice. There are two such
arrays, filled in turn: while the tiles of one are with the interpreters, the next block is binned
into the other. Nothing here grows with the length of the swath.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_edge.bundle import InputSpec
from winnow_edge.loop.schedule import origins

UInt8Array = npt.NDArray[np.uint8]
Int8Array = npt.NDArray[np.int8]

SLOTS = 2


class Quantizer:
    """Pixels to the net's int8 input and back, both exact for the usual input (see `InputSpec`)."""

    def __init__(self, spec: InputSpec) -> None:
        self._flip = spec.exact_pixels
        pixels = np.arange(256)
        real = np.round(pixels / spec.scale) + spec.zero_point
        self._to = np.clip(real, -128, 127).astype(np.int8)
        back = np.round((np.arange(-128, 128) - spec.zero_point) * spec.scale)
        self._back = np.clip(back, 0, 255).astype(np.uint8)

    def quantize(self, pixels: UInt8Array, out: Int8Array) -> None:
        """Write the quantized `pixels` to `out` (same shape)."""
        if self._flip:
            np.bitwise_xor(pixels, 0x80, out=out.view(np.uint8))
        else:
            np.take(self._to, pixels, out=out)

    def value(self, pixel: int) -> int:
        """A single pixel, quantized."""
        return int(self._to[pixel])

    def pixels(self, tile: Int8Array) -> UInt8Array:
        """A tile as the net sees it, as uint8 pixels in an array of its own."""
        if self._flip:
            return np.bitwise_xor(tile.view(np.uint8), np.uint8(0x80))
        pixels: UInt8Array = self._back[tile.view(np.uint8) ^ np.uint8(0x80)]
        return pixels


def bin_lines(lines: UInt8Array, scale: int) -> UInt8Array:
    """Box-bin lines (n, samples[, 3]) by `scale`; a last partial bin averages what is there.

    Means are rounded to nearest, halves up. Pillow's reduce does it several times faster than
    NumPy, and without holding the interpreter lock.
    """
    if scale == 1:
        return lines
    height, width = lines.shape[:2]
    if lines.ndim == 3:
        return np.asarray(Image.fromarray(lines).reduce(scale))
    # frombuffer uses the lines in place where fromarray would copy them.
    image = Image.frombuffer("L", (width, height), lines, "raw", "L", 0, 1)
    return np.asarray(image.reduce(scale))


class Band:
    """The band of one scale.

    `slots[k]` is int8, shape (tile + rows of a block, binned samples[, 3]); its first `tile` rows
    are those before the block. Samples are at least `tile`: a narrower swath is padded with
    `nodata`, or its last sample where that is None.
    """

    def __init__(
        self,
        samples: int,
        block: int,
        *,
        tile: int,
        hop: int,
        scale: int,
        channels: int,
        nodata: int | None,
        quantizer: Quantizer,
    ) -> None:
        self.tile, self.scale = tile, scale
        self.width = -(-samples // scale)
        self.columns = origins(self.width, tile, hop)
        self.tile_samples = np.array(self.columns, np.int64) * scale
        """First samples of the tiles of a row, full resolution, int64."""
        self.rows = 0
        """Whole binned rows seen so far."""
        self._nodata, self._quantizer = nodata, quantizer
        # Before a block up to scale - 1 lines may be waiting; the last bin may be partial; a swath
        # shorter than a tile is padded to one.
        height = tile + max(-(-(block + scale) // scale), tile)
        shape: tuple[int, ...] = (height, max(self.width, tile))
        if channels == 3:
            shape = (*shape, 3)
        self.slots = [np.zeros(shape, np.int8) for _ in range(SLOTS)]
        self._before = 0
        self._slot = 0

    def start(self, slot: int) -> None:
        """Go on in `slots[slot]`, carrying over the last `tile` rows."""
        last, used = self.slots[self._slot], self.rows - self._before
        if slot != self._slot:
            self.slots[slot][: self.tile] = last[used : used + self.tile]
        else:
            last[: self.tile] = last[used : used + self.tile].copy()
        self._slot, self._before = slot, self.rows

    def append(self, lines: npt.NDArray[Any]) -> None:
        """Bin and quantize uint8 lines; a last partial bin is taken only at the end of a swath."""
        binned = bin_lines(lines, self.scale)
        at = self.tile + self.rows - self._before
        out = self.slots[self._slot][at : at + len(binned)]
        if out.ndim == 3 and binned.ndim == 2:
            binned = np.broadcast_to(binned[..., None], (*binned.shape, 3))
        self._quantizer.quantize(binned, out[:, : self.width])
        if self.width < self.tile:
            out[:, self.width :] = self._pad(out[:, self.width - 1 : self.width])
        self.rows += len(binned)

    def pad(self) -> None:
        """Fill up a swath that ended with fewer rows than a tile."""
        at = self.tile + self.rows - self._before
        end = self.tile + self.tile - self._before
        if at < end:
            slot = self.slots[self._slot]
            slot[at:end] = self._pad(slot[at - 1])

    def row(self, origin: int) -> Int8Array:
        """The `tile` rows from binned row `origin`, which must be in the current slot."""
        at = self.tile + origin - self._before
        return self.slots[self._slot][at : at + self.tile]

    def tiles(self, row: Int8Array, columns: Sequence[int]) -> list[npt.NDArray[np.void]]:
        """The tiles of a `row` that begin at `columns`, their lines as opaque elements, (tile,)."""
        octets = row[0, 0].nbytes  # of a sample
        line = np.dtype((np.void, self.tile * octets))
        shape = (row.shape[1] - self.tile + 1, self.tile)
        # One array of every window, so that a tile is one cheap index and no slice and view.
        windows = np.ndarray(shape, line, row, strides=(octets, row.strides[0]))
        return [windows[column] for column in columns]

    def pixels(self, row: Int8Array, column: int) -> UInt8Array:
        """The tile of a `row` that begins at `column`, as the net sees it, in an array of its own:
        uint8 (tile, tile[, 3])."""
        return self._quantizer.pixels(row[:, column : column + self.tile])

    def _pad(self, edge: Int8Array) -> Int8Array | int:
        return edge if self._nodata is None else self._quantizer.value(self._nodata)
