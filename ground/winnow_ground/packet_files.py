"""Packet files as they are read: files, and pipes whose packets come when they come."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import rich.console
import rich.progress

from winnow_base.errors import PacketError

_FIRST = 65_536
"""Bytes of a pipe that are asked for first."""


class _Pipe(io.RawIOBase):
    """A pipe whose `first` bytes were read already; counts its bytes."""

    def __init__(self, first: bytes, rest: io.FileIO) -> None:
        self._first, self._rest, self.bytes = first, rest, len(first)

    def read(self, size: int = -1, /) -> bytes:
        """What is there, at most so many bytes; waits where nothing is."""
        if self._first:
            part, self._first = self._first[:size], self._first[size:]
            return part
        part = self._rest.read(size) or b""
        self.bytes += len(part)
        return part


class PacketFile(contextlib.AbstractContextManager["PacketFile"]):
    """A packet file, or a pipe, which can be read but once.

    Raises PacketError if it is missing or empty; the first bytes of a pipe are waited for.
    """

    def __init__(self, path: Path, quiet: bool) -> None:
        self.path, self._quiet = path, quiet or not sys.stderr.isatty()
        self._size, self._pipe = 0, None
        with contextlib.ExitStack() as opened:
            try:
                self._open(opened)
            except OSError as error:
                raise PacketError(error.strerror or "cannot be read", where=path) from error
            if not self.bytes:
                raise PacketError("is empty", where=path, hint="nothing was downlinked into it")
            self._opened = opened.pop_all()

    def _open(self, opened: contextlib.ExitStack) -> None:
        # A path that names a pipe of this process, such as /dev/stdin, is opened but once.
        file = opened.enter_context(self.path.open("rb", buffering=0))
        about = os.fstat(file.fileno())
        if stat.S_ISCHR(about.st_mode):
            hint = "give a packet file, or pipe it in"
            raise PacketError("is a device", where=self.path, hint=hint)
        if stat.S_ISREG(about.st_mode):
            opened.close()
            self._size = about.st_size
        else:
            self._pipe = _Pipe(file.read(_FIRST) or b"", file)

    @property
    def bytes(self) -> int:
        """Of a pipe those that were read so far."""
        return self._size if self._pipe is None else self._pipe.bytes

    @contextlib.contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """The stream, with progress on standard error where somebody watches."""
        if self._pipe is not None:
            yield cast("BinaryIO", self._pipe)
            return
        with self.path.open("rb") as stream:
            if self._quiet:
                yield stream
                return
            with rich.progress.wrap_file(
                stream, self.bytes, description=f"receiving {self.path.name}", transient=True,
                console=rich.console.Console(stderr=True),
            ) as watched:  # fmt: skip
                yield watched

    def __exit__(self, *_: object) -> None:
        self._opened.close()
