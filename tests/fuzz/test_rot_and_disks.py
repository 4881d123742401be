"""Octets of a store that change, and disks that fill: a few of the cases of `tests.fuzz.rot` and
`tests.fuzz.disks`, which run thousands."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import rot, stores

ROOT = Path(__file__).resolve().parents[2]


def rotten(folder: Path, changes: int) -> Counter[str]:
    held = stores.sample(folder)
    known = rot.whole(held.file, stores.MISSION, folder)
    return rot.changes(known, stores.MISSION, folder, changes, 1, print)


def judge(kinds: Counter[str]) -> None:
    assert not kinds["WRONG: wrong data"], kinds
    assert sum(n for kind, n in kinds.items() if kind.startswith(("opened", "salvaged"))) > 30


def test_no_octet_that_changes_sends_wrong_data(tmp_path: Path) -> None:
    judge(rotten(tmp_path, 60))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_octets_that_change_send_no_wrong_data(tmp_path: Path) -> None:
    judge(rotten(tmp_path, 10_000))


def filled(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.disks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_run_whose_disk_fills_ends_in_a_line_and_goes_on_as_if_undisturbed() -> None:
    done = filled("--runs", 2)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_five_hundred_disks_that_fill() -> None:
    done = filled("--runs", 500, "--seed", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " full" in done.stdout and " done" in done.stdout
