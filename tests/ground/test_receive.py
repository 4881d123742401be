"""Receiving: packets to records and pictures, damage counted, nothing doubled, nothing lost."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from winnow_base.errors import PacketError
from winnow_edge.downlink.acknowledgements import acknowledge, load_ack
from winnow_edge.errors import OutputError
from winnow_edge.products.kinds import Box, Kind
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store
from winnow_ground.receive import receive
from winnow_ground.received import Received, ReceivedProduct, load_received

Fly = Callable[..., Any]


def split(data: bytes) -> list[bytes]:
    """The packets of a file, by their length field."""
    packets = []
    while data:
        length = 7 + int.from_bytes(data[4:6], "big")
        packets.append(data[:length])
        data = data[length:]
    return packets


def test_pictures_are_on_the_disk_before_the_list_that_names_them(
    fly: Fly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fly().contact(tmp_path / "pass.bin", 20_000)
    order: list[tuple[int, int]] = []
    sync = os.fsync

    def spy(file: int) -> None:
        sync(file)
        order.append((os.fstat(file).st_dev, os.fstat(file).st_ino))

    monkeypatch.setattr(os, "fsync", spy)
    received = receive([tmp_path / "pass.bin"], tmp_path / "in")

    def place(path: Path) -> int:
        return order.index((path.stat().st_dev, path.stat().st_ino))

    named = place(tmp_path / "in" / "received.json")
    pictures = [tmp_path / "in" / p.file for p in received.products if p.file]
    assert pictures
    for path in {*pictures, *(p.parent for p in pictures)}:
        assert place(path) < named


def test_everything_that_was_sent_comes_out_as_it_was_stored(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    sent = flown.contact(tmp_path / "pass.bin", 10**7)
    received = receive([tmp_path / "pass.bin"], tmp_path / "in")
    assert received.kinds() == sent.products
    assert received.link.crc_failures == received.link.missing == received.link.skipped_bytes == 0
    with Store.open(flown.folder, mission=None, read_only=True) as store:
        rows = {row.id: row for row in store.products()}
        for product in received.products:
            row = rows[product.id]
            assert (product.kind, product.bytes) == (row.kind.name.lower(), row.bytes)
            if row.kind in (Kind.IMAGE, Kind.THUMBNAIL):
                assert product.file is not None
                jpeg = (tmp_path / "in" / product.file).read_bytes()
                assert store.data(row.id).endswith(jpeg) and jpeg.startswith(b"\xff\xd8")
    image = next(p.file for p in received.products if p.kind == "image")
    with Image.open(tmp_path / "in" / image) as picture:
        assert picture.size == (64, 64)
    assert [p.order for p in received.products] == list(range(1, len(rows) + 1))
    assert received.products[-1].cumulative_bytes == sum(row.bytes for row in rows.values())


def test_the_folder_reads_back_as_it_was_written(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "pass.bin")
    received = receive([tmp_path / "pass.bin"], tmp_path / "in")
    again = load_received(tmp_path / "in")
    assert again.products == received.products
    assert again.containers == received.containers
    assert again.receptions == received.receptions
    assert again.as_json() == received.as_json()
    (info,) = again.swaths.values()
    assert (info["swath"], info["mission"], info["lines"]) == ("ESP_1", "small", 768)


def test_records_csv_has_a_line_per_record_with_its_class(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "pass.bin", 10**7)
    received = receive([tmp_path / "pass.bin"], tmp_path / "in")
    rows = list(csv.DictReader((tmp_path / "in" / "records.csv").read_text().splitlines()))
    assert len(rows) == received.kinds()["record"] == 96
    by_tile = {int(row["tile"]): row for row in rows}
    assert by_tile[3]["screened"] == "1" and by_tile[3]["class"] == ""
    assert by_tile[9]["line"] == "64" and by_tile[9]["sample"] == "64"
    assert {row["class"] for row in rows} == {"", "other", "crater", "dark dune", "impact ejecta"}


def test_a_second_contact_adds_and_the_same_file_adds_nothing(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    flown.contact(tmp_path / "1.bin", 15_000)
    flown.contact(tmp_path / "2.bin", 15_000)
    receive([tmp_path / "1.bin"], tmp_path / "in")
    both = receive([tmp_path / "2.bin"], tmp_path / "in")
    assert [c["contact"] for c in both.contacts()] == [1, 2]
    assert both.link.missing == 0
    twice = receive([tmp_path / "1.bin"], tmp_path / "in")
    assert twice.products == both.products
    assert twice.receptions[-1].repeated == twice.receptions[-1].link.containers > 0
    assert twice.link.missing == 0
    at_once = receive([tmp_path / "1.bin", tmp_path / "2.bin"], tmp_path / "other")
    assert at_once.products == both.products


def test_a_damaged_packet_costs_its_container_alone(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    flown.contact(tmp_path / "pass.bin", 30_000)
    whole = receive([tmp_path / "pass.bin"], tmp_path / "whole")
    data = bytearray((tmp_path / "pass.bin").read_bytes())
    data[len(data) // 2] ^= 0x10
    (tmp_path / "hurt.bin").write_bytes(data)
    hurt = receive([tmp_path / "hurt.bin"], tmp_path / "hurt")
    assert hurt.link.crc_failures == 1
    lost = {c.id for c in whole.containers} - {c.id for c in hurt.containers}
    assert len(lost) == 1
    ids = [p.id for p in whole.products if p.container not in lost]
    assert [p.id for p in hurt.products] == ids
    ack = json.loads((tmp_path / "hurt" / "ack.json").read_text())
    assert ack["contacts"]["1"]["missing"] == sorted(lost)
    assert ack["contacts"]["1"]["received"] == [c.id for c in hurt.containers]


def test_a_lost_packet_is_a_gap_and_its_products_come_again(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    flown.contact(tmp_path / "1.bin", 30_000)
    packets = split((tmp_path / "1.bin").read_bytes())
    (tmp_path / "gap.bin").write_bytes(b"".join(packets[:12] + packets[14:]))
    first = receive([tmp_path / "gap.bin"], tmp_path / "in")
    assert (first.link.gaps, first.link.missing) == (1, 2)
    with Store.open(flown.folder, mission=flown.mission) as store:
        summary = acknowledge(store, load_ack(tmp_path / "in" / "ack.json"))
        assert summary.acknowledged == len(first.products)
        assert summary.returned > 0
    flown.contact(tmp_path / "2.bin", 10**7)
    done = receive([tmp_path / "2.bin"], tmp_path / "in")
    with Store.open(flown.folder, mission=None, read_only=True) as store:
        assert {p.id for p in done.products} == {row.id for row in store.products()}
    assert len({p.id for p in done.products}) == len(done.products)


def test_containers_lost_at_the_end_of_a_contact_are_known_after_the_next(
    fly: Fly, tmp_path: Path
) -> None:
    flown = fly()
    for number in (1, 2, 3):
        flown.contact(tmp_path / f"{number}.bin", 12_000)
    first = split((tmp_path / "1.bin").read_bytes())
    (tmp_path / "cut.bin").write_bytes(b"".join(first[:-1]))
    one = receive([tmp_path / "cut.bin"], tmp_path / "in")
    assert "missing" in json.loads((tmp_path / "in" / "ack.json").read_text())["contacts"]["1"]
    assert load_ack(tmp_path / "in" / "ack.json").contacts[1].missing == ()
    # contact 2 never arrives; contact 3 tells that containers of 1 and 2 are missing
    received = receive([tmp_path / "3.bin"], tmp_path / "in")
    assert received.link.missing > 1
    with Store.open(flown.folder, mission=flown.mission) as store:
        acknowledge(store, load_ack(tmp_path / "in" / "ack.json"))
        flight = {row.id for row in store.products(states=(ProductState.SENT,))}
        known = {row.id for row in store.products(states=(ProductState.ACKNOWLEDGED,))}
    assert not flight
    assert known == {p.id for p in received.products} and len(known) > len(one.products)


def test_a_product_sent_again_is_counted_once(fly: Fly, tmp_path: Path) -> None:
    flown = fly().with_link(ack_wait=0)
    flown.contact(tmp_path / "1.bin", 12_000)
    # nothing is acknowledged, so the second contact sends the same products in new containers
    flown.contact(tmp_path / "2.bin", 12_000)
    received = receive([tmp_path / "1.bin", tmp_path / "2.bin"], tmp_path / "in")
    assert len({p.id for p in received.products}) == len(received.products)
    assert sum(c["products"] for c in received.contacts()) > len(received.products)


def test_a_picture_whose_swath_is_unknown_is_kept(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    flown.contact(tmp_path / "1.bin", 40_000)
    packets = split((tmp_path / "1.bin").read_bytes())
    # the first container, which describes the swath, is lost
    (tmp_path / "2.bin").write_bytes(b"".join(packets[1:]))
    received = receive([tmp_path / "2.bin"], tmp_path / "in")
    assert not received.swaths and received.products
    product = next(p for p in received.products if p.class_index == 1)
    assert received.class_name(product) == "class 1"
    assert received.swath_name(product.store, product.swath) == "swath 1"
    # once the description is there, the names are
    received = receive([tmp_path / "1.bin"], tmp_path / "in")
    assert received.class_name(product) == "crater"
    assert "crater" in (tmp_path / "in" / "records.csv").read_text()


def test_packets_amid_garbage_are_found(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "1.bin")
    clean = receive([tmp_path / "1.bin"], tmp_path / "clean")
    data = (tmp_path / "1.bin").read_bytes()
    (tmp_path / "noise.bin").write_bytes(b"\x00" * 333 + data + b"\xff" * 100)
    noisy = receive([tmp_path / "noise.bin"], tmp_path / "noisy")
    assert [p.id for p in noisy.products] == [p.id for p in clean.products]
    assert noisy.link.skipped_bytes >= 333


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"", "is empty"), (b"\x89PNG garbage" * 500, "holds no packet")],
)
def test_a_file_without_packets_is_refused(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(PacketError, match=says) as caught:
        receive([tmp_path / "x.bin"], tmp_path / "in")
    assert "x.bin" in str(caught.value)
    assert not (tmp_path / "in" / "received.json").exists()


def test_a_bad_file_among_good_ones_loses_nothing(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "1.bin")
    (tmp_path / "bad.bin").write_bytes(b"?" * 4000)
    with pytest.raises(PacketError, match=r"bad\.bin: holds no packet"):
        receive([tmp_path / "bad.bin", tmp_path / "1.bin"], tmp_path / "in")
    assert load_received(tmp_path / "in").products


def test_a_file_cut_short_gives_what_was_whole(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "1.bin", 30_000)
    whole = receive([tmp_path / "1.bin"], tmp_path / "whole")
    data = (tmp_path / "1.bin").read_bytes()
    (tmp_path / "cut.bin").write_bytes(data[: len(data) * 2 // 3])
    cut = receive([tmp_path / "cut.bin"], tmp_path / "in")
    assert cut.link.broken + cut.link.skipped_bytes > 0
    assert cut.products == whole.products[: len(cut.products)]
    assert 0 < len(cut.products) < len(whole.products)


def test_receiving_loads_nothing_that_draws(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "pass.bin")
    code = (
        "import sys\nfrom winnow_cli.app import main\n"
        "sys.argv[:] = ['winnow', 'receive', 'pass.bin', '--out', 'in']\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("in: 1 swath, ")
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & {"matplotlib", "tensorflow", "keras", "sklearn", "jinja2"}


def test_packets_through_a_pipe_are_all_received(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "pass.bin", 10**6)
    from_file = receive([tmp_path / "pass.bin"], tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(
        ["sh", "-c", 'cat "$0" > "$1"', tmp_path / "pass.bin", tmp_path / "pipe"]
    ):
        from_pipe = receive([tmp_path / "pipe"], tmp_path / "in")
    assert from_pipe.products == from_file.products
    assert from_pipe.link == from_file.link
    assert from_pipe.receptions[0].bytes == (tmp_path / "pass.bin").stat().st_size


def test_receivers_into_one_folder_take_turns(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    for number in range(3):
        flown.contact(tmp_path / f"{number}.bin")
    code = "import sys; from winnow_ground.receive import receive; receive(sys.argv[1:2], 'in')"
    commands = [[sys.executable, "-c", code, f"{number}.bin"] for number in range(3)]
    running = [subprocess.Popen(command, cwd=tmp_path) for command in commands]
    assert [process.wait() for process in running] == [0, 0, 0]
    received = load_received(tmp_path / "in")
    assert {r.file for r in received.receptions} == {"0.bin", "1.bin", "2.bin"}
    assert [c["contact"] for c in received.contacts()] == [1, 2, 3]


def test_an_unwritable_folder_is_one_clear_line(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "1.bin")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        receive([tmp_path / "1.bin"], tmp_path / "file" / "in")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is damaged"),
        ("[]", "has format None"),
        ('{"format": 99}', "has format 99, this program knows 1"),
        ('{"format": 1}', "is damaged"),
        ('{"format": 1, "receptions": 5}', "is damaged"),
    ],
)
def test_a_damaged_received_json_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "received.json").write_text(text)
    with pytest.raises(PacketError, match=says):
        load_received(tmp_path)
    with pytest.raises(PacketError, match=r"holds no received\.json"):
        load_received(tmp_path / "elsewhere")


def test_a_damaged_packet_is_not_counted_as_missing_too(fly: Fly, tmp_path: Path) -> None:
    fly().contact(tmp_path / "1.bin", 30_000)
    packets = split((tmp_path / "1.bin").read_bytes())
    hurt = bytearray(packets[5])
    hurt[-1] ^= 1
    (tmp_path / "2.bin").write_bytes(b"".join([*packets[:5], hurt, *packets[6:20], *packets[22:]]))
    received = receive([tmp_path / "2.bin"], tmp_path / "in")
    assert (received.link.crc_failures, received.link.missing) == (1, 3)
    assert received.never_arrived == 2


def test_outlines_are_kept_with_what_was_received(tmp_path: Path) -> None:
    box, outline = Box(100, 64, 128, 128), Box(90, 70, 100, 200)
    numbers = {"order": 1, "store": 1, "contact": 1, "container": 1, "id": 1, "swath": 1}
    sizes = {"bytes": 900, "cumulative_bytes": 900}
    told = ReceivedProduct(**numbers, **sizes, kind="image", tile=3, box=box, outline=outline)
    alone = ReceivedProduct(**numbers, **sizes, kind="image", tile=4, box=box)
    Received(tmp_path, products=[told, alone]).save()
    assert load_received(tmp_path).products == [told, alone]
