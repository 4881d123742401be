"""Tiles for calibration (train alone) and comparison (val alone)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from winnow_convert.source import Source
from winnow_ground.errors import DataError

UInt8Array = npt.NDArray[np.uint8]
LabelArray = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]
"""Called with a step's name, what is done and what there is to do."""

FEWEST_CALIBRATION_TILES = 16


@dataclass(frozen=True)
class LabelledTiles:
    """`tiles` uint8 (n, height, width, channels); `labels` int64 (n,) class indices, or
    (n, classes) of 0 and 1 for a sigmoid head; `sources` the source of each tile."""

    tiles: UInt8Array
    labels: LabelArray
    sources: tuple[str, ...]


def load_split(source: Source, root: Path, split: str, progress: Progress) -> LabelledTiles:
    """One set of the data that the model was trained on, at the model's input size.

    Raises DataError if the data are not there or are not of the model's classes.
    """
    from winnow_train.tasks import task_like
    from winnow_train.tiles import decode_all, to_input

    name = source.description.get("training", {}).get("dataset")
    if not isinstance(name, str):
        raise DataError("model.json names no data set", where=source.folder)
    task = task_like(source.description, name, root).split(split)
    if task.truth.ndim == 1 and task.truth.max() >= len(source.classes):
        stranger = task.tiles.tiles[int(task.truth.argmax())].path.name
        raise DataError(f"{name} has tiles of classes that the model lacks, e.g. {stranger}")
    found = task.tiles
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress(f"reading {split}", done, len(found.tiles))

    tiles = decode_all([t.path for t in found.tiles], source.channels, progress=step)
    return LabelledTiles(
        tiles=to_input(tiles, source.height, source.width),
        labels=task.truth.astype(np.int64),
        sources=tuple(t.source for t in found.tiles),
    )


def calibration_sample(train: LabelledTiles, classes: int, count: int, seed: int = 0) -> UInt8Array:
    """About `count` tiles of train, balanced over the classes, uint8 (n, height, width, channels).

    Each class gives an equal share, as do the tiles of no class where a sigmoid head has such; one
    that has too few gives all it has and the others make up for it. If no tile reaches 0 or 255,
    those values are set in two pixels of the last: the input range must be exactly 0..255 for
    pixels to be quantized without rounding.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
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
