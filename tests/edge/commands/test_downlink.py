"""`winnow-edge downlink` as a real command: output, refusals, and kill -9 half-way."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from winnow_edge.cli import main
from winnow_edge.downlink.acknowledgements import AckReport, ContactAck, acknowledge
from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.container import Container
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import Order, rank
from winnow_edge.products.table import ProductTable
from winnow_edge.store.events import counts
from winnow_edge.store.schema import Meta, ProductState
from winnow_edge.store.store import Store
from winnow_edge.testing import (
    LANDMARK_MISSION,
    fill,
    landmark_mission,
    product_of_size,
    products_of_tiles,
)


@pytest.fixture
def mission_file(tmp_path: Path) -> Path:
    path = tmp_path / "mission.toml"
    path.write_text(LANDMARK_MISSION + "[link]\nrate_bps = 8000\ncontainer_bytes = 4096\n")
    return path


@pytest.fixture
def stocked(tmp_path: Path) -> Path:
    mission = landmark_mission()
    fill(tmp_path / "store", mission, products_of_tiles(0, 120, mission))
    return tmp_path / "store"


def containers(*paths: Path) -> list[Container]:
    stream = b"".join(path.read_bytes() for path in paths)
    return list(read_containers(io.BytesIO(stream), LinkCounts()))


def test_a_report_about_a_store_that_is_no_more_does_not_keep_a_contact_from_being_held(
    mission_file: Path,
    stocked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Store.open(stocked, mission=None, read_only=True) as store:
        mission, gone = store.meta(Meta.MISSION), store.store_id ^ 1
    command = ["downlink", str(mission_file), "--store", str(stocked), "--bytes", "9000"]
    ack = tmp_path / "ack.json"
    for name, code in ((mission, 0), (None, 0), ("another", 3)):
        ack.write_text(AckReport(gone, {1: ContactAck((1,))}, name).to_json())
        out = tmp_path / f"{name}.bin"
        assert main([*command, "--out", str(out), "--ack", str(ack)]) == code
        assert out.exists() == (code == 0)
        assert f"about store {gone:08x}" in caplog.text + capsys.readouterr().err
        caplog.clear()


def test_contacts_with_acknowledgement(
    mission_file: Path, stocked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["downlink", str(mission_file), "--store", str(stocked), "--json"]
    one, two = tmp_path / "1.bin", tmp_path / "2.bin"
    assert main([*common, "--contact", "8.5", "--out", str(one)]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["budget_bytes"] == 8500  # seconds x bits per second / 8
    assert first["bytes"] == one.stat().st_size <= 8500
    assert (first["contact"], first["policy"]) == (1, "utility-per-byte")
    assert (first["acknowledged"], first["out"]) == (0, str(one))

    arrived = containers(one)
    assert sum(first["products"].values()) == sum(len(c.items) for c in arrived)
    ack = AckReport(arrived[0].store_id, {1: ContactAck(tuple(c.id for c in arrived))})
    (tmp_path / "ack.json").write_text(ack.to_json())
    command = [*common, "--bytes", "9000", "--out", str(two), "--policy", "fifo"]
    assert main([*command, "--ack", str(tmp_path / "ack.json")]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["acknowledged"] == sum(len(c.items) for c in arrived)
    assert (second["contact"], second["policy"]) == (2, "fifo")
    sent = [{i.id for c in containers(path) for i in c.items} for path in (one, two)]
    assert not sent[0] & sent[1]


def test_a_person_reads_a_few_lines(
    mission_file: Path, stocked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "1.bin"
    command = ["downlink", str(mission_file), "--store", str(stocked), "--bytes", "5000"]
    assert main([*command, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"of 5,000 bytes, 2 containers, 5 packets -> {out}" in text
    assert 4 <= len(text.splitlines()) <= 6


def test_detections_are_counted_apart_from_their_products(
    mission_file: Path, stocked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of the 30 detections go down, each as a record, a thumbnail and an image."""
    command = ["downlink", str(mission_file), "--bytes", "10000000"]
    shutil.copytree(stocked, tmp_path / "again")
    assert main([*command, "--store", str(stocked), "--out", str(tmp_path / "1.bin")]) == 0
    text = capsys.readouterr().out
    assert "products    1 swath, 120 records, 30 thumbnails, 30 images\n" in text
    assert "detections  30, 90 products: crater 30\n" in text
    again = [*command, "--store", str(tmp_path / "again"), "--out", str(tmp_path / "2.bin")]
    assert main([*again, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["classes"], said["detections"]) == ({"crater": 90}, {"crater": 30})


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--bytes", "5000", "--store", "nowhere"], 3, "no store here"),
        (["--bytes", "5000", "--ack", "absent.json"], 3, "absent.json: No such file"),
        (["--bytes", "5000", "--ack", "mission.toml"], 3, "is not JSON that can be read"),
        (["--bytes", "-1"], 2, "must be 0 or more"),
        (["--bytes", "many"], 2, "invalid"),
        (["--contact", "nan"], 2, "must be 0 to 1e+09 seconds"),
        (["--contact", "1e308"], 2, "must be 0 to 1e+09 seconds"),
        (["--bytes", "1", "--contact", "1"], 2, "not allowed with"),
        ([], 2, "one of the arguments"),
        (["--bytes", "5000", "--policy", "lucky"], 2, "invalid choice: 'lucky'"),
        (["--bytes", "5000", "--out", "mission.toml"], 3, "is there already"),
        (["--bytes", "5000", "--out", "no/such/folder"], 3, "No such file"),
    ],
)
def test_refusals_are_one_line(
    mission_file: Path,
    stocked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        got = main(["downlink", "mission.toml", "--store", "store", "--out", "p.bin", *arguments])
    except SystemExit as usage:
        assert isinstance(usage.code, int)
        got = usage.code
    printed = capsys.readouterr()
    assert got == code, printed.err
    assert message in printed.err
    assert printed.out == ""
    assert code == 2 or len(printed.err.splitlines()) == 1
    assert not (tmp_path / "p.bin").exists()
    with Store.open(stocked, mission=None, read_only=True) as store:
        assert store.contacts() == 0
        assert counts(store)["record"]["stored"] == 120


def test_the_longest_contact_at_the_highest_rate_is_a_number_of_bytes(
    mission_file: Path, stocked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mission_file.write_text(mission_file.read_text().replace("rate_bps = 8000", "rate_bps = 1e12"))
    command = ["downlink", str(mission_file), "--store", str(stocked), "--json"]
    assert main([*command, "--contact", "1e9", "--out", str(tmp_path / "1.bin")]) == 0
    assert json.loads(capsys.readouterr().out)["left"] == {"products": 0, "bytes": 0}


def test_two_contacts_into_one_file_do_not_mix(
    mission_file: Path,
    stocked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second is refused before it takes a contact's number; the first is whole."""
    other, out = tmp_path / "other", tmp_path / "1.bin"
    shutil.copytree(stocked, other)
    command = ["downlink", str(mission_file), "--store", str(other), "--bytes", "90000"]

    def meanwhile(table: ProductTable) -> Order:
        assert main([*command, "--out", str(out)]) == 3
        return rank(table, "fifo", landmark_mission())

    with Store.open(stocked, mission=landmark_mission()) as store:
        first = downlink(store, landmark_mission(), budget_bytes=5000, out=out, policy=meanwhile)
    assert "1.bin.part: another process writes it; name a new file" in capsys.readouterr().err
    assert out.stat().st_size == first.bytes
    assert len(containers(out)) == first.containers
    with Store.open(other, mission=None, read_only=True) as store:
        assert store.contacts() == 0


def test_another_mission_and_unknown_classes(
    mission_file: Path,
    stocked: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = mission_file.read_text()
    mission_file.write_text(text.replace('"probe"', '"rover"'))
    command = ["downlink", str(mission_file), "--store", str(stocked), "--bytes", "2000"]
    assert main([*command, "--out", str(tmp_path / "1.bin")]) == 3
    assert "belongs to mission 'probe'" in capsys.readouterr().err
    # A class that no swath knows is worth a word; it may be another instrument's.
    mission_file.write_text(text + '[class."lava tube"]\nutility = 100\n')
    assert main([*command, "--out", str(tmp_path / "1.bin")]) == 0
    assert "no swath in the store knows class 'lava tube'" in caplog.text


def test_nothing_to_send(mission_file: Path, tmp_path: Path) -> None:
    Store.open(tmp_path / "empty", mission=landmark_mission()).close()
    command = ["downlink", str(mission_file), "--store", str(tmp_path / "empty")]
    assert main([*command, "--bytes", "2000", "--out", str(tmp_path / "1.bin")]) == 0
    assert (tmp_path / "1.bin").read_bytes() == b""


def test_killed_while_sending_loses_nothing(tmp_path: Path, mission_file: Path) -> None:
    """What got away before the kill can be acknowledged; what did not is sent later."""
    mission = landmark_mission()
    made = [product_of_size(Kind.IMAGE, t, 20_000, 0.9) for t in range(60)]
    fill(tmp_path / "store", mission, made)
    rng = random.Random(1)
    command = [sys.executable, "-m", "winnow_edge.cli", "downlink", str(mission_file)]
    command += ["--store", str(tmp_path / "store"), "--bytes"]
    ground = b""
    for attempt in range(3):  # straight into a radio, here a named pipe
        pipe = tmp_path / f"radio{attempt}"
        os.mkfifo(pipe)
        process = subprocess.Popen([*command, "300000", "--out", str(pipe)])
        with pipe.open("rb") as radio:
            ground += radio.read(rng.randrange(150_000))
            process.kill()
            process.wait()
            ground += radio.read()
    for attempt in range(1):  # into a file that is not complete yet
        out = tmp_path / f"{attempt}.bin"
        process = subprocess.Popen([*command, "300000", "--out", str(out)])
        while not out.with_name(f"{out.name}.part").exists() and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.wait()
        ground += out.read_bytes() if out.exists() else b""

    arrived = list(read_containers(io.BytesIO(ground), LinkCounts()))
    assert arrived
    contacts: dict[int, ContactAck] = {}
    for c in arrived:
        known = contacts.get(c.contact, ContactAck())
        contacts[c.contact] = ContactAck((*known.received, c.id))
    with Store.open(tmp_path / "store", mission=mission) as store:
        assert store.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        everything = {row.id: store.data(row.id) for row in store.products()}
        acknowledge(store, AckReport(store.store_id, contacts))
        got = {i.id for c in arrived for i in c.items}
        acknowledged = {row.id for row in store.products(states=(ProductState.ACKNOWLEDGED,))}
        assert acknowledged == got
        for last in range(3):
            downlink(store, mission, budget_bytes=2_000_000, out=tmp_path / f"last{last}.bin")
            ground += (tmp_path / f"last{last}.bin").read_bytes()
    union: dict[int, bytes] = {}
    for container in read_containers(io.BytesIO(ground), LinkCounts()):
        for item in container.items:
            assert union.setdefault(item.id, item.data) == item.data
    assert union == everything
