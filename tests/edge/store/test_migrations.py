"""Stores that earlier versions of winnow-edge wrote are brought to this format, losing nothing.

`golden/format-N.db.gz` was written by the code of that format: a complete swath, a contact of which
one container was acknowledged, a second swath under way with a contact in flight, under a quota of
30 kB that evicted images.
"""

from __future__ import annotations

import gzip
import io
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import StoreError
from winnow_edge.products.encode import decode_head
from winnow_edge.products.kinds import Kind
from winnow_edge.store.check import check
from winnow_edge.store.events import counts
from winnow_edge.store.file import is_damaged
from winnow_edge.store.schema import SCHEMA_VERSION
from winnow_edge.store.store import Store
from winnow_edge.testing import begin, landmark_mission, products_of_tiles

MISSION = landmark_mission()
GOLDEN = sorted((Path(__file__).parent / "golden").glob("format-*.db.gz"))
STATES = {0: "stored", 1: "sent", 2: "acknowledged", 3: "evicted"}


def unpacked(golden: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "store.db").write_bytes(gzip.decompress(golden.read_bytes()))
    return folder


def as_written(folder: Path) -> tuple[dict[tuple[str, str], int], dict[int, bytes]]:
    """Products by kind and state, and those with data by number, as the old tables have them."""
    with closing(sqlite3.connect(folder / "store.db")) as db:
        counts = {
            (Kind(kind).name.lower(), STATES[state]): n
            for kind, state, n in db.execute(
                "SELECT kind, state, COUNT(*) FROM product GROUP BY 1, 2"
            )
        }
        data = dict(db.execute("SELECT id, data FROM product WHERE data IS NOT NULL"))
    return counts, data


def test_there_is_a_store_of_every_earlier_format() -> None:
    assert [p.name for p in GOLDEN] == [f"format-{n}.db.gz" for n in range(1, SCHEMA_VERSION)]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda p: p.name)
def test_a_store_of_an_earlier_format_flies_on(golden: Path, tmp_path: Path) -> None:
    folder = unpacked(golden, tmp_path / "store")
    written, data = as_written(folder)
    with pytest.raises(StoreError, match="has format version"):
        Store.open(folder, mission=None, read_only=True)
    with Store.open(folder, mission=MISSION) as store:
        assert check(store).sound
        found = {
            (kind, state): n
            for kind, states in counts(store).items()
            for state, n in states.items()
            if n
        }
        assert found == written
        for row in store.products():
            if row.id in data:
                now = store.data(row.id)
                old = data[row.id]
                assert now == (old if row.kind is Kind.SWATH else b"\0\0" + old)
                if row.kind is not Kind.SWATH:
                    head = decode_head(now)
                    assert (head.swath_id, head.record.index) == (row.swath, row.tile_index)
        assert store.contacts() == 2
        first, second = store.swaths()
        assert (first.complete, second.complete) == (True, False)
        writer = begin(store, "second")
        assert (writer.next_tile, writer.pending) == (40, b"state")
        writer.commit(
            products=products_of_tiles(40, 4, MISSION, swath=2),
            next_tile=44, next_line=44, pending=b"",
        )  # fmt: skip
        fresh = {r.id for r in store.products() if r.tile_index >= 40}
        assert min(fresh) > max(data)
        out = io.BytesIO()
        assert downlink(store, MISSION, budget_bytes=10**7, out=out).contact == 3
        out.seek(0)
        containers = list(read_containers(out, LinkCounts()))
        sent = {item.id for c in containers for item in c.items}
        assert fresh <= sent
        assert not store.table().columns["id"].tolist()
    assert not is_damaged(folder / "store.db")


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda p: p.name)
def test_what_was_damaged_before_is_not_taken_for_sound(golden: Path, tmp_path: Path) -> None:
    if golden.name == "format-1.db.gz":
        pytest.skip("format 1 has no checksums")
    folder = unpacked(golden, tmp_path / "store")
    with closing(sqlite3.connect(folder / "store.db")) as db, db:
        (number,) = db.execute(
            "SELECT MAX(id) FROM product WHERE kind = 3 AND state = 0"
        ).fetchone()
        db.execute("UPDATE product SET data = zeroblob(bytes) WHERE id = ?", (number,))
    with Store.open(folder, mission=MISSION) as store:
        out = io.BytesIO()
        downlink(store, MISSION, budget_bytes=10**7, out=out)
        out.seek(0)
        sent = {item.id for c in read_containers(out, LinkCounts()) for item in c.items}
        assert sent
        assert number not in sent
        assert number in check(store).given_up


def test_a_migration_that_is_cut_short_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    folder = unpacked(GOLDEN[-1], tmp_path / "store")
    before = as_written(folder)
    with closing(sqlite3.connect(folder / "store.db")) as db, db:
        db.execute("CREATE TABLE event (x)")  # in the way
    with pytest.raises(StoreError, match="already exists"):
        Store.open(folder, mission=MISSION)
    assert as_written(folder) == before
