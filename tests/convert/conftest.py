"""A small trained-looking model and a small data set, made once: TensorFlow takes seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from winnow_base.conversion import Conversion
from winnow_convert.convert import Converted, compare_methods
from winnow_convert.source import load_source
from winnow_train.tasks import read_like

# Three rows of a 45-tile val set are 7 %: the default gate is for real sets.
LOOSE = Conversion(
    calibration=48,
    max_accuracy_loss=0.1,
    max_recall_loss=0.1,
    min_agreement=0.9,
    min_rank_correlation=0.5,
)
CLASSES = ("crater", "dune", "other")
SIZE = 32


def draw(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A tile uint8 (SIZE, SIZE) that is plainly of its class."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    tile = rng.normal(110, 8, (SIZE, SIZE))
    if kind == "crater":
        radius = np.hypot(y - SIZE / 2 - rng.uniform(-4, 4), x - SIZE / 2 - rng.uniform(-4, 4))
        tile += np.where(radius < 9, 80 * np.sign(x - SIZE / 2), 0)
    elif kind == "dune":
        tile += 70 * np.sin((x + y) * rng.uniform(0.7, 0.9))
    return np.clip(tile, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the `folder` kind: 60 train and 45 val tiles of three classes."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(7)
    for split, count in (("train", 20), ("val", 15)):
        for kind in CLASSES:
            folder = root / split / kind
            folder.mkdir(parents=True)
            for n in range(count):
                site = f"{split}{n // 5}"
                Image.fromarray(draw(kind, rng)).save(folder / f"{site}{kind}_{n:03d}.png")
    return root


@pytest.fixture(scope="session")
def tiny_model() -> Any:
    """A Keras model, pixels 0..255 to three logits, fitted for a moment on drawn tiles.

    It is fitted in float64 and then rounded: in float32 every CPU's kernels would give another
    model, and with it other margins to quantize.
    """
    from winnow_convert.source import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(3)
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("float64")
        fitted = _fitted(keras)
        keras.config.set_dtype_policy("float32")
        model = _net(keras)
    finally:
        keras.config.set_dtype_policy(policy)
    model.set_weights([w.astype(np.float32) for w in fitted.get_weights()])
    return model


def _net(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 1))
    stem = layers.Conv2D(8, 3, 2, padding="same", trainable=False, name="stem")
    x = stem(inputs)
    # Fixed: a step that suits the other layers is far too long for one that reads raw pixels.
    kernel = np.random.default_rng(0).normal(0, 0.01, (3, 3, 1, 8))
    stem.set_weights([kernel - kernel.mean(axis=(0, 1, 2)), np.full(8, 3.0)])
    x = layers.ReLU(6, name="relu_stem")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(6, name="relu_depthwise")(x)
    first = layers.Conv2D(8, 1, name="project")(x)
    x = layers.Conv2D(16, 1, name="expand")(first)
    x = layers.ReLU(6, name="relu_expand")(x)
    x = layers.Conv2D(8, 1, name="project_2")(x)
    x = layers.Add(name="add")([first, x])
    x = layers.Conv2D(16, 1, name="widen")(x)
    x = layers.ReLU(6, name="relu_widen")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    x = layers.Conv2D(len(CLASSES), 1, name="head")(x)
    return keras.Model(inputs, layers.Reshape((len(CLASSES),), name="logits")(x))


def _fitted(keras: Any) -> Any:
    model = _net(keras)
    rng = np.random.default_rng(1)
    tiles = np.stack([draw(kind, rng) for kind in CLASSES * 40])[..., np.newaxis]
    labels = np.tile(np.arange(len(CLASSES)), 40)
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    model.fit(tiles.astype(np.float64), labels, epochs=40, batch_size=24, verbose=0)
    return model


@pytest.fixture(scope="session")
def write_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a run folder: `write_run(model, key=value ...)` overrides keys of model.json."""

    def write(model: Any, **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp("run")
        model.save(folder / "model.keras")
        description = {
            "recipe": {"name": "tiny", "data": {"dataset": "folder"}},
            "name": "tiny",
            "classes": list(CLASSES),
            "head": "softmax",
            "input": {"height": SIZE, "width": SIZE, "channels": 1},
            "temperature": 1.0,
            "training": {"dataset": "folder", "counts": {"train": {"crater": 20}}},
            "metrics": {},
            "seed": 3,
            "versions": {},
            "licence": "Apache-2.0",
            "attribution": "drawn for a test",
            **changes,
        }
        (folder / "model.json").write_text(json.dumps(description))
        return folder

    return write


@pytest.fixture(scope="session")
def run_folder(tiny_model: Any, write_run: Callable[..., Path]) -> Path:
    """The tiny model as `winnow train` would leave it."""
    return write_run(tiny_model)


@pytest.fixture(scope="session")
def loose() -> Conversion:
    """Options whose gate suits 45 val tiles."""
    return LOOSE


@pytest.fixture(scope="session")
def converted(run_folder: Path, data_root: Path) -> Converted:
    """The tiny model, quantized and measured."""
    source = load_source(run_folder)
    train, val = (
        read_like(source.description, data_root, split, silent) for split in ("train", "val")
    )
    return compare_methods(source, train, val, LOOSE, silent)["ptq"]


def silent(step: str, done: int, total: int) -> None:
    """Progress that is only checked."""
    assert 0 <= done <= total
