"""The quota: bytes on the disk, at every moment; what goes first, and what is counted."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from winnow_edge.downlink.acknowledgements import AckReport, ContactAck, acknowledge
from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import StoreTroubleError
from winnow_edge.products.background import decode_background
from winnow_edge.products.encode import decode_record
from winnow_edge.products.kinds import NO_CLASS, Kind, Product
from winnow_edge.store.check import check
from winnow_edge.store.events import counts, events
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store
from winnow_edge.store.writer import SwathWriter, add_products
from winnow_edge.testing import (
    begin,
    finish,
    landmark_mission,
    product_of_size,
    products_of_tiles,
)


def quota(mb: float) -> str:
    return f"[store]\nquota_mb = {mb}\n[link]\nack_wait = 5"


def on_disk(folder: Path) -> int:
    """Octets that the files of a store have."""
    return sum(file.stat().st_size for file in folder.iterdir())


def write(writer: SwathWriter, blocks: Iterator[Sequence[Product]], tiles: int) -> Iterator[None]:
    """Commit block after block of so many tiles."""
    for products in blocks:
        end, line = writer.next_tile + tiles, writer.next_line + 1
        writer.commit(products=products, next_tile=end, next_line=line, pending=b"state")
        yield


def records_of(first: int, tiles: int, found: int) -> list[Product]:
    made = products_of_tiles(first, tiles, landmark_mission(), found=found)
    return [p for p in made if p.kind is Kind.RECORD]


def test_images_over_the_quota_the_least_useful_goes_first(tmp_path: Path) -> None:
    mission = landmark_mission(quota(1))
    made = [product_of_size(Kind.IMAGE, t, 5000, 0.001 * (t * 37 % 997)) for t in range(600)]
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        for _ in write(writer, (made[at : at + 10] for at in range(0, 600, 10)), 10):
            assert on_disk(tmp_path) <= 1_000_000
        kept = {row.posterior for row in store.products(kinds=(Kind.IMAGE,))}
        gone = {p.posterior for p in made} - kept
        # Of what was there when room was last made, nothing was given up that was worth more.
        assert max(gone) < min(kept)
        assert len(kept) > 80
        assert events(store)["evicted"] == {"image crater": len(gone)}
        assert counts(store)["image"]["evicted"] == len(gone)
        (held,) = store.select("SELECT SUM(LENGTH(data)) FROM product")
        assert held[0] == store.data_bytes()
        assert check(store).sound
        assert check(store).products == len(kept) + 1


def test_background_records_are_compacted_before_anything_is_dropped(tmp_path: Path) -> None:
    mission = landmark_mission(quota(1))
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        blocks = (records_of(at, 200, found=20) for at in range(0, 16_000, 200))
        for _ in write(writer, blocks, 200):
            assert on_disk(tmp_path) <= 1_000_000
        assert "evicted" not in events(store)
        finish(writer, {"tiles": 16_000})
        told = {}
        for row in store.products():
            data = store.data(row.id)
            if row.kind is Kind.BACKGROUND:
                told |= {decode_record(r).record.index: r for r in decode_background(data)}
            elif row.kind is Kind.RECORD:
                told[row.tile_index] = data
        assert sorted(told) == list(range(16_000))
        assert counts(store)["background"]["stored"] > 0
        assert sum(row.detection for row in store.products(kinds=(Kind.RECORD,))) == 800
        assert check(store).sound


def test_records_of_detections_are_the_last_to_go_least_useful_first(tmp_path: Path) -> None:
    mission = landmark_mission(quota(0.6))
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        made = []
        for at in range(0, 8000, 100):
            records = records_of(at, 100, found=1)
            image = product_of_size(Kind.IMAGE, at, 3000, 0.9)
            made += records
            writer.commit(products=[*records, image], next_tile=at + 100, next_line=at, pending=b"")
            assert on_disk(tmp_path) <= 600_000
        evicted = events(store)["evicted"]
        rows = list(store.products(kinds=(Kind.RECORD, Kind.IMAGE)))
        kept = [row for row in rows if row.kind is Kind.RECORD]
        assert evicted["record crater"] == 8000 - len(kept) > 0
        assert evicted["image crater"] == 80 - (len(rows) - len(kept))
        # What has been there since the last eviction aside, the most useful are kept.
        old = [row.posterior for row in kept if row.tile_index < 4000]
        assert min(old) > sorted(p.posterior for p in made)[1000]


def test_no_record_goes_while_pictures_are_there(tmp_path: Path) -> None:
    # A little more room is made than a block needs; records are no price for that.
    with Store.open(tmp_path, mission=landmark_mission(quota(2))) as store:
        writer = begin(store)
        for at in range(0, 2000, 10):
            images = [
                product_of_size(Kind.IMAGE, t, 5000, 0.3 + 0.0005 * (t * 37 % 997))
                for t in range(at, at + 4)
            ]
            products = [*records_of(at, 10, found=10), *images]
            writer.commit(products=products, next_tile=at + 10, next_line=at, pending=b"")
        assert sum(1 for _ in store.products(kinds=(Kind.IMAGE,))) > 100
        evicted = events(store)["evicted"]
        assert evicted["image crater"] > 100
        assert not [about for about in evicted if about.startswith("record")]


def test_what_the_ground_has_goes_first_and_what_flies_after_what_waits(tmp_path: Path) -> None:
    mission = landmark_mission(quota(1))
    made = [product_of_size(Kind.IMAGE, t, 5000, 0.9 - 0.0001 * t) for t in range(300)]
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        writer.commit(products=made[:100], next_tile=100, next_line=1, pending=b"")
        one = downlink(store, mission, budget_bytes=200_000, out=io.BytesIO())
        ids = [n for (n,) in store.select("SELECT id FROM container")]
        two = downlink(store, mission, budget_bytes=200_000, out=io.BytesIO())
        acknowledge(store, AckReport(store.store_id, {1: ContactAck(tuple(ids))}))
        list(write(writer, (made[at : at + 10] for at in range(100, 300, 10)), 10))
        assert on_disk(tmp_path) <= 1_000_000
        there = counts(store)["image"]
        # The acknowledged images are worth most, but the ground has them: their data goes.
        assert there["acknowledged"] == one.products["image"]
        assert there["sent"] == two.products["image"]
        assert there["evicted"] > 0
        states = (ProductState.ACKNOWLEDGED,)
        assert not len(store.table(states, kinds=(Kind.IMAGE,), with_data=True))


def test_finished_swaths_make_room(tmp_path: Path) -> None:
    """A camera that connects every second for years: rows of swaths do not grow for ever."""
    mission = landmark_mission(quota(0.5))
    with Store.open(tmp_path, mission=mission) as store:
        for n in range(1000):
            writer = begin(store, f"pass-{n}", info={"instrument": "camera", "more": "x" * 300})
            image = product_of_size(Kind.IMAGE, 0, 500, 0.9, swath=writer.swath_id)
            writer.commit(products=[image], next_tile=1, next_line=1, pending=b"")
            finish(writer, {"tiles": 1})
            if n % 50 == 49:
                out = io.BytesIO()
                contact = downlink(store, mission, budget_bytes=10**6, out=out).contact
                out.seek(0)
                heard = tuple(c.id for c in read_containers(out, LinkCounts()))
                acknowledge(store, AckReport(store.store_id, {contact: ContactAck(heard)}))
            assert on_disk(tmp_path) <= 500_000
        assert writer.swath_id == 1000
        assert events(store)["forgotten"]["swath"] == 1000 - len(store.swaths())


def test_a_block_that_is_larger_than_its_room_keeps_its_best(tmp_path: Path) -> None:
    mission = landmark_mission(quota(1))
    made = [product_of_size(Kind.IMAGE, t, 5000, 0.001 * t) for t in range(400)]
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        records = records_of(0, 400, found=1)
        writer.commit(products=[*records, *made], next_tile=400, next_line=1, pending=b"")
        assert on_disk(tmp_path) <= 1_000_000
        assert counts(store)["record"]["stored"] == 400
        kept = [row.posterior for row in store.products(kinds=(Kind.IMAGE,))]
        assert kept
        assert min(kept) >= 0.001 * (400 - len(kept)) - 1e-9


def test_a_reader_that_stays_keeps_the_run_waiting_and_the_quota_holds(tmp_path: Path) -> None:
    mission = landmark_mission(quota(1))
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        made = [product_of_size(Kind.IMAGE, t, 5000, 0.9) for t in range(400)]
        blocks = (made[at : at + 5] for at in range(0, 400, 5))
        store.db.execute("PRAGMA busy_timeout = 100")
        with store.snapshot() as reader:
            assert reader.swaths()
            with pytest.raises(StoreTroubleError, match="log is full"):
                for _ in write(writer, blocks, 5):
                    assert on_disk(tmp_path) <= 1_000_000
        image = product_of_size(Kind.IMAGE, 1000, 5000, 0.9)
        writer.commit(products=[image], next_tile=2000, next_line=1000, pending=b"")
        assert on_disk(tmp_path) <= 1_000_000


@pytest.mark.parametrize("parts", [16, 60])
def test_nothing_is_evicted_for_a_region_that_finds_no_room_even_so(
    tmp_path: Path, parts: int
) -> None:
    mission = landmark_mission(quota(0.5) + "\n[requests]\nutility = 0.001")
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        for tile in range(100):
            images = [product_of_size(Kind.IMAGE, tile, 6000, 0.9)]
            writer.commit(products=images, next_tile=tile + 1, next_line=tile, pending=b"")
        before = events(store), {row.id for row in store.products()}
        region = [
            Product(Kind.REGION, n, NO_CLASS, 0.0, False, bytes(15_000)) for n in range(parts)
        ]
        assert not add_products(store, store.swaths()[0], region, {})
        assert (events(store), {row.id for row in store.products()}) == before


def test_a_region_takes_the_room_of_what_is_worth_less(tmp_path: Path) -> None:
    mission = landmark_mission(quota(0.5) + "\n[requests]\nutility = 1000")
    with Store.open(tmp_path, mission=mission) as store:
        writer = begin(store)
        for tile in range(100):
            images = [product_of_size(Kind.IMAGE, tile, 6000, 0.9)]
            writer.commit(products=images, next_tile=tile + 1, next_line=tile, pending=b"")
        region = [Product(Kind.REGION, n, NO_CLASS, 0.0, False, bytes(15_000)) for n in range(4)]
        assert add_products(store, store.swaths()[0], region, {})
        assert on_disk(tmp_path) <= 500_000
        assert counts(store)["region"]["stored"] == 4
