"""`winnow-edge run --start --place --geometry`: what a person sees."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.forked import run_text
from winnow_edge.store.store import Store
from winnow_edge.testing import painted_swath, write_probe


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    write_probe(tmp_path, camera="line_time_us = 870")
    Image.fromarray(painted_swath(60, 80)).save(tmp_path / "a.png")
    return tmp_path


def run(flight: Path, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = ["run", "mission.toml", "a.png", "--store", "store", *more]
    return run_text("winnow-edge", *arguments, cwd=flight)


def test_start_and_place_are_told(flight: Path) -> None:
    done = run(flight, "--start", "2022-01-30T14:43:59.182Z", "--place=-71.5,200.1", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["complete"]
    with Store.open(flight / "store", mission=None, read_only=True) as store:
        info = store.swaths()[0].info
    assert info["start"]["utc"] == "2022-01-30T14:43:59.182Z"
    assert info["geometry"]["source"] == "told"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--start", "tomorrow"], "'tomorrow' is no UTC such as"),
        (["--start", "1957-10-04"], "a time out of 1957-12-31"),
        (["--start", "2106-02-07"], "a time out of 1957-12-31"),
        (["--place=95"], "95 is not -90 to 90"),
        (["--place=5,999"], "5,999 is not -90 to 90, and -180 to 360"),
        (["--place=nan,nan"], "is not -90 to 90"),
        (["--place=here"], "invalid"),
        (["--passes", "2", "--place=5"], "--start, --place and --geometry are for a single swath"),
        (["--incoming", "--place=5"], "--start, --place and --geometry are for a single swath"),
    ],
)
def test_what_makes_no_sense_is_refused(flight: Path, arguments: list[str], says: str) -> None:
    done = run(flight, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_swath_is_never_lost_for_bad_geometry(flight: Path) -> None:
    (flight / "a.geometry.jsonl").write_bytes(b"\xff\n" * 100)
    done = run(flight, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["tiles"] > 0
    (line,) = done.stderr.splitlines()
    assert line == (
        "winnow-edge: a.png: a.geometry.jsonl: 100 of 100 entries make no sense "
        "(entry 1: is not UTF-8)"
    )
    with Store.open(flight / "store", mission=None, read_only=True) as store:
        assert store.swaths()[0].info["geometry"]["faults"] == [line.split(": ", 2)[2]]


def test_a_file_that_is_no_geometry_is_refused(flight: Path) -> None:
    done = run(flight, "--geometry", "mission.toml")
    assert done.returncode == 3
    assert done.stderr.startswith("winnow-edge: mission.toml: is no geometry; its name ends with")
