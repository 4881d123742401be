"""Readout errors: found, repaired, counted, however the lines are delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.board.bench import MemorySource
from winnow_edge.errors import MissionError
from winnow_edge.mission import Instrument
from winnow_edge.prepare.first_lines import FirstLines
from winnow_edge.prepare.repair import Repair, RepairedSource, find_dead
from winnow_edge.sources.contract import LineSource
from winnow_edge.sources.open import open_source


def terrain(lines: int, samples: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:lines, :samples]
    noise = np.random.default_rng(seed).normal(0, 3, (lines, samples))
    return (110 + 30 * np.sin(y / 40) * np.cos(x / 25) + noise).astype(np.uint8)


def repaired(
    pixels: npt.NDArray[Any], block: int, **camera: Any
) -> tuple[npt.NDArray[Any], Repair]:
    repair = Repair(Instrument(bundle="x", **camera))
    source: LineSource = MemorySource(pixels)
    if camera.get("find_dead_samples"):
        source = FirstLines(source, repair.learn)
    source = RepairedSource(source, repair)
    out, blocks = np.empty((block, *pixels.shape[1:]), pixels.dtype), []
    while count := source.read(out):
        blocks.append(out[:count].copy())
    return np.concatenate(blocks), repair


def by_hand(pixels: npt.NDArray[Any], limit: int) -> tuple[npt.NDArray[Any], int]:
    """The rule, pixel by pixel."""
    result, count = pixels.copy(), 0
    for line in range(pixels.shape[0]):
        for sample in range(pixels.shape[1]):
            around = [
                pixels[y, x]
                for y in range(max(line - 1, 0), min(line + 2, pixels.shape[0]))
                for x in range(max(sample - 1, 0), min(sample + 2, pixels.shape[1]))
                if (y, x) != (line, sample)
            ]
            if around and int(pixels[line, sample]) - int(max(around)) > limit:
                result[line, sample] = np.median(around)
                count += 1
    return result, count


@given(
    lines=st.integers(1, 12),
    samples=st.integers(2, 9),
    block=st.integers(1, 14),
    seed=st.integers(0, 99),
    wide=st.booleans(),
)
def test_bright_pixels_are_repaired_as_by_hand(
    lines: int, samples: int, block: int, seed: int, wide: bool
) -> None:
    rng = np.random.default_rng(seed)
    kind = np.uint16 if wide else np.uint8
    pixels = rng.integers(0, 60, (lines, samples)).astype(kind)
    pixels[rng.random((lines, samples)) < 0.08] = 250
    got, repair = repaired(pixels, block, bright_pixels=50)
    wanted, count = by_hand(pixels, 50)
    assert (got == wanted).all()
    assert repair.pixels == count


def test_a_bright_pixel_in_colour() -> None:
    pixels = np.full((5, 5, 3), 40, np.uint8)
    pixels[2, 2] = (40, 200, 40)
    got, repair = repaired(pixels, 2, bright_pixels=50)
    assert (got == 40).all()
    assert repair.pixels == 1


def test_dead_and_stuck_samples_are_found_and_take_their_neighbours_mean() -> None:
    pixels = terrain(300, 200)
    truth = pixels.astype(int)
    pixels[:, 20] = 0
    pixels[:, 21] = 255
    pixels[:, 90] = np.minimum(pixels[:, 90].astype(int) + 60, 255)
    pixels[:, :8] = 0  # a nodata border is not dead
    got, repair = repaired(pixels, 100, find_dead_samples=True)
    assert repair.dead == [20, 21, 90]
    assert abs(got[:, [20, 21, 90]] - truth[:, [20, 21, 90]]).mean() < 6
    untouched = np.delete(np.arange(200), [20, 21, 90])
    assert (got[:, untouched] == pixels[:, untouched]).all()


def test_a_slanted_border_with_text_hides_no_dead_sample_and_shows_none() -> None:
    pixels = terrain(256, 200)
    pixels[:, 120] = 3
    line, sample = np.mgrid[:256, :200]
    pixels[sample < line // 4] = 0  # a strip that lies tilted in its frame
    pixels[200:240, 10:30] = np.where(sample[200:240, 10:30] % 3 == 0, 255, 0)
    assert find_dead(pixels, 0) == [120]
    pixels[:, 120] = pixels[:, 150] = 0  # elements that read what stands for nodata
    assert find_dead(pixels, 0) == [120, 150]


def test_given_dead_samples_at_the_edges() -> None:
    pixels = terrain(4, 30)
    got, _ = repaired(pixels, 4, dead_samples=(0, 1, 15, 29))
    assert (got[:, 0] == pixels[:, 2]).all()
    assert (got[:, 29] == pixels[:, 28]).all()
    middle = (pixels[:, 14].astype(int) + pixels[:, 16] + 1) // 2
    assert (got[:, 15] == middle).all()
    with pytest.raises(MissionError, match="sample 99"):
        repaired(pixels, 4, dead_samples=(99,))


def test_few_lines_and_plain_terrain_have_no_dead_samples() -> None:
    assert find_dead(terrain(500, 300)) == []
    assert find_dead(np.full((100, 100), 7, np.uint8)) == []
    _, repair = repaired(np.zeros((10, 50), np.uint8), 10, find_dead_samples=True)
    assert repair.dead == []


@pytest.mark.parametrize(
    ("strip", "blocks"),
    [("ESP_072116_1740_RED.NOMAP.browse", 11), ("PSP_005038_1935_RED.abrowse", 20)],
)
def test_no_sample_of_a_real_strip_is_taken_for_dead(
    strip: str, blocks: int, mars_data: Path
) -> None:
    source = open_source(mars_data / "swaths" / f"{strip}.jpg", instrument=Instrument(bundle="x"))
    block = np.empty((256, source.samples), np.uint8)
    seen = 0
    while source.read(block) == 256:
        assert find_dead(block, 0) == []
        seen += 1
    source.close()
    assert seen == blocks
