"""What is learned from a swath's first lines does not depend on how wide it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.board.bench import MemorySource
from winnow_edge.cli import main
from winnow_edge.prepare.first_lines import FIRST_LINES, FirstLines
from winnow_edge.sources.contract import Lines
from winnow_edge.testing import write_probe

SIDE = 128


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Any:
    """Runs raw pixels through the whole of `winnow-edge run`: its summary, its warnings."""

    def run(pixels: Lines) -> tuple[dict[str, Any], str]:
        name = f"{pixels.shape[1]}.raw"
        (tmp_path / name).write_bytes(pixels.tobytes())
        write_probe(
            tmp_path,
            "[tiling]\nscales = [10]",
            camera=f"samples = {pixels.shape[1]}\nbits = {8 * pixels.itemsize}\n"
            "stretch_percentiles = [1.0, 99.0]\nfind_dead_samples = true",
            side=SIDE,
        )
        files = (str(tmp_path / "mission.toml"), str(tmp_path / name))
        assert main(["run", *files, "--json", "--store", str(tmp_path / "store")]) == 0
        return json.loads(capsys.readouterr().out), caplog.text

    return run


def noise(lines: int, samples: int, kind: type) -> Lines:
    rng = np.random.default_rng(lines + samples)
    line = rng.integers(100, 130, samples + lines)
    windows = np.lib.stride_tricks.sliding_window_view(line, samples)
    return windows[rng.permutation(lines)].astype(kind)


@pytest.mark.parametrize(("samples", "kind"), [(20_048, np.uint16), (40_000, np.uint8)])
def test_a_wide_swath_is_searched_for_dead_samples(samples: int, kind: type, run: Any) -> None:
    pixels = noise(300, samples, kind)
    pixels[:, 5000] = 200
    pixels[:, 9000] = 0
    summary, said = run(pixels)
    assert summary["repaired"] == {"samples": [5000, 9000], "pixels": 0}
    assert said == ""


def test_a_stretch_is_learned_from_as_many_lines_of_a_wide_swath_as_of_a_narrow_one(
    run: Any,
) -> None:
    for samples in (16, 20_048):
        pixels = np.full((300, samples), 1000, np.uint16)
        pixels[: FIRST_LINES // 2] = 5000
        pixels[FIRST_LINES:] = 9
        summary, _ = run(pixels)
        assert summary["stretch"] == [1000, 5000]


def test_a_swath_of_too_few_lines_to_be_searched_says_so(run: Any) -> None:
    pixels = noise(63, 400, np.uint8)
    pixels[:, 50] = 0
    summary, said = run(pixels)
    assert summary["repaired"] == {"samples": [], "pixels": 0, "searched": False}
    assert "not searched for dead samples: it has under 64 lines" in said


@given(lines=st.integers(0, 600), blocks=st.lists(st.integers(1, 300), min_size=1, max_size=9))
def test_every_line_comes_out_once_and_the_first_are_seen_before(
    lines: int, blocks: list[int]
) -> None:
    pixels = np.arange(lines * 3, dtype=np.uint16).view(np.uint8).reshape(-1, 6)
    seen: list[Lines] = []
    source = FirstLines(MemorySource(pixels), lambda first: seen.append(first.copy()))
    out = np.empty((300, 6), np.uint8)
    got, at = np.empty((0, 6), np.uint8), 0
    while count := source.read(out[: blocks[at % len(blocks)]]):
        got = np.concatenate([got, out[:count]])
        assert len(seen) == 1
        at += 1
    assert (got == pixels).all()
    assert len(seen) == (lines > 0)
    assert not lines or (seen[0] == pixels[:FIRST_LINES]).all()
