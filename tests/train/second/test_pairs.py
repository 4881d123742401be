"""Pairs cut from whole pictures are what a board cuts from lines as they come."""

from __future__ import annotations

import numpy as np
import pytest

from winnow_edge.loop.band import bin_lines
from winnow_edge.loop.surroundings import Surroundings
from winnow_train.second.pairs import Cutter

SIDE = 16


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", [(97, 131), (64, 50)])
def test_surroundings_are_those_of_the_flight_loop(scale: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(scale)
    grey = rng.integers(0, 256, size, np.uint8)
    around = Surroundings(size[1], size[0], tile=SIDE, scale=scale, channels=1, nodata=None)
    step = 4 * scale
    for first in range(0, size[0], step):
        around.append(grey[first : first + step])
    around.end()
    cutter = Cutter(grey, SIDE)
    binned = bin_lines(grey, scale)
    room = [n - SIDE for n in binned.shape]
    places = [(0, 0), tuple(room), *(tuple(rng.integers(0, room).tolist()) for _ in range(20))]
    for line, sample in places:
        pair = cutter.pair(line, sample, scale)[..., 0]
        assert pair.shape == (2 * SIDE, SIDE)
        tile = binned[line : line + SIDE, sample : sample + SIDE]
        np.testing.assert_array_equal(pair[:SIDE], tile)
        np.testing.assert_array_equal(pair[SIDE:], around.around(line, sample).pixels())


def test_a_tile_that_the_picture_does_not_fill_is_nodata_beyond_it() -> None:
    pair = Cutter(np.full((10, 40), 9, np.uint8), SIDE).pair(0, 30, 1)[..., 0]
    assert (pair[:10, :10] == 9).all()
    assert (pair[10:SIDE] == 0).all()
    assert (pair[:SIDE, 10:] == 0).all()
