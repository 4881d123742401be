"""Swath sources: where lines come from.

=========== =====================================================================================
`raw`       8 or 16-bit samples without a header, from a file, a named pipe or standard input
`sockets`   the same from `tcp://HOST:PORT` or `unix:PATH`
`listening` the same from who connects to `tcp-listen://HOST:PORT` or `unix-listen:PATH`
`pgm`       portable greymap P5, 8 or 16 bit, read by rows
`picture`   PNG and JPEG through Pillow; JPEG is decoded as far as lines are asked for
`frame`     any of them as one picture, resized whole to the net's input
=========== =====================================================================================

A source hands out blocks of lines into an array of the caller's. What is cut short is not lost: the
whole lines that are there come out, then `truncated` says what is missing.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from winnow_edge.errors import SwathError
from winnow_edge.mission import Instrument

Lines = npt.NDArray[Any]
"""A block of lines: uint8 or uint16, shape (n, samples) or (n, samples, 3)."""

STDIN = "-"
_PDS3 = (b"PDS_VERSION_ID", b"CCSD3ZF", b"ODL_VERSION_ID")
_FINGERPRINT_BYTES = 1 << 16
_FINGERPRINT_PROBES = 256
_PROBE_BYTES = 4096


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


def fingerprint_of(path: Path) -> str:
    """SHA-256 (hex) of a file's size, head, tail and samples between: tells swaths apart without
    reading them whole."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256(str(size).encode())
        # Frames of one camera often begin and end alike, e.g. with nodata.
        between = range(0, size, max(size // _FINGERPRINT_PROBES, _PROBE_BYTES))
        for start, length in (
            (0, _FINGERPRINT_BYTES),
            (max(size - _FINGERPRINT_BYTES, 0), _FINGERPRINT_BYTES),
            *((start, _PROBE_BYTES) for start in between),
        ):
            file.seek(start)
            digest.update(file.read(length))
    return digest.hexdigest()


def open_source(
    path: str | os.PathLike[str],
    *,
    instrument: Instrument,
    samples: int | None = None,
    bits: int | None = None,
    grey: bool = True,
    link: socket.socket | None = None,
) -> LineSource:
    """Open a swath by what it is: `-` (standard input), pipes and sockets are raw lines.

    `samples` and `bits` override the instrument's; `grey` asks for one channel (colour is weighted
    after ITU-R BT.601); `link` is a connection that came in at the address `path`. Raises
    SwathError if it is missing, empty, or not what was declared.
    """
    from winnow_edge.sources import pgm, picture, raw, sockets

    samples = samples or instrument.samples
    bits = bits or instrument.bits
    text, order, stall_s = os.fspath(path), instrument.byte_order, instrument.stall_s
    if text == STDIN:
        return raw.open_stream(STDIN, samples=samples, bits=bits, order=order, stall_s=stall_s)
    if sockets.is_address(text):
        return sockets.open_socket(
            text, samples=samples, bits=bits, order=order, stall_s=stall_s, link=link
        )
    where = Path(path)
    try:
        status = where.stat()
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
            return raw.open_stream(where, samples=samples, bits=bits, order=order, stall_s=stall_s)
        if stat.S_ISSOCK(status.st_mode):
            address = f"unix:{where}"
            return sockets.open_socket(
                address, samples=samples, bits=bits, order=order, stall_s=stall_s
            )
        if stat.S_ISDIR(status.st_mode):
            raise SwathError("is a folder, not a swath", where=where)
        if status.st_size == 0:
            hint = "its writer had nothing to write, or no space: send it again"
            raise SwathError("is empty", where=where, hint=hint)
        with where.open("rb") as file:
            head = file.read(64)
        fingerprint = fingerprint_of(where)
    except FileNotFoundError:
        raise SwathError("no such swath", where=where, hint="check the path") from None
    except OSError as error:
        hint = "check its permissions and its disk"
        raise SwathError(f"cannot be read: {error.strerror}", where=where, hint=hint) from None
    source: LineSource
    if head.startswith(b"P5"):
        source = pgm.PgmSource(where)
    elif head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        source = picture.open_picture(where, grey=grey)
    elif head.lstrip().startswith(_PDS3):
        hint = "`winnow feed` on the ground reads it and sends its lines"
        raise SwathError("is a PDS3 image", where=where, hint=hint)
    elif samples is not None:
        source = raw.open_file(where, samples=samples, bits=bits, order=order, size=status.st_size)
    else:
        known = "PNG, JPEG or PGM (P5)"
        raise SwathError(
            f"is not {known}",
            where=where,
            hint="if it holds raw lines, give their width: --samples N",
        )
    if samples is not None and source.samples != samples:
        source.close()
        raise SwathError(
            f"is {source.samples} samples wide, {samples} were declared",
            where=where,
            hint="correct --samples or the instrument's `samples`",
        )
    source.fingerprint = fingerprint
    return source
