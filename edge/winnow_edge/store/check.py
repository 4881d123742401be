"""Is a store sound: SQLite's own checks, and every checksum in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from winnow_edge.errors import StoreError
from winnow_edge.store.schema import INTACT, SOUND_CONTAINER, SOUND_PRODUCT, seal_of
from winnow_edge.store.store import Store

_FAULTS = 10


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check has read and found: products and their bytes, numbers of damaged products and of
    those given up before, and what else is wrong, in words."""

    products: int
    bytes: int
    damaged: tuple[int, ...]
    given_up: tuple[int, ...]
    faults: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.damaged and not self.faults

    def as_json(self) -> dict[str, Any]:
        return {"sound": self.sound, **asdict(self)}


def check(store: Store) -> Checked:
    """Read everything in the store. Raises StoreError only where nothing can be read at all."""
    faults = list[str]()
    try:
        found = store.select(f"PRAGMA integrity_check({_FAULTS})")
        faults += [_short(text) for (text,) in found if text != "ok"]
    except StoreError as error:
        faults.append(error.what)
    damaged, products, octets = list[int](), 0, 0
    try:
        for number, size, intact in _products(store):
            products, octets = products + 1, octets + size
            if not intact:
                damaged.append(number)
    except sqlite3.DatabaseError as error:
        faults.append(f"products after the first {products:,} cannot be read: {error}")
    faults += _others(store)
    given_up = tuple(n for (n,) in store.select("SELECT product FROM lost ORDER BY 1"))
    left = tuple(number for number in damaged if number not in set(given_up))
    return Checked(products, octets, left, given_up, tuple(faults))


def _products(store: Store) -> Iterator[tuple[int, int, bool]]:
    """Number, octets of data and soundness of every product."""
    yield from (
        (number, size or 0, bool(intact))
        for number, size, intact in store.db.execute(
            f"SELECT id, length(data), coalesce({SOUND_PRODUCT}, 0)"
            f" AND (data IS NULL OR {INTACT}) FROM product ORDER BY id"
        )
    )


def _others(store: Store) -> Iterator[str]:
    """What is wrong with swaths and containers, and products of swaths that are not there."""
    try:
        # What is compared is of one moment. No longer: the log of who writes has to wait for it.
        if not store.db.in_transaction:
            store.select("BEGIN")
        known = {swath.id for swath in store.swaths()}
        for (number,) in store.select("SELECT id FROM swath"):
            if number not in known:
                yield f"swath {number} makes no sense"
        for (number,) in store.select("SELECT DISTINCT swath FROM product"):
            if number not in known:
                yield f"products of swath {number!r}, which is not there"
        for key, value, crc in store.select("SELECT key, value, crc FROM meta"):
            if crc != seal_of(key, value):
                yield f"the store's own value {key!r} is damaged"
        wrong = store.select(f"SELECT id FROM container WHERE NOT coalesce({SOUND_CONTAINER}, 0)")
        yield from (f"container {number} makes no sense" for (number,) in wrong)
    except StoreError as error:
        yield error.what
    finally:
        if store.db.in_transaction:
            store.db.execute("ROLLBACK")


def _short(text: object) -> str:
    """SQLite's words without the headline that it puts before the first of them."""
    return " ".join(str(text).removeprefix("*** in database main ***").split())
