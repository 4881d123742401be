"""Files written aside, put on the disk and renamed into place: a reader never finds half of one.

The file aside is NAME.part, locked (flock(2)) by the one that writes it. A process that was killed
leaves it behind unlocked, and the next one takes it over.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from winnow_edge.errors import OutputError, OutputTroubleError

SMALL_BYTES: Final = 16_000_000
"""The most that is read of a mission, recipe or acknowledgement."""
_HINT: Final = "free some space or name another place"


_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM})


def unwritable(
    error: OSError, where: object, hint: str | None = None, *, what: str = "cannot be written"
) -> OutputError:
    """The error for a result that cannot be written, told apart by whether the trouble may pass."""
    kind = OutputTroubleError if error.errno in _PASSING else OutputError
    return kind(f"{what}: {error.strerror or error}", where=where, hint=hint)


def printable(name: str) -> str:
    """A file's name as text that any terminal, file and database takes: octets that are not UTF-8
    and characters that do not print as escapes.

    >>> printable(os.fsdecode(b"m\\xff\\x1b.jpg"))
    'm\\\\xff\\\\x1b.jpg'
    """
    text = name.encode("utf-8", "surrogateescape" if _escaped(name) else "backslashreplace")
    shown = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def _escaped(name: str) -> bool:
    """Whether every surrogate stands for an octet, as in names of the system."""
    return not any("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff" for c in name)


def read_small(path: str | Path, most: int = SMALL_BYTES) -> bytes:
    """The octets of a file that a person or a program wrote.

    Raises OSError also for a pipe or device, which might never end, and for more than `most`
    octets; its `strerror` says so.
    """
    # A pipe that nobody writes to would be waited for.
    entry = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(entry, "rb") as stream:
        mode = os.fstat(entry).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is a pipe or device; a file is wanted", str(path))
        data = stream.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"has more than {most:,} bytes", str(path))
    return data


@contextmanager
def write_aside(
    path: str | Path, *, replace: bool = True, durable: bool = True, hint: str = _HINT
) -> Iterator[BinaryIO]:
    """A binary stream, open for writing; when the block is left, the file stands at `path`, whole.

    An error in the block leaves `path` as it was. `replace` takes the place of a file that is
    there, after any other writer of it is done; else a file or another writer is an error.
    `durable` waits until file and folder are on the disk. `hint` says what to do about an error.

    Raises OutputError: the file cannot be written, or must not be replaced.
    """
    path = Path(path)
    aside = path.with_name(f"{path.name}.part")
    try:
        # A rename would take the place of a device, for all programs.
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OutputError("is a pipe or device; a file is wanted", where=path, hint=hint)
        with _locked(aside, wait=replace, hint=hint) as stream:
            try:
                if not replace and path.exists():
                    raise OutputError("is there already", where=path, hint=hint)
                yield stream
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise unwritable(error, path, hint) from error


def write_file(
    path: str | Path, data: bytes | str, *, durable: bool = True, hint: str = _HINT
) -> None:
    """Write `data` (text as UTF-8) as with `write_aside`; its folder is made where it is not there.

    Raises OutputError.
    """
    path = Path(path)
    try:
        make_folder(path.parent)
    except OSError as error:
        raise unwritable(error, path.parent, hint, what="cannot be made") from error
    with write_aside(path, durable=durable, hint=hint) as stream:
        stream.write(data.encode() if isinstance(data, str) else data)


def make_folder(folder: str | Path) -> None:
    """Make a folder and those above it that are missing, each on the disk: a file in a folder that
    a power cut takes away is lost however well it was synced. Raises OSError."""
    folder = Path(folder)
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_files(paths: Iterable[str | Path]) -> None:
    """Put files that were written with `durable` False on the disk, and the entries of their
    folders. Raises OutputError."""
    folders: dict[Path, None] = {}
    for path in map(Path, paths):
        folders[path.parent] = None
        _sync(path, os.O_RDONLY)
    for folder in folders:
        _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync_folder(folder: str | Path) -> None:
    """Put a folder's entries on the disk: a rename is not there before. Raises OSError."""
    entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def _sync(path: Path, flags: int) -> None:
    try:
        entry = os.open(path, flags)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
    except OSError as error:
        raise unwritable(error, path, _HINT, what="cannot be put on the disk") from error


@contextmanager
def _locked(aside: Path, *, wait: bool, hint: str) -> Iterator[BinaryIO]:
    """The file aside, empty, while no other process has it."""
    while True:
        # Not truncated when it is opened: it may be another writer's.
        file = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with os.fdopen(file, "wb") as stream:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError("another process writes it", where=aside, hint=hint) from error
            if not _is_at(file, aside):
                continue  # its writer has put it in its place meanwhile
            stream.truncate(0)
            yield stream
            return


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
