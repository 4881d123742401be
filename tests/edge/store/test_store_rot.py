"""A store whose rows or bytes have changed: it gives up what is damaged, says so, and goes on."""

from __future__ import annotations

import io
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow_edge.downlink.contact import DownlinkSummary, downlink
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import StoreDamagedError, StoreError, SwathKnownError
from winnow_edge.products.encode import decode_record
from winnow_edge.store.store import Store
from winnow_edge.testing import begin, finish, landmark_mission, products_of_tiles

MISSION = landmark_mission()


def made(folder: Path) -> dict[int, bytes]:
    """A store of one swath; its products by number."""
    with Store.open(folder, mission=MISSION) as store:
        writer = begin(store)
        writer.commit(
            products=products_of_tiles(0, 40, MISSION), next_tile=40, next_line=64, pending=b""
        )
        finish(writer, {"tiles": 40})
        return {row.id: store.data(row.id) for row in store.products()}


def change(folder: Path, sql: str, *values: Any) -> None:
    db = sqlite3.connect(folder / "store.db")
    with db:
        db.execute(sql, values)
    db.close()


def contact(folder: Path) -> tuple[dict[int, bytes], DownlinkSummary]:
    """What a contact carries that has room for everything, by number."""
    out = io.BytesIO()
    with Store.open(folder, mission=MISSION) as store:
        summary = downlink(store, MISSION, budget_bytes=10**7, out=out)
    out.seek(0)
    items = [i for c in read_containers(out, LinkCounts()) for i in c.items]
    assert len({item.id for item in items}) == len(items)
    return {item.id: item.data for item in items}, summary


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE product SET swath = 63 WHERE id = 5",
        "UPDATE product SET data = NULL WHERE id = 5",
        "UPDATE product SET data = 'text' WHERE id = 5",
        "UPDATE product SET data = x'00' WHERE id = 5",
        "UPDATE product SET data = zeroblob(length(data)) WHERE id = 5",
        "UPDATE product SET kind = 77 WHERE id = 5",
        "UPDATE product SET tile = 2.5 WHERE id = 5",
        "UPDATE product SET tile = 9999 WHERE id = 5",
        "UPDATE product SET class = 200 WHERE id = 5",
        "UPDATE product SET class = 'x' WHERE id = 5",
        "UPDATE product SET posterior = 'x' WHERE id = 5",
        "UPDATE product SET posterior = 1e300 WHERE id = 5",
        "UPDATE product SET posterior = 0.123 WHERE id = 5",
        "UPDATE product SET detection = 9 WHERE id = 5",
        "UPDATE product SET state = 12 WHERE id = 5",
        "UPDATE product SET unheard = -1 WHERE id = 5",
        "UPDATE product SET bytes = bytes + 1 WHERE id = 5",
        "UPDATE product SET bytes = 1e18 WHERE id = 5",
        "UPDATE product SET sketch = 'x' WHERE id = 5",
        "UPDATE product SET crc = crc + 1 WHERE id = 5",
    ],
)
def test_a_damaged_product_is_given_up_and_said_and_the_others_go_down(
    tmp_path: Path, sql: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = made(tmp_path)
    change(tmp_path, sql)
    sent, summary = contact(tmp_path)
    assert sent == {number: data for number, data in before.items() if number != 5}
    assert summary.damaged == 1
    assert "products 5" in caplog.text
    again, summary = contact(tmp_path)
    assert (again, summary.damaged) == ({}, 0)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE swath SET classes = '[]'",
        "UPDATE swath SET classes = '[1, 2]'",
        """UPDATE swath SET classes = '["\\ud800", "b", "c"]'""",
        """UPDATE swath SET info = '{"x": 1e400}'""",
        "UPDATE swath SET info = '[]'",
        "UPDATE swath SET summary = '\"x\"'",
        "UPDATE swath SET samples = 'x'",
        "UPDATE swath SET next_line = -4",
        "UPDATE swath SET name = x'ff'",
        f"UPDATE swath SET info = '{'[' * 100_000}'",
    ],
)
def test_a_damaged_swath_is_left_out_and_said_and_the_next_one_flies(
    tmp_path: Path, sql: str, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path)
    change(tmp_path, sql)
    with Store.open(tmp_path, mission=MISSION) as store:
        writer = begin(store, "next")
        products = products_of_tiles(0, 4, MISSION, swath=writer.swath_id)
        writer.commit(products=products, next_tile=4, next_line=4, pending=b"")
        finish(writer, {"tiles": 4})
    sent, _ = contact(tmp_path)
    records = [decode_record(data) for data in sent.values() if len(data) == 26]
    assert {record.swath_id for record in records} == {2}
    assert "swath 1 is damaged" in caplog.text


@pytest.mark.parametrize("pending", [b"", b"{}", b"\0" * 9, "text", 7])
def test_a_swath_whose_state_is_damaged_is_refused_by_its_name(
    tmp_path: Path, pending: object
) -> None:
    with Store.open(tmp_path, mission=MISSION) as store:
        begin(store).commit(products=(), next_tile=0, next_line=64, pending=b'{"tally": 1}')
    change(tmp_path, "UPDATE swath SET pending = ?", pending)
    with Store.open(tmp_path, mission=MISSION) as store:
        with pytest.raises(SwathKnownError, match="the state of swath 'swath' is damaged"):
            begin(store)
        begin(store, "another")


