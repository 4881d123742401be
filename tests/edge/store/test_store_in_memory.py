"""A store in memory for one whose disk fails: what is copied, what is sent, and the way back."""

from __future__ import annotations

import io
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from winnow_edge.clock.cuc import NS
from winnow_edge.clock.host import read_host
from winnow_edge.clock.utc import parse_utc
from winnow_edge.downlink.acknowledgements import AckReport, ContactAck, acknowledge
from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import StoreError
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import Mission
from winnow_edge.products.background import decode_background
from winnow_edge.products.kinds import Kind
from winnow_edge.store import memory
from winnow_edge.store.check import check
from winnow_edge.store.clock import peek, tell, tick
from winnow_edge.store.events import events
from winnow_edge.store.schema import Meta, ProductState
from winnow_edge.store.store import Store
from winnow_edge.testing import begin, fill, finish, landmark_mission, products_of_tiles

MISSION = landmark_mission()
TILES = (Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE)
Sent = dict[tuple[int, int], bytes]
"""What came down, by the number of its store and its own."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a store; what it leaves in memory is deleted."""
    kept = memory.place(tmp_path / "store")
    if kept is None:
        pytest.skip("no file system in memory that this user may write")
    yield tmp_path / "store"
    for left in kept.parent.glob(f"{kept.name}*"):
        shutil.rmtree(left)


def contact(store: Store, budget: int = 10**8) -> tuple[Sent, AckReport]:
    out = io.BytesIO()
    number = downlink(store, MISSION, budget_bytes=budget, out=out).contact
    out.seek(0)
    containers = list(read_containers(out, LinkCounts()))
    sent = {(c.store_id, i.id): i.data for c in containers for i in c.items}
    heard = {number: ContactAck(tuple(c.id for c in containers))}
    return sent, AckReport(store.store_id, heard)


def fly(store: Store, name: str) -> None:
    """A swath into a store, as a run does."""
    writer = begin(store, name)
    products = products_of_tiles(0, 40, MISSION, swath=writer.swath_id)
    writer.commit(products=products, next_tile=40, next_line=40, pending=b"")
    finish(writer, {"tiles": 40})


def test_contacts_and_swaths_go_on_in_memory_and_all_goes_back(folder: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 60, MISSION), "first")
    with Store.open(folder, mission=MISSION) as store:
        known = {row.id: store.data(row.id) for row in store.products()}
        before, report = contact(store, 20_000)
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        assert store.path.parent != folder
        assert store.store_id != report.store_id
        assert acknowledge(store, report).acknowledged  # of containers of the store on the disk
        fly(store, "second")
        first, heard = contact(store, 60_000)
        acknowledge(store, heard)
        second, on_its_way = contact(store)
        assert not {n for _, n in before} & {n for _, n in first | second} - told(store)
        assert events(store)["in memory"] == {"store": 1}
    with Store.open(folder, mission=MISSION, read_only=True) as disk:
        assert [swath.name for swath in disk.swaths()] == ["first"]  # nothing was written
    with memory.opened(folder, mission=MISSION) as store:
        assert store.path.parent == folder
        assert memory.there(folder) is None
        assert check(store).sound
        assert [(s.name, s.complete) for s in store.swaths()] == [("first", True), ("second", True)]
        assert events(store)["in memory"] == {"store": 1}
        assert acknowledge(store, on_its_way).acknowledged == len(second)
        last, _ = contact(store)
        again = {n for _, n in before | first | second} & {n for _, n in last}
        assert again == {told.id for told in store.products(swath_id=2, kinds=(Kind.SWATH,))}
        sent = before | first | second | last
        numbers = {number for _, number in sent}
        assert numbers >= set(known)
        fly(store, "third")
        newest = {row.id for row in store.products(swath_id=3)}
        assert min(newest) > max(numbers)
    # No number stands for two things.
    for (_, number), data in sent.items():
        assert known.get(number, data) == data


