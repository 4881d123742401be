"""`winnow-edge time`: real processes, real clocks."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.forked import run_text
from winnow_edge.clock.host import Moment
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import load_mission
from winnow_edge.store.clock import peek, tick
from winnow_edge.store.store import Store
from winnow_edge.testing import painted_swath, write_probe


def time(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_text("winnow-edge", "time", *arguments)


def shown(store: Path) -> dict[str, Any]:
    done = time("show", "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_time_that_was_set_goes_on(tmp_path: Path) -> None:
    done = time("set", "2030-01-01T00:00:00Z", "--source", "gnss", "--store", tmp_path, "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told["boot"], told["source"], told["synchronised"]) == (1, "gnss", True)
    if told["wall_kept"]:
        pytest.skip("a time service keeps this machine's clock: it is followed at once")
    one, other = shown(tmp_path), shown(tmp_path)
    assert "2030-01-01T00:" < one["utc"] <= other["utc"]
    assert 0 < one["mission_s"] < other["mission_s"]
    text = time("show", "--store", tmp_path).stdout
    assert "by gnss, synchronised" in text
    assert "time known, source gnss" in text


@pytest.mark.parametrize(
    ("utc", "says"),
    [
        ("2106-01-01", "out of 1957-12-31T23:59:50Z to 2094-02-06T06:27:38Z"),
        ("1957-01-01", "out of 1957-12-31T23:59:50Z"),
        ("2006-11-22T00:00:00Z", "is not 2020-01-01 to 2090-01-01"),
        ("yesterday", "is no UTC such as"),
        ("2026-02-30", "is no day and time of the calendar"),
    ],
)
def test_what_no_mission_flies_at_is_refused(tmp_path: Path, utc: str, says: str) -> None:
    done = time("set", utc, "--store", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_store_there_is_nothing_to_show(tmp_path: Path) -> None:
    done = time("show", "--store", tmp_path / "none")
    assert done.returncode == 3
    assert "no store here" in done.stderr


@pytest.mark.parametrize("rot", ["{", "[]", "null", '{"boot": 1}', "[" * 100_000, 5, b"\xff"])
def test_a_clock_that_rotted_begins_anew_and_says_so(tmp_path: Path, rot: object) -> None:
    assert time("set", "2030-01-01", "--store", tmp_path).returncode == 0
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'clock'", (rot,))
    assert shown(tmp_path)["events"][0]["why"] == "what was kept is damaged"


def test_the_store_keeps_the_clock_over_restarts(tmp_path: Path) -> None:
    moment = Moment(1_795_000_000 * 10**9, 5 * 10**9, "one", False)
    with Store.open(tmp_path, mission=None) as store:
        assert tick(store, moment).boot == 1
    later = Moment(0, 10**9, "two", False)
    with Store.open(tmp_path, mission=None) as store:
        assert peek(store, later).boot == 2
        state = tick(store, later)
        assert (state.boot, state.mission_ns(later.boot_ns)) == (2, 60 * 10**9)
        assert tick(store, later) == state


def test_a_run_lets_the_clock_see_restarts_and_leaps(tmp_path: Path) -> None:
    write_probe(tmp_path)
    Image.fromarray(painted_swath(40, 40)).save(tmp_path / "a.png")
    mission = load_mission(tmp_path / "mission.toml")
    with Store.open(tmp_path / "store", mission=mission) as store:
        tick(store, Moment(0, 10**9, "an earlier start", False))
    with Flight(mission, tmp_path / "store") as flight:
        assert flight.run(tmp_path / "a.png").complete
    told = shown(tmp_path / "store")
    assert told["boot"] == 2
    assert [event["event"] for event in told["events"]][:3] == [
        "boot", "wall clock makes no sense", "boot",
    ]  # fmt: skip
