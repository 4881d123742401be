"""What comes down is checked once: packets that lie cost themselves alone, and no memory."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from winnow_base.errors import PacketError
from winnow_edge.downlink.acknowledgements import AckReport
from winnow_edge.downlink.container import Container, Item, encode_container
from winnow_edge.downlink.packets import packetize
from winnow_edge.products.encode import Head, encode_head
from winnow_edge.products.kinds import Box, Flag, Kind, TileRecord
from winnow_ground.receive import MOST_MISSING, MOST_STORES, receive
from winnow_ground.received import load_received

GOOD = {"id": 1, "swath": "a.png", "classes": ["other", "crater"], "lines": 5, "samples": 9}


def sent(path: Path, containers: list[Container]) -> Path:
    with path.open("wb") as out:
        count = 0
        for container in containers:
            packets = list(
                packetize(encode_container(container), apid=5, count=count, packet_bytes=1024)
            )
            count = (count + len(packets)) % 16384
            out.writelines(packets)
    return path


def about(number: int, data: bytes, *, store: int = 7, contact: int = 1) -> Container:
    return Container(store, contact, number, (Item(number, Kind.SWATH, data),))


def told(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def reported(folder: Path) -> AckReport:
    return AckReport.from_json((folder / "ack.json").read_text())


@pytest.mark.parametrize(
    "numbers",
    [[(1, 1), (60_000, 65_535)], [(1 + n * 60_000, 1 + n) for n in range(200)]],
)
def test_wild_numbers_of_containers_take_no_memory(
    tmp_path: Path, numbers: list[tuple[int, int]]
) -> None:
    path = sent(tmp_path / "a.bin", [about(n, told(), contact=c) for n, c in numbers])
    tracemalloc.start()
    try:
        receive([path], tmp_path / "in")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64e6
    report = reported(tmp_path / "in")
    assert {n for ack in report.contacts.values() for n in ack.received} == {n for n, _ in numbers}
    assert sum(len(ack.missing) for ack in report.contacts.values()) <= MOST_MISSING


def test_behind_a_wild_number_what_is_missing_is_told(tmp_path: Path) -> None:
    numbers = [(1, 1), (4_000_000, 60_000), (4_000_003, 60_000)]
    path = sent(tmp_path / "a.bin", [about(n, told(), contact=c) for n, c in numbers])
    receive([path], tmp_path / "in")
    assert reported(tmp_path / "in").contacts[60_000].missing == (4_000_001, 4_000_002)


@pytest.mark.parametrize(
    "data",
    [
        told(swath="\ud800"),
        told(more={"\udfff": 1}),
        told(id=0.5),
        told(id=-1),
        told(id=70_000),
        told(lines="abc"),
        told(lines=10**30),
        told(samples=[1]),
        told(bytes="x"),
        told(classes="crater"),
        told(classes=[1]),
        told(swath="x" * 5000),
        told(mission={}),
        told(by_class={"crater": "x"}),
        b'{"id": 1, "swath": "a", "lines": NaN}',
        b'{"id": 1, "swath": "a", "x": 1e400}',
        b'{"id": 1, "swath": "a", "x": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b"[]",
        b"\xff",
    ],
)
def test_a_swath_product_that_lies_is_left_out_and_counted(tmp_path: Path, data: bytes) -> None:
    path = sent(tmp_path / "a.bin", [about(1, data), about(2, told())])
    received = receive([path], tmp_path / "in")
    assert received.receptions[-1].unreadable == 1
    assert [p.id for p in received.products] == [2]
    assert load_received(tmp_path / "in").as_json() == received.as_json()


def test_a_swath_product_cannot_name_another_store(tmp_path: Path) -> None:
    path = sent(tmp_path / "a.bin", [about(1, told(store="x"))])
    receive([path], tmp_path / "in")
    second = sent(tmp_path / "b.bin", [about(2, told(store=9), contact=2)])
    receive([second], tmp_path / "in")
    assert set(load_received(tmp_path / "in").swaths) == {(7, 1)}


def test_names_from_the_link_do_nothing_to_a_terminal_or_a_spreadsheet(tmp_path: Path) -> None:
    box = Box(0, 0, 64, 64)
    record = encode_head(Head(1, TileRecord(0, box, 1, 1, 0.5, Flag.NONE)))
    named = told(swath="=HYPERLINK(1)\x1b]0;owned\x07\nnote: all is well", classes=["a", "@b"])
    items = (Item(1, Kind.SWATH, named), Item(2, Kind.RECORD, record))
    received = receive([sent(tmp_path / "a.bin", [Container(7, 1, 1, items)])], tmp_path / "in")
    assert received.swath_name(7, 1).isprintable()
    rows = (tmp_path / "in" / "records.csv").read_text().splitlines()
    assert len(rows) == 2
    assert rows[1].startswith("'=HYPERLINK(1)\\x1b]0;owned") and ",'@b," in rows[1]


def test_a_packet_file_whose_name_is_no_utf_8_is_received(tmp_path: Path) -> None:
    path = sent(Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.bin")), [about(1, told())])
    received = receive([path], tmp_path / "in")
    assert load_received(tmp_path / "in").as_json() == received.as_json()
    assert received.receptions[0].file.endswith("a\\xff.bin")


def test_a_thousand_stores_are_not_taken_in(tmp_path: Path) -> None:
    path = sent(tmp_path / "a.bin", [about(1, told(), store=n) for n in range(1000)])
    received = receive([path], tmp_path / "in")
    assert len({c.store for c in received.containers}) == MOST_STORES
    assert received.receptions[-1].unreadable == 1000 - MOST_STORES


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("products", 0, "bytes"), "x"),
        (("products", 0, "order"), None),
        (("products", 0, "kind"), "letter"),
        (("products", 0, "file"), "../../etc/passwd"),
        (("products", 0, "posterior"), "x"),
        (("products", 0, "posterior"), 7.5),
        (("products", 0, "box"), [1, 2]),
        (("products", 0, "detection"), 3),
        (("containers", 0, "contact"), 1e400),
        (("containers", 0, "id"), "1"),
        (("receptions", 0, "bytes"), []),
        (("receptions", 0, "link", "packets"), "many"),
        (("receptions", 0, "file"), "\ud800"),
        (("swaths", 0, "lines"), "abc"),
        (("swaths", 0, "store"), "x"),
        (("swaths", 0), 5),
        (("last_count",), "x"),
    ],
)
def test_a_received_json_that_was_edited_is_refused_in_one_line(
    tmp_path: Path, place: tuple[Any, ...], value: object
) -> None:
    receive([sent(tmp_path / "a.bin", [about(1, told())])], tmp_path / "in")
    path = tmp_path / "in" / "received.json"
    raw = json.loads(path.read_text())
    target = raw
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    path.write_text(json.dumps(raw))
    with pytest.raises(PacketError, match="is damaged") as refused:
        load_received(tmp_path / "in")
    assert "\n" not in str(refused.value)
