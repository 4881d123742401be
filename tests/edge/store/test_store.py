"""The store: bands, resuming, quota, other people's files, concurrent processes."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from winnow_edge.downlink.acknowledgements import AckReport, ContactAck, acknowledge
from winnow_edge.downlink.contact import downlink
from winnow_edge.errors import StoreError
from winnow_edge.products.encode import decode_record, decode_swath
from winnow_edge.products.kinds import Flag, Kind
from winnow_edge.store.containers import set_state
from winnow_edge.store.events import counts
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store
from winnow_edge.testing import (
    LANDMARKS,
    begin,
    fill,
    finish,
    landmark_mission,
    product_of_size,
    products_of_tiles,
)


def test_a_swath_is_written_and_read_back(tmp_path: Path) -> None:
    mission = landmark_mission()
    first, second = products_of_tiles(0, 16, mission), products_of_tiles(16, 16, mission)
    with Store.open(tmp_path / "new" / "store", mission=mission) as store:
        writer = begin(store)
        assert (writer.next_tile, writer.next_line, writer.pending) == (0, 0, None)
        writer.commit(products=first, next_tile=16, next_line=64, pending=b"open")
        writer.commit(products=second, next_tile=32, next_line=128, pending=b"")
        finish(writer, {"lines": 128, "tiles": 32})
    with Store.open(tmp_path / "new" / "store", mission=None, read_only=True) as store:
        rows = list(store.products(swath_id=1, kinds=(Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE)))
        made = [*first, *second]
        assert [store.data(row.id) for row in rows] == [p.data for p in made]
        for row, product in zip(rows, made, strict=True):
            assert (row.kind, row.tile_index, row.class_index) == (
                product.kind,
                product.tile_index,
                product.class_index,
            )
            assert (row.posterior, row.detection) == (product.posterior, product.detection)
            assert (row.state, row.bytes) == (ProductState.STORED, len(product.data))
        assert counts(store)["record"] == {
            "stored": 32,
            "sent": 0,
            "acknowledged": 0,
            "evicted": 0,
        }
        (about,) = store.announcements().values()
        assert store.data_bytes() == sum(len(p.data) for p in made) + about.bytes
        told = decode_swath(store.data(about.id))
        assert told["id"] == 1
        assert told["swath"] == "swath"
        assert told["mission"] == "probe"
        assert told["classes"] == list(LANDMARKS)
        assert told["complete"] is True
        assert told["lines"] == 128
        (row,) = store.swaths()
        assert row.complete
        assert row.summary == {"lines": 128, "tiles": 32}


def test_the_record_of_a_detection_that_was_merged_away_is_no_feature(tmp_path: Path) -> None:
    mission = landmark_mission()
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        writer.commit(
            products=products_of_tiles(0, 8, mission),
            next_tile=8,
            next_line=8,
            pending=b"",
            merged=[(4, 1), (4, 2)],  # the tile's record names class 1
        )
        with store.transaction():
            sent = [row.id for row in store.products() if row.tile_index == 0]
            set_state(store, sent, ProductState.SENT, of=(ProductState.STORED,))
        # Decided a band later, when a contact has carried its record as it was.
        writer.commit(products=(), next_tile=8, next_line=16, pending=b"", merged=[(0, 1)])
        records = {row.tile_index: row for row in store.products(kinds=(Kind.RECORD,))}
        flags = {n: decode_record(store.data(row.id)).record.flags for n, row in records.items()}
    assert [n for n, row in records.items() if row.detection] == []
    assert flags[4] == Flag.DETECTION | Flag.MERGED
    assert not flags[4].is_feature
    assert flags[0] == Flag.DETECTION  # what was sent stays as it was sent
    assert flags[1] == Flag.NONE


def test_an_unfinished_swath_goes_on_where_it_was(tmp_path: Path) -> None:
    mission = landmark_mission()
    with Store.open(tmp_path, mission=mission) as store:
        begin(store).commit(
            products=products_of_tiles(0, 8, mission),
            next_tile=8,
            next_line=64,
            pending=b"\x00state",
        )
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        assert not writer.complete
        assert (writer.next_tile, writer.next_line, writer.pending) == (8, 64, b"\x00state")
        finish(writer, {"tiles": 8})
        assert writer.complete
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        assert writer.complete
        assert writer.summary == {"tiles": 8}
        with pytest.raises(StoreError):
            writer.commit(products=[], next_tile=9, next_line=65, pending=b"")


@pytest.mark.parametrize(
    ("other", "what"),
    [({"fingerprint": "g"}, "content"), ({"samples": 9}, "samples"), ({"digest": "e"}, "mission")],
)
def test_a_name_stands_for_one_swath(tmp_path: Path, other: dict[str, Any], what: str) -> None:
    with Store.open(tmp_path, mission=landmark_mission()) as store:
        begin(store)
        with pytest.raises(StoreError, match=what) as raised:
            begin(store, **other)
        assert "--name" in str(raised.value)
        assert begin(store, "another", **other).swath_id == 2


def test_a_band_is_committed_whole_or_not_at_all(tmp_path: Path) -> None:
    mission = landmark_mission()
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        writer.commit(
            products=products_of_tiles(0, 8, mission), next_tile=8, next_line=8, pending=b"a"
        )
        before = list(store.products())
        doubled = [*products_of_tiles(8, 4, mission), *products_of_tiles(0, 1, mission)]
        with pytest.raises(StoreError, match="already"):
            writer.commit(products=doubled, next_tile=12, next_line=12, pending=b"b")
        assert list(store.products()) == before
        assert (writer.next_tile, writer.pending) == (8, b"a")
        held = store.data_bytes()
        writer.commit(
            products=products_of_tiles(8, 4, mission), next_tile=12, next_line=12, pending=b""
        )
        assert store.data_bytes() > held


def test_two_runs_of_one_swath_cannot_both_write(tmp_path: Path) -> None:
    mission = landmark_mission()
    with (
        Store.open(tmp_path, mission=mission) as one,
        Store.open(tmp_path, mission=mission) as two,
    ):
        first, second = begin(one), begin(two)
        first.commit(
            products=products_of_tiles(0, 4, mission), next_tile=4, next_line=4, pending=b""
        )
        with pytest.raises(StoreError, match="another process"):
            second.commit(
                products=products_of_tiles(0, 4, mission), next_tile=4, next_line=4, pending=b""
            )
        with pytest.raises(StoreError, match="another process"):
            finish(second, {})
        # A third begins where the first is.
        assert begin(two).next_tile == 4


def test_many_may_make_a_store_at_once(tmp_path: Path) -> None:
    mission = landmark_mission()
    ready = threading.Barrier(4)

    def opened(folder: Path) -> int:
        ready.wait(60)
        with Store.open(folder, mission=mission) as store:
            return store.store_id

    with ThreadPoolExecutor(4) as pool:
        for number in range(20):
            assert len(set(pool.map(opened, [tmp_path / f"{number}"] * 4))) == 1


def test_a_swath_sent_before_its_end_is_told_of_again(tmp_path: Path) -> None:
    """What a product number stands for never changes once a contact may have carried it."""
    mission = landmark_mission()
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        writer.commit(
            products=products_of_tiles(0, 4, mission), next_tile=4, next_line=4, pending=b""
        )
        (early,) = store.announcements().values()
        sent = store.data(early.id)
        downlink(store, mission, budget_bytes=10_000, out=tmp_path / "1.bin")
        finish(writer, {"tiles": 4})
        (late,) = store.announcements().values()
        assert late.id != early.id
        assert store.data(early.id) == sent
        assert decode_swath(sent)["complete"] is False
        assert decode_swath(store.data(late.id))["complete"] is True


def test_the_ground_and_the_ranking_know_what_was_sent(tmp_path: Path) -> None:
    mission = landmark_mission()
    made = products_of_tiles(0, 20, mission)
    fill(tmp_path, mission, made)
    with Store.open(tmp_path, mission=mission) as store:
        downlink(store, mission, budget_bytes=10**6, out=tmp_path / "1.bin")
        assert not len(store.table())
        ids = [n for (n,) in store.select("SELECT id FROM container")]
        acknowledge(store, AckReport(store.store_id, {1: ContactAck(tuple(ids))}))
        assert counts(store)["record"]["acknowledged"] == 20


def test_the_log_stays_small(tmp_path: Path) -> None:
    mission = landmark_mission()
    log = tmp_path / "store.db-wal"
    sizes = []
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        for tile in range(200):
            image = product_of_size(Kind.IMAGE, tile, 100_000, 0.9)
            writer.commit(products=[image], next_tile=tile + 1, next_line=tile, pending=b"")
            sizes.append(log.stat().st_size)
        assert max(sizes) < 4_000_000
        with store.snapshot() as reader:  # holds the log back
            for tile in range(200, 260):
                image = product_of_size(Kind.IMAGE, tile, 100_000, 0.9)
                writer.commit(products=[image], next_tile=tile + 1, next_line=tile, pending=b"")
            assert sum(1 for _ in reader.products()) == 201
        for tile in range(260, 280):
            image = product_of_size(Kind.IMAGE, tile, 100_000, 0.9)
            writer.commit(products=[image], next_tile=tile + 1, next_line=tile, pending=b"")
        assert log.stat().st_size <= 4_000_000
    assert not log.exists()


def test_every_commit_is_synced(tmp_path: Path) -> None:
    with Store.open(tmp_path, mission=landmark_mission()) as store:
        assert store.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store.db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_no_store_here(tmp_path: Path) -> None:
    for how in ({"read_only": True}, {"create": False}):
        with pytest.raises(StoreError, match="no store here"):
            Store.open(tmp_path / "nowhere", mission=landmark_mission(), **how)
    assert not (tmp_path / "nowhere").exists()


def test_what_is_not_a_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    content = path.read_bytes()
    with pytest.raises(StoreError, match="not a"):
        Store.open(tmp_path, mission=landmark_mission())
    assert path.read_bytes() == content

    path.unlink()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE precious (x)")
    content = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreError, match="not a Winnow store; another program made"):
            Store.open(tmp_path, mission=landmark_mission(), read_only=read_only)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["store.db"]

    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError):
        Store.open(tmp_path, mission=landmark_mission())


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path, mission=landmark_mission()) as store:
        store.db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"99.*update"):
        Store.open(tmp_path, mission=landmark_mission())


def test_a_store_belongs_to_one_mission(tmp_path: Path) -> None:
    mission = landmark_mission()
    Store.open(tmp_path, mission=mission).close()
    with pytest.raises(StoreError, match="belongs to mission 'probe', not 'rover'"):
        Store.open(tmp_path, mission=replace(mission, name="rover"))


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError) as raised:
        Store.open(tmp_path / "file", mission=landmark_mission())
    assert "\n" not in str(raised.value)


def test_a_damaged_store_says_so(tmp_path: Path) -> None:
    mission = landmark_mission()
    fill(tmp_path, mission, products_of_tiles(0, 400, mission))
    path = tmp_path / "store.db"
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"), Store.open(tmp_path, mission=mission) as store:
        list(store.products())


def test_records_tell_their_swath(tmp_path: Path) -> None:
    mission = landmark_mission()
    with Store.open(tmp_path, mission=mission) as store:
        for name in ("a", "b"):
            writer = begin(store, name)
            writer.commit(
                products=products_of_tiles(0, 4, mission, swath=writer.swath_id),
                next_tile=4,
                next_line=4,
                pending=b"",
            )
        rows = list(store.products(swath_id=2, kinds=(Kind.RECORD,)))
        heads = [decode_record(store.data(row.id)) for row in rows]
        assert [h.swath_id for h in heads] == [2] * 4
        assert [h.record.index for h in heads] == [row.tile_index for row in rows] == [0, 1, 2, 3]


def test_a_swath_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    """Counted in steps of SQLite's machine, which no other load changes."""
    steps, mission = 0, landmark_mission()

    def step() -> None:
        nonlocal steps
        steps += 1

    def fly(store: Store, number: int) -> int:
        nonlocal steps
        steps = 0
        writer = begin(store, f"swath {number}")
        products = products_of_tiles(0, 4, mission, writer.swath_id)
        writer.commit(products=products, next_tile=4, next_line=64, pending=b"")
        finish(writer, {"tiles": 4})
        return steps

    with Store.open(tmp_path, mission=mission) as store:
        store.db.set_progress_handler(step, 10)
        costs = [fly(store, number) for number in range(200)]
        store.db.set_progress_handler(None, 10)
    assert sum(costs[-10:]) < 1.5 * sum(costs[10:20])
