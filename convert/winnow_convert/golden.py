"""Rendered tiles for the self-test that every bundle carries: no one's imagery, fixed for good."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_TILES = 8
MAX_BYTES = 140_000
"""Of tiles in a bundle, before compression: they should not outweigh the model."""


def render_tiles(height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """Golden tiles, uint8 (n, height, width, channels), n from 2 to 8 so as to keep within
    MAX_BYTES. The same arguments give the same tiles.

    They span what moves activations about: black, white, noise, ramps, edges, blobs, ripples,
    a shaded bowl. Colour tiles tint the grey pattern differently per channel.
    """
    count = int(np.clip(MAX_BYTES // (height * width * channels), 2, MAX_TILES))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = y / height - 0.5, x / width - 0.5
    radius = np.hypot(x, y)
    rng = np.random.Generator(np.random.PCG64(20261121))
    rough = _terrain(rng, height, width)
    slope = np.where(radius < 0.3, x / 0.3, 0.0)  # a bowl lit from the left
    patterns = [
        128 + 90 * rough + 70 * slope * np.exp(-((radius / 0.28) ** 8)),
        120 + 40 * rough + 60 * np.sin(40 * (x + 0.3 * y) + 3 * rough),
        170 + 30 * rough - 150 * np.exp(-((radius / 0.18) ** 2)),
        rng.integers(0, 256, (height, width)).astype(np.float64),
        255 * (x + 0.5),
        110 + 60 * _terrain(rng, height, width),
        np.where((np.floor(x * 16) + np.floor(y * 16)) % 2 == 0, 0.0, 255.0),
        np.where(x + 0.2 * y > 0.1, 0.0, 140 + 60 * rough),  # a nodata border
    ]
    # In steps of 8 they pack into half the bytes; 0 and 255 stay what they are.
    grey = np.clip(np.rint(np.stack(patterns[:count]) / 8) * 8, 0, 255)
    tints = np.array([1.0, 0.8, 0.65]) if channels == 3 else np.ones(channels)
    tiles: npt.NDArray[np.uint8] = np.rint(grey[..., np.newaxis] * tints).astype(np.uint8)
    return tiles


def _terrain(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float64]:
    """Noise of several octaves, about -1..1, each octave half the size and amplitude."""
    total = np.zeros((height, width))
    cells, amplitude = 4, 0.5
    while cells <= min(height, width) // 2:
        grid = rng.uniform(-1, 1, (cells, cells))
        rows = np.linspace(0, cells - 1, height)
        columns = np.linspace(0, cells - 1, width)
        along = np.stack([np.interp(columns, np.arange(cells), row) for row in grid])
        total += amplitude * np.stack(
            [np.interp(rows, np.arange(cells), column) for column in along.T], axis=1
        )
        cells, amplitude = cells * 2, amplitude / 2
    return total
