"""What a store needs on the disk before anything can be written into it."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import ExitStack
from pathlib import Path

from winnow_edge.errors import StoreTroubleError, Trouble
from winnow_edge.store import room
from winnow_edge.store.file import connect
from winnow_edge.store.salvage import forget_damaged
from winnow_edge.store.schema import STORE_FILE

logger = logging.getLogger(__name__)


def make_room(folder: Path, log: int) -> int | None:
    """See that there is room for a log of so many octets; on a disk that has none what a salvage
    put aside is deleted first.

    Returns the octets of the reserve, which is given up on a disk that is full or nearly so; None:
    there is room, or no reserve. Raises StoreError where there is no room even so, OSError.
    """
    wanted = min(room.PLENTY, log)
    if room.is_there(folder, wanted):
        return None
    if forget_damaged(folder):
        what = "%s: the disk is full; what a salvage put aside is deleted"
        logger.warning(what, folder / STORE_FILE)
        if room.is_there(folder, wanted):
            return None
    held = room.give(folder) or None
    if not room.is_there(folder, room.LEAST_FREE):
        raise StoreTroubleError(
            "the disk is full",
            Trouble.FULL,
            where=folder,
            hint="free some disk space and run again; committed products are safe",
        )
    return held


def connect_whole(path: Path, opened: ExitStack) -> sqlite3.Connection:
    """A connection that writes, its shared memory on the disk as long as `opened` is."""
    db = connect(path)
    try:
        db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # makes the shared memory
        opened.callback(room.WholeIndex(path).close)
    except BaseException:
        db.close()
        raise
    return db
