"""Frames: a picture is one tile, resized as in training."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from winnow_edge.errors import MissionError, SwathError
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import Instrument, parse_mission
from winnow_edge.prepare.chain import Chain
from winnow_edge.prepare.frame import FrameSource
from winnow_edge.sources.open import open_source
from winnow_train.tiles import to_input

FRAMING = """\
name = "rover"
[instrument.mast]
bundle = "msl-surface"
frame = true
{more}
"""


def picture(path: Path, lines: int = 192, samples: int = 256) -> Path:
    y, x = np.mgrid[:lines, :samples]
    pixels = np.stack([x * 255 // samples, y * 255 // lines, (x + y) % 256], axis=2)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)
    return path


def read_frame(path: Path) -> np.ndarray:
    source = FrameSource(open_source(path, instrument=Instrument(bundle="x")), 100, 100)
    out = np.empty((100, 100), np.uint8)
    assert source.read(out) == 100
    source.close()
    return out


@pytest.mark.parametrize("name", ["p.png", "p.jpg"])
@pytest.mark.parametrize("block", [1, 50, 256])
def test_a_frame_is_resized_whole(tmp_path: Path, name: str, block: int) -> None:
    path = picture(tmp_path / name)
    source = FrameSource(open_source(path, instrument=Instrument(bundle="x"), grey=False), 128, 128)
    assert (source.samples, source.lines, source.channels) == (128, 128, 3)
    out, parts = np.empty((block, 128, 3), np.uint8), []
    while count := source.read(out):
        parts.append(out[:count].copy())
    source.close()
    whole = to_input([np.asarray(Image.open(path).convert("RGB"))], 128, 128)[0]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.pgm"])
def test_what_is_missing_of_a_frame_is_black(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    y = np.mgrid[:1000, :300][0]
    Image.fromarray((40 + y // 5).astype(np.uint8)).save(path)
    intact = read_frame(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
    source = FrameSource(open_source(path, instrument=Instrument(bundle="x")), 100, 100)
    cut = np.empty((100, 100), np.uint8)
    assert source.read(cut) == 100
    source.close()
    assert source.truncated
    there = int((cut.max(axis=1) > 30).sum())
    assert 10 < there < 60
    assert np.abs(cut[: there - 2].astype(int) - intact[: there - 2]).max() < 6
    assert (cut[there + 2 :] == 0).all()


@pytest.mark.parametrize("size", [(192, 256), (40, 300), (1, 1), (700, 31)])
def test_every_frame_is_one_tile(tmp_path: Path, size: tuple[int, int]) -> None:
    path = picture(tmp_path / "0077ML00057.png", *size)
    with Flight(parse_mission(FRAMING.format(more="")), tmp_path / "store") as flight:
        summary = flight.run(path)
    assert (summary.tally.tiles, summary.lines, summary.samples) == (1, 128, 128)


def test_what_frames_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissionError, match="bright_pixels"):
        parse_mission(FRAMING.format(more="bright_pixels = 9"))
    with pytest.raises(MissionError, match=r"tiling\.scales"):
        parse_mission(FRAMING.format(more="[tiling]\nscales = [1, 2]"))
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((20, 20), 999, np.uint16)).save(deep)
    with (
        Flight(parse_mission(FRAMING.format(more="")), tmp_path / "store") as flight,
        pytest.raises(SwathError, match="16-bit"),
    ):
        flight.run(deep)


def test_a_frame_is_not_tiled_where_the_input_of_the_net_is_not_given(tmp_path: Path) -> None:
    camera = Instrument(bundle="x", frame=True)
    source = open_source(picture(tmp_path / "frame.png"), instrument=camera)
    with contextlib.closing(source), pytest.raises(ValueError, match="input of the net"):
        Chain(source, camera)


def test_a_frame_too_large_to_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.raw"
    with path.open("wb") as file:
        file.truncate(70_000_000)
    mission = parse_mission(FRAMING.format(more=""))
    with (
        Flight(mission, tmp_path / "store") as flight,
        pytest.raises(SwathError, match="more than 64 MB"),
    ):
        flight.run(path, samples=10_000)
