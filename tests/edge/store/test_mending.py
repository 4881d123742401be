"""A damaged store is salvaged when it is opened; an empty one is not made anew without a word."""

from __future__ import annotations

import io
import logging
import resource
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from winnow_edge.cli import main
from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import StoreDamagedError, StoreError, StoreTroubleError, Trouble
from winnow_edge.sources.listening import Listener
from winnow_edge.store import file, mending
from winnow_edge.store.events import events
from winnow_edge.store.lock import in_use
from winnow_edge.store.quota import drop_delivered
from winnow_edge.store.rows import set_state
from winnow_edge.store.salvage import salvage
from winnow_edge.store.schema import Meta, ProductState
from winnow_edge.store.store import Store
from winnow_edge.testing import fill, landmark_mission, products_of_tiles, write_probe

MISSION = landmark_mission()
PAGE = 4096


def stocked(folder: Path) -> dict[int, bytes]:
    """A store of one swath; its products by number."""
    fill(folder, MISSION, products_of_tiles(0, 200, MISSION))
    with Store.open(folder, mission=MISSION) as store:
        return {row.id: store.data(row.id) for row in store.products()}


def sent(folder: Path) -> dict[int, bytes]:
    """What a contact for everything carries."""
    out = io.BytesIO()
    with Store.open(folder, mission=MISSION, create=False, grows=False) as store:
        downlink(store, MISSION, budget_bytes=10**8, out=out)
    out.seek(0)
    return {i.id: i.data for c in read_containers(out, LinkCounts()) for i in c.items}


