"""A whole board loses its power at random moments, and goes on by itself after each boot.

`make test-board` cuts the power of emulated machines: WINNOW_CUTS so many times, WINNOW_ARCH of
which architecture, WINNOW_ACCEL with kvm or tcg; SEED draws other moments.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.board import blocklog
from tests.board.fleet import Board
from tests.board.image import KINDS, Image, made
from tests.board.machine import Machine, no_kvm, starts_with_kvm

SEED = os.environ.get("SEED", "1")
CUTS = {"x86_64": 200, "aarch64": 20}
NAMES = {"x86-64": "x86_64", "arm64": "aarch64"}
TOOLS = ("mmdebstrap", "mke2fs", "e2fsck", "debugfs", "qemu-img", "ssh", "ssh-keygen", "tar")

Switched = Callable[[str, str | None], Board]


def _image(machine: str) -> Image:
    """The image of an architecture; skips where it cannot be made or run."""
    if platform.system() != "Linux" or machine not in KINDS or os.geteuid() != 0:
        pytest.skip("only root on Linux can make the machine's root file system")
    for tool in (KINDS[machine].emulator, *TOOLS):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}; `make test-board` says what to install")
    return made(machine)


@pytest.fixture
def switched(tmp_path: Path) -> Iterator[Switched]:
    """Makes a board of an architecture, with the edge deployed on it."""
    machines = []

    def switched(name: str, accelerator: str | None) -> Board:
        assert accelerator in ("kvm", "tcg", None), f"ACCEL={accelerator}: must be kvm or tcg"
        why = no_kvm(name) if accelerator != "tcg" else "tcg was asked for"
        if accelerator == "kvm" and why is not None:
            pytest.skip(why)
        image = _image(name)
        if why is None and not starts_with_kvm(image, tmp_path):
            why = "a kernel does not start under KVM here"
            if accelerator == "kvm":
                pytest.skip(why)
        machine = Machine(image, tmp_path, kvm=why is None)
        machines.append(machine)
        board = Board(machine, tmp_path, SEED)
        board.deploy()
        return board

    yield switched
    for machine in machines:
        machine.close()


def _cut(board: Board, cuts: int) -> None:
    for _ in range(cuts):
        print(board.cut(), flush=True)
    board.finish()
    print(f"{board.cuts} cuts, {board.working} of a run, {board.partial} with requests lost")


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_three_cuts_under_kvm(switched: Switched) -> None:
    try:
        board = switched(platform.machine(), "kvm")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the machine cannot be made: {error}")
    _cut(board, 3)


@pytest.mark.board
@pytest.mark.timeout(48 * 3600)
@pytest.mark.parametrize("name", list(CUTS))
def test_many_cuts(switched: Switched, name: str) -> None:
    asked = os.environ.get("WINNOW_ARCH") or name
    asked = NAMES.get(asked, asked)
    assert asked in CUTS, f"ARCH={asked}: must be x86-64 or aarch64"
    if asked != name:
        pytest.skip(f"another architecture was asked for: {asked}")
    board = switched(name, os.environ.get("WINNOW_ACCEL") or None)
    _cut(board, int(os.environ.get("WINNOW_CUTS") or CUTS[name]))


def _entry(sector: int, data: bytes, flags: int = 0) -> bytes:
    head = struct.pack("<4Q", sector, len(data) // 512, flags, 0)
    return head.ljust(512, b"\0") + data


def _logged(folder: Path, *entries: bytes) -> Path:
    log = folder / "log"
    log.write_bytes(bytes(512) + b"".join(entries))
    return log


def test_what_was_flushed_is_on_the_disk_after_any_cut(tmp_path: Path) -> None:
    first, second = b"a" * 1024, b"b" * 1024
    flush = _entry(0, b"", blocklog.FLUSH)
    log = _logged(tmp_path, _entry(0, first), flush, _entry(4, second), _entry(0, second))
    left = set()
    for seed in range(60):
        disk = tmp_path / "disk"
        disk.write_bytes(bytes(4096))
        blocklog.apply(log, disk, random.Random(seed))
        found = disk.read_bytes()
        assert set(found[:1024]) <= set(b"ab")
        left.add((found[:1024], found[2048:3072]))
    assert (first, bytes(1024)) in left
    assert (second, second) in left
    assert len(left) > 4


def test_a_request_under_way_leaves_a_hole_in_the_log(tmp_path: Path) -> None:
    data = b"a" * 512
    log = _logged(tmp_path, _entry(0, data), bytes(1024), _entry(3, data))
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    assert blocklog.apply(log, disk, None) == 0
    found = disk.read_bytes()
    assert [found[at] for at in range(0, 4096, 512)] == [97, 0, 0, 97, 0, 0, 0, 0]
