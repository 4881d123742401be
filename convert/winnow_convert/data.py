"""Tiles for calibration (train alone) and comparison (val alone)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from winnow_base.conversion import FEWEST_CALIBRATION_TILES
from winnow_base.errors import DataError
from winnow_base.tiles import LabelledTiles
from winnow_convert.source import Source

UInt8Array = npt.NDArray[np.uint8]
CALIBRATION_SEED = 0


def calibration_sample(train: LabelledTiles, classes: int, count: int) -> UInt8Array:
    """About `count` tiles of train, balanced over the classes, uint8 (n, height, width, channels).

    Each class gives an equal share, as do the tiles of no class where a sigmoid head has such; one
    that has too few gives all it has and the others make up for it. If no tile reaches 0 or 255,
    those values are set in two pixels of the last: the input range must be exactly 0..255 for
    pixels to be quantized without rounding.
    """
    rng = np.random.Generator(np.random.PCG64(CALIBRATION_SEED))
    many = train.labels.ndim == 2
    member = train.labels if many else np.eye(classes, dtype=np.int64)[train.labels]
    pools = [list(rng.permutation(np.flatnonzero(member[:, k]))) for k in range(classes)]
    if many:
        pools.append(list(rng.permutation(np.flatnonzero(~member.any(axis=1)))))
    chosen: dict[int, None] = {}
    while len(chosen) < count and any(pools):
        for pool in pools:
            if pool and len(chosen) < count:
                chosen[int(pool.pop())] = None
    tiles = train.tiles[list(chosen)].copy()
    if len(tiles) and tiles.min() > 0:
        tiles[-1].flat[0] = 0
    if len(tiles) and tiles.max() < 255:
        tiles[-1].flat[-1] = 255
    return tiles


def check_calibration(tiles: UInt8Array, source: Source) -> None:
    """Raise DataError where activation ranges measured on `tiles` would mean nothing."""
    shape = (source.height, source.width, source.channels)
    hint = "calibrate on tiles of the training set"
    if tiles.ndim != 4 or tiles.shape[1:] != shape:
        raise DataError(
            f"calibration tiles are {tiles.shape[1:]}, the model's input is {shape}", hint=hint
        )
    if len(tiles) < FEWEST_CALIBRATION_TILES:
        raise DataError(
            f"{len(tiles)} calibration tiles are too few, at least {FEWEST_CALIBRATION_TILES}",
            hint=hint,
        )
    flat = tiles.reshape(len(tiles), -1)
    # The pixels that pin the input range may make one constant tile look alive.
    if int((flat.max(axis=1) > flat.min(axis=1)).sum()) < len(tiles) / 2:
        raise DataError("calibration tiles are constant: no image in most of them", hint=hint)
