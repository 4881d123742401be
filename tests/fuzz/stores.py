"""Stores: rows that make no sense, octets that changed; and acknowledgements, given to a store.

What is sent of a damaged store is what was stored, or nothing.
"""

from __future__ import annotations

import functools
import io
import json
import random
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import mutate
from tests.fuzz.door import Door
from winnow_edge.downlink.acknowledgements import AckReport, ContactAck, acknowledge, load_ack
from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import SwathKnownError
from winnow_edge.products.kinds import Kind, Product
from winnow_edge.store.events import counts
from winnow_edge.store.salvage import salvage
from winnow_edge.store.store import Store
from winnow_edge.testing import begin, finish, landmark_mission, products_of_tiles

MISSION = landmark_mission("[link]\ncontainer_bytes = 4096\n[store]\nquota_mb = 0.5\n")


@dataclass(frozen=True)
class Sample:
    """A store's file, and the data of its products by number."""

    file: bytes
    products: Mapping[int, bytes]
    report: AckReport


def sample(folder: Path) -> Sample:
    """A store with a swath that is complete and one that is not, after a contact half heard."""
    with Store.open(folder, mission=MISSION) as store:
        writer = begin(store, "one")
        writer.commit(
            products=products_of_tiles(0, 12, MISSION), next_tile=12, next_line=64, pending=b""
        )
        finish(writer, {"tiles": 12})
        writer = begin(store, "two", fingerprint="g")
        writer.commit(
            products=products_of_tiles(0, 8, MISSION, writer.swath_id),
            next_tile=8, next_line=64, pending=b'{"tally": 1}',
        )  # fmt: skip
        out = io.BytesIO()
        summary = downlink(store, MISSION, budget_bytes=6000, out=out)
        out.seek(0)
        numbers = [c.id for c in read_containers(out, LinkCounts())]
        half = len(numbers) // 2
        told = ContactAck(tuple(numbers[:half]), tuple(numbers[half : half + 1]))
        report = AckReport(store.store_id, {summary.contact: told}, "probe")
        acknowledge(store, report)
        products = {row.id: store.data(row.id) for row in store.products()}
    return Sample((folder / "store.db").read_bytes(), products, report)


def put(folder: Path, data: bytes) -> None:
    """Make `data` the store in a folder, with no log."""
    for part in folder.glob("store.db*"):
        part.unlink()
    (folder / "store.db").write_bytes(data)


def sent(store: Store) -> dict[int, tuple[Kind, bytes]]:
    """What a contact carries that has room for everything, by number."""
    out = io.BytesIO()
    downlink(store, MISSION, budget_bytes=10**7, out=out)
    out.seek(0)
    items = [i for c in read_containers(out, LinkCounts()) for i in c.items]
    return {item.id: (item.kind, item.data) for item in items}


@functools.cache
def _more(swath: int, first: int) -> list[Product]:
    return products_of_tiles(first, 4, MISSION, swath, 2)


def _use(folder: Path, held: Sample) -> None:
    """Everything that is done with a store."""
    stored = set(held.products.values())
    with Store.open(folder, mission=MISSION) as store:
        store.swaths()
        counts(store)
        list(store.products())
        store.damage()
        wrong = [n for n, (_, data) in sent(store).items() if data not in stored]
        assert not wrong, f"products {wrong} are not what was stored"
        acknowledge(store, AckReport(store.store_id, held.report.contacts))
        try:
            writer = begin(store, "two", fingerprint="g")
        except SwathKnownError:
            writer = begin(store, "three")
        if not writer.complete:
            first, line = writer.next_tile, writer.next_line + 64
            products = _more(writer.swath_id, min(first, 10**6))
            writer.commit(products=products, next_tile=first + 4, next_line=line, pending=b"")
            finish(writer, {"tiles": 12})
        sent(store)


