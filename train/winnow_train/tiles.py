"""Tiles in memory: decoding, resizing to a net's input, and the physics-respecting augmentation.

Everything here is numpy and Pillow, so that it serves every Keras backend alike. Pixels stay uint8
[H, W, C], 0..255, until a batch is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.pictures import open_picture
from winnow_edge.sources.contract import PICTURE_ERRORS
from winnow_train.recipe import Augment

_FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.HAMMING)


def decode(path: Path, channels: int) -> np.ndarray:
    """Decode one tile to uint8 [H, W, channels]; grey is ITU-R 601 luma, as the edge makes it.

    Raises DataError for a missing, empty or unreadable image.
    """
    try:
        with open_picture(path) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except PICTURE_ERRORS as error:
        raise _unreadable(path) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def refuse_no_picture(path: Path) -> None:
    """Raise DataError for what is missing, empty or no picture; its pixels are not decoded."""
    try:
        with open_picture(path):
            return
    except PICTURE_ERRORS as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> DataError:
    what = "is empty" if path.is_file() and path.stat().st_size == 0 else "cannot be decoded"
    hint = "remove it from the labels or fetch it again"
    return DataError(f"the image {what}", where=path, hint=hint)


def decode_all(
    paths: Sequence[Path],
    channels: int,
    *,
    longest: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[np.ndarray]:
    """Decode many tiles, uint8 [H, W, channels], reduced to at most `longest` pixels a side."""

    def one(path: Path) -> np.ndarray:
        pixels = decode(path, channels)
        side = max(pixels.shape[:2])
        if longest is None or side <= longest:
            return pixels
        height, width = (max(1, round(n * longest / side)) for n in pixels.shape[:2])
        return resize(pixels, height, width)

    tiles = []
    with ThreadPoolExecutor() as pool:
        for tile in pool.map(one, paths):
            tiles.append(tile)
            if progress is not None:
                progress(1)
    return tiles


def resize(
    pixels: np.ndarray,
    height: int,
    width: int,
    *,
    box: tuple[float, float, float, float] | None = None,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> np.ndarray:
    """Resize uint8 [H, W, C] (the part in `box`: left, top, right, bottom) with antialiasing."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    small = np.asarray(image.resize((width, height), resample, box=box))
    return small.reshape(height, width, pixels.shape[2])


def to_input(tiles: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Stack tiles of any size as uint8 [n, height, width, C], each resized whole."""
    channels = tiles[0].shape[2] if tiles else 1
    out = np.empty((len(tiles), height, width, channels), np.uint8)
    for i, tile in enumerate(tiles):
        out[i] = tile if tile.shape[:2] == (height, width) else resize(tile, height, width)
    return out


def dihedral(batch: np.ndarray, view: int) -> np.ndarray:
    """One of the eight symmetries of the square of [n, H, W, C]; view 0 is the identity.

    Views 0..3 turn by 90 degrees each, views 4..7 mirror as well.
    """
    turned = np.rot90(batch, view % 4, axes=(1, 2))
    return turned[:, :, ::-1] if view >= 4 else turned


class Augmenter:
    """Draws one augmented view of a tile, all randomness from the generator that is handed in."""

    def __init__(self, settings: Augment, height: int, width: int) -> None:
        self.settings, self.height, self.width = settings, height, width

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment uint8 [H, W, C] to float32 [height, width, C] of pixels 0..255."""
        a = self.settings
        zoom = float(np.exp(rng.uniform(*np.log(a.zoom))))
        stretch = float(np.exp(rng.uniform(-1, 1) * np.log(a.stretch)))
        pixels = self._window(pixels, zoom * stretch, zoom / stretch, rng)
        if a.symmetry == "dihedral":
            pixels = dihedral(pixels[None], int(rng.integers(8)))[0]
        elif a.symmetry == "flip" and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return self._light(pixels, rng)

    def _window(
        self, pixels: np.ndarray, zoom_y: float, zoom_x: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Cut a window 1/zoom of the tile, shifted at random; beyond the tile it is mirrored."""
        rows, cols = pixels.shape[:2]
        high, wide = rows / zoom_y, cols / zoom_x
        shift = self.settings.shift
        top = (rows - high) / 2 + rng.uniform(-shift, shift) * rows
        left = (cols - wide) / 2 + rng.uniform(-shift, shift) * cols
        pad = int(np.ceil(max(0, -top, -left, top + high - rows, left + wide - cols)))
        if pad:
            pixels = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
            top, left = top + pad, left + pad
        return resize(
            pixels,
            self.height,
            self.width,
            box=(left, top, left + wide, top + high),
            resample=_FILTERS[int(rng.integers(len(_FILTERS)))],
        )

    def _light(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Contrast about the mean, gain, gamma, colour, grey and noise; nodata (0) stays 0."""
        a = self.settings
        tables = [self._table(pixels, rng)] * pixels.shape[2]
        if a.colour > 0:
            tables = [t * np.exp(rng.uniform(-a.colour, a.colour)) for t in tables]
        out = np.stack([t[pixels[..., i]] for i, t in enumerate(tables)], axis=-1)
        if a.grey > 0 and pixels.shape[2] == 3 and rng.random() < a.grey:
            out[:] = (out @ np.array([0.299, 0.587, 0.114]))[..., None]
        if a.noise > 0:
            noise = rng.standard_normal(out.shape, np.float32) * rng.uniform(0, a.noise)
            out = np.where(pixels.max(axis=2, keepdims=True) > 0, out + noise, 0)
        return np.asarray(np.clip(out, 0, 255), np.float32)

    def _table(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The value that each of the 256 pixel values gets, float64 [256]."""
        a = self.settings
        values = np.arange(256.0)
        if a.contrast > 0:
            seen = pixels[pixels > 0]
            mean = float(seen.mean()) if seen.size else 0.0
            values = mean + (values - mean) * np.exp(rng.uniform(-a.contrast, a.contrast))
        if a.gain > 0:
            values = values * np.exp(rng.uniform(-a.gain, a.gain))
        if a.gamma > 0:
            power = np.exp(rng.uniform(-a.gamma, a.gamma))
            values = 255.0 * (np.clip(values, 0, 255) / 255.0) ** power
        values[0] = 0.0
        return values
