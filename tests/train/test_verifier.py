"""The net of the second stage: what it reads of a pair, and its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_base.errors import DataError
from winnow_base.tiles import LabelledTiles
from winnow_train import verifier
from winnow_train.recipe import Input, Model
from winnow_train.runs import load_run
from winnow_train.verifier import Learner

SIDE, CLASSES = 32, 3


@pytest.fixture(scope="module")
def learner() -> Learner:
    # With two blocks that are added to what goes past them; Keras takes its time for every layer.
    settings = Model(
        backbone="MobileNetV2", alpha=0.35, weights="", last="block_4_add", batchnorm_momentum=0.5
    )
    made = verifier.build(settings, Input(SIDE, SIDE, 1), CLASSES, None, 0)
    # Untrained, a net says next to nothing: its norms see some pixels, and its head says more.
    rng = np.random.default_rng(0)
    for _ in range(6):
        pixels = rng.integers(0, 256, (8, 2 * SIDE, SIDE, 1)).astype(np.float32)
        made.pairs(pixels / 127.5, training=True)
    head = made.pairs.get_layer("head-verdict")
    head.set_weights([rng.normal(0, 1, w.shape) for w in head.get_weights()])
    return made


@pytest.fixture(scope="module")
def pairs() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (4, 2 * SIDE, SIDE, 1)).astype(np.uint8)


def logits_of(net: Any, pairs: np.ndarray, scale: float = 1.0) -> np.ndarray:
    return np.asarray(net(pairs.astype(np.float32) / scale, training=False))


def test_what_flies_says_what_was_trained_and_both_halves_count(
    learner: Learner, pairs: np.ndarray
) -> None:
    trained = logits_of(learner.pairs, pairs, 127.5)
    flown = verifier.export(learner)
    size = float(np.abs(trained).max())
    np.testing.assert_allclose(logits_of(flown, pairs), trained, atol=1e-4 * size)
    for half in (slice(0, SIDE), slice(SIDE, 2 * SIDE)):
        other = pairs.copy()
        other[:, half] = 255 - other[:, half]
        assert np.abs(logits_of(flown, other) - trained).max() > 1e-3 * size
    # Each pair is judged alone.
    alone = np.concatenate([logits_of(flown, pair[np.newaxis]) for pair in pairs])
    np.testing.assert_allclose(alone, trained, atol=1e-4 * size)


def test_a_head_may_be_fitted_on_the_features_of_a_frozen_backbone(
    learner: Learner, pairs: np.ndarray
) -> None:
    trunk = verifier.trunk_of(learner.halves)
    found = verifier.features(trunk, pairs)
    kernel, bias = learner.pairs.get_layer("head-verdict").get_weights()
    wanted = logits_of(verifier.assemble(trunk, kernel, bias), pairs)
    assert found.shape == (len(pairs), kernel.shape[2])
    size = float(np.abs(wanted).max())
    np.testing.assert_allclose(found @ kernel[0, 0] + bias, wanted, atol=1e-4 * size)
    first = verifier.features(trunk, np.concatenate([pairs[:, :SIDE]] * 2, axis=1))
    half = found.shape[1] // 2
    np.testing.assert_allclose(first[:, half:], found[:, :half], rtol=1e-5)


def test_a_run_folder_holds_the_net_its_card_and_its_pairs(
    learner: Learner, pairs: np.ndarray, tmp_path: Path
) -> None:
    flown = verifier.export(learner)
    train = LabelledTiles(pairs, np.array([0, 1, 2, 0]), ("a", "a", "b", "c"))
    val = LabelledTiles(pairs[:1], np.array([2]), ("d",))
    card = {
        "name": "small",
        "classes": ["a", "b", "c"],
        "head": "softmax",
        "input": {"height": 2 * SIDE, "width": SIDE, "channels": 1},
        "temperature": 1.0,
        "training": {},
    }
    folder = tmp_path / "run"
    verifier.write_run(folder, flown, card, train, val)
    net, read = load_run(folder)
    assert read == card
    np.testing.assert_array_equal(logits_of(net, pairs), logits_of(flown, pairs))
    for split, wanted in (("train", train), ("val", val)):
        got = verifier.read_pairs(folder, split)
        np.testing.assert_array_equal(got.tiles, wanted.tiles)
        np.testing.assert_array_equal(got.labels, wanted.labels)
        assert got.sources == wanted.sources
    with pytest.raises(DataError, match="holds no pairs of test"):
        verifier.read_pairs(folder, "test")
    (folder / verifier.TILES).write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DataError, match="holds no pairs of train"):
        verifier.read_pairs(folder, "train")
