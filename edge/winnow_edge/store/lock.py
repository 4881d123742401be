"""Who uses a store: its folder is locked (flock(2)) by every process that writes it.

A salvage puts another file in the store's place. Whoever had the old one open would go on to fill a
file that nobody reads: it begins when nobody has, and keeps others out until it is done.
SQLite's own locks cannot do that: they go as soon as the process closes any descriptor of the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from winnow_edge.errors import StoreTroubleError, Trouble

_NO_LOCKS: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP})
"""What file systems say that know no lock of a folder, as NFS."""


@contextmanager
def in_use(folder: Path, *, alone: bool, file: str | None = None) -> Iterator[None]:
    """Inside, nobody else has the store in `folder` open to write it (`alone`), or nobody replaces
    it. The lock is the folder's, or that of a `file` in it, for another purpose.

    Raises StoreTroubleError where another process uses it otherwise, OSError.
    """
    if file is None:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        place = os.open(folder / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(place, folder, alone=alone)
        yield
    finally:
        os.close(place)


def _lock(place: int, folder: Path, *, alone: bool) -> None:
    try:
        fcntl.flock(place, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        what = "another process uses the store"
        raise StoreTroubleError(what, Trouble.BUSY, where=folder, hint="try again later") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
