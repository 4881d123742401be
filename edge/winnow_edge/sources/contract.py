"""The contract of a source of lines, and how it is read to the full."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final, Protocol

import numpy.typing as npt

Lines = npt.NDArray[Any]
"""A block of lines: uint8 or uint16, shape (n, samples) or (n, samples, 3)."""

STDIN = "-"
PICTURE_ERRORS: Final = (
    *(OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, EOFError),
    *(struct.error, zlib.error, MemoryError),  # a chunk may say that it has 2.7 GB
)
"""What Pillow lets through where a picture is damaged, as seen and as its own reader catches."""


class LineSource(Protocol):
    """Lines in order. `lines` is None where the number is not known in advance."""

    name: str
    samples: int
    lines: int | None
    channels: int
    bits: int
    truncated: str | None
    """Set once the end was reached: what is missing, in words, or None."""
    fingerprint: str | None
    """Identifies the content (`fingerprint_of`); None for lines that come only once (a pipe)."""

    def read(self, out: Lines) -> int | None:
        """Put the next lines into `out`, from its first row on; returns how many.

        As `io.RawIOBase.readinto`: there may be fewer than `len(out)`, 0 means the end, and None
        that nothing is there yet. Raises SwathError.
        """

    def close(self) -> None:
        """Release the file."""


class Readable(Protocol):
    """Whatever lines can be read from."""

    def read(self, out: Lines) -> int | None:
        """See `LineSource.read`."""


def fill(source: Readable, out: Lines) -> int:
    """Read until `out` is full, waiting for lines; returns fewer than `len(out)` at the end alone.
    Raises SwathError."""
    done, got = 0, source.read(out)
    while got != 0:
        done += got or 0
        if done == len(out):
            break
        got = source.read(out[done:])
    return done
