"""`winnow-edge bench`: what it times, what it counts, what it refuses."""

from __future__ import annotations

import os
import socket
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from winnow_edge.board.bench import TILES_MIN, MemorySource, bench, rendered
from winnow_edge.board.laps import Round
from winnow_edge.bundle import Bundle
from winnow_edge.cli import main
from winnow_edge.loop.intake import BLOCK_LINES
from winnow_edge.runtimes.fake import FakeClassifier
from winnow_edge.sources.contract import Lines
from winnow_edge.testing import SIDE, probe_bundle


@pytest.fixture
def probe(tmp_path: Path) -> Bundle:
    """A bundle for the fake runtime."""
    return probe_bundle(tmp_path, classes=("dark", "bright"), thresholds={})


def strip(folder: Path, lines: int, samples: int) -> str:
    path = folder / f"{lines}x{samples}.pgm"
    Image.fromarray(rendered(lines, samples)).save(path)
    return str(path)


class SlowSource(MemorySource):
    """A swath in memory whose every block takes `seconds` to arrive."""

    seconds = 0.02

    def read(self, out: Lines) -> int:
        time.sleep(self.seconds)
        return super().read(out)


def test_time_of_the_main_thread_counts(probe: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeping needs no processor: all of it is in the loop's time, and none in the net's."""
    pixels = rendered(2 * BLOCK_LINES, 4 * SIDE)
    monkeypatch.setattr("winnow_edge.board.bench.open_source", lambda *_, **__: SlowSource(pixels))
    slow = bench(probe, swath="strip", runtime="fake", threads=1, seconds=0)
    assert slow.tiles >= TILES_MIN
    assert slow.tile_ms * slow.tiles >= 2 * SlowSource.seconds * 1000


def test_efficiency_is_the_nets_share_of_the_loops_time() -> None:
    """The mean of bare invocations, rare slow ones too, over the loop's time per net call."""
    lap = Round(
        bare_ms=[1.0, 1.0, 4.0],
        tile_ms=6.0,
        many_ms=3.0,
        bare_speed_up=2.0,
        calls_per_tile=1.5,
        invocations=9,
    )
    assert lap.efficiency == pytest.approx(2.0 * 1.5 / 6.0)


def test_nothing_else_is_invoked_while_the_loop_runs(
    probe: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    infer = FakeClassifier.infer

    def recorded(self: FakeClassifier, tile: Any, logits: Any) -> None:
        calls.append("tile")
        infer(self, tile, logits)

    monkeypatch.setattr(FakeClassifier, "infer", recorded)
    monkeypatch.setattr(FakeClassifier, "invoke_only", lambda _: calls.append("bare"))
    swath = strip(tmp_path, 600, 64)
    result = bench(probe, swath=swath, runtime="fake", threads=1, seconds=0)
    laps = [len(list(run)) for what, run in groupby(calls) if what == "tile"]
    assert laps == [2 * result.tiles] + [result.tiles] * (2 * result.rounds)
    bursts = [len(list(run)) for what, run in groupby(calls) if what == "bare"]
    # Before a round's lap and after it, where those on all interpreters at once follow.
    half, each = result.tiles // 2, max(result.tiles // 8, 10)
    burst, every = (n + n // 4 for n in (half, each))  # with those that are not timed
    assert bursts[0] == result.warm_up + result.warm_up // 4 + burst
    assert bursts[1:] == [burst + every, burst] * (result.rounds - 1) + [burst + every]
    assert result.invocations == result.rounds * 2 * half


@pytest.mark.parametrize("lines", [SIDE, 31 * SIDE // 2])
def test_a_swath_of_too_few_tiles_is_refused(
    probe: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: int
) -> None:
    swath = strip(tmp_path, lines, SIDE)
    arguments = ["bench", str(probe.path), "--runtime", "fake", "--seconds", "0"]
    assert main([*arguments, "--swath", swath]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert f"{lines}x{SIDE}.pgm" in told.err
    assert f"shows the net {2 * lines // SIDE - 1} tiles, too few" in told.err
    assert "larger" in told.err


def test_the_fewest_tiles_are_enough(probe: Bundle, tmp_path: Path) -> None:
    swath = strip(tmp_path, (TILES_MIN + 1) * SIDE // 2, SIDE)
    result = bench(probe, swath=swath, runtime="fake", threads=1, seconds=0)
    assert result.tiles == TILES_MIN


@pytest.mark.parametrize("samples", [[], ["--samples", "64"]])
@pytest.mark.parametrize("kind", ["-", "fifo", "tcp", "unix", "socket file"])
def test_lines_that_come_only_once_are_refused(
    probe: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    samples: list[str],
) -> None:
    swath = "-"
    with socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX) as listening:
        if kind == "fifo":
            swath = str(tmp_path / "fifo")
            os.mkfifo(swath)
        elif kind == "tcp":
            listening.bind(("127.0.0.1", 0))
            swath = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        elif kind != "-":
            path = tmp_path / "lines.sock"
            listening.bind(str(path))
            swath = f"unix:{path}" if kind == "unix" else str(path)
        if kind not in ("-", "fifo"):
            listening.listen()
        code = main(["bench", str(probe.path), "--runtime", "fake", "--swath", swath, *samples])
    told = capsys.readouterr()
    assert (code, told.out, len(told.err.splitlines())) == (3, "", 1)
    assert "can be read only once" in told.err
    assert swath in told.err
    assert "give a file to --swath" in told.err


def test_a_swath_that_is_missing_is_named(
    probe: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", str(probe.path), "--runtime", "fake"]
    assert main([*arguments, "--swath", str(tmp_path / "none.png")]) == 3
    assert "no such swath" in capsys.readouterr().err