def put(path: Path, at: int, octets: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(octets)


def leaf_of_products(path: Path) -> int:
    """The number of a page that holds rows of products."""
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'product'").fetchone()
    page = path.read_bytes()[(root - 1) * PAGE : root * PAGE]
    assert page[0] == 5, "the table has one page"
    first = int.from_bytes(page[12:14], "big")
    return int.from_bytes(page[first : first + 4], "big")


@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (0, b"NOT A DATABASE!!"),
        (68, b"\0\0\0\0"),  # what tells it a store
        (100, b"\0" * 300),  # the tables' root
    ],
)
def test_a_damaged_header_is_mended_when_the_store_is_opened(
    tmp_path: Path, at: int, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    known = stocked(tmp_path)
    put(tmp_path / "store.db", at, octets)
    with caplog.at_level(logging.WARNING):
        assert sent(tmp_path) == known
    assert [r.getMessage() for r in caplog.records if "is made anew" in r.getMessage()]
    with Store.open(tmp_path, mission=MISSION) as store:
        assert events(store)["salvaged"] == {"store": 1}
    assert (tmp_path / "store.db.damaged").exists()


def test_a_contact_that_meets_a_damaged_page_mends_the_store_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mission = write_probe(tmp_path, "")
    store = tmp_path / "store"
    known = stocked(store)
    put(store / "store.db", (leaf_of_products(store / "store.db") - 1) * PAGE, b"\xff" * PAGE)
    out = tmp_path / "1.bin"
    command = ["downlink", str(mission), "--store", str(store), "--bytes", "100000000"]
    assert main([*command, "--out", str(out)]) == 0
    assert "is made anew" in caplog.text
    with out.open("rb") as stream:
        carried = {i.id: i.data for c in read_containers(stream, LinkCounts()) for i in c.items}
    lost = known.keys() - carried.keys()
    assert lost
    # The swath product that was on the page is made again, under a number of its own.
    again = {number: data for number, data in carried.items() if number not in known}
    assert carried.items() - again.items() <= known.items()
    assert set(again.values()) <= {known[number] for number in lost}
    with Store.open(store, mission=None) as opened:
        assert sum(events(opened)["lost"].values()) == len(lost)
    assert not (store / "store.db.suspect").exists()


def test_rows_that_a_page_no_longer_counts_are_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite reads such a page without an error."""
    known = stocked(tmp_path)
    path = tmp_path / "store.db"
    page = leaf_of_products(path)
    put(path, (page - 1) * PAGE + 3, b"\0\1")
    with pytest.raises(StoreDamagedError, match=f"page {page}"):
        sent(tmp_path)
    assert sent(tmp_path).items() <= known.items()
    assert "is made anew" in caplog.text


def test_reading_alone_mends_nothing(tmp_path: Path) -> None:
    stocked(tmp_path)
    put(tmp_path / "store.db", 0, b"NOT A DATABASE!!")
    with pytest.raises(StoreError, match="file is not a database"):
        Store.open(tmp_path, mission=None, read_only=True)
    assert not (tmp_path / "store.db.damaged").exists()


def test_what_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    text = b"dear diary\n" * 900
    (tmp_path / "store.db").write_bytes(text)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(tmp_path, mission=MISSION)
    assert (tmp_path / "store.db").read_bytes() == text


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_a_store_that_lost_its_file_is_begun_anew_with_a_word(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    stocked(tmp_path)
    path, held = tmp_path / "store.db", b"frames of a log" * 400
    assert (tmp_path / "store.reserve").exists()
    path.write_bytes(b"") if how == "emptied" else path.unlink()
    (tmp_path / "store.db-wal").write_bytes(held)
    with (
        caplog.at_level(logging.WARNING),
        Store.open(tmp_path, mission=MISSION) as store,
    ):
        assert events(store)["begun anew"] == {"store": 1}
        assert not store.swaths()
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 1
    assert "what the old one held is lost" in said[0]
    assert (tmp_path / "store.db.damaged-wal").read_bytes() == held


def test_no_contact_is_held_with_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    with pytest.raises(StoreError, match="is an empty file"):
        Store.open(tmp_path, mission=MISSION, create=False, grows=False)


def test_a_first_start_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Store.open(tmp_path / "new", mission=MISSION) as store:
        assert events(store) == {}
    assert not caplog.records


def test_names_of_tables_that_are_no_text_are_damage_too(tmp_path: Path) -> None:
    known = stocked(tmp_path)
    path = tmp_path / "store.db"
    put(path, path.read_bytes().index(b"tablemetameta") + 5, b"\xff")
    assert sent(tmp_path) == known


def test_a_mark_beside_no_store_keeps_none_from_beginning(tmp_path: Path) -> None:
    (tmp_path / "store.db.suspect").touch()
    Store.open(tmp_path, mission=MISSION).close()
    assert not (tmp_path / "store.db.suspect").exists()


def test_a_store_that_another_process_has_open_is_not_put_away(tmp_path: Path) -> None:
    known = stocked(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None and holder.stdout is not None
    assert holder.stdout.readline() == b"open\n"
    with pytest.raises(StoreError, match=r"use|lock"):
        salvage(tmp_path)
    assert not (tmp_path / "store.db.damaged").exists()
    holder.communicate()
    assert salvage(tmp_path).products == len(known)


def test_nobody_opens_a_store_while_it_is_salvaged(tmp_path: Path) -> None:
    known = stocked(tmp_path)
    with in_use(tmp_path, alone=True):
        with pytest.raises(StoreTroubleError) as raised:
            Store.open(tmp_path, mission=MISSION, stop=lambda: True)
        assert raised.value.trouble is Trouble.BUSY
        with pytest.raises(StoreTroubleError, match="another process"):
            salvage(tmp_path)
        Store.open(tmp_path, mission=None, read_only=True).close()
    with Store.open(tmp_path, mission=MISSION) as store:
        assert {row.id for row in store.products()} == known.keys()


def test_a_camera_may_be_listened_at_in_a_folder_with_a_store(tmp_path: Path) -> None:
    stocked(tmp_path)
    with (
        Store.open(tmp_path, mission=MISSION),
        Listener(f"unix-listen:{tmp_path}/camera"),
        socket.socket(socket.AF_UNIX) as camera,
    ):
        camera.connect(f"{tmp_path}/camera")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(f"{tmp_path}/left-over")
    with Store.open(tmp_path, mission=MISSION), Listener(f"unix-listen:{tmp_path}/left-over"):
        assert not (tmp_path / "left-over.lock").exists()


def test_a_store_that_another_process_makes_at_this_moment_is_not_taken_for_gone(
    tmp_path: Path,
) -> None:
    with in_use(tmp_path, alone=False), pytest.raises(StoreTroubleError, match="another process"):
        Store.open(tmp_path, mission=MISSION, stop=lambda: True)
    Store.open(tmp_path, mission=MISSION).close()


def test_of_two_that_salvage_the_second_leaves_the_new_store_alone(tmp_path: Path) -> None:
    stocked(tmp_path)
    seen, why = mending.file_of(tmp_path), StoreDamagedError("damaged", where=tmp_path)
    mending.salvaged(tmp_path, why, seen)
    made = mending.file_of(tmp_path)
    assert made != seen
    mending.salvaged(tmp_path, why, seen)
    assert mending.file_of(tmp_path) == made


HOLDING = """
import sys
from winnow_edge.store.store import Store
from winnow_edge.testing import landmark_mission
with Store.open(sys.argv[1], mission=landmark_mission()) as store:
    print("open", flush=True)
    sys.stdin.read()
"""


def test_numbers_are_not_given_out_again_when_the_next_one_is_damaged(tmp_path: Path) -> None:
    stocked(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("UPDATE meta SET crc = crc + 1 WHERE key LIKE 'next%'")
        db.execute("DELETE FROM product WHERE id > 20")  # as if delivered and forgotten
    with Store.open(tmp_path, mission=MISSION) as store:
        assert store.number(Meta.NEXT_PRODUCT) > 2**32
        assert store.number(Meta.NEXT_SWATH) > 2**16


def test_a_damaged_row_keeps_no_delivered_products_on_board(tmp_path: Path) -> None:
    stocked(tmp_path)
    with Store.open(tmp_path, mission=MISSION) as store:
        rows = range(1, 50)
        with store.transaction():
            set_state(store, rows, ProductState.ACKNOWLEDGED, of=(ProductState.STORED,))
            store.db.execute("UPDATE product SET kind = 65 WHERE id = 7")
        while drop_delivered(store):
            pass
        left = store.select("SELECT id FROM product WHERE state = 2 AND data IS NOT NULL")
        assert (7,) in left and len(left) < 10


def test_a_disk_that_fails_for_a_moment_damages_no_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = stocked(tmp_path)
    read, calls = Store.data, iter(range(10**6))

    def failing(store: Store, number: int) -> bytes:
        if next(calls) == 3:
            raise StoreTroubleError("disk I/O error", Trouble.FAILING, where=store.path)
        return read(store, number)

    monkeypatch.setattr(Store, "data", failing)
    with pytest.raises(StoreTroubleError):
        sent(tmp_path)
    assert sent(tmp_path) == known


def test_a_store_that_is_busy_is_waited_for_until_the_run_is_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked(tmp_path)
    monkeypatch.setattr(file, "BUSY_S", 1e9)
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 1

    with (
        Store.open(tmp_path, mission=MISSION, stop=stop) as store,
        Store.open(tmp_path, mission=MISSION) as other,
        other.transaction(),
    ):
        with pytest.raises(StoreTroubleError) as raised, store.transaction():
            pass
        assert raised.value.trouble is Trouble.BUSY
    assert len(asked) == 2


def test_what_cannot_be_mended_in_idle_time_does_not_end_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the store while the run finds a damaged product."""
    mission, incoming, store = write_probe(tmp_path, ""), tmp_path / "in", tmp_path / "store"
    incoming.mkdir()
    stocked(store)
    with closing(sqlite3.connect(store / "store.db")) as db, db:
        db.execute("UPDATE product SET data = zeroblob(bytes) WHERE id = 7")
    monkeypatch.setattr(file, "BUSY_S", 0.1)
    with closing(sqlite3.connect(store / "store.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert main(["run", str(mission), str(incoming), "--incoming", "--store", str(store)]) == 0
        holder.execute("ROLLBACK")
    assert main(["run", str(mission), str(incoming), "--incoming", "--store", str(store)]) == 0
    with Store.open(store, mission=None) as opened:
        assert events(opened) == {"damaged": {"product": 1}}


def test_a_swath_whose_product_is_lost_is_announced_again(tmp_path: Path) -> None:
    known = stocked(tmp_path)
    announced = max(n for n, data in known.items() if data.startswith(b"{"))
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("UPDATE product SET data = zeroblob(bytes) WHERE id = ?", (announced,))
    salvage(tmp_path)
    carried = sent(tmp_path)
    told = [data for number, data in carried.items() if number not in known]
    assert told == [known[announced]]
    assert sent(tmp_path) == {}  # once


def test_a_swath_whose_product_rots_is_announced_by_the_next_contact(tmp_path: Path) -> None:
    known = stocked(tmp_path)
    announced = max(n for n, data in known.items() if data.startswith(b"{"))
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("UPDATE product SET data = zeroblob(bytes) WHERE id = ?", (announced,))
    first, second = sent(tmp_path), sent(tmp_path)
    assert announced not in first | second
    assert known[announced] in second.values()


def test_what_a_salvage_put_aside_makes_room_on_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stocked(tmp_path)
    salvage(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # no file may grow beyond it
    try:
        Store.open(tmp_path, mission=MISSION, grows=False).close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "store.db.damaged").exists()
    assert "what a salvage put aside is deleted" in caplog.text


def test_text_that_is_none_any_more_costs_its_swath_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = stocked(tmp_path)
    fill(tmp_path, MISSION, products_of_tiles(0, 8, MISSION, swath=2), "second")
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE swath SET info = CAST(x'7b22a2227d' AS TEXT) WHERE id = 2")
    carried = sent(tmp_path)
    assert carried == known
    assert "swath 2 is damaged" in caplog.text


@pytest.mark.parametrize("name", [b"posterjor", b"posteri\xbar"])
def test_tables_that_say_something_else_are_damage(
    tmp_path: Path, name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    known = stocked(tmp_path)
    path = tmp_path / "store.db"
    at = path.read_bytes().index(b"posterior REAL")
    put(path, at, name)
    with pytest.raises(StoreDamagedError, match="no such column"):
        sent(tmp_path)
    assert sent(tmp_path) == known
    assert "is made anew" in caplog.text
