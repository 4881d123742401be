"""What a spacecraft says of a whole swath is shown by `winnow receive` and the report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.forked import run_text
from winnow_ground.receive import receive
from winnow_ground.received import load_received
from winnow_ground.report import write_report

WINNOW = str(Path(sys.executable).parent / "winnow")
VERDICT = {"verdict": "hard to identify", "class": "ice", "mean": 0.07, "tiles": 20, "showing": 2}
WORDS = "hard to identify for ice: mean posterior 0.070, 2 of 20 tiles show it"


def test_receive_and_report_say_the_verdict(fly: Callable[..., Any], tmp_path: Path) -> None:
    flown = fly()
    flown.add_swath("polar", seed=3, rows=2, verdict=VERDICT)
    flown.contact(tmp_path / "pass.bin", 10**7)
    done = run_text("winnow", "receive", tmp_path / "pass.bin", "--out", tmp_path / "in")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("verdict on") == 1
    assert f"verdict on polar: {WORDS}" in done.stdout
    told = [info.get("verdict") for info in load_received(tmp_path / "in").swaths.values()]
    assert VERDICT in told
    page = write_report(tmp_path / "in", out=tmp_path / "page").page.read_text()
    assert page.count(WORDS) == 1


@pytest.mark.parametrize("odd", ["good", {"verdict": "good"}, {**VERDICT, "mean": "<b>"}, 3])
def test_a_verdict_that_is_none_is_passed_over(
    odd: object, fly: Callable[..., Any], tmp_path: Path
) -> None:
    flown = fly()
    flown.add_swath("polar", seed=3, rows=1, verdict=odd)
    flown.contact(tmp_path / "pass.bin", 10**7)
    receive([tmp_path / "pass.bin"], tmp_path / "in")
    page = write_report(tmp_path / "in").page.read_text()
    assert "Verdict of the spacecraft" not in page
