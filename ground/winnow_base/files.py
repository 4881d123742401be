"""Folders to write into and texts to read; files are written by `winnow_edge.files`."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from winnow_edge.errors import OutputError, WinnowEdgeError
from winnow_edge.files import read_small


def make_folder(folder: str | Path) -> Path:
    """The folder, made where it is not there. Raises OutputError."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror or error}",
            where=folder,
            hint="name another folder",
        ) from error
    return folder


@contextlib.contextmanager
def locked(folder: Path, busy: Callable[[], None] = lambda: None) -> Iterator[None]:
    """A folder that no other process has locked (flock(2)); the lock ends with the block. `busy` is
    called where another one has to be waited for."""
    entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(entry, fcntl.LOCK_EX)
        yield
    finally:
        os.close(entry)


def read_text(path: Path, wrong: type[WinnowEdgeError]) -> str:
    """The text of a small file in UTF-8, with or without a byte order mark.

    Raises `wrong` for a file that cannot be read or is no text.
    """
    try:
        return read_small(path).decode("utf-8-sig")
    except OSError as error:
        raise wrong(error.strerror or "cannot be read", where=path) from error
    except UnicodeDecodeError as error:
        raise wrong("is not a text file", where=path) from error
