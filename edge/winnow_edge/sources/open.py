"""Opening a swath by what it is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
from pathlib import Path

from winnow_edge.errors import SwathError
from winnow_edge.mission import Compute, Instrument
from winnow_edge.sources import pgm, picture, raw, sockets
from winnow_edge.sources.contract import STDIN, LineSource

MEMORY_MB = Compute().memory_mb
"""What decoding a picture may take where no mission says it, in MB (1e6 bytes)."""
_FINGERPRINT_BYTES = 1 << 16
_FINGERPRINT_PROBES = 256
_PROBE_BYTES = 4096
_LABEL_BYTES = 1 << 16
_PDS3 = (b"PDS_VERSION_ID", b"CCSD3ZF", b"ODL_VERSION_ID")


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
    memory_mb: float = MEMORY_MB,
) -> LineSource:
    """Open a swath by what it is: `-` (standard input), pipes and sockets are raw lines.

    `samples` and `bits` override the instrument's; `grey` asks for one channel (colour is weighted
    after ITU-R BT.601); `link` is a connection that came in at the address `path`; a picture whose
    decoding takes more than `memory_mb` (1e6 bytes) is refused. Raises SwathError if it is missing,
    empty, or not what was declared.
    """
    samples, bits = samples or instrument.samples, bits or instrument.bits
    stream = _open_stream(os.fspath(path), instrument, samples, bits, link)
    return stream or _open_file(Path(path), instrument, samples, bits, grey, memory_mb)


def _open_stream(
    path: str, instrument: Instrument, samples: int | None, bits: int, link: socket.socket | None
) -> LineSource | None:
    """Lines that come only once; None if the path is another one's."""
    order, stall_s = instrument.byte_order, instrument.stall_s
    if path != STDIN and not sockets.is_address(path):
        try:
            mode = Path(path).stat().st_mode
        except OSError:
            return None  # who opens the file says why
        if stat.S_ISSOCK(mode):
            path = f"unix:{path}"
        elif not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
            return None
    if sockets.is_address(path):
        return sockets.open_socket(
            path, samples=samples, bits=bits, order=order, stall_s=stall_s, link=link
        )
    return raw.open_stream(path, samples=samples, bits=bits, order=order, stall_s=stall_s)


def _open_file(
    path: Path,
    instrument: Instrument,
    samples: int | None,
    bits: int,
    grey: bool,
    memory_mb: float,
) -> LineSource:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise SwathError("is a folder, not a swath", where=path)
        if status.st_size == 0:
            hint = "its writer had nothing to write, or no space: send it again"
            raise SwathError("is empty", where=path, hint=hint)
        with path.open("rb") as file:
            head = file.read(64)
        fingerprint = fingerprint_of(path)
    except FileNotFoundError:
        raise SwathError("no such swath", where=path, hint="check the path") from None
    except OSError as error:
        hint = "check its permissions and its disk"
        raise SwathError(f"cannot be read: {error.strerror}", where=path, hint=hint) from None
    source: LineSource
    if head.startswith(b"P5"):
        source = pgm.PgmSource(path)
    elif head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        source = picture.open_picture(path, grey=grey, memory_mb=memory_mb)
    elif head.lstrip().startswith(_PDS3) or _has_label(path):
        hint = "`winnow feed` on the ground reads it and sends its lines"
        raise SwathError("is a PDS3 image", where=path, hint=hint)
    elif samples is not None:
        size, order = status.st_size, instrument.byte_order
        source = raw.open_file(path, samples=samples, bits=bits, order=order, size=size)
    else:
        hint = (
            "if it holds raw lines, give their width: --samples N; `winnow feed` on the ground "
            "reads other formats"
        )
        raise SwathError("is not PNG, JPEG or PGM (P5)", where=path, hint=hint)
    if samples is not None and source.samples != samples:
        source.close()
        raise SwathError(
            f"is {source.samples} samples wide, {samples} were declared",
            where=path,
            hint="correct --samples or the instrument's `samples`",
        )
    source.fingerprint = fingerprint
    return source


def _has_label(path: Path) -> bool:
    """Whether a PDS3 label beside the file names it: its lines are not as `samples` declares."""
    for label in (path.with_suffix(".LBL"), path.with_suffix(".lbl")):
        with contextlib.suppress(OSError):
            if label.is_file():  # a pipe of that name would be waited for
                with label.open("rb") as file:
                    text = file.read(_LABEL_BYTES)
                if text.lstrip().startswith(_PDS3) and path.name.upper().encode() in text.upper():
                    return True
    return False