def cut_short(folder: Path, monkeypatch: pytest.MonkeyPatch, mission: Mission = MISSION) -> None:
    """Go back to the disk, and be killed in the last transaction."""
    ends = Store.set_meta

    def cut(store: Store, key: Meta, value: object) -> None:
        if key == Meta.FORMER:
            raise KeyboardInterrupt
        ends(store, key, value)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "set_meta", cut)
        memory.opened(folder, mission=mission)


def told(store: Store) -> set[int]:
    """The products that tell of swaths, which are sent under each store's number."""
    return {row.id for row in store.products(kinds=(Kind.SWATH,))}


def test_an_unfinished_swath_goes_on_in_memory_where_it_was(folder: Path) -> None:
    with Store.open(folder, mission=MISSION) as store:
        writer = begin(store, "long")
        products = products_of_tiles(0, 40, MISSION)
        writer.commit(products=products, next_tile=40, next_line=40, pending=b"state")
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        writer = begin(store, "long")
        assert (writer.next_tile, writer.pending) == (40, b"state")
        products = products_of_tiles(40, 40, MISSION)
        writer.commit(products=products, next_tile=80, next_line=80, pending=b"later")
    with memory.opened(folder, mission=MISSION) as store:
        assert store.path.parent == folder
        writer = begin(store, "long")
        assert (writer.next_tile, writer.pending) == (80, b"later")
        tiles = [row.tile_index for row in store.products(kinds=(Kind.RECORD,))]
        assert tiles == list(range(80))
        assert check(store).sound


def test_a_later_process_finds_the_store_in_memory_while_the_disk_fails(folder: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 8, MISSION))
    memory.opened(folder, mission=MISSION, fails=True).close()
    with memory.opened(folder, mission=MISSION, back=False, create=False, grows=False) as store:
        assert store.path.parent == memory.there(folder)
        # Another that could go back finds it in use, and takes part.
        with memory.opened(folder, mission=MISSION) as other:
            assert other.path == store.path


def test_memory_takes_no_more_than_its_share_and_the_most_useful_first(folder: Path) -> None:
    mission = landmark_mission("[store]\nquota_mb = 0.5")
    fill(folder, MISSION, products_of_tiles(0, 1200, MISSION))
    with memory.opened(folder, mission=mission, fails=True) as store:
        kept = store.path.parent
        for number in range(8):
            fly(store, f"later-{number}")
            size = sum(f.stat().st_size for f in kept.glob("store.*"))
            assert size <= 500_000
        copied = {row.id for row in store.products(swath_id=1)}
        assert copied
    with memory.opened(folder, mission=MISSION) as store:
        assert store.path.parent == folder
        assert len(store.swaths()) == 9
        left = {row.id for row in store.products(swath_id=1, states=(ProductState.STORED,))}
        assert left > copied  # what did not find room is still on the disk


def test_a_store_that_cannot_be_read_does_not_keep_the_camera_waiting(folder: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 40, MISSION))
    with Store.open(folder, mission=MISSION, read_only=True) as store:
        number, known = store.store_id, {row.id for row in store.products()}
    whole = (folder / "store.db").read_bytes()
    (folder / "store.db").write_bytes(b"\xff" * len(whole))
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        fly(store, "swath")  # of the same name
        sent, _ = contact(store)
        assert {store_id for store_id, _ in sent} == {store.store_id} != {number}
        assert not known & {n for _, n in sent}
    (folder / "store.db").write_bytes(whole)
    with memory.opened(folder, mission=MISSION) as store:
        on_disk, in_memory = store.swaths()
        assert (on_disk.name, in_memory.name) == ("swath", f"swath-{in_memory.id}")
        assert known <= {row.id for row in store.products()}
        assert store.number(Meta.NEXT_PRODUCT) > max(n for _, n in sent)


