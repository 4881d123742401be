"""A store with bad pages: what can be read is kept, what is lost is said, nothing is invented."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from winnow_edge.downlink.contact import downlink
from winnow_edge.errors import StoreError
from winnow_edge.products.kinds import Kind
from winnow_edge.store.check import check
from winnow_edge.store.events import counts, events
from winnow_edge.store.raw import Pages
from winnow_edge.store.salvage import salvage
from winnow_edge.store.schema import COUNT_EVENT, ProductState
from winnow_edge.store.store import Store
from winnow_edge.testing import (
    begin,
    fill,
    finish,
    landmark_mission,
    product_of_size,
    products_of_tiles,
)

MISSION = landmark_mission()
PAGE = 4096


def made(folder: Path) -> dict[int, bytes]:
    """A store of two swaths and a contact; its products by number."""
    with Store.open(folder, mission=MISSION) as store:
        writer = begin(store, "first")
        big = product_of_size(Kind.IMAGE, 500, 30_000, 0.9)  # over several pages
        products = [*products_of_tiles(0, 40, MISSION), big]
        writer.commit(products=products, next_tile=600, next_line=64, pending=b"")
        finish(writer, {"tiles": 600})
        writer = begin(store, "second")
        products = products_of_tiles(0, 40, MISSION, swath=2)
        writer.commit(products=products, next_tile=40, next_line=64, pending=b"state")
        downlink(store, MISSION, budget_bytes=4_000, out=folder / "1.bin")
        return {row.id: store.data(row.id) for row in store.products()}


def read(folder: Path) -> dict[int, bytes]:
    with Store.open(folder, mission=MISSION, read_only=True) as store:
        assert check(store).sound
        return {row.id: store.data(row.id) for row in store.products()}


def test_raw_pages_give_the_rows_that_sqlite_gives(tmp_path: Path) -> None:
    made(tmp_path)
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as db:
        wanted = {row[0]: (None, *row[1:]) for row in db.execute("SELECT * FROM product")}
    with Pages(path) as pages:
        width = {len(row) for row in wanted.values()}
        assert {rowid: row for _, rowid, row in pages.rows() if len(row) in width} == wanted


def test_a_sound_store_is_the_same_after_its_salvage(tmp_path: Path) -> None:
    before = made(tmp_path)
    with Store.open(tmp_path, mission=MISSION, read_only=True) as store:
        numbers, swaths, number = counts(store), store.swaths(), store.store_id
        next_contact = store.contacts()
    found = salvage(tmp_path)
    assert (found.lost, found.rebuilt, found.anew, found.returned) == ([], [], False, 0)
    assert read(tmp_path) == before
    with Store.open(tmp_path, mission=MISSION, read_only=True) as store:
        assert (counts(store), store.swaths(), store.store_id) == (numbers, swaths, number)
        assert store.contacts() == next_contact
    assert (tmp_path / "store.db.damaged").exists()


@pytest.mark.parametrize("content", [b"\0", b"\xff"])
def test_whichever_page_is_lost_the_others_are_kept(tmp_path: Path, content: bytes) -> None:
    whole = tmp_path / "whole"
    before = made(whole)
    pages = (whole / "store.db").stat().st_size // PAGE
    lost_in_all = 0
    for number in range(1, pages + 1):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        with (folder / "store.db").open("r+b") as stream:
            stream.seek((number - 1) * PAGE)
            stream.write(content * PAGE)
        found = salvage(folder)
        after = read(folder)
        assert {n: data for n, data in after.items() if before.get(n) != data} == {}
        gone = set(before) - set(after)
        assert len(gone) <= PAGE // 40
        named = {n for n, *_ in found.lost}
        assert named <= gone
        lost_in_all += len(gone)
        # It flies on: a run and a contact for everything.
        with Store.open(folder, mission=MISSION) as store:
            writer = begin(store, "third")
            products = products_of_tiles(0, 4, MISSION, swath=writer.swath_id)
            writer.commit(products=products, next_tile=4, next_line=4, pending=b"")
            assert min(r.id for r in store.products(swath_id=writer.swath_id)) > max(after)
            downlink(store, MISSION, budget_bytes=10**6, out=folder / "2.bin")
            assert not list(store.products(states=(ProductState.STORED,)))
        shutil.rmtree(folder)
    assert lost_in_all > len(before) // 2  # each page was one's only copy


def test_what_is_lost_is_named(tmp_path: Path) -> None:
    before = made(tmp_path)
    with Pages(tmp_path / "store.db") as pages:
        leaves = [(page, number) for page, number, row in pages.rows() if row[2] == Kind.IMAGE]
    page = leaves[3][0]
    on_it = {number for at, number in leaves if at == page}
    with (tmp_path / "store.db").open("r+b") as stream:
        stream.seek((page - 1) * PAGE)
        stream.write(bytes(PAGE))
    found = salvage(tmp_path)
    assert {n for n, kind, *_ in found.lost if kind is Kind.IMAGE} == on_it
    assert {n for n, *_ in found.lost} == set(before) - set(read(tmp_path))
    assert json.dumps(found.as_json())


def test_a_swath_whose_row_is_lost_is_rebuilt_from_its_product(tmp_path: Path) -> None:
    made(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("UPDATE swath SET classes = 'x' WHERE id = 1")
    found = salvage(tmp_path)
    assert found.rebuilt == ["first"]
    with Store.open(tmp_path, mission=MISSION) as store:
        first, second = store.swaths()
        assert (first.name, first.complete, first.classes) == ("first", True, second.classes)
        assert begin(store, "second").pending == b"state"
        with pytest.raises(StoreError, match="other"):
            begin(store, "first")


def test_a_store_in_use_is_not_salvaged(tmp_path: Path) -> None:
    made(tmp_path)
    with (
        Store.open(tmp_path, mission=MISSION) as store,
        store.transaction(),
        pytest.raises(StoreError, match="another process"),
    ):
        salvage(tmp_path)


def test_what_is_no_store_is_not_salvaged(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        salvage(tmp_path)
    path = tmp_path / "store.db"
    path.write_bytes(b"this is no database at all" * 1000)
    content = path.read_bytes()
    with pytest.raises(StoreError, match="nothing of a Winnow store"):
        salvage(tmp_path)
    assert path.read_bytes() == content
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE precious (x)")
    with pytest.raises(StoreError, match="not a Winnow store"):
        salvage(tmp_path)
    fill(tmp_path / "new", MISSION, products_of_tiles(0, 4, MISSION))
    with closing(sqlite3.connect(tmp_path / "new" / "store.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="99"):
        salvage(tmp_path / "new")


def test_what_was_counted_is_kept_and_the_salvage_counts_itself(tmp_path: Path) -> None:
    made(tmp_path)
    with Store.open(tmp_path, mission=MISSION) as store, store.transaction():
        for contact in range(400):  # over several pages, whose upper one holds rows of its own
            store.db.execute(COUNT_EVENT, (contact, "evicted", "record crater", contact + 1))
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("UPDATE product SET data = zeroblob(bytes) WHERE kind = 3 AND swath = 2")
        (images,) = db.execute(
            "SELECT COUNT(*) FROM product WHERE kind = 3 AND swath = 2"
        ).fetchone()
    salvage(tmp_path)
    with Store.open(tmp_path, mission=MISSION, read_only=True) as store:
        found = events(store)
        assert found["evicted"] == {"record crater": 400 * 401 // 2}
        assert (found["salvaged"], found["lost"]) == ({"store": 1}, {"image": images})
        assert store.select("SELECT n FROM event WHERE contact = 399") == [(400,)]


def test_products_on_the_upper_pages_of_the_index_are_named_too(tmp_path: Path) -> None:
    fill(tmp_path, MISSION, products_of_tiles(0, 1000, MISSION))
    with Store.open(tmp_path, mission=MISSION) as store:
        known = {row.id: row.kind for row in store.products()}
        store.db.execute("UPDATE product SET data = zeroblob(bytes)")
    assert {n: kind for n, kind, *_ in salvage(tmp_path).lost} == known
