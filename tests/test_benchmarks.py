"""The harness of the benchmarks, and that every benchmark still finds the code that it measures."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").glob("*/*.py")
)


@pytest.mark.parametrize("name", MODULES)
def test_every_benchmark_finds_its_code(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert callable(getattr(module, "main", None) or module.pretrain)


def test_ways_take_turns_and_the_first_round_does_not_count() -> None:
    called: list[str] = []
    now = iter(range(1000))
    ways = {name: lambda name=name: called.append(name) for name in ("a", "b")}
    spent = harness.turns(ways, 2, calls=3, clock=lambda: next(now))
    assert called == ["a", "a", "a", "b", "b", "b"] * 3
    assert spent == {"a": [1 / 3, 1 / 3], "b": [1 / 3, 1 / 3]}


def test_medians_and_ratios_are_of_rounds() -> None:
    spent = {"a": [1.0, 2.0, 4.0], "b": [2.0, 2.0, 2.0]}
    assert harness.medians(spent) == {"a": 2.0, "b": 2.0}
    assert harness.ratios(spent) == {"a": 1.0, "b": 1.0}


def test_a_report_is_a_table_with_notes_and_the_machine_or_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"way": "a", "us": 1234.5, "n": 12345}, {"way": "b", "us": 0.12345, "n": 2}]
    harness.report(argparse.Namespace(json=False), rows, ["two ways"])
    table, notes = capsys.readouterr().out.split("\n\n")
    assert table.splitlines()[0] == "| way | us | n |"
    assert table.splitlines()[2:] == ["| a | 1,234 | 12,345 |", "| b | 0.123 | 2 |"]
    assert notes.startswith("two ways\n")
    assert "cores, load" in notes
    harness.report(argparse.Namespace(json=True), rows)
    assert json.loads(capsys.readouterr().out)["rows"] == rows


def test_a_benchmark_without_its_data_is_skipped_with_a_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.finding.proposals", "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == harness.SKIPPED
    assert f"skipped: no folder ctx-craters in {tmp_path}" in done.stderr


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [("speed.nets", 0, "| hirise-landmarks | "), ("speed.none", 2, "there are")],
)
def test_benchmarks_are_run_by_name_in_their_short_forms(name: str, code: int, says: str) -> None:
    command = [sys.executable, "-m", "benchmarks", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert says in done.stdout + done.stderr
