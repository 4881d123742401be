"""Raw lines: samples without a header, line after line, from a file or as they arrive.

A stream that stalls, breaks off or closes within a line is a swath that was cut short: its whole
lines are kept, and `truncated` says why it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import stat
import sys
import time
from pathlib import Path

from winnow_edge.errors import SwathError
from winnow_edge.sources.contract import STDIN, Lines

_PIPE_BYTES = 1 << 20
"""Size asked for a pipe (Linux's default limit for users); 64 kB costs a wake-up every 3 lines."""
_WAIT_SECONDS = 0.2
"""How long to sleep on a silent pipe before saying again that nothing is there yet."""
STALLS_A_LINE = 10
"""Who sends a byte now and then is not silent, and yet keeps others out."""
_HEADERS = {
    "JPEG": rb"\xff\xd8\xff[\xdb\xe0-\xef\xfe]",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PGM or PPM": rb"P[2356]\s+(#|\d+\s+\d)",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "PDS": rb"PDS_VERSION_ID|CCSD3ZF|ODL_VERSION_ID|<\?xml ",
    "FITS": rb"SIMPLE  =",
}
"""How files of other formats begin; four bytes at least, so that no line does so by chance."""
_HEADER_BYTES = 32


class RawSource:
    """Lines from a file descriptor that is read once, front to back."""

    channels = 1

    def __init__(
        self,
        fd: int,
        name: str,
        *,
        samples: int,
        bits: int,
        lines: int | None,
        order: str = "little",
        waits: bool = False,
        owned: bool = True,
    ) -> None:
        self.name, self.samples, self.bits, self.lines = name, samples, bits, lines
        self.fingerprint: str | None = None
        self._swap = bits == 16 and order != sys.byteorder
        self._waits, self._owned = waits, owned
        self.truncated: str | None = None
        self.stall_s: float | None = None
        """Seconds of silence after which a stream counts as ended (None: never). So many times
        `STALLS_A_LINE` may a line take."""
        self._fd = fd
        self._at = 0  # whole lines delivered
        self._rest = b""  # the beginning of a line whose end is not there yet
        self._silent_since: float | None = None
        self._no_line_since: float | None = None
        self._ended = self._stalled = False

    def read(self, out: Lines) -> int | None:
        """See `LineSource.read`."""
        view = memoryview(out.data).cast("B")
        line_bytes = self.samples * (self.bits // 8)
        done, wanted = len(self._rest), len(out) * line_bytes
        view[:done] = self._rest
        while done < wanted and not self._ended:
            if self._waits and not self._ready():
                if self._stalled:
                    self._end(done, line_bytes, f"no data came for {self.stall_s:g} s")
                break
            try:
                got = os.readv(self._fd, [view[done:]])
            except OSError as error:
                if self._waits:  # a stream cannot be read again: what came is kept
                    self._end(done, line_bytes, f"the connection broke ({error.strerror})")
                    break
                raise SwathError(f"cannot be read: {error.strerror}", where=self.name) from None
            if not got:
                self._end(done, line_bytes)
                break
            done += got
        lines = done // line_bytes
        if not lines and not self._ended and self._trickles():
            self._end(done, line_bytes, f"no whole line came for {self._longest():g} s")
        if self._waits and not self._at and (lines or self._ended):
            self._refuse_header(bytes(view[: min(done, _HEADER_BYTES)]))
        self._rest = bytes(view[lines * line_bytes : done])
        self._at += lines
        if self._swap:
            out[:lines].byteswap(inplace=True)
        if lines or self._ended:
            self._no_line_since = None
            return lines
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        self._no_line_since = self._no_line_since or now
        return None

    def skip(self, lines: int) -> None:
        """Pass so many lines of a file over."""
        os.lseek(self._fd, lines * self.samples * (self.bits // 8), os.SEEK_CUR)
        self._at += lines

    def close(self) -> None:
        """Close the descriptor, if it was opened here."""
        if self._owned and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _ready(self) -> bool:
        """Whether there is something to read. Silence is told at once, so that the caller can do
        other work; when it asks again, what comes is waited for."""
        since = self._silent_since
        if select.select([self._fd], [], [], 0 if since is None else _WAIT_SECONDS)[0]:
            self._silent_since = None
            return True
        if since is not None and self.stall_s is not None:
            self._stalled = time.monotonic() - since >= self.stall_s
        return False

    def _trickles(self) -> bool:
        """Whether a line has taken too long, though its bytes come one by one."""
        since = self._no_line_since
        if since is None or self.stall_s is None:
            return False
        return time.monotonic() - since >= self._longest()

    def _longest(self) -> float:
        return STALLS_A_LINE * (self.stall_s or 0)

    def _refuse_header(self, head: bytes) -> None:
        """Raises SwathError where a stream begins as a file of another format does."""
        for format_name, beginning in _HEADERS.items():
            if re.match(beginning, head):
                raise SwathError(
                    f"begins as a {format_name} file does, but a stream carries raw lines",
                    where=self.name,
                    hint="name the file itself (`winnow feed` on the ground sends lines of any "
                    "format); if these are samples, send a line of zeros before them",
                )

    def _end(self, done: int, line_bytes: int, why: str | None = None) -> None:
        self._ended = True
        if rest := done % line_bytes:
            cut = f"the last line has {rest} of {line_bytes} bytes; it was left out"
            self.truncated = f"{why}; {cut}" if why else cut
        elif why is not None:
            self.truncated = why
        elif self.lines is not None and self._at + done // line_bytes < self.lines:
            self.truncated = "the file became shorter while it was read"


def open_file(path: Path, *, samples: int, bits: int, order: str, size: int) -> RawSource:
    """A raw file of `size` bytes, which must be whole lines. Raises SwathError saying what fits."""
    line_bytes = samples * (bits // 8)
    if size % line_bytes:
        raise SwathError(
            f"has {size:,} bytes, which is not a whole number of lines of {samples:,} "
            f"{bits}-bit samples",
            where=path,
            hint=_what_fits(size, samples, bits),
        )
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SwathError(f"cannot be read: {error.strerror}", where=path) from None
    with contextlib.suppress(AttributeError, OSError):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return RawSource(
        fd, path.name, samples=samples, bits=bits, lines=size // line_bytes, order=order
    )


def open_stream(
    path: str | Path, *, samples: int | None, bits: int, order: str, stall_s: float | None = None
) -> RawSource:
    """Standard input (`-`) or a named pipe. Raises SwathError without `samples`, on a terminal."""
    if samples is None:
        raise SwathError(
            "raw lines have no header", where=path, hint="give their width: --samples N"
        )
    if path == STDIN:
        if sys.stdin is None or sys.stdin.closed:
            raise SwathError("standard input is closed", hint="pipe raw lines into it")
        fd = sys.stdin.fileno()
        if os.isatty(fd):
            raise SwathError("standard input is a terminal", hint="pipe raw lines into it")
    else:
        # Waiting for a writer inside open() would be deaf to SIGTERM; `_ready` waits instead.
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            hint = "check its permissions"
            raise SwathError(f"cannot be read: {error.strerror}", where=path, hint=hint) from None
        os.set_blocking(fd, True)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        # Where the system refuses a larger pipe the default one works too, only slower.
        with contextlib.suppress(AttributeError, OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    name = "stdin" if path == STDIN else Path(path).name
    source = RawSource(
        fd,
        name,
        samples=samples,
        bits=bits,
        lines=None,
        order=order,
        waits=True,
        owned=path != STDIN,
    )
    source.stall_s = stall_s
    return source


def _what_fits(size: int, samples: int, bits: int) -> str:
    """Widths near `samples` of which `size` is a multiple."""
    values = size // (bits // 8)
    near = range(max(16, samples // 2), min(values, samples * 2) + 1)
    fits = sorted(
        (n for n in near if size % (n * (bits // 8)) == 0), key=lambda n: abs(n - samples)
    )
    if not fits:
        return "no width near that fits: is it a raw file, whole and without a header?"
    return f"--samples that would fit: {', '.join(str(n) for n in fits[:4])}"
