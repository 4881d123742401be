"""Damage inside a JPEG's compressed data that makes no marker: told by the number of blocks.

After a wrong bit a Huffman decoder is soon in step again, but usually with a block too few or too
many, so that the rest of the picture is displaced, and at the end data are left over or lacking.
libjpeg only warns of either, which Pillow does not pass on. So the picture is declared one row of
blocks taller than it is: of a sound file, that row holds nothing but one block made of the padding
bits, and grey (128) where there were no data. In colour the row would smear into the last line, so
colour pictures are counted by decoding them once more in grey.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_edge.errors import SwathError
from winnow_edge.sources.contract import PICTURE_ERRORS

_GREY = 128
_TALLEST = 65_500
"""Rows that libjpeg takes (JPEG_MAX_DIMENSION)."""
_FRAMES, _TABLES, _SCAN = frozenset({0xC0, 0xC1, 0xC2}), 0xC4, 0xDA
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_SOUND = {True: 16, False: 1}
"""Blocks that are not grey in the row after a sound picture, at most, by whether it is progressive:
1 in sequential files, up to 7 were seen in progressive ones. docs/notebook/damaged-jpegs.md counts
the false alarms that this leaves: none."""
_SEAM_LINES = 512


@dataclass(frozen=True)
class Rows:
    """A JPEG's rows of blocks: lines declared, lines by samples of an MCU (ITU-T T.81, A.2), and
    where in the file its height stands."""

    lines: int
    mcu_lines: int
    mcu_samples: int
    at: int
    progressive: bool
    telling: bool
    """Whether no block at all in the row below says that data are lacking."""

    @property
    def above(self) -> int:
        """Lines of whole rows of blocks; what comes below them is the row that is not declared."""
        return -(-self.lines // self.mcu_lines) * self.mcu_lines

    @property
    def height(self) -> bytes:
        """The height with one row of blocks more, as it stands in the file."""
        return (self.above + self.mcu_lines).to_bytes(2, "big")

    def patched(self, head: bytes) -> bytes:
        """The beginning of the file with that height in it."""
        return head[: self.at] + self.height + head[self.at + 2 :]


def rows_of(head: bytes, where: object) -> Rows | None:
    """Read the headers before the first scan (T.81, B.2); None if there is no frame among them, or
    no room for a row more. Raises SwathError where the frame says that coding is arithmetic: it
    decodes any data, and one wrong bit of a header says so."""
    frame, at = None, 2
    first: dict[int, int] = {}  # what the code of all zeros stands for, by AC table
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in _ARITHMETIC:
            raise SwathError(
                "is a JPEG with arithmetic coding, or damaged so that it says so",
                where=where,
                hint="send it again, or store it with Huffman coding",
            )
        if marker in _FRAMES:
            frame = at
        elif marker == _TABLES:
            first |= _zeros(head[at + 4 : at + 2 + length])
        elif marker == _SCAN and frame is not None and at + 7 < len(head):
            # The table of the first component, which is brightness. Data that end are taken for
            # zeros; a block made of them is not empty if they stand for a coefficient, as in the
            # tables of T.81, K.3. In tables made for one picture they may be the block's end.
            return _rows(head, frame, telling=first.get(head[at + 6] & 15, 0) & 15 != 0)
        at += 2 + length
    return None


def _rows(head: bytes, at: int, *, telling: bool) -> Rows | None:
    if len(head) < at + 10:
        return None
    lines, components = int.from_bytes(head[at + 5 : at + 7], "big"), head[at + 9]
    sampling = head[at + 11 : at + 10 + 3 * components : 3]
    # One component alone is not interleaved: its MCU is a block, whatever is declared.
    alone = len(sampling) == 1
    high = 8 * (1 if alone else max((s & 15 for s in sampling), default=0))
    wide = 8 * (1 if alone else max((s >> 4 for s in sampling), default=0))
    rows = Rows(lines, high, wide, at + 5, head[at + 1] == 0xC2, telling)
    return rows if lines and high and wide and rows.above + high <= _TALLEST else None


def _zeros(tables: bytes) -> dict[int, int]:
    """The symbol of the code of all zeros, by number of the AC tables in a DHT segment (T.81,
    B.2.4.2)."""
    symbols, at = {}, 0
    while at + 17 < len(tables):
        if tables[at] >> 4 == 1:
            symbols[tables[at] & 15] = tables[at + 17]
        at += 17 + sum(tables[at + 1 : at + 17])
    return symbols


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Pillow's own limit is lifted: `open_picture` has one from the mission."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@any_size()
def damage(image: Image.Image, rows: Rows) -> str | None:
    """What is wrong with a grey picture that was decoded with `rows.patched`; None if nothing is.

    What leaves the number of blocks as it was (a wrong brightness from there on) is not found, nor,
    in files with colour, what leaves that of the MCUs (shares: docs/notebook/damaged-jpegs.md).
    """
    drawn = _drawn(image, rows, rows.above)
    narrow = rows.progressive and len(drawn) > _SOUND[True] // 2
    if drawn.sum() > _SOUND[rows.progressive] or (narrow and drawn.all()):
        what = "data are left over"
    elif _lacking(image, rows, drawn):
        what = "data are lacking"
    else:
        return None
    said = f"the compressed data are damaged: {what} at the end"
    if rows.progressive:  # each scan covers the whole picture
        return f"{said}; any line may be wrong"
    line = _seam(image, rows)
    return said if line is None else f"{said}; lines are displaced, probably from {line:,} on"


@any_size()
def lines_there(image: Image.Image, rows: Rows, *, cut: bool = False) -> int:
    """Lines of a progressive JPEG down to its last row of blocks that holds data.

    The image was decoded with `rows.patched`, or, where the file is known to be `cut`, as it is.
    All lines count where a row more is drawn below them, or where nothing but grey is anywhere.
    """
    if not cut and _drawn(image, rows, rows.above).any():
        return rows.lines
    until = rows.above
    while until > 0:
        until -= rows.mcu_lines
        drawn = _drawn(image, rows, until)
        # Padding bits behind the data of each scan make a few blocks where the row below begins.
        # In a narrow picture they are as many as a row may have that is grey but for its end.
        few = min(_SOUND[True], len(drawn) // 2)
        if drawn.sum() > few or drawn[min(few, len(drawn) - 2) :].any():
            return min(until + rows.mcu_lines, rows.lines)
    return rows.lines


def _drawn(image: Image.Image, rows: Rows, line: int) -> npt.NDArray[np.bool_]:
    """Which blocks (MCUs) of the row that begins at `line` are not all grey."""
    row = np.asarray(image.crop((0, line, image.width, line + rows.mcu_lines)))
    columns = (row != _GREY).reshape(rows.mcu_lines, image.width, -1).any(axis=(0, 2))
    return np.logical_or.reduceat(columns, np.arange(0, image.width, rows.mcu_samples))


def _lacking(image: Image.Image, rows: Rows, below: npt.NDArray[np.bool_]) -> bool:
    """Whether data ended before the picture, of which `below` is the row that is not declared."""
    if rows.progressive:
        return lines_there(image, rows) < rows.lines
    return rows.telling and not below.any()


class Recount:
    """`damage` of an open file of colour, by decoding it once more in grey when it is called.

    None too if the file cannot be read any more, or was written over since this was made.
    """

    def __init__(self, file: BinaryIO, rows: Rows) -> None:
        self._file, self._rows = file, rows
        self._known = self._version()

    def __call__(self) -> str | None:
        # Whatever Pillow has to say of the file, it said when it was decoded the first time.
        with contextlib.suppress(*PICTURE_ERRORS):
            if self._version() != self._known:
                return None
            taller = cast(BinaryIO, Taller(self._file, self._rows))
            with any_size(), Image.open(taller, formats=("JPEG",)) as image:
                image.draft("L", None)
                if image.mode == "L":
                    image.load()
                    return damage(image, self._rows)
        return None

    def _version(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


class Taller(io.RawIOBase):
    """A file as it reads with `rows.patched`."""

    def __init__(self, file: BinaryIO, rows: Rows) -> None:
        self._file, self._rows = file, rows

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        start = self._file.tell()
        data = bytearray(self._file.read(size))
        for place, value in enumerate(self._rows.height, self._rows.at - start):
            if 0 <= place < len(data):
                data[place] = value
        return bytes(data)


def _seam(image: Image.Image, rows: Rows) -> int | None:
    """The line where two rows of blocks differ most from how lines within them do, or None."""
    step: list[npt.NDArray[np.float64]] = []
    for first in range(0, rows.lines - 1, _SEAM_LINES):
        # One line over, which the next piece begins with.
        until = min(first + _SEAM_LINES + 1, rows.lines)
        lines = np.asarray(image.crop((0, first, image.width, until))).astype(np.int16)
        step.append(np.minimum(np.abs(np.diff(lines, axis=0)), 40).mean(axis=1))
    steps = np.concatenate(step) if step else np.empty(0)
    size = rows.mcu_lines
    between = np.arange(size - 1, len(steps) - size, size)
    if not len(between):
        return None
    within = np.max([steps[between + k] for k in (-4, -3, -2, 2, 3, 4)], axis=0)
    return int(between[np.argmax(steps[between] - within)]) + 1
