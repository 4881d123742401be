"""How a store stands with its disk: a full one leaves it its reserve, then records alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from winnow_edge.errors import StoreTroubleError, Trouble
from winnow_edge.store import room
from winnow_edge.store.file import explained

_MOST_PAGES: Final = 4_294_967_294
"""As many as SQLite can have."""


class Disk:
    """The disk of a store that is open for writing. Methods raise StoreError.

    Attributes: `short`, whether it is full, and the store lives on its reserve; `light`, whether
    the store keeps no more pictures, as it stays full.
    """

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = db, path
        self._held = 0
        """Octets of the reserve that was given up."""
        self.short = self.light = False

    def found_full(self, held: int) -> None:
        """The disk was full when the store was opened, and a reserve of so many octets given up."""
        self.short, self._held = True, held

    def live_short(self) -> None:
        """The disk stays full: give up the reserve for the log, and let the file grow no more."""
        with explained(self._path):
            self._held = max(self._held, room.give(self._path.parent))
            self.short = self.light = True
            self._limit(0)

    def live_on(self) -> bool:
        """Go back to the whole quota, where the disk has room again; whether it has."""
        with explained(self._path):
            if not room.is_there(self._path.parent, room.PLENTY + self._held):
                return False
            self._db.execute(f"PRAGMA max_page_count = {_MOST_PAGES}")
            self.short = self.light = False
            self.leave()
            return True

    def leave(self) -> None:
        """Hold the reserve anew."""
        if self._held:
            room.hold_again(self._path.parent, self._held)
            self._held = 0

    def bound(self, pages: int) -> None:
        """Let the file grow by `pages` at most: the reserve is for the log. Raises StoreError
        where nothing can be written then."""
        with explained(self._path):
            ((free,),) = self._db.execute("PRAGMA freelist_count").fetchall()
            if not free + pages:
                raise self.full()
            self._limit(pages)

    def full(self) -> StoreTroubleError:
        """The error of a store that has no room for a block."""
        return StoreTroubleError(
            "the disk is full",
            Trouble.FULL,
            where=self._path,
            hint="hold contacts and acknowledge them, or free some disk space",
        )

    def _limit(self, pages: int) -> None:
        ((count,),) = self._db.execute("PRAGMA page_count").fetchall()
        self._db.execute(f"PRAGMA max_page_count = {count + pages}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {room.LOG_PAGES}")
