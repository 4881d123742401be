"""The ground of a simulated run: what arrived, in SQLite, and what the spacecraft is told of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_SCHEMA: Final = """
CREATE TABLE container (id INTEGER PRIMARY KEY, contact INTEGER NOT NULL);
CREATE TABLE product (
    id INTEGER PRIMARY KEY, contact INTEGER NOT NULL, time REAL NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE repeated (product INTEGER NOT NULL, contact INTEGER NOT NULL);
"""


class Ground:
    """What is on the ground, in the database at `path` (None: in memory); a context manager."""

    def __init__(self, path: Path | None = None) -> None:
        self.db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
        # A simulation that dies is run again: nothing waits for the disk.
        self.db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_SCHEMA}")

    def receive(
        self, contact: int, time: float, containers: Iterable[tuple[int, Sequence[tuple[int, int]]]]
    ) -> list[int]:
        """Take in containers that arrived whole, as (number, its products as (id, bytes)); the ids
        of what is new, in order."""
        new = list[int]()
        self.db.execute("BEGIN")
        for number, products in containers:
            self.db.execute("INSERT OR IGNORE INTO container VALUES (?, ?)", (number, contact))
            for product, size in products:
                done = self.db.execute(
                    "INSERT OR IGNORE INTO product VALUES (?, ?, ?, ?)",
                    (product, contact, time, size),
                )
                if done.rowcount:
                    new.append(product)
                else:
                    self.db.execute("INSERT INTO repeated VALUES (?, ?)", (product, contact))
        self.db.execute("COMMIT")
        return new

    def report(self, contact: int, since: int) -> tuple[set[int], set[int]]:
        """What is said after a contact of the containers from number `since` on: received, and
        missing, which are absent between two that arrived (`receive.acknowledgements`)."""
        ((first, last),) = self.db.execute(
            "SELECT MIN(id), MAX(id) FROM container WHERE contact <= ?", (contact,)
        )
        if last is None:
            return set(), set()
        rows = self.db.execute(
            "SELECT id FROM container WHERE contact <= ? AND id >= ?", (contact, since)
        )
        got = {number for (number,) in rows}
        return got, set(range(max(first, since), last)) - got

    def products(self) -> list[tuple[int, int, float]]:
        """All products on the ground as (id, contact, time), in order of arrival."""
        rows = self.db.execute("SELECT id, contact, time FROM product ORDER BY time, contact")
        return [(number, contact, time) for number, contact, time in rows]

    @property
    def bytes(self) -> int:
        """Of all products on the ground, each once."""
        ((total,),) = self.db.execute("SELECT COALESCE(SUM(bytes), 0) FROM product")
        return int(total)

    @property
    def repeated_bytes(self) -> int:
        """Of products that came down again."""
        ((total,),) = self.db.execute(
            "SELECT COALESCE(SUM(bytes), 0) FROM repeated JOIN product ON product = product.id"
        )
        return int(total)

    def close(self) -> None:
        """Close the database."""
        self.db.close()

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
