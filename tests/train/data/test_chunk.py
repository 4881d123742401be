"""Cutting swaths into tiles: every pixel once at least, at the flight loop's origins."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from winnow_base.errors import DataError
from winnow_cli.app import app
from winnow_edge.errors import SwathError
from winnow_edge.mission import Instrument
from winnow_train.data.chunk import Cut, chunk
from winnow_train.datasets import source_of

ANY = Instrument(bundle="", nodata=0)


def strip(lines: int, samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (lines, samples), np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def index(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    lines=st.integers(1, 90),
    samples=st.integers(1, 70),
    tile=st.integers(8, 32),
    hop=st.integers(1, 40),
)
def test_tiles_are_slices_and_cover_every_pixel(
    tmp_path_factory: pytest.TempPathFactory, lines: int, samples: int, tile: int, hop: int
) -> None:
    folder = tmp_path_factory.mktemp("chunk")
    hop = min(hop, tile)
    pixels = strip(lines, samples)
    chunk([write(folder / "s.png", pixels)], folder / "out", Cut(tile, hop), ANY)
    seen = np.zeros_like(pixels)
    for row in index(folder / "out"):
        line, sample, high, wide = (int(row[k]) for k in ("line", "sample", "lines", "samples"))
        cut = np.asarray(Image.open(folder / "out" / row["file"]))
        assert np.array_equal(cut, pixels[line : line + high, sample : sample + wide])
        seen[line : line + high, sample : sample + wide] = 1
    assert seen.all()


def test_a_scaled_tile_is_the_mean_of_what_it_covers(tmp_path: Path) -> None:
    pixels = strip(64, 48)
    chunk([write(tmp_path / "s.png", pixels)], tmp_path / "out", Cut(16, 8, scale=2), ANY)
    rows = index(tmp_path / "out")
    assert {(r["lines"], r["samples"]) for r in rows} == {("32", "32")}
    mean = pixels.reshape(32, 2, 24, 2).mean(axis=(1, 3))
    for row in rows:
        line, sample = int(row["line"]) // 2, int(row["sample"]) // 2
        cut = np.asarray(Image.open(tmp_path / "out" / row["file"]), np.float64)
        assert np.abs(cut - mean[line : line + 16, sample : sample + 16]).max() <= 0.51


def test_nodata_and_black_centre_rules(tmp_path: Path) -> None:
    pixels = np.full((32, 96), 200, np.uint8)
    pixels[:, :32] = 0  # all nodata
    pixels[12:20, 44:52] = 0  # a hole in the middle of the second tile
    swath = write(tmp_path / "s.png", pixels)
    (found,) = chunk([swath], tmp_path / "a", Cut(32, 32, nodata_max=0.5, black_centre=True), ANY)
    assert (found.kept, found.dropped) == (1, {"nodata": 1, "black centre": 1})
    rows = index(tmp_path / "a")
    assert [r["dropped"] for r in rows] == ["nodata", "black centre", ""]
    assert [r["nodata"] for r in rows] == ["1.0000", "0.0625", "0.0000"]
    assert [bool(r["file"]) for r in rows] == [False, False, True]
    (all_kept,) = chunk([swath], tmp_path / "b", Cut(32, 32), ANY)
    assert all_kept.kept == 3
    (none_empty,) = chunk([swath], tmp_path / "c", Cut(32, 32, nodata=None, nodata_max=0.0), ANY)
    assert none_empty.kept == 3


def test_colour_stays_colour_and_sources_are_found_again(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    one = write(tmp_path / "ESP_011289_1950_RED.browse.png", strip(40, 40))
    two = write(tmp_path / "site_12.png", colour)
    chunk([one, two], tmp_path / "out", Cut(32, 32), ANY)
    files = [r["file"] for r in index(tmp_path / "out")]
    assert {source_of(f) for f in files} == {"ESP_011289_1950", "site_12"}
    assert np.asarray(Image.open(tmp_path / "out" / "site_12-000000.png")).shape == (32, 32, 3)


def test_16_bit_raw_lines_are_stretched_and_nodata_stays_nodata(tmp_path: Path) -> None:
    words = np.random.default_rng(2).integers(1000, 3000, (64, 64)).astype("<u2")
    words[:, :16] = 0
    (tmp_path / "s.raw").write_bytes(words.tobytes())
    instrument = Instrument(bundle="", samples=64, bits=16, nodata=0)
    (found,) = chunk([tmp_path / "s.raw"], tmp_path / "out", Cut(32, 32), instrument)
    assert (found.lines, found.samples, found.kept) == (64, 64, 4)
    assert [r["nodata"] for r in index(tmp_path / "out")] == ["0.5000", "0.0000"] * 2
    cut = np.asarray(Image.open(tmp_path / "out" / "s-000001.png"))
    assert cut.min() >= 1
    assert cut.max() == 255


def test_bad_swaths(tmp_path: Path) -> None:
    with pytest.raises(SwathError, match="no such swath"):
        chunk([tmp_path / "none.png"], tmp_path / "out", Cut(32, 32), ANY)
    a = write(tmp_path / "s.png", strip(40, 40))
    (tmp_path / "d").mkdir()
    b = write(tmp_path / "d" / "s.png", strip(40, 40))
    with pytest.raises(DataError, match="two swaths are called s"):
        chunk([a, b], tmp_path / "out", Cut(32, 32), ANY)


def test_a_name_that_is_no_utf_8_becomes_one_with_escapes(tmp_path: Path) -> None:
    swath = write(tmp_path / "s.png", strip(64, 64))
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xff.png"))
    try:
        swath.rename(odd)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    (found,) = chunk([odd], tmp_path / "out", Cut(32, 32), ANY)
    assert found.swath == "m\\xff"
    rows = (tmp_path / "out" / "index.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1].startswith("m\\xff-000000.png,m\\xff,")
    assert (tmp_path / "out" / "m\\xff-000000.png").is_file()


def test_the_command(tmp_path: Path) -> None:
    swath = write(tmp_path / "s.png", strip(64, 64))
    done = CliRunner().invoke(
        app,
        ["data", "chunk", str(swath), "--out", str(tmp_path / "o"), "--tile", "32", "--hop", "16"],
    )
    assert done.exit_code == 0, done.output
    assert "64 lines of 64 samples; 9 tiles" in done.stdout


def test_isolated_bright_pixels_are_repaired_before_anything_is_binned(tmp_path: Path) -> None:
    pixels = np.full((64, 64), 60, np.uint8)
    pixels[10, 20] = pixels[40, 3] = 255  # readout errors
    pixels[50:52, 50:52] = 255  # four together are not
    swath = write(tmp_path / "s.png", pixels)
    camera = Instrument(bundle="", bright_pixels=100)
    (found,) = chunk([swath], tmp_path / "out", Cut(32, 32, scale=2), camera)
    assert found.repaired == 2
    tile = np.asarray(Image.open(tmp_path / "out" / "s-000000.png"))
    assert sorted(set(tile.ravel().tolist())) == [60, 255]
    assert (tile == 255).sum() == 1
    (plain,) = chunk([swath], tmp_path / "plain", Cut(32, 32, scale=2), ANY)
    assert plain.repaired is None
