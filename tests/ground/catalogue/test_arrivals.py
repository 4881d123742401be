"""A catalogue that is filled while packets come in, and what becomes of these when it cannot be."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.forked import run_text
from tests.running import winnow
from winnow_base.errors import CatalogueError
from winnow_ground.catalogue.add import add_reception
from winnow_ground.catalogue.arrivals import Arrivals
from winnow_ground.catalogue.schema import create, open_catalogue
from winnow_ground.receive import receive
from winnow_ground.received import load_received

Fly = Callable[..., Any]
WINNOW = str(Path(sys.executable).parent / "winnow")


@pytest.fixture
def packets(fly: Fly, tmp_path: Path) -> Path:
    """What a contact of 40 kB sent."""
    fly(name="ESP_1", instrument="camera").contact(tmp_path / "pass.bin", 40_000)
    return tmp_path / "pass.bin"


def count(catalogue: Path, table: str) -> int:
    db = open_catalogue(catalogue)
    (number,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    db.close()
    return int(number)


def tiles_in(catalogue: Path) -> int:
    """Tiles of a catalogue that may not be whole yet."""
    try:
        return count(catalogue, "tile")
    except (CatalogueError, sqlite3.Error):
        return 0


def command(packets: object, out: Path, catalogue: Path) -> list[str]:
    return [WINNOW, "receive", str(packets), "--out", str(out), "--catalogue", str(catalogue)]


def test_what_has_come_is_there_while_more_comes(packets: Path, tmp_path: Path) -> None:
    catalogue, sent = tmp_path / "mars.db", packets.read_bytes()
    with subprocess.Popen(
        command("/dev/stdin", tmp_path / "in", catalogue), stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        half = len(sent) // 2
        process.stdin.write(sent[:half])
        process.stdin.flush()
        while not (catalogue.is_file() and tiles_in(catalogue)):
            assert process.poll() is None
            time.sleep(0.05)
        # Whatever is named is on the disk already.
        first = load_received(tmp_path / "in")
        assert all((first.folder / p.file).is_file() for p in first.products if p.file)
        process.stdin.write(sent[half:])
        process.stdin.close()
        assert process.wait() == 0
    whole = receive([packets], tmp_path / "other")
    assert load_received(tmp_path / "in").products == whole.products
    assert count(catalogue, "product") == len(whole.products)
    assert (tmp_path / "in" / "ack.json").read_bytes() == (whole.folder / "ack.json").read_bytes()


def text(path: Path) -> None:
    path.write_text("the notes of somebody\n" * 99)


def newer(path: Path) -> None:
    create(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(("make", "words"), [(text, "is no catalogue"), (newer, "has schema 99")])
def test_a_catalogue_that_is_none_costs_nothing_that_came_down(
    make: Callable[[Path], None], words: str, packets: Path, tmp_path: Path
) -> None:
    make(tmp_path / "mars.db")
    before = (tmp_path / "mars.db").read_bytes()
    done = run_text("winnow", *command(packets, tmp_path / "in", tmp_path / "mars.db")[1:])
    assert done.returncode == 3
    (said,) = done.stderr.strip().splitlines()
    assert words in said and "all the same" in said
    assert load_received(tmp_path / "in").products == receive([packets], tmp_path / "b").products
    assert (tmp_path / "in" / "ack.json").is_file()
    assert (tmp_path / "mars.db").read_bytes() == before
    # What the line says to do does it.
    later = tmp_path / "later.db"
    assert winnow("catalogue", "add", tmp_path / "in", "--to", later).returncode == 0
    assert count(later, "tile") > 0


def test_a_file_without_packets_keeps_the_others_out_of_nothing(
    packets: Path, tmp_path: Path
) -> None:
    text(tmp_path / "notes.txt")
    files = (packets, tmp_path / "notes.txt")
    done = winnow("receive", *files, "--out", tmp_path / "in", "--catalogue", tmp_path / "mars.db")
    assert done.returncode == 3 and "no packet of ours" in done.stderr
    received = load_received(tmp_path / "in")
    assert count(tmp_path / "mars.db", "product") == len(received.products) > 0


def test_a_full_disk_costs_nothing_that_came_down(packets: Path, tmp_path: Path) -> None:
    whole = receive([packets], tmp_path / "b")
    most = max(path.stat().st_size for path in (tmp_path / "b").rglob("*") if path.is_file())
    add_reception(tmp_path / "b.db", whole)
    assert (tmp_path / "b.db").stat().st_size > most + 8192
    code = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most + 4096}, {most + 4096}))\n"
        "from winnow_cli.app import main\n"
        "main()"
    )
    arguments = command(packets, tmp_path / "in", tmp_path / "mars.db")[1:]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "all the same" in done.stderr and "Traceback" not in done.stderr
    assert load_received(tmp_path / "in").products == whole.products


def test_a_catalogue_in_use_is_filled_later(packets: Path, tmp_path: Path) -> None:
    catalogue, received = tmp_path / "mars.db", receive([packets], tmp_path / "in")
    create(catalogue).close()
    now = 0.0
    arrivals = Arrivals(catalogue, clock=lambda: now)
    other = sqlite3.connect(catalogue, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    arrivals(lambda: received)
    assert count(catalogue, "tile") == 0
    other.execute("ROLLBACK")
    other.close()
    arrivals(lambda: received)
    assert count(catalogue, "tile") == 0  # not yet
    now = 100.0
    arrivals(lambda: received)
    assert count(catalogue, "product") == len(received.products)
    arrivals.end(received)
    assert count(catalogue, "product") == len(received.products)


def test_a_detection_that_was_merged_is_none_whatever_its_audit_says(
    fly: Fly, tmp_path: Path
) -> None:
    received = receive([packets_of(fly, tmp_path)], tmp_path / "in")
    found = next(p for p in received.products if p.kind == "record" and not p.detection)
    add_reception(tmp_path / "mars.db", received)
    audit = dataclasses.replace(found, kind="audit", detection=True, id=10**6, file=None)
    received.products.insert(0, audit)
    for catalogue in (tmp_path / "mars.db", tmp_path / "new.db"):  # before it, and after
        add_reception(catalogue, received)
        db = open_catalogue(catalogue)
        sql = "SELECT detection, drawn, have FROM tile WHERE number = ?"
        assert db.execute(sql, (found.tile,)).fetchall() == [(0, 1, 1)]
        db.close()


def packets_of(fly: Fly, tmp_path: Path) -> Path:
    fly().contact(tmp_path / "all.bin", 10**6)
    return tmp_path / "all.bin"