def rows_door(folder: Path) -> Door:
    """Values of rows that no store writes."""
    held = sample(folder)
    db = sqlite3.connect(folder / "store.db")
    names = ("meta", "swath", "product", "container", "lost")
    columns = {t: [row[1] for row in db.execute(f"PRAGMA table_info({t})")] for t in names}
    db.close()
    odd = (
        *(
            None,
            0,
            -1,
            1,
            2,
            4,
            63,
            255,
            256,
            65_536,
            2**31,
            2**53,
            2**63 - 1,
            -(2**63),
            1.5,
            1e300,
        ),
        *(
            "x",
            "",
            "[]",
            "{}",
            "null",
            '"x"',
            "[1]",
            '{"id": 1}',
            "\0",
            "é",
            "7",
            b"",
            b"\0",
            b"\xff",
        ),
        *(b"\0" * 24, b"x" * 70_000, "[" * 50_000, "9" * 5000, '{"x": NaN}', '["a", "b", "c"]'),
        *(float("inf"), '["\\ud800", "b", "c"]', '{"verdict": []}', '{"swath": 1, "id": "x"}'),
    )

    def damaged(rng: random.Random) -> list[tuple[str, tuple[object, ...]]]:
        changes: list[tuple[str, tuple[object, ...]]] = []
        for _ in range(rng.choice((1, 1, 2, 4))):
            table = rng.choice(("meta", "swath", "product", "product", "container"))
            row = f"(SELECT rowid FROM {table} LIMIT 1 OFFSET {rng.randrange(30)})"
            row = f"rowid = {row}" if table != "meta" else f"key = '{_key(rng)}'"
            column, other = rng.choice(columns[table]), rng.choice(columns[table])
            ways = (
                (f"UPDATE {table} SET {column} = ? WHERE {row}", (rng.choice(odd),)),
                (f"UPDATE {table} SET {column} = ? WHERE {row}", (rng.choice(odd),)),
                (f"UPDATE {table} SET {column} = {other} WHERE {row}", ()),
                (f"UPDATE {table} SET {column} = -{column} WHERE {row}", ()),
                (f"UPDATE {table} SET {column} = CAST({column} AS TEXT)", ()),
                (f"DELETE FROM {table} WHERE {row}", ()),
                (f"UPDATE {table} SET {column} = ?", (rng.choice(odd),)),
                ("INSERT INTO lost VALUES (?)", (rng.randrange(50),)),
            )
            changes.append(rng.choice(ways))
        return changes

    def enter(changes: list[tuple[str, tuple[object, ...]]]) -> None:
        put(folder, held.file)
        db = sqlite3.connect(folder / "store.db", isolation_level=None)
        for sql, values in changes:
            try:
                db.execute(sql, values)
            except (sqlite3.Error, OverflowError):
                continue  # SQLite itself refuses such a row
        db.close()
        _use(folder, held)

    return Door(enter, [[]], damaged)


def _key(rng: random.Random) -> str:
    keys = ("store_id", "mission", "data_bytes", "contact", "next_container", "sequence")
    return rng.choice(keys)


def pages_door(folder: Path) -> Door:
    """Octets of the file."""
    held = sample(folder)
    words = (
        b"SQLite format 3\0",
        b"CREATE TABLE",
        b"swath",
        b"product",
        b"INTEGER",
        b"\x0d",
        b"\x05",
    )

    def flipped(rng: random.Random) -> bytes:
        data = bytearray(held.file)
        data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)

    def damaged(rng: random.Random) -> bytes:
        more = (1, lambda rng: mutate.octets(rng, [held.file], words))
        return bytes(mutate.some(rng, (2, flipped), more))

    def enter(data: bytes) -> None:
        put(folder, data)
        _use(folder, held)

    return Door(enter, [held.file], damaged)


def salvage_door(folder: Path) -> Door:
    """Files of which SQLite may read nothing: what is salvaged of them is what was stored."""
    held = sample(folder)
    stored = set(held.products.values())
    words = (b"SQLite format 3\0", b"\x0d", b"\x05", b"\x0a", b"\x02", bytes(4096))

    def damaged(rng: random.Random) -> bytes:
        data = bytearray(held.file)
        for _ in range(rng.choice((1, 1, 3, 30))):
            at = rng.randrange(len(data))
            data[at : at + 4] = rng.randbytes(len(data[at : at + 4]))
        more = (1, lambda rng: mutate.octets(rng, [held.file], words))
        return bytes(mutate.some(rng, (2, lambda _: data), more))

    def enter(data: bytes) -> None:
        put(folder, data)
        salvage(folder)
        with Store.open(folder, mission=None) as store:
            for kind, data in sent(store).values():
                assert kind is Kind.SWATH or data in stored, "what is salvaged was not stored"

    return Door(enter, [held.file], damaged)


def ack_door(folder: Path) -> Door:
    """Reports that are applied to the store that they are about."""
    held = sample(folder)
    path = folder / "ack.json"
    values = json.loads(held.report.to_json())
    plain = held.report.to_json().encode()

    def damaged(rng: random.Random) -> bytes:
        return mutate.json_bytes(rng, [values], (b'"received"', b"65536", b"1e5", b"0x", b"-1"))

    def enter(data: bytes) -> None:
        path.write_bytes(data)
        report = load_ack(path)
        report.to_json()
        put(folder, held.file)
        with Store.open(folder, mission=MISSION) as store:
            acknowledge(store, report)

    return Door(enter, [plain], damaged)
