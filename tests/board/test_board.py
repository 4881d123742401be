"""A whole board loses its power at random moments, and goes on by itself after each boot.

`make test-board` cuts the power of machines: WINNOW_CUTS so many times, WINNOW_ARCH of which
architecture, WINNOW_ACCEL with kvm, tcg or uml; SEED draws other moments. After WINNOW_MINUTES no
more cut is made: the board works off what is left.
"""

from __future__ import annotations

import math
import os
import platform
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.board import blocklog, usermode
from tests.board.fleet import Board
from tests.board.image import KINDS, Image, made
from tests.board.machine import Machine, no_kvm, starts_with_kvm

SEED = os.environ.get("SEED", "1")
CUTS = {"x86_64": 200, "aarch64": 20}
NAMES = {"x86-64": "x86_64", "arm64": "aarch64"}
TOOLS = (
    "mmdebstrap", "mke2fs", "e2fsck", "e2undo", "debugfs", "qemu-img", "ssh", "ssh-keygen", "tar",
)  # fmt: skip

Switched = Callable[[str, str | None], Board]


def _image(machine: str) -> Image:
    """The image of an architecture; skips where it cannot be made or run."""
    if platform.system() != "Linux" or machine not in KINDS or os.geteuid() != 0:
        pytest.skip("only root on Linux can make the machine's root file system")
    for tool in (KINDS[machine].emulator, *TOOLS):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}; `make test-board` says what to install")
    return made(machine)


def _user_mode(name: str, folder: Path) -> Machine:
    if name != "x86_64" or platform.machine() != name:
        pytest.skip("User-Mode Linux runs x86-64 on x86-64")
    for tool in usermode.TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}; on Debian: apt-get install user-mode-linux qemu-utils")
    return usermode.UserMode(_image(name), folder)


def _deployed(machine: Machine, folder: Path) -> Board:
    board = Board(machine, folder, SEED)
    board.deploy()
    return board


@pytest.fixture
def switched(tmp_path: Path) -> Iterator[Switched]:
    """Makes a board of an architecture, with the edge deployed on it."""
    machines: list[Machine] = []

    def switched(name: str, accelerator: str | None) -> Board:
        known = ("kvm", "tcg", "uml", None)
        assert accelerator in known, f"ACCEL={accelerator}: must be kvm, tcg or uml"
        if accelerator == "uml":
            machines.append(_user_mode(name, tmp_path))
            return _deployed(machines[-1], tmp_path)
        why = no_kvm(name) if accelerator != "tcg" else "tcg was asked for"
        if accelerator == "kvm" and why is not None:
            pytest.skip(why)
        image = _image(name)
        if why is None and not starts_with_kvm(image, tmp_path):
            why = "a kernel does not start under KVM here"
            if accelerator == "kvm":
                pytest.skip(why)
        machines.append(Machine(image, tmp_path, kvm=why is None))
        return _deployed(machines[-1], tmp_path)

    yield switched
    for machine in machines:
        machine.close()


def _cut(board: Board, cuts: int, minutes: float = math.inf) -> None:
    began = time.monotonic()
    for _ in range(cuts):
        if time.monotonic() - began > minutes * 60:
            break
        print(board.cut(), flush=True)
    of = ", ".join(f"{n} of a {phase}" for phase, n in board.cuts.items())
    print(f"{sum(board.cuts.values())} cuts, {of}; {board.partial} with requests lost", flush=True)
    board.finish()
    print("the board did the rest by itself, and a contact", flush=True)


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("accelerator", ["kvm", "uml"])
def test_three_cuts(switched: Switched, accelerator: str) -> None:
    try:
        board = switched(platform.machine(), accelerator)
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
    minutes = float(os.environ.get("WINNOW_MINUTES") or "inf")
    _cut(board, int(os.environ.get("WINNOW_CUTS") or CUTS[name]), minutes)


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
