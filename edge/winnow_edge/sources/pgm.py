"""Portable greymap, binary (P5): netpbm's `pgm(5)`, 8 bit or 16 bit big-endian, read by rows."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from winnow_edge.errors import SwathError
from winnow_edge.sources.contract import Lines
from winnow_edge.sources.raw import RawSource

_HEADER_MAX = 4096
MAX_SAMPLES = 1_000_000
"""The widest line that a mission file can name."""
_FIELD = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])+(\d+)")


class PgmSource:
    """Lines of a P5 file; grey values are scaled so that its maxval is white."""

    channels = 1

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SwathError(f"cannot be read: {error.strerror}", where=path) from None
        self.lines: int | None
        try:
            self.samples, self._left, self._maxval, start = _header(os.pread(fd, _HEADER_MAX, 0))
            self.lines = self._left
            self.bits = 8 if self._maxval < 256 else 16
            os.lseek(fd, start, os.SEEK_SET)
            line = self.samples * (self.bits // 8)
            self._more = (os.fstat(fd).st_size - start) // line - self._left
        except SwathError as error:
            os.close(fd)
            raise SwathError(error.what, where=path, hint=error.hint) from None
        except OSError as error:
            os.close(fd)
            raise SwathError(f"cannot be read: {error.strerror}", where=path) from None
        self.truncated: str | None = None
        self.fingerprint: str | None = None
        self.scaled = True
        """Whether values are scaled; else they are given as they are in the file."""
        self._raw = RawSource(
            fd, self.name, samples=self.samples, bits=self.bits, lines=None, order="big"
        )

    def read(self, out: Lines) -> int:
        """See `LineSource.read`."""
        wanted = min(len(out), self._left)
        if not wanted:
            return 0
        got = self._raw.read(out[:wanted]) or 0
        self._left -= got
        if got < wanted:
            self.truncated = f"{self._left} of {self.lines} lines are missing"
        elif not self._left and self._more > 0:
            self.truncated = f"{self._more:,} lines follow those of its header; they were left out"
        lines = out[:got]
        top = 255 if self.bits == 8 else 65_535
        if self.scaled and self._maxval != top:
            # Rounded as netpbm's `pamdepth` does; a value over maxval is malformed and shown white.
            scaled = (lines.astype(np.uint32) * top + self._maxval // 2) // self._maxval
            np.minimum(scaled, top, out=lines, casting="unsafe")
        return got

    def skip(self, lines: int) -> None:
        """Pass so many lines over, of those that are left."""
        self._left -= lines
        self._raw.skip(lines)

    def close(self) -> None:
        """See `LineSource.close`."""
        self._raw.close()


def _header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, maxval and the offset of the raster."""
    at, fields = 2, []
    for what in ("width", "height", "maxval"):
        match = _FIELD.match(data, at)
        if match is None or len(match[1]) > 9:
            raise SwathError(f"PGM header has no {what}", hint="the file is damaged or no PGM")
        fields.append(int(match[1]))
        at = match.end()
    width, height, maxval = fields
    if (
        not (0 < width <= MAX_SAMPLES and height and 0 < maxval < 65_536)
        or not data[at : at + 1].isspace()
    ):
        raise SwathError(
            f"PGM header says {width} x {height}, maxval {maxval}",
            hint="the file is damaged or no PGM",
        )
    return width, height, maxval, at + 1
