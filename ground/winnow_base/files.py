"""Files written so that a reader never finds half of one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from winnow_base.errors import OutputError


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
def locked(folder: Path) -> Iterator[None]:
    """A folder that no other process has locked (flock(2)); the lock ends with the block."""
    entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(entry, fcntl.LOCK_EX)
        yield
    finally:
        os.close(entry)


def write_file(path: Path, data: bytes | str, *, durable: bool = False) -> None:
    """Write aside and rename; `durable` waits for the disk. Raises OutputError.

    The folder is made where it is not there.
    """
    raw = data.encode() if isinstance(data, str) else data
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(raw)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OutputError(
            f"cannot be written: {error.strerror or error}",
            where=path,
            hint="free some space or name another folder",
        ) from error
