"""Frames: a picture is one tile, resized as in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from winnow_edge.errors import MissionError, SwathError
from winnow_edge.flight import Flight
from winnow_edge.mission import Instrument, parse_mission
from winnow_edge.sources import open_source
from winnow_edge.sources.frame import FrameSource

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
    whole = Image.open(path).convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(np.concatenate(parts), np.asarray(whole))


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
