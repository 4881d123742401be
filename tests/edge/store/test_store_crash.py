"""The store under kill -9, torn logs, full disks and read-only folders, in real processes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.forked import run_text
from winnow_edge.errors import StoreError
from winnow_edge.products.encode import decode_head
from winnow_edge.products.kinds import Kind
from winnow_edge.store.events import counts
from winnow_edge.store.store import Store
from winnow_edge.testing import (
    LANDMARK_MISSION,
    begin,
    fill,
    landmark_mission,
    product_of_size,
    products_of_tiles,
)

BANDS, TILES = 80, 24

# A flight loop without its front half: the same bands on every run, resumed where the store says.
# It takes a line of standard input for a band, while there are more to come.
FLIGHT = f"""
import sys
from pathlib import Path
import numpy as np
from winnow_edge.mission import load_mission
from winnow_edge.products.encode import detection_products
from winnow_edge.products.kinds import Box, Detection, Flag, TileRecord
from winnow_edge.store.store import Store
from winnow_edge.store.writer import begin_swath
from winnow_edge.testing import finish, record_product

mission = load_mission(sys.argv[2])
with Store.open(sys.argv[1], mission=mission) as store:
    writer = begin_swath(store, "s", samples=512, classes=("other", "crater"), bundle="x",
                               digest="d", fingerprint="f", info={{}})
    print("open", flush=True)
    for band in range({BANDS}):
        first = band * {TILES}
        if first < writer.next_tile:
            continue
        sys.stdin.readline()
        assert (writer.pending or b"0") == str(first).encode(), (writer.pending, first)
        products = []
        for index in range(first, first + {TILES}):
            box = Box(index, 0, 64, 64)
            flags = Flag.DETECTION if index % 3 == 0 else Flag.NONE
            products.append(record_product(TileRecord(index, box, 1, 1, 0.75, flags), 1))
            if flags:
                pixels = np.random.default_rng(index).integers(0, 255, (64, 64), np.uint8)
                found = Detection(index, box, 1, 1, 0.75, pixels)
                products += detection_products(found, mission.products, 1)
        following = first + {TILES}
        writer.commit(products=products, next_tile=following, next_line=following,
                      pending=str(following).encode())
        print(following, flush=True)
    if not writer.complete:
        finish(writer, {{"tiles": writer.next_tile}})
    print("done", flush=True)
"""


@pytest.fixture
def flight(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the flight loop on a store; keywords go to Popen."""
    script, mission = tmp_path / "flight.py", tmp_path / "mission.toml"
    script.write_text(FLIGHT)
    mission.write_text(LANDMARK_MISSION)

    def start(store: Path, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(store), str(mission)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, **{**pipes, **options})

    return start