def test_a_store_that_cannot_be_read_twice_gets_all_back_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter((7, 4000, 12))  # that two are the same is rare, and leaves the second aside
    monkeypatch.setattr(secrets, "randbelow", lambda _: next(draws))
    fill(folder, MISSION, products_of_tiles(0, 40, MISSION))
    sent: Sent = {}
    for name in ("one", "two", "three"):
        whole = (folder / "store.db").read_bytes()
        (folder / "store.db").write_bytes(b"\xff" * len(whole))
        with memory.opened(folder, mission=MISSION, fails=True) as store:
            fly(store, name)
            sent |= contact(store, 20_000)[0]
        (folder / "store.db").write_bytes(whole)
        with memory.opened(folder, mission=MISSION) as store:
            assert memory.there(folder) is None
            assert check(store).sound
            fly(store, f"after {name}")
            sent |= contact(store, 20_000)[0]
    with Store.open(folder, mission=MISSION) as store:
        names = {swath.name for swath in store.swaths()}
        assert names > {"one", "after one", "two", "after two", "three", "after three"}
        rows = list(store.products(kinds=TILES))
        assert len({(row.swath, row.tile_index) for row in rows}) == 7 * 40
        known = {row.id: store.data(row.id) for row in rows}
    # No number stands for two things, whichever store it was sent by.
    for (_, number), data in sent.items():
        assert known.get(number, data) == data


def test_a_range_of_numbers_that_was_drawn_before_overwrites_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter((12, 4000, 12))
    monkeypatch.setattr(secrets, "randbelow", lambda _: next(draws))
    fill(folder, MISSION, products_of_tiles(0, 8, MISSION))
    for name in ("one", "two", "three"):
        whole = (folder / "store.db").read_bytes()
        (folder / "store.db").write_bytes(b"\xff" * len(whole))
        with memory.opened(folder, mission=MISSION, fails=True) as store:
            fly(store, name)
        (folder / "store.db").write_bytes(whole)
        memory.opened(folder, mission=MISSION).close()
    with Store.open(folder, mission=MISSION) as store:
        names = [swath.name for swath in store.swaths()]
        assert "one" in names and "two" in names and "three" not in names
    kept = memory.place(folder)
    assert kept is not None
    with Store.open(kept.with_name(f"{kept.name}.1"), mission=MISSION) as aside:
        assert [swath.name for swath in aside.swaths()] == ["three"]


def test_the_mission_clock_of_a_store_that_could_not_be_read_goes_on(folder: Path) -> None:
    noon = parse_utc("2030-01-01T12:00:00Z")
    earlier = replace(read_host(), boot_id="an earlier start")
    with Store.open(folder, mission=MISSION) as store:
        tick(store, earlier)
        claimed = tick(store, replace(earlier, boot_ns=earlier.boot_ns + 1000 * NS)).ceiling_ns
    whole = (folder / "store.db").read_bytes()
    (folder / "store.db").write_bytes(b"\xff" * len(whole))
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        tell(store, noon, "ground")
    (folder / "store.db").write_bytes(whole)
    with memory.opened(folder, mission=MISSION) as store:
        now = read_host()
        state = peek(store, now)
        assert state.mission_ns(now.boot_ns) >= claimed
        assert state.source is not None
        if not now.kept:  # else a time service keeps this machine's clock, and is right
            assert 0 <= state.instant(now.boot_ns).ns - noon.ns < 600 * NS


def test_a_service_that_waits_goes_back_to_a_disk_that_works_again(folder: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 8, MISSION), "first")
    with Flight(MISSION, folder, fails=True, back_s=0) as flight:
        fly(flight.store, "second")
        aside = folder.rename(folder.with_name("aside"))
        folder.write_bytes(b"no folder can be made here")
        flight.idle()
        assert flight.in_memory
        folder.unlink()
        aside.rename(folder)
        flight.idle()
        assert not flight.in_memory
        assert [swath.name for swath in flight.store.swaths()] == ["first", "second"]
        assert memory.there(folder) is None
    with Flight(MISSION, folder, fails=True) as flight:
        flight.idle()
        assert flight.in_memory  # it has just failed


