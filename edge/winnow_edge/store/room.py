"""Room on the disk: what a contact needs when nothing else is left, and SQLite's shared memory.

A file beside the store holds room (`budget.Budget.reserve`). On a full disk it gives way to the log
of a contact, or of a run that fills pages which a contact has freed; afterwards the room is held
anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import ClassVar, Final

from winnow_edge.store.budget import RESERVE_LEAST

RESERVE_FILE: Final = "store.reserve"
RESERVE_SHARE: Final = 4
"""The reserve takes no more than one part in so many of what is free."""
PLENTY: Final = 1_500_000
"""With less than this a run's log may not find room."""
LEAST_FREE: Final = 128 * 1024
"""Below this a disk is full: SQLite's index of the log alone is 32 kB."""
GROWTH_PAGES: Final = 64
"""What the entries of a contact may add to a store that lives on its reserve."""

LOG_PAGES: Final = 32
"""So long the log of such a store grows before it is copied back."""


def is_there(folder: Path, wanted: int) -> bool:
    """Whether the disk has so much room; found by trying, as file systems keep some of what they
    call free. Raises OSError where nothing can be written for another reason."""
    probe = folder / f"{RESERVE_FILE}.probe"
    there = _allocated(probe, wanted)
    probe.unlink(missing_ok=True)
    return there


def hold(folder: Path, wanted: int) -> None:
    """Hold `wanted` octets, but no more than a share of what is free; nothing where that is too
    little to be of use. Where room is held already, that is enough, and what is too much of it is
    given back."""
    path = folder / RESERVE_FILE
    with contextlib.suppress(OSError):
        if path.exists():
            if wanted < RESERVE_LEAST:
                path.unlink()
            elif path.stat().st_size > wanted:
                os.truncate(path, wanted)
            return
        status = os.statvfs(folder)
        wanted = min(wanted, status.f_bavail * status.f_frsize // RESERVE_SHARE)
        while wanted >= RESERVE_LEAST and not _allocated(path, wanted):
            wanted -= wanted // 8


def hold_again(folder: Path, held: int) -> None:
    """Hold as much as was given up, or the next less that there is."""
    path = folder / RESERVE_FILE
    with contextlib.suppress(OSError):
        while held >= RESERVE_LEAST and not path.exists() and not _allocated(path, held):
            held -= held // 8


def give(folder: Path) -> int:
    """Give the reserve back to the disk; how many octets it held. Raises OSError."""
    path = folder / RESERVE_FILE
    held = path.stat().st_size if path.exists() else 0
    path.unlink(missing_ok=True)
    return held


def _allocated(path: Path, size: int) -> bool:
    """Make a file of that size, if the disk has room for it. Raises OSError."""
    entry = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.posix_fallocate(entry, 0, size)
    except OSError as error:
        path.unlink()
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return False
        raise
    finally:
        os.close(entry)
    return True


class WholeIndex:
    """The disk blocks of SQLite's shared memory file, all of them, as long as this is open.

    SQLite writes one octet to each 4 kB of the file and maps it. Where blocks are smaller, the
    holes are filled through the map, and a full disk is SIGBUS. The file's descriptor stays open
    as long as any of this process is: POSIX drops all locks of a process on a file as soon as it
    closes one descriptor of it, SQLite's too.
    """

    _open: ClassVar[dict[Path, tuple[int, int]]] = {}  # descriptor and users of each file
    _guard = threading.Lock()

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(store.name + "-shm").absolute()
        with self._guard:
            entry, users = self._open.get(self._path, (-1, 0))
            if entry < 0:
                entry = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            self._open[self._path] = entry, users + 1
        try:
            os.posix_fallocate(entry, 0, max(os.fstat(entry).st_size, 1))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """To be called once SQLite has closed the store."""
        with self._guard:
            entry, users = self._open.pop(self._path)
            if users > 1:
                self._open[self._path] = entry, users - 1
            else:
                os.close(entry)