def contents(folder: Path) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Every row of a store but its random number."""
    with Store.open(folder, mission=None, read_only=True) as store:
        assert store.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        products = store.db.execute("SELECT * FROM product ORDER BY id").fetchall()
        swaths = store.db.execute("SELECT * FROM swath").fetchall()
    return products, swaths


def check_whole_bands(folder: Path, at_least: int) -> None:
    """What is there is whole bands, each product once and readable."""
    with Store.open(folder, mission=None) as store:
        assert store.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        swaths = store.swaths()
        if not swaths:
            assert at_least == 0
            return
        (row,) = swaths
        assert row.next_tile >= at_least
        assert row.next_tile % TILES == 0
        kinds = (Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE)
        products = list(store.products(kinds=kinds))
        assert [p.tile_index for p in products if p.kind is Kind.RECORD] == list(
            range(row.next_tile)
        )
        expected = list(range(0, row.next_tile, 3))
        for kind in (Kind.THUMBNAIL, Kind.IMAGE):
            assert [p.tile_index for p in products if p.kind is kind] == expected
        for product in products:
            head = decode_head(store.data(product.id))
            assert head.record.index == product.tile_index


def test_killed_at_random_moments(
    tmp_path: Path, flight: Callable[..., subprocess.Popen[str]]
) -> None:
    whole = tmp_path / "whole"
    out, error = flight(whole).communicate()
    assert out.endswith("done\n"), error

    rng = random.Random(4)
    killed = tmp_path / "killed"
    committed = 0
    for attempt in range(7):
        process = flight(killed, stdin=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        # The kill falls while the store is being opened, or within some band's commit; however late
        # it comes, not all bands are there.
        count = rng.randrange(9) if attempt else 0
        process.stdin.write("\n" * (count + 7))
        process.stdin.flush()
        lines = [process.stdout.readline() for _ in range(count)]
        time.sleep(rng.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        out, error = process.communicate()
        assert "Error" not in error
        printed = [int(line) for line in [*lines, *out.split()] if line.strip().isdigit()]
        committed = max([committed, *printed])
        if (killed / "store.db").exists():
            check_whole_bands(killed, committed)
    assert 0 < committed < BANDS * TILES
    out, error = flight(killed).communicate()
    assert out.endswith("done\n"), error
    assert contents(killed) == contents(whole)


def test_a_log_torn_by_a_power_cut(tmp_path: Path) -> None:
    """Whatever part of the log reached the disk, the store opens at the end of a band."""
    mission = landmark_mission()
    live = tmp_path / "live"
    rng = random.Random(2)
    seen = set()
    with Store.open(live, mission=mission) as store:
        writer = begin(store)
        for first in range(0, 12 * TILES, TILES):
            following = first + TILES
            writer.commit(
                products=products_of_tiles(first, TILES, mission, found=3),
                next_tile=following,
                next_line=following,
                pending=b"",
            )
        log = (live / "store.db-wal").read_bytes()
        for attempt in range(40):
            torn = tmp_path / f"torn{attempt}"
            torn.mkdir()
            shutil.copy(live / "store.db", torn / "store.db")
            at = rng.randrange(len(log))
            if attempt % 2:
                part = log[:at]
            else:  # a sector of nonsense where a write was under way
                part = log[:at] + rng.randbytes(min(512, len(log) - at)) + log[at + 512 :]
            (torn / "store.db-wal").write_bytes(part)
            try:
                check_whole_bands(torn, 0)
            except StoreError as error:
                # Not even the tables had reached the disk.
                assert "not" in str(error), error
                continue
            with Store.open(torn, mission=mission) as again:
                resumed = begin(again)
                seen.add(resumed.next_tile)
                resumed.commit(
                    products=products_of_tiles(resumed.next_tile, TILES, mission, found=3),
                    next_tile=resumed.next_tile + TILES,
                    next_line=resumed.next_tile + TILES,
                    pending=b"",
                )
            check_whole_bands(torn, resumed.next_tile)
    assert len(seen) > 3


def test_a_disk_that_is_full(tmp_path: Path, flight: Callable[..., subprocess.Popen[str]]) -> None:
    """No file of the child may grow beyond a limit, as on a disk without space."""
    import resource

    store = tmp_path / "store"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    out, error = flight(store, preexec_fn=limited).communicate()
    assert "done" not in out
    assert "StoreTroubleError" in error
    assert "committed products are safe" in error
    committed = max(int(line) for line in out.split() if line.isdigit())
    assert committed > 0
    check_whole_bands(store, committed)
    out, error = flight(store).communicate()
    assert out.endswith("done\n"), error
    check_whole_bands(store, BANDS * TILES)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB; needs the right to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_small_disk_fills_up(small_disk: Path) -> None:
    mission = landmark_mission()
    with Store.open(small_disk / "store", mission=mission) as store:
        writer = begin(store)
        with pytest.raises(StoreError, match="committed products are safe"):
            for tile in range(1000):
                writer.commit(
                    products=[product_of_size(Kind.IMAGE, tile, 20_000, 0.9)],
                    next_tile=tile + 1,
                    next_line=tile + 1,
                    pending=b"",
                )
        done = writer.next_tile
        assert done > 3
        # Still of use: what is there can be read, and the failed band left no trace.
        assert [p.tile_index for p in store.products(kinds=(Kind.IMAGE,))] == list(range(done))
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    with Store.open(small_disk / "store", mission=mission) as store:
        assert begin(store).next_tile == done
        assert store.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk_from_the_start(small_disk: Path) -> None:
    ballast = os.open(small_disk / "ballast", os.O_CREAT | os.O_WRONLY)
    with pytest.raises(OSError, match="space"):
        while True:
            os.write(ballast, bytes(4096))
    os.close(ballast)
    with pytest.raises(StoreError) as raised:
        Store.open(small_disk / "store", mission=landmark_mission())
    assert "\n" not in str(raised.value)


def test_a_read_only_disk(small_disk: Path) -> None:
    mission = landmark_mission()
    fill(small_disk / "store", mission, products_of_tiles(0, 16, mission))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="read-only"):
        Store.open(small_disk / "store", mission=mission)
    done = run_text("winnow-edge", "time", "set", "2030-01-01", "--store", small_disk / "store")
    assert (done.returncode, len(done.stderr.splitlines())) == (6, 1)
    assert "the disk is mounted read-only: mount -o remount,rw" in done.stderr
    with pytest.raises(StoreError, match=r"[Rr]ead-only"):
        Store.open(small_disk / "new", mission=mission)
    # Reading goes on working.
    with Store.open(small_disk / "store", mission=mission, read_only=True) as store:
        assert counts(store)["record"]["stored"] == 16
        assert len(store.data(2)) > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    with pytest.raises(StoreError):
        Store.open(folder, mission=landmark_mission())
    with pytest.raises(StoreError):
        Store.open(folder / "store", mission=landmark_mission())