def test_a_disk_that_was_written_meanwhile_is_left_as_it_is(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(folder, MISSION, products_of_tiles(0, 8, MISSION), "first")
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        fly(store, "in memory")
    fill(folder, MISSION, products_of_tiles(0, 8, MISSION), "on the disk")
    with memory.opened(folder, mission=MISSION) as store:
        assert [swath.name for swath in store.swaths()] == ["first", "on the disk"]
    kept = memory.place(folder)
    assert kept is not None
    aside = kept.with_name(f"{kept.name}.1")
    assert str(aside) in caplog.text
    with Store.open(aside, mission=MISSION, read_only=True) as store:
        assert "in memory" in [swath.name for swath in store.swaths()]


def test_a_folder_in_memory_that_others_may_write_is_not_trusted(folder: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 8, MISSION))
    memory.opened(folder, mission=MISSION, fails=True).close()
    kept = memory.there(folder)
    assert kept is not None
    kept.chmod(0o777)
    assert memory.there(folder) is None
    with memory.opened(folder, mission=MISSION) as store:
        assert store.path.parent == folder
    kept.chmod(0o700)


def test_no_memory_is_a_word(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHARED_MEMORY", folder / "none")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(StoreError, match="no room in memory"):
        memory.opened(folder, mission=MISSION, fails=True)
    assert not list(folder.parent.iterdir())


def test_a_return_that_was_killed_is_done_again(folder: Path, tmp_path: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 8, MISSION), "first")
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        fly(store, "in memory")
    kept = memory.there(folder)
    assert kept is not None
    shutil.copytree(kept, tmp_path / "kept")
    for _ in range(2):  # before the first transaction, and after the last
        with memory.opened(folder, mission=MISSION) as store:
            assert store.path.parent == folder
            assert [swath.name for swath in store.swaths()] == ["first", "in memory"]
            assert events(store)["in memory"] == {"store": 1}
            assert check(store).sound
        if not kept.exists():
            shutil.copytree(tmp_path / "kept", kept)
            kept.chmod(0o700)


def test_a_power_cut_on_the_way_back_leaves_nothing_half_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(folder, mission=MISSION) as store:
        writer = begin(store, "long")
        products = products_of_tiles(0, 40, MISSION)
        writer.commit(products=products, next_tile=40, next_line=40, pending=b"state")
        number, held = store.store_id, store.data_bytes()
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        writer = begin(store, "long")
        products = products_of_tiles(40, 100, MISSION)
        writer.commit(products=products, next_tile=140, next_line=140, pending=b"later")
        fly(store, "another")
    kept = memory.there(folder)
    assert kept is not None
    cut_short(folder, monkeypatch)
    with Store.open(folder, mission=None, read_only=True) as store:
        assert len(list(store.products())) > 100
    shutil.rmtree(kept)  # what was in memory is lost
    with memory.opened(folder, mission=MISSION) as store:
        assert (store.store_id, store.data_bytes()) == (number, held)
        assert [swath.name for swath in store.swaths()] == ["long"]
        writer = begin(store, "long")
        assert (writer.next_tile, writer.pending) == (40, b"state")
        products = products_of_tiles(40, 100, MISSION)
        writer.commit(products=products, next_tile=140, next_line=140, pending=b"later")
        assert check(store).sound


def numbers_in(store: Store, *states: ProductState) -> set[int]:
    return {row.id for row in store.products(states=states)}


def test_nothing_that_was_not_heard_of_is_acknowledged_where_the_disk_could_not_be_read(
    folder: Path,
) -> None:
    fill(folder, MISSION, products_of_tiles(0, 60, MISSION), "first")
    with Store.open(folder, mission=MISSION) as store:
        contact(store, 20_000)
        flying = numbers_in(store, ProductState.SENT)
    whole = (folder / "store.db").read_bytes()
    (folder / "store.db").write_bytes(b"\xff" * len(whole))
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        fly(store, "other")
        _, report = contact(store)
        acknowledge(store, report)
    (folder / "store.db").write_bytes(whole)
    with memory.opened(folder, mission=MISSION) as store:
        assert store.path.parent == folder
        assert flying and flying <= numbers_in(store, ProductState.SENT)


