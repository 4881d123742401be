"""What a store holds, as one digest: the same rows in every table, whatever the file's pages."""

from __future__ import annotations

import hashlib
import marshal
import sqlite3

OWN = ("store_id", "clock")
"""Keys of `meta` whose values no two stores have alike: a random number, and the time."""


def digest(db: sqlite3.Connection) -> str:
    """Of the schema, the versions and every row but the store's random number and its clock."""
    found = hashlib.blake2b(digest_size=12)
    for pragma in ("application_id", "user_version"):
        found.update(repr(db.execute(f"PRAGMA {pragma}").fetchone()).encode())
    schema = db.execute("SELECT name, type, sql FROM sqlite_master ORDER BY name").fetchall()
    for name, kind, sql in schema:
        found.update(repr((name, sql)).encode())
        if kind == "table":
            # Version 0 writes the same octets for the same values.
            found.update(marshal.dumps(_rows(db, name), 0))
    return found.hexdigest()


def _rows(db: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    where = f"WHERE key NOT IN {OWN}" if table == "meta" else ""
    columns = len(db.execute(f'SELECT * FROM "{table}" LIMIT 0').description)
    order = ", ".join(map(str, range(1, min(columns, 3) + 1)))
    return db.execute(f'SELECT * FROM "{table}" {where} ORDER BY {order}').fetchall()
