"""What comes down is checked once: packets that lie cost themselves alone, and no memory."""

from __future__ import annotations

import base64
import io
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.running import winnow
from winnow_base.errors import PacketError
from winnow_edge.downlink.acknowledgements import AckReport
from winnow_edge.downlink.container import Container, Item, encode_container
from winnow_edge.downlink.packets import packetize
from winnow_edge.products.encode import Head, encode_head
from winnow_edge.products.kinds import Box, Flag, Kind, TileRecord
from winnow_ground.findings import troubles
from winnow_ground.receive import MOST_MISSING, receive
from winnow_ground.received import MOST_STORES, MOST_SWATHS, load_received
from winnow_ground.report import write_report

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
        told(id=2**32),
        told(lines="abc"),
        told(lines=10**30),
        told(samples=[1]),
        told(bytes="x"),
        told(classes="crater"),
        told(classes=[1]),
        told(swath="x" * 5000),
        told(mission={}),
        told(by_class={"crater": "x"}),
        told(by_class={"crater": -1}),
        told(verdict="good"),
        told(verdict={"verdict": "good"}),
        told(truncated=5),
        told(scales=[0]),
        told(complete=None),
        told(more=10**30),
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
    assert received.receptions[-1].left_out == 1000 - MOST_STORES
    assert received.receptions[-1].repeated == 0
    # What is left out is not acknowledged either, so that it is sent again.
    assert len(list((tmp_path / "in").glob("ack-*.json"))) == MOST_STORES


def test_a_device_is_no_packet_file(tmp_path: Path) -> None:
    with pytest.raises(PacketError, match="/dev/zero: is a device"):
        receive(["/dev/zero"], tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_a_folder_takes_so_many_swaths_and_no_more(tmp_path: Path) -> None:
    many = [
        Item(n, Kind.SWATH, told(id=n % 65_536, swath=f"s{n}")) for n in range(MOST_SWATHS + 40)
    ]
    containers = [Container(7, 1, 1 + k, tuple(many[k : k + 20])) for k in range(0, len(many), 20)]
    received = receive([sent(tmp_path / "a.bin", containers)], tmp_path / "in")
    assert MOST_SWATHS - 20 < len(received.swaths) <= MOST_SWATHS
    assert received.receptions[-1].left_out == len(many) - len(received.swaths)
    assert any("another folder" in said for said in troubles(received, None))


def test_a_swath_product_of_many_octets_is_left_out(tmp_path: Path) -> None:
    large = told(more=["x" * 1000] * 140)
    received = receive([sent(tmp_path / "a.bin", [about(1, large)])], tmp_path / "in")
    assert received.receptions[-1].unreadable == 1


def test_damaged_pictures_cost_themselves_and_the_report_says_so(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    pictures = (
        out.getvalue(),
        out.getvalue()[:300],  # cut short on board
        b"%!PS-Adobe-3.0\nshowpage",
        b"\x89PNG\r\n\x1a\n" + bytes(40),
    )
    items = [Item(1, Kind.SWATH, told(lines=64, samples=400))]
    for n, jpeg in enumerate(pictures):
        tile = TileRecord(n, Box(0, 80 * n, 64, 64), 1, 1, 0.9, Flag.DETECTION)
        items.append(Item(2 + n, Kind.IMAGE, encode_head(Head(1, tile)) + jpeg))
    receive([sent(tmp_path / "a.bin", [Container(7, 1, 1, tuple(items))])], tmp_path / "in")
    report = write_report(tmp_path / "in")
    assert any("3 pictures came down damaged" in said for said in report.troubles)
    page = report.page.read_text()
    assert page.count('<article class="shot') == 1
    assert "showpage" not in page and base64.b64encode(b"%!PS").decode() not in page


def test_what_a_report_prints_does_nothing_to_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;owned\x07\nnote: all is well"
    verdict = {"verdict": evil, "class": evil, "mean": 0.5, "tiles": 3, "showing": 1}
    about_it = told(swath=evil, classes=["a", evil], truncated=evil, verdict=verdict)
    record = encode_head(Head(1, TileRecord(0, Box(0, 0, 9, 5), 1, 1, 0.5, Flag.DETECTION)))
    items = (Item(1, Kind.SWATH, about_it), Item(2, Kind.RECORD, record))
    path = sent(tmp_path / "a.bin", [Container(7, 1, 1, items)])
    for command in (["receive", path, "--out", tmp_path / "in"], ["report", tmp_path / "in"]):
        done = winnow(*command)
        assert done.returncode == 0, done.stderr
        said = done.stdout + done.stderr
        assert "owned" in said
        assert "\x1b" not in said and "\x07" not in said and "\nnote: all is well" not in said


def test_so_many_maps_are_drawn_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow_ground.page.MOST_MAPS", 2)
    items = tuple(Item(n, Kind.SWATH, told(id=n, swath=f"s{n}")) for n in range(5))
    receive([sent(tmp_path / "a.bin", [Container(7, 1, 1, items)])], tmp_path / "in")
    report = write_report(tmp_path / "in")
    assert "3 more swaths came down, of which no map is drawn." in report.troubles
    assert sum(png.name.startswith("report-swath-") for png in report.pngs) == 2


@pytest.mark.parametrize("containers", [[Container(7, 1, 1, ())], [about(1, told(lines=2**40))]])
def test_a_reception_without_products_is_reported(
    tmp_path: Path, containers: list[Container]
) -> None:
    receive([sent(tmp_path / "p", containers)], tmp_path / "in")
    report = write_report(tmp_path / "in")
    assert report.page.is_file()
    assert all(png.stat().st_size for png in report.pngs)


def test_many_classes_fit_on_a_page(tmp_path: Path) -> None:
    classes = [f"{n} " + "x" * 100 for n in range(80)]
    items = [Item(1, Kind.SWATH, told(classes=classes))]
    for n in range(80):
        tile = TileRecord(n, Box(20 * n, 0, 9, 5), 1, n, 0.9, Flag.DETECTION)
        items.append(Item(2 + n, Kind.RECORD, encode_head(Head(1, tile))))
    receive([sent(tmp_path / "a.bin", [Container(7, 1, 1, tuple(items))])], tmp_path / "in")
    report = write_report(tmp_path / "in")
    sizes = {png.name: Image.open(io.BytesIO(png.read_bytes())).size for png in report.pngs}
    assert 500 < sizes["report-classes.png"][1] < 4000
    assert all(width < 3000 for width, _ in sizes.values())


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
        (("swaths", 0, "store"), 2**40),
        (("products", 0, "class_index"), -1),
        (("products", 0, "file"), "/etc/passwd"),
        (("products", 0, "outline"), [1, 2, 3, -4]),
        (("products",), {}),
        (("products", 0), []),
        (("receptions", 0, "link", "unknown"), 3),
        (("format",), True),
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