def tiles_told(store: Store) -> int:
    """Tiles of which a record or a background product tells."""
    rows = store.products(kinds=(Kind.RECORD, Kind.BACKGROUND))
    return sum(
        len(decode_background(store.data(row.id))) if row.kind is Kind.BACKGROUND else 1
        for row in rows
    )


@pytest.mark.parametrize("kills", [0, 1])
def test_records_that_are_compacted_on_the_way_back_stay_or_are_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    mission = landmark_mission("[store]\nquota_mb = 1.0")
    with Store.open(folder, mission=mission) as store:
        writer = begin(store, "first")
        for at in range(0, 400, 40):
            products = products_of_tiles(at, 40, mission)
            writer.commit(products=products, next_tile=at + 40, next_line=at + 40, pending=b"")
        finish(writer, {"tiles": 400})
    with memory.opened(folder, mission=mission, fails=True) as store:
        for number in range(10):
            fly(store, f"in memory {number}")
    for _ in range(kills):
        cut_short(folder, monkeypatch, mission)
    with memory.opened(folder, mission=mission) as store:
        assert store.path.parent == folder
        assert events(store)["compacted"]["record"] > 0
        evicted = events(store)["evicted"].items()
        counted = sum(n for about, n in evicted if about.split()[0] in ("record", "background"))
        assert tiles_told(store) + counted == 400 + 10 * 40
        assert check(store).sound


def test_after_a_power_cut_on_the_way_back_nothing_waits_for_word_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, MISSION, products_of_tiles(0, 60, MISSION), "first")
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        fly(store, "other")
        contact(store, 60_000)
        kept = store.path.parent
    cut_short(folder, monkeypatch)
    shutil.rmtree(kept)
    with memory.opened(folder, mission=MISSION) as store:
        assert not numbers_in(store, ProductState.SENT)
        sent, _ = contact(store)
        assert {n for _, n in sent} == numbers_in(store, ProductState.SENT)
        assert [swath.name for swath in store.swaths()] == ["first"]


def test_what_the_disk_lost_meanwhile_comes_back_from_memory(folder: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 60, MISSION), "first")
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        copied = {row.id: store.data(row.id) for row in store.products()}
    for file in folder.glob("store.db*"):
        file.unlink()
    with memory.opened(folder, mission=MISSION) as store:
        assert store.path.parent == folder
        assert {row.id: store.data(row.id) for row in store.products()} == copied
        assert check(store).sound


def test_a_swath_told_under_the_number_in_memory_is_told_again(folder: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 10, MISSION), "first")
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        fly(store, "second")
        _, heard = contact(store, 30_000)
        acknowledge(store, heard)
        fly(store, "third")
        _, late = contact(store, 30_000)
    with memory.opened(folder, mission=MISSION) as store:
        acknowledge(store, late)  # of packets under the other number
        sent, _ = contact(store)
        assert {n for _, n in sent} >= {told.id for told in store.announcements().values()}


def test_what_memory_forgot_of_a_swath_is_not_told_of_on_the_disk(folder: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 40, MISSION), "first")
    with memory.opened(folder, mission=MISSION, fails=True) as store:
        _, heard = contact(store)
        acknowledge(store, heard)
        # As the quota does with swaths that are complete and on the ground.
        ids = [told.id for told in store.announcements().values()]
        with store.transaction():
            store.db.execute("DELETE FROM product WHERE id = ?", ids)
            store.db.execute("DELETE FROM swath")
    with memory.opened(folder, mission=MISSION) as store:
        sent, _ = contact(store)
        assert set(ids) <= {number for _, number in sent}


def test_a_stop_while_the_store_cannot_be_opened_ends_idle_time(folder: Path) -> None:
    fill(folder, MISSION, products_of_tiles(0, 8, MISSION))
    stops = list[bool]()
    with Flight(MISSION, folder, stop=lambda: bool(stops)) as flight:
        moved = folder.rename(folder.with_name("moved"))
        folder.write_bytes(b"no folder")
        with pytest.raises(StoreError):
            flight.reopen()
        stops.append(True)
        assert flight.idle()
    assert moved.is_dir()
