"""Every door against damaged input: a typed value or an error of ours, nothing else.

`make test` tries some thousand cases, `make test-slow` an hour's worth; `python -m tests.fuzz` runs
others, or one again.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.doors import DOORS, GROUPS

ROOT = Path(__file__).resolve().parents[2]


def fuzzed(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("group", [name for name in GROUPS if name != "all"])
def test_damaged_input_is_an_error_of_ours(group: str) -> None:
    done = fuzzed(group)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("door", DOORS)
def test_a_great_many_damaged_inputs(door: str) -> None:
    done = fuzzed(door, "--slow", "--seed", 2)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("door", "says"),
    [
        ("raises", "KeyError faulty.py"),
        ("grows", "GrowthError"),
        ("dies", "the process was ended by SIGKILL"),
        ("says_nothing", "AssertionError"),
        ("hangs", "HangError faulty.py"),
    ],
)
def test_a_case_that_fails_is_told_with_its_number(door: str, says: str) -> None:
    done = fuzzed(door, "--seed", 7, "--cases", 1 if door == "hangs" else 30)
    assert done.returncode == 1
    told = re.search(rf"^{door}, seed 7, case (\d+): {says}", done.stdout, re.MULTILINE)
    assert told, done.stdout
    case = int(told[1])
    assert f"python -m tests.fuzz {door} --seed 7 --case {case}" in done.stdout
    if door == "raises":
        assert fuzzed(door, "--seed", 7, "--case", case).returncode == 1
        assert fuzzed(door, "--seed", 7, "--cases", case).returncode == (0 if case else 1)


def test_a_case_is_the_same_alone() -> None:
    shown = [fuzzed("truth", "--case", 41, "--seed", seed, "--show").stdout for seed in (1, 1, 2)]
    assert shown[0] == shown[1] != shown[2]
