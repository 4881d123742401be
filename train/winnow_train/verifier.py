"""The verifier: the net of the second stage, which sees a tile and its surroundings.

Its input is a pair, the tile above its surroundings, float32 [B, 2 T, T, C]. The halves go as a
batch of 2 B through one backbone; a 1x1 convolution reads both pooled features side by side. Which
square the surroundings are says docs/second-stage.md.

A run folder of a verifier also holds `tiles.npz`, the pairs of train and val: no data set has
surroundings, and conversion needs both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from winnow_base.errors import DataError
from winnow_base.tiles import LabelledTiles
from winnow_edge.errors import OutputError
from winnow_train import model
from winnow_train.recipe import Input, Model
from winnow_train.runs import CARD, MODEL

TILES = "tiles.npz"
HEAD = "verdict"


@dataclass(frozen=True)
class Learner:
    """A verifier to be trained: `pairs` float32 [B, 2 T, T, C] of pixels / 127.5 -> logits [B, K];
    `halves` is the net inside it, of which pooling and what comes before are used."""

    pairs: keras.Model
    halves: keras.Model


def build(settings: Model, size: Input, classes: int, weights: str | None, seed: int) -> Learner:
    """A verifier for tiles of `size`; a frozen backbone stays as `weights` has it.

    `weights` is what `winnow_train.weights.find_weights` gives. Raises WeightsError if they do not
    fit.
    """
    halves = model.build(settings, size, {HEAD: classes}, weights, seed)
    trunk = keras.Model(halves.input, halves.get_layer("pool").output, name="trunk")
    pairs = keras.Input((2 * size.height, size.width, size.channels))
    pooled = trunk(_halves(pairs, size))
    return Learner(keras.Model(pairs, _logits(pooled, classes)), halves)


def export(learner: Learner, bias: np.ndarray | None = None) -> keras.Model:
    """The verifier as it flies: float32 [B, 2 T, T, C] of pixels 0..255 -> logits [B, K], every
    BatchNorm folded; `bias` [K] is added to the logits. Raises ModelError if folding fails."""
    kernel, offset = learner.pairs.get_layer(f"head-{HEAD}").get_weights()
    return assemble(trunk_of(learner.halves), kernel, offset if bias is None else offset + bias)


def trunk_of(halves: keras.Model) -> keras.Model:
    """The folded backbone: float32 [B, T, T, C] of pixels 0..255 -> features [B, 1, 1, F]."""
    folded = model.export(halves, HEAD)
    return keras.Model(folded.input, folded.get_layer("pool").output)


def features(trunk: keras.Model, pairs: np.ndarray) -> np.ndarray:
    """What the head reads of pairs uint8 [n, 2 T, T, C]: float32 [n, 2 F], the tile's first."""
    count, height, width, channels = pairs.shape
    found = model.predict(trunk, pairs.reshape(2 * count, height // 2, width, channels))
    return np.asarray(found).reshape(count, -1)


def assemble(trunk: keras.Model, kernel: np.ndarray, bias: np.ndarray) -> keras.Model:
    """The verifier of a folded trunk and a head that was fitted on `features`: kernel [2 F, K] (or
    [1, 1, 2 F, K]), bias [K]."""
    size = Input(*trunk.input.shape[1:])
    pairs = keras.Input((2 * size.height, size.width, size.channels), name="pairs")
    net = keras.Model(pairs, _logits(_copied(trunk, _halves(pairs, size)), len(bias)))
    for layer in trunk.layers:
        if layer.weights:
            net.get_layer(layer.name).set_weights(layer.get_weights())
    head = net.get_layer(f"head-{HEAD}")
    head.set_weights([np.reshape(kernel, head.kernel.shape), np.asarray(bias)])
    return net


def write_run(
    folder: Path, net: keras.Model, card: dict[str, Any], train: LabelledTiles, val: LabelledTiles
) -> None:
    """Write an exported verifier and its pairs as a run folder for `winnow convert --verifier`.

    `card` is its model.json: at least `name`, `classes`, `head` ("softmax"), `input`,
    `temperature` and `training`; thresholds that are chosen already stand in its recipe's
    `[convert]` table. Raises OutputError.
    """
    arrays = {
        f"{split}_{key}": np.asarray(getattr(tiles, key))
        for split, tiles in (("train", train), ("val", val))
        for key in ("tiles", "labels", "sources")
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        net.save(folder / MODEL)
        np.savez_compressed(folder / TILES, **arrays)
        (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror}", where=folder) from error


def read_pairs(folder: Path, split: str) -> LabelledTiles:
    """The pairs of one set, uint8 [n, 2 T, T, C], of a run folder. Raises DataError."""
    path = (folder.parent if folder.is_file() else folder) / TILES
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            tiles, labels = arrays[f"{split}_tiles"], arrays[f"{split}_labels"]
            sources = tuple(str(name) for name in arrays[f"{split}_sources"])
    except Exception as error:  # numpy lets KeyError, ValueError, BadZipFile, zlib.error ... out
        raise DataError(
            f"holds no pairs of {split} ({str(error) or type(error).__name__})",
            where=path,
            hint="winnow_train.verifier.write_run writes them beside the model",
        ) from None
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or not len(tiles) == len(labels) == len(sources):
        raise DataError(
            f"has {split}_tiles {tiles.dtype} {tiles.shape} of another make", where=path
        )
    return LabelledTiles(tiles, labels.astype(np.int64), sources)


def _halves(pairs: Any, size: Input) -> Any:
    """[B, 2 T, T, C] -> [2 B, T, T, C]: the tile and its surroundings follow each other."""
    return keras.ops.reshape(pairs, (-1, size.height, size.width, size.channels))


def _copied(net: keras.Model, given: Any) -> Any:
    """The output of a copy of a functional net's layers on the tensor `given`; the layers stay in
    one flat graph, as conversion needs them, where calling the net would nest it."""
    made = {id(net.input): given}
    for layer in net.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        several = isinstance(layer.input, list | tuple)
        inputs = [made[id(x)] for x in (layer.input if several else [layer.input])]
        copy = layer.__class__.from_config(layer.get_config())
        made[id(layer.output)] = copy(inputs if several else inputs[0])
    return made[id(net.output)]


def _logits(pooled: Any, classes: int) -> Any:
    """[2 B, 1, 1, F] -> [B, 1, 1, 2 F] -> logits [B, K]."""
    beside = keras.ops.reshape(pooled, (-1, 1, 1, 2 * pooled.shape[-1]))
    logits = layers.Conv2D(classes, 1, name=f"head-{HEAD}")(beside)
    return layers.Reshape((classes,), name=f"logits-{HEAD}")(logits)