@pytest.mark.parametrize("value", ["x", -5, None, 2**70, b"\0", 1.5])
@pytest.mark.parametrize("key", ["contact", "next_container", "sequence", "data_bytes"])
def test_a_damaged_number_of_the_store_is_found_again(
    tmp_path: Path, key: str, value: object
) -> None:
    before = made(tmp_path)
    first, _ = contact(tmp_path)
    assert first == before
    change(tmp_path, "UPDATE meta SET value = ? WHERE key = ?", _storable(value), key)
    sent, summary = contact(tmp_path)
    assert (sent, summary.contact) == ({}, 2)
    with Store.open(tmp_path, mission=MISSION, read_only=True) as store:
        numbers = [n for (n,) in store.select("SELECT id FROM container")]
    assert len(set(numbers)) == len(numbers)


def _storable(value: object) -> object:
    return float(value) if isinstance(value, int) and abs(value) >= 2**63 else value


@pytest.mark.parametrize("value", [-1, 2**32, 2**53, "x", b"\0", 1.5, None])
def test_a_store_whose_own_number_is_damaged_is_salvaged_under_another(
    tmp_path: Path, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    before = made(tmp_path)
    change(tmp_path, "UPDATE meta SET value = ? WHERE key = 'store_id'", value)
    assert contact(tmp_path)[0] == before
    assert "its number was lost: it counts as another store" in caplog.text


@pytest.mark.parametrize("column", ["products = x'010203'", "state = 'x'", "contact = 'x'"])
def test_what_a_damaged_container_carried_is_sent_again(tmp_path: Path, column: str) -> None:
    before = made(tmp_path)
    contact(tmp_path)
    change(tmp_path, f"UPDATE container SET {column} WHERE id = 1")
    with Store.open(tmp_path, mission=MISSION, read_only=True) as store:
        containers = len(store.select("SELECT id FROM container"))
    sent, _ = contact(tmp_path)
    assert sent if containers > 1 else sent == before
    assert all(before[number] == data for number, data in sent.items())


def test_a_damaged_number_of_the_store_itself_is_said(tmp_path: Path) -> None:
    made(tmp_path)
    change(tmp_path, "UPDATE meta SET value = 7 WHERE key = 'store_id'")
    with pytest.raises(StoreDamagedError, match="number that tells it from others is damaged"):
        Store.open(tmp_path, mission=MISSION, read_only=True)


def _bit(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _byte(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] = rng.randrange(256)


def _run_of_bytes(content: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(content) - 16)
    content[at : at + 16] = rng.randbytes(16)


@pytest.mark.parametrize("rot", [_bit, _byte, _run_of_bytes])
def test_whatever_rots_nothing_wrong_is_sent(
    tmp_path: Path, rot: Callable[[bytearray, random.Random], None]
) -> None:
    """Sent is what was stored, or nothing; a store that cannot be read says so in one line."""
    before = made(tmp_path)
    path = tmp_path / "store.db"
    whole = path.read_bytes()
    for seed in range(60):
        content = bytearray(whole)
        rot(content, random.Random(seed))
        path.write_bytes(content)
        for log in (tmp_path / "store.db-wal", tmp_path / "store.db-shm"):
            log.unlink(missing_ok=True)
        try:
            sent, _ = contact(tmp_path)
        except StoreError as error:
            assert "\n" not in str(error), seed
            continue
        wrong = {number for number, data in sent.items() if before.get(number) != data}
        assert not wrong, (seed, wrong)


@pytest.mark.parametrize("table", ["container", "swath", "product"])
def test_a_number_beyond_all_numbers_is_not_counted_on(tmp_path: Path, table: str) -> None:
    made(tmp_path)
    assert contact(tmp_path)[0]
    change(tmp_path, f"UPDATE {table} SET id = {2**53} WHERE id = (SELECT max(id) FROM {table})")
    with Store.open(tmp_path, mission=MISSION) as store:
        writer = begin(store, "another")
        writer.commit(
            products=products_of_tiles(0, 4, MISSION, writer.swath_id),
            next_tile=4, next_line=64, pending=b"",
        )  # fmt: skip
        finish(writer, {"tiles": 4})
    assert contact(tmp_path)[0]


@pytest.mark.parametrize("value", ["text", b"\xff"])
def test_a_tile_that_is_no_number_is_given_up(tmp_path: Path, value: str | bytes) -> None:
    """It counts as 0 in a sum, so that the seal of tile 0 does not see it."""
    before = made(tmp_path)
    change(tmp_path, "UPDATE product SET tile = ? WHERE tile = 0 AND kind = 1", value)
    sent, summary = contact(tmp_path)
    assert (before.keys() - sent.keys(), summary.damaged) == ({2}, 1)
