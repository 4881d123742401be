"""Sweeps: designs, resuming, and Dask's workers in other processes, one of them killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.running import winnow
from winnow_base.errors import DataError, NetworkError
from winnow_edge.errors import MissionError
from winnow_edge.mission import load_mission
from winnow_ground.simulation.play import play
from winnow_ground.simulation.sweep import run_sweep
from winnow_ground.simulation.sweep_file import load_sweep
from winnow_ground.simulation.sweep_output import effect

from .worlds import FLIES, noise

MISSION = (
    FLIES
    + """\
[simulation]
swaths = ["a.png"]
plan = "plan.csv"
[simulation.schedule]
every_s = 60
"""
)
SWEEP = """\
mission = "m.toml"
method = "random"
samples = 12
[vary]
"link.loss" = {low = 0.0, high = 0.5}
"ranking.policy" = ["fifo", "utility-per-byte"]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a mission, its plan and swath, and a sweep of 12."""
    (tmp_path / "m.toml").write_text(MISSION)
    (tmp_path / "plan.csv").write_text("start,end,bits_per_s\n300,330,16000\n600,640,16000\n")
    noise(tmp_path, "a.png")
    (tmp_path / "s.toml").write_text(SWEEP)
    return tmp_path


def design(place: Path, text: str) -> list[tuple[object, ...]]:
    (place / "s.toml").write_text(text)
    return list(load_sweep(place / "s.toml").points)


def test_a_grid_has_every_combination(place: Path) -> None:
    text = 'mission = "m.toml"\n[vary]\n"link.loss" = {low = 0, high = 1.0, steps = 3}\n'
    text += '"link.ack_wait" = {low = 1, high = 4, steps = 4}\n"ranking.policy" = ["fifo"]\n'
    points = design(place, text)
    assert points == [(l, a, "fifo") for l in (0.0, 0.5, 1.0) for a in (1, 2, 3, 4)]


def test_a_latin_hypercube_has_one_mission_in_every_slice(place: Path) -> None:
    pytest.importorskip("scipy")
    text = 'mission = "m.toml"\nmethod = "latin-hypercube"\nsamples = 20\n[vary]\n'
    text += (
        '"link.loss" = {low = 0.0, high = 1.0}\n"store.quota_mb" = {low=1.0,high=1e4,log=true}\n'
    )
    points = np.array(design(place, text), float)
    assert sorted((points[:, 0] * 20).astype(int)) == list(range(20))
    assert sorted((np.log10(points[:, 1]) * 5).astype(int)) == list(range(20))
    assert points.tolist() == np.array(design(place, text), float).tolist()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"link.loss"', '"link.los"', "`link.los`; did you mean `loss`?"),
        ('"link.loss"', '"class.crater.worth"', "unknown key `class.crater.worth`"),
        ('"link.loss"', '"name.x"', "cannot be varied"),
        ('"link.loss"', '"tiling.tile"', "cannot be varied"),
        ('"link.loss"', '"a b"', "is no key"),
        ("high = 0.5", "high = 1.5", "`link.loss` is 1"),
        ("high = 0.5", "high = -1", "goes from 0 to -1"),
        ("low = 0.0", "log = true, low = 0.0", "goes from 0 to 0.5; give low over 0"),
        ('["fifo", "utility-per-byte"]', '["best"]', "`ranking.policy` is 'best'"),
        ('["fifo", "utility-per-byte"]', "[]", "must be a list of numbers or texts"),
        ('["fifo", "utility-per-byte"]', '"fifo"', "must be a list of values or {low, high}"),
        ('"link.loss"', '"class.caldera.utility"', "'caldera'] is not a class of bundle"),
        ('"link.loss" = {low = 0.0, high = 0.5}', '"tiling.hop" = [97]', "`tiling.hop` is 97"),
        ('"random"', '"grid"', "has no steps"),
        ('"random"', '"best"', "`method` is 'best'"),
        ("samples = 12", "samples = 0", "`samples` is 0"),
        ('"m.toml"', '"none.toml"', "none.toml: No such file"),
        ("[vary]", "[varied]", "unknown key `varied`"),
    ],
)
def test_a_bad_sweep_is_refused_in_a_line(place: Path, old: str, new: str, says: str) -> None:
    assert old in SWEEP
    (place / "s.toml").write_text(SWEEP.replace(old, new))
    with pytest.raises((DataError, MissionError)) as refused:
        run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1)
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert not (place / "out" / "done.jsonl").exists()


def test_what_makes_too_many_scores_is_refused(place: Path) -> None:
    more = SWEEP.replace('"link.loss" = {low = 0.0', '"screening.nodata_max" = {low = 0.1')
    (place / "s.toml").write_text(more.replace("samples = 12", "samples = 100"))
    with pytest.raises(DataError, match=r"100 combinations .* give few values of `?screening"):
        load_sweep(place / "s.toml")


def test_a_sweep_that_was_cut_goes_on(place: Path) -> None:
    whole = run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1)
    assert (len(whole.rows), whole.again) == (12, 0)
    done = place / "out" / "done.jsonl"
    data = done.read_bytes()
    done.write_bytes(data[: len(data) // 2])  # a kill within a line
    again = run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1)
    assert 4 <= again.again <= 6
    assert [row["figures"] for row in again.rows] == [row["figures"] for row in whole.rows]
    # One line of a mission is half a line, which nobody reads.
    assert run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1).again == 12


@pytest.mark.parametrize("workers", [1, 2])
def test_contacts_and_screening_are_varied_though_scores_depend_on_them(
    place: Path, workers: int
) -> None:
    pixels = np.random.default_rng(1).integers(1, 256, (300, 300), dtype=np.uint8)
    pixels[:, :40] = 0
    Image.fromarray(pixels).save(place / "a.png")
    camera = "line_time_us = 1000\n"
    (place / "m.toml").write_text(MISSION.replace(camera, f"{camera}nodata = 0\n"))
    (place / "short.csv").write_text("start,end,bits_per_s\n300,302,16000\n")
    text = 'mission = "m.toml"\n[vary]\n"simulation.plan" = ["plan.csv", "short.csv"]\n'
    text += '"screening.nodata_max" = [0.1, 0.9]\n"link.loss" = [0.0, 0.01]\n'
    (place / "s.toml").write_text(text)
    if workers > 1:
        pytest.importorskip("distributed")
        done = winnow("simulate", "--sweep", place / "s.toml", "--out", place / "o", "--json")
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)["rows"]
    else:
        rows = run_sweep(load_sweep(place / "s.toml"), place / "o", workers=1).rows
    assert len(rows) == 8
    base = (place / "m.toml").read_text()
    for row in (rows[0], rows[3], rows[6]):
        plan, screened, loss = row["changed"].values()
        text = base.replace("plan.csv", plan) + f"[screening]\nnodata_max = {screened}\n"
        (place / "m.toml").write_text(f"{text}[link]\nloss = {loss}\n")
        (run,) = play(load_mission(place / "m.toml")).flown
        assert {**run.figures, "value": run.value} == row["figures"]
    first, _, other, *_ = figures = [row["figures"] for row in rows]
    assert first["tiles_computed"] < other["tiles_computed"]
    assert first["budget_bytes"] > figures[-1]["budget_bytes"]


def test_another_sweep_in_the_same_folder_is_refused(place: Path) -> None:
    run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1)
    (place / "s.toml").write_text(SWEEP.replace("0.5", "0.4"))
    with pytest.raises(DataError, match="another sweep lies there"):
        run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("schedule.csv", "40", "50"),
        ("plan.csv", "600,640", "600,641"),
        ("plan.csv", ",1\n", ",200\n"),
        ("a.png", "", ""),
    ],
)
def test_a_sweep_of_what_has_changed_since_is_not_gone_on_with(
    place: Path, file: str, old: str, new: str
) -> None:
    (place / "plan.csv").write_text(
        "start,end,bits_per_s,light_s\n300,330,16000,1\n600,640,160,1\n"
    )
    (place / "schedule.csv").write_text("start\n10\n40\n")
    (place / "m.toml").write_text(MISSION.replace("every_s = 60", 'file = "schedule.csv"'))
    (place / "s.toml").write_text(SWEEP.replace("12", "1"))
    run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1)
    if old:
        assert old in (place / file).read_text()
        (place / file).write_text((place / file).read_text().replace(old, new))
    else:
        noise(place, file, lines=301)
    with pytest.raises(DataError, match="what it plays has changed"):
        run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1)


def test_a_time_that_was_measured_holds_in_a_sweep(place: Path) -> None:
    (place / "bench.json").write_text('{"tile_ms": 250.0}')
    (place / "m.toml").write_text(f'{MISSION}[simulation.board]\nbench = "bench.json"\n')
    (place / "s.toml").write_text(SWEEP.replace("12", "1"))
    (row,) = run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1).rows
    figures = row["figures"]
    assert figures["busy_s"] == pytest.approx(0.25 * figures["tiles_computed"], rel=0.02)


def test_what_a_sweep_finds_is_what_each_mission_brings(place: Path) -> None:
    swept = run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1)
    row = swept.rows[3]
    loss, policy = row["changed"]["link.loss"], row["changed"]["ranking.policy"]
    text = (place / "m.toml").read_text()
    (place / "m.toml").write_text(f'{text}[link]\nloss = {loss}\n[ranking]\npolicy = "{policy}"\n')
    done = winnow("simulate", place / "m.toml", "--policy", "fifo", "--json")
    alone = json.loads(done.stdout)["policies"]
    (run,) = alone["fifo" if policy == "fifo" else policy]
    assert run["figures"]["bytes_down"] == row["figures"]["bytes_down"]
    lossy = effect(swept, swept.design.axes[0], "bytes_down", 1.0)
    assert lossy.groups[0][1].mean > lossy.groups[-1][1].mean
    assert 0.3 < lossy.share <= 1


def test_the_command_writes_parquet_and_a_page(place: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    done = winnow("simulate", "--sweep", place / "s.toml", "--out", place / "o", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "12 missions by random" in done.stdout
    table = parquet.read_table(place / "o" / "sweep.parquet").to_pydict()
    assert table["mission"] == list(range(12))
    assert set(table["ranking.policy"]) == {"fifo", "utility-per-byte"}
    assert all(0 <= loss <= 0.5 for loss in table["link.loss"])
    assert all(isinstance(value, float) for value in table["bytes_down"])
    page = (place / "o" / "sweep.html").read_text()
    assert "Main effects" in page and "link.loss" in page
    assert 'src="http' not in page and "href=" not in page
    for arguments, code in (
        ((place / "m.toml", "--sweep", place / "s.toml", "--out", place / "p"), 2),
        (("--sweep", place / "s.toml"), 2),
        ((), 2),
        (("--sweep", place / "none.toml", "--out", place / "p"), 3),
    ):
        assert winnow("simulate", *arguments).returncode == code


def wait_for(condition: object, process: subprocess.Popen[bytes]) -> None:
    while not condition():  # type: ignore[operator]
        assert process.poll() is None
        time.sleep(0.05)


def address_in(file: Path) -> str:
    """The address that a scheduler has written down; none before it has written all of it."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):
        return ""


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and workers in processes of their own; the scheduler is the first process."""
    pytest.importorskip("distributed")
    file = folder / "scheduler.json"
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = []

    def start(*arguments: str) -> None:
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        started.append(subprocess.Popen(command, **quiet))  # type: ignore[call-overload]

    try:
        start("scheduler", "--host", "tcp://127.0.0.1:0", "--no-dashboard",
              "--scheduler-file", str(file))  # fmt: skip
        wait_for(lambda: address_in(file), started[0])
        address = address_in(file)
        for n in range(workers):
            start("worker", address, "--no-nanny", "--nthreads", "1", "--name", f"w{n}",
                  "--no-dashboard", "--local-directory", str(folder / f"w{n}"))  # fmt: skip
        from distributed import Client

        with Client(address, timeout=900, set_as_default=False) as client:
            client.wait_for_workers(workers)
        yield address, started
    finally:
        for process in started:
            process.kill()
            process.wait()


def sweeping(place: Path, address: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from winnow_cli.app import main; main()", "simulate"]
    command += ["--sweep", str(place / "s.toml"), "--out", str(place / "out")]
    return subprocess.Popen(
        [*command, "--scheduler", address], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_a_worker_that_is_killed_half_way_costs_no_mission(place: Path) -> None:
    (place / "s.toml").write_text(SWEEP.replace("12", "60"))
    with cluster(place, 2) as (address, processes):
        run = sweeping(place, address)
        wait_for(lambda: lines_of(place / "out" / "done.jsonl") >= 10, run)
        os.kill(processes[2].pid, signal.SIGKILL)
        out, err = run.communicate()
    assert run.returncode == 0, err.decode()
    assert b"60 missions by random" in out
    rows = [json.loads(line) for line in (place / "out" / "done.jsonl").read_text().splitlines()]
    assert sorted({row["mission"] for row in rows}) == list(range(60))
    alone = run_sweep(load_sweep(place / "s.toml"), place / "alone", workers=1)
    found = {row["mission"]: row["figures"] for row in rows}
    assert found == {row["mission"]: row["figures"] for row in alone.rows}


def test_a_scheduler_that_dies_is_told_of_and_what_is_done_is_kept(place: Path) -> None:
    (place / "s.toml").write_text(SWEEP.replace("12", "200"))
    with cluster(place, 1) as (address, processes):
        run = sweeping(place, address)
        wait_for(lambda: lines_of(place / "out" / "done.jsonl") >= 4, run)
        os.kill(processes[0].pid, signal.SIGKILL)
        _, err = run.communicate()
    assert run.returncode == 4
    said = err.decode().strip()
    assert "the scheduler is gone" in said and "Traceback" not in said
    kept = lines_of(place / "out" / "done.jsonl")
    assert 4 <= kept < 200
    again = run_sweep(load_sweep(place / "s.toml"), place / "out", workers=1)
    assert again.again >= kept - 1 and len(again.rows) == 200


def test_processes_here_find_the_same(place: Path) -> None:
    pytest.importorskip("distributed")
    one = run_sweep(load_sweep(place / "s.toml"), place / "one", workers=1)
    # A script of its own, as workers are started by importing the main module again.
    command = [sys.executable, "-c", "from winnow_cli.app import main; main()", "simulate"]
    command += ["--sweep", str(place / "s.toml"), "--out", str(place / "two"), "--workers", "2"]
    done = subprocess.run([*command, "--json"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert [row["figures"] for row in found["rows"]] == [row["figures"] for row in one.rows]
    assert 0 < found["efficiency"] <= 1


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense", "http://x", ""])
def test_a_scheduler_that_is_not_there_is_said(place: Path, address: str) -> None:
    pytest.importorskip("distributed")
    with socket.socket() as deaf, pytest.raises(NetworkError, match="no scheduler answers"):
        deaf.bind(("127.0.0.1", 0))
        asked = address.format(port=deaf.getsockname()[1])
        run_sweep(load_sweep(place / "s.toml"), place / "out", scheduler=asked)
