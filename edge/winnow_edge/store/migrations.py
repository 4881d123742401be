"""Stores of earlier formats, brought to the next one, a step for each.

Version 1 had no checksums: what is in it is taken as it is. Version 2 numbered swaths and contacts
with 16 bits and products with 32, had no seals, and kept the rows of what was evicted.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from winnow_edge.store.schema import (
    INTACT,
    SCHEMA,
    SEAL,
    SEAL_CONTAINERS,
    SEAL_SWATH,
    seal,
    seal_of,
)


def from_1(db: sqlite3.Connection) -> None:
    """Checksums for products and for the state of swaths."""
    db.execute("ALTER TABLE product ADD COLUMN crc INTEGER NOT NULL DEFAULT 0")
    db.execute(f"UPDATE product SET crc = {_CRC_2}")
    db.execute("UPDATE swath SET pending = seal_state(pending)")
    db.execute("CREATE TABLE lost (product INTEGER PRIMARY KEY)")


def from_2(db: sqlite3.Connection) -> None:
    """Wider numbers, seals, and events in place of the rows of what was evicted."""
    for index in ("product_once", "product_heavy", "container_open", "container_contact"):
        db.execute(f"DROP INDEX {index}")
    for table in ("product", "swath", "container", "meta", "lost"):
        db.execute(f"ALTER TABLE {table} RENAME TO {table}_2")
    for statement in SCHEMA.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO lost SELECT product FROM lost_2")
    # What is damaged stays out, under its number and with a checksum that it does not have.
    db.execute(
        "INSERT OR IGNORE INTO lost SELECT id FROM product_2"
        f" WHERE data IS NOT NULL AND crc IS NOT {_CRC_2}"
    )
    db.execute(
        "INSERT INTO product SELECT id, swath, kind, tile, class, posterior, detection, 1, state,"
        " unheard, 0, bytes + (kind IN (1, 2, 3, 5, 6, 9)) * 2, sketch, widened(kind, data), -1"
        " FROM product_2 WHERE data IS NOT NULL OR (state = 2 AND kind > 1)"
    )
    db.execute(
        f"UPDATE product SET seal = {SEAL}, crc = {INTACT.removeprefix('crc IS ')}"
        " WHERE id NOT IN (SELECT product FROM lost)"
    )
    db.execute(
        "INSERT INTO event SELECT 0, CASE state WHEN 2 THEN 'delivered' ELSE 'evicted' END,"
        " CASE kind WHEN 1 THEN 'record' WHEN 2 THEN 'thumbnail' WHEN 3 THEN 'image'"
        " WHEN 4 THEN 'quick_look' WHEN 5 THEN 'audit'"
        " WHEN 6 THEN 'question' WHEN 9 THEN 'context' ELSE 'swath' END, COUNT(*) FROM product_2"
        " WHERE data IS NULL AND NOT (state = 2 AND kind > 1) GROUP BY 1, 2, 3"
    )
    db.execute(
        "INSERT INTO swath SELECT id, name, samples, classes, bundle, digest, fingerprint, info,"
        " born, next_tile, next_line, pending, summary, announcement, 0 FROM swath_2"
    )
    db.execute(
        "INSERT INTO container SELECT id, contact, state, wide_numbers(products), 0"
        " FROM container_2"
    )
    for sql, table in ((SEAL_SWATH, "swath"), (SEAL_CONTAINERS, "container")):
        db.executemany(sql, db.execute(f"SELECT id FROM {table}").fetchall())
    db.execute(
        "INSERT OR REPLACE INTO meta_2 SELECT 'next_product', coalesce(MAX(id), 0) + 1"
        " FROM product_2 UNION ALL SELECT 'next_swath', coalesce(MAX(id), 0) + 1 FROM swath_2"
        " UNION ALL SELECT 'data_bytes', coalesce(SUM(length(data)), 0) FROM product"
    )
    for key, value in db.execute("SELECT key, value FROM meta_2").fetchall():
        db.execute("INSERT INTO meta VALUES (?, ?, ?)", (key, value, seal_of(key, value)))
    for table in ("product", "swath", "container", "meta", "lost"):
        db.execute(f"DROP TABLE {table}_2")


STEPS: Final[Sequence[Callable[[sqlite3.Connection], None]]] = (from_1, from_2)
"""The step from version n to n + 1 is at place n - 1."""
_CRC_2: Final = "checksum_2(swath, kind, tile, class, posterior, detection, data)"
_KEY_2: Final = struct.Struct(">qqqqdq")


def functions(db: sqlite3.Connection) -> None:
    """What the steps need beside SQL."""
    db.create_function("checksum_2", 7, _checksum_2, deterministic=True)
    db.create_function("seal_state", 1, seal, deterministic=True)
    db.create_function("widened", 2, _widened, deterministic=True)
    db.create_function("wide_numbers", 1, _wide_numbers, deterministic=True)


def _checksum_2(*row: Any) -> int | None:
    try:
        return zlib.crc32(row[-1] or b"", zlib.crc32(_KEY_2.pack(*row[:-1])))
    except (struct.error, TypeError):
        return None


def _widened(kind: Any, data: Any) -> Any:
    """A product's octets with 32 bits for the number of its swath, as quick looks always had."""
    return b"\0\0" + data if kind in (1, 2, 3, 5, 6, 9) and isinstance(data, bytes) else data


def _wide_numbers(products: Any) -> Any:
    """Product numbers of four octets each as numbers of eight."""
    if not isinstance(products, bytes) or len(products) % 4:
        return products
    return b"".join(b"\0\0\0\0" + products[n : n + 4] for n in range(0, len(products), 4))
