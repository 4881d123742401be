"""Quick looks: a whole swath as one small picture, so that no swath is invisible.

The picture grows with the lines and is halved whenever it is full, so that its memory is bounded
and the number of lines need not be known. A swath too long for one picture leaves several, each of
a section of its lines.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_edge.errors import PacketError
from winnow_edge.products.fit import fitted
from winnow_edge.products.kinds import NO_CLASS, Box, Kind, Product

HEAD: Final = struct.Struct(">IIII")
"""swath u32, first line u32, lines u32, samples u32; a progressive JPEG follows."""
WIDTH: Final = 256
"""Most pixels across; what has more than half of it is halved when it is full."""
PIXELS: Final = 1 << 18
"""Most pixels that are held."""
ROWS: Final = 16_384
"""Most rows that are held, as of swaths of few samples; a JPEG has 65,535 at most."""

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Section:
    """Lines of a swath as a picture: `pixels` uint8 (rows, columns[, 3]); `last`
    where the swath ends with it."""

    line: int
    lines: int
    samples: int
    pixels: UInt8Array
    last: bool

    @property
    def end(self) -> int:
        """The first line after it."""
        return self.line + self.lines


@dataclass(frozen=True, slots=True)
class QuickLook:
    """A decoded quick look: the number of its swath, what it shows, and its JPEG as it came."""

    swath_id: int
    box: Box
    jpeg: bytes


class Sketcher:
    """Makes the sections of a swath of `samples` samples from its lines, as they come."""

    def __init__(self, samples: int, channels: int) -> None:
        self._samples = samples
        self._colour = () if channels == 1 else (channels,)
        self._first = self._lines = 0  # of the section
        self._begin()

    def _begin(self) -> None:
        self._scale = 1
        while -(-self._samples // self._scale) > WIDTH:
            self._scale *= 2
        width = -(-self._samples // self._scale)
        # Even, so that rows can be halved.
        most = min(PIXELS // width, ROWS) // 2 * 2
        self._held = np.empty((most, width, *self._colour), np.uint8)
        self._rows = 0
        self._sum = np.zeros((width, *self._colour), np.uint32)
        self._first, self._lines = self._first + self._lines, 0

    def add(self, lines: UInt8Array) -> list[Section]:
        """Take lines up, uint8 (n, samples[, 3]); the sections that are full with them."""
        sections = []
        while len(lines):
            # To the end of the row, of the picture, or of the lines.
            room = (len(self._held) - self._rows) * self._scale - self._lines % self._scale
            now, lines = lines[:room], lines[room:]
            self._take(now)
            if self._rows == len(self._held):
                if self._held.shape[1] > WIDTH // 2:
                    self._halve()
                else:
                    sections.append(self._section(last=False))
                    self._begin()
        return sections

    def end(self) -> list[Section]:
        """The section that the end of the swath leaves, if any line is in it."""
        waiting = self._lines % self._scale
        if waiting:
            self._held[self._rows] = _mean(self._sum, waiting)
            self._rows += 1
        return [self._section(last=True)] if self._lines else []

    def _take(self, lines: UInt8Array) -> None:
        scale, waiting = self._scale, self._lines % self._scale
        across = _across(lines, scale)
        self._lines += len(lines)
        # Where rows of the picture begin among these lines.
        starts = np.unique(np.append(0, np.arange(-waiting % scale, len(lines), scale)))
        sums = np.add.reduceat(across, starts, axis=0, dtype=np.uint32)
        sums[0] += self._sum
        whole = len(sums) - bool(self._lines % scale)
        self._held[self._rows : self._rows + whole] = _mean(sums[:whole], scale)
        self._rows += whole
        self._sum = sums[whole] if whole < len(sums) else np.zeros_like(self._sum)

    def _halve(self) -> None:
        """Half the size: half the columns, and twice the rows that there is room for."""
        halved = np.asarray(Image.fromarray(self._held).reduce(2))
        self._scale *= 2
        width = halved.shape[1]
        self._held = np.empty((min(PIXELS // width, ROWS), *halved.shape[1:]), np.uint8)
        self._rows = len(halved)
        self._held[: self._rows] = halved
        self._sum = np.zeros((width, *self._colour), np.uint32)

    def _section(self, *, last: bool) -> Section:
        pixels = self._held[: self._rows].copy()
        return Section(self._first, self._lines, self._samples, pixels, last)


def _across(lines: UInt8Array, scale: int) -> UInt8Array:
    """Lines with means of `scale` samples; the last may be of fewer."""
    return lines if scale == 1 else np.asarray(Image.fromarray(lines).reduce((scale, 1)))


def _mean(sums: npt.NDArray[np.uint32], count: int) -> UInt8Array:
    """Sums of `count` as means, rounded, halves up."""
    return ((sums + count // 2) // count).astype(np.uint8)


def quick_look_product(section: Section, number: int, most: int, swath_id: int) -> Product:
    """The quick look of a section, the `number`-th of its swath, in at most `most` bytes."""
    head = HEAD.pack(swath_id, section.line, section.lines, section.samples)
    data = head + fitted(Image.fromarray(section.pixels), most - len(head), progressive=True)
    return Product(Kind.QUICK_LOOK, number, NO_CLASS, 0.0, False, data)


def decode_quick_look(data: bytes) -> QuickLook:
    """A quick look; its JPEG is not decoded. Raises PacketError if it has no head, shows nothing,
    or has nothing after its head."""
    if len(data) <= HEAD.size:
        raise PacketError(f"a quick look of {len(data)} octets ends before its picture")
    swath, line, lines, samples = HEAD.unpack_from(data)
    if not lines or not samples:
        raise PacketError(f"a quick look of {lines} lines of {samples} samples shows nothing")
    return QuickLook(swath, Box(line, 0, lines, samples), bytes(data[HEAD.size :]))
