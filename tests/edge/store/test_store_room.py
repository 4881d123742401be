"""A full disk: nothing dies of it, and what is on board can still go down."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import run_text
from winnow_edge.downlink.acknowledgements import AckReport, ContactAck, acknowledge
from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.reader import LinkCounts, read_containers
from winnow_edge.errors import StoreError
from winnow_edge.products.kinds import Kind
from winnow_edge.store.events import counts, events
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store
from winnow_edge.testing import (
    begin,
    fill,
    finish,
    landmark_mission,
    product_of_size,
    products_of_tiles,
)

MISSION = landmark_mission()

FILLS = """
import sys
from winnow_edge.errors import StoreError
from winnow_edge.products.kinds import Kind
from winnow_edge.store.store import Store
from winnow_edge.testing import begin, landmark_mission, product_of_size
try:
    with Store.open(sys.argv[1], mission=landmark_mission()) as store:
        writer = begin(store, sys.argv[2])
        tile = writer.next_tile
        while True:
            image = product_of_size(Kind.IMAGE, tile, 8000, 0.9, swath=writer.swath_id)
            tile += 1
            writer.commit(products=[image], next_tile=tile, next_line=tile, pending=b"")
except StoreError as error:
    print(error)
    sys.exit(3)
"""


@pytest.fixture(params=["1024", "4096"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of 24 MB in memory, whose blocks have so many octets; needs the right to mount one."""
    make = shutil.which("mkfs.ext4") or "/sbin/mkfs.ext4"
    if os.geteuid() != 0 or not Path(make).exists():
        pytest.skip("needs root and mkfs.ext4")
    folder = tmp_path / "disk"
    folder.mkdir()
    memory = Path("/dev/shm")
    with tempfile.NamedTemporaryFile(dir=memory if memory.is_dir() else tmp_path) as image:
        image.truncate(24 << 20)
        made = [make, "-q", "-F", "-b", request.param, image.name]
        subprocess.run(made, check=True, capture_output=True)
        mount = ["mount", "-o", "loop", image.name, folder]
        done = subprocess.run(mount, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def filled(store: Path, swath: str) -> str:
    """Run until the disk is full; the message of the end."""
    done = subprocess.run(
        [sys.executable, "-c", FILLS, store, swath], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, (done.returncode, done.stderr)
    return done.stdout


def fill_up(folder: Path, leave: int) -> None:
    """Leave so many octets free on a disk."""
    with (folder / "ballast").open("ab", buffering=0) as ballast:
        with contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        os.fsync(ballast.fileno())
        ballast.truncate(max(ballast.tell() - leave, 0))


def contact(store: Path) -> tuple[dict[int, bytes], AckReport]:
    """A contact for everything, its output elsewhere: what came down, and the report of it."""
    out = io.BytesIO()
    with Store.open(store, mission=MISSION, create=False, grows=False) as opened:
        summary = downlink(opened, MISSION, budget_bytes=10**8, out=out)
        number = opened.store_id
    out.seek(0)
    containers = list(read_containers(out, LinkCounts()))
    heard = {summary.contact: ContactAck(tuple(c.id for c in containers))}
    return {i.id: i.data for c in containers for i in c.items}, AckReport(number, heard)


def test_what_is_on_a_full_disk_goes_down_and_makes_room_for_more(disk: Path) -> None:
    store = disk / "store"
    assert "full" in filled(store, "first")
    fill_up(disk, 8192)
    with Store.open(store, mission=None, read_only=True) as opened:
        there = {p.id for p in opened.products(states=(ProductState.STORED,))}
    sent, report = contact(store)
    assert set(sent) == there
    assert "full" in filled(store, "second")  # nothing was acknowledged yet
    with Store.open(store, mission=MISSION, create=False, grows=False) as opened:
        assert acknowledge(opened, report).acknowledged == len(there)
    assert "full" in filled(store, "second")
    sent, _ = contact(store)
    assert len(sent) > len(there) // 4
    assert not set(sent) & there


def test_a_full_disk_is_told_the_time(disk: Path) -> None:
    store = disk / "store"
    assert "full" in filled(store, "first")
    fill_up(disk, 8192)
    for time in ("2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"):
        done = run_text("winnow-edge", "time", "set", time, "--store", store)
        assert (done.returncode, time[:10] in done.stdout) == (0, True), done.stderr
    sent, _ = contact(store)
    assert sent


@pytest.mark.parametrize("free", [0, 8, 16, 24, 31, 100, 200])
def test_no_disk_is_full_enough_for_a_signal(disk: Path, free: int) -> None:
    """SQLite's shared memory has holes where blocks are smaller than its pages."""
    store = disk / "store"
    fill(store, MISSION, products_of_tiles(0, 400, MISSION))
    (store / "store.reserve").unlink(missing_ok=True)
    fill_up(disk, free * 1024)
    assert "full" in filled(store, "more")


def test_a_disk_that_is_full_with_no_reserve_is_one_line(disk: Path) -> None:
    fill(disk / "store", MISSION, products_of_tiles(0, 16, MISSION))
    (disk / "store" / "store.reserve").unlink(missing_ok=True)
    fill_up(disk, 0)
    with pytest.raises(StoreError, match="the disk is full; free some"):
        contact(disk / "store")


def test_a_disk_that_stays_full_gets_records_and_then_pictures_again(disk: Path) -> None:
    store, ballast = disk / "store", disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    assert "full" in filled(store, "first")
    with Store.open(store, mission=MISSION, light=True) as opened:
        before = counts(opened)["image"]["stored"]
        writer = begin(opened, "long")
        for tile in range(300):
            if tile == 200:
                assert events(opened)["left out"]["image"] == 200
                ballast.unlink()
            made = products_of_tiles(tile, 1, MISSION, found=1, swath=writer.swath_id)
            writer.commit(products=made, next_tile=tile + 1, next_line=tile, pending=b"")
            assert opened.disk.light == (tile < 200)
        there = counts(opened)
        assert there["record"]["stored"] == 300
        assert there["image"]["stored"] + there["image"]["evicted"] == before + 100
        assert events(opened)["left out"] == {"thumbnail": 200, "image": 200}
        finish(writer, {"tiles": 300})
    contact(store)


def test_the_reserve_shrinks_with_the_quota(tmp_path: Path) -> None:
    reserve = tmp_path / "store.reserve"
    for quota, share in ((64, 4_000_000), (16, 1_000_000), (5, 0)):
        mission = landmark_mission(f"[store]\nquota_mb = {quota}")
        Store.open(tmp_path, mission=mission).close()
        assert (reserve.stat().st_size if reserve.exists() else 0) == share


def test_the_reserve_is_held_while_there_is_room(tmp_path: Path) -> None:
    with Store.open(tmp_path, mission=MISSION) as store:
        begin(store).commit(
            products=[product_of_size(Kind.IMAGE, 0, 100, 0.9)],
            next_tile=1, next_line=1, pending=b"",
        )  # fmt: skip
        assert not store.disk.short
    size = (tmp_path / "store.reserve").stat().st_size
    status = os.statvfs(tmp_path)
    if status.f_bavail * status.f_frsize > 10**9:
        assert size == 8_000_000  # a thirty-second of the quota of 256 MB
