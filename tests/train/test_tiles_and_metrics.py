"""Augmentation keeps what it promises; figures of merit against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support

from winnow_base.calibrate import fit_temperature, negative_log_likelihood
from winnow_base.metrics import (
    expected_calibration_error,
    multi_label,
    sigmoid,
    single_label,
    softmax,
)
from winnow_train.recipe import Augment
from winnow_train.tiles import Augmenter, dihedral, to_input

ALL = Augment(
    zoom=(0.5, 1.5), shift=0.1, stretch=1.3, gain=0.2, contrast=0.4, gamma=0.3, noise=5, grey=0.5
)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(8, 80),
    cols=st.integers(8, 80),
    channels=st.sampled_from([1, 3]),
)
def test_augmented_tiles_are_pixels_and_repeat_by_seed(
    seed: int, rows: int, cols: int, channels: int
) -> None:
    tile = np.random.default_rng(seed).integers(0, 256, (rows, cols, channels), np.uint8)
    augment = Augmenter(ALL, 32, 32)
    one, two = (augment(tile, np.random.default_rng(seed)) for _ in range(2))
    assert one.shape == (32, 32, channels)
    assert one.dtype == np.float32
    assert one.min() >= 0
    assert one.max() <= 255
    np.testing.assert_array_equal(one, two)


def test_no_augmentation_is_a_plain_resize() -> None:
    tile = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64, 1)
    plain = Augmenter(Augment(symmetry="none"), 64, 64)(tile, np.random.default_rng(0))
    np.testing.assert_array_equal(plain, tile)


def test_nodata_stays_nodata() -> None:
    tile = np.zeros((40, 40, 1), np.uint8)
    tile[:, 20:] = 180
    light = Augment(symmetry="none", gain=0.3, contrast=0.5, gamma=0.3, noise=8)
    out = Augmenter(light, 40, 40)(tile, np.random.default_rng(1))
    assert (out[:, :20] == 0).all()
    assert (out[:, 20:] > 0).any()


def test_the_eight_views_are_the_dihedral_group() -> None:
    tile = np.arange(9).reshape(1, 3, 3, 1)
    views = {dihedral(tile, v).tobytes() for v in range(8)}
    assert len(views) == 8
    np.testing.assert_array_equal(dihedral(dihedral(tile, 1), 3), tile)


def test_tiles_of_any_size_become_one_batch() -> None:
    tiles = [np.full((20, 30, 1), 7, np.uint8), np.full((32, 32, 1), 9, np.uint8)]
    batch = to_input(tiles, 32, 32)
    assert batch.shape == (2, 32, 32, 1)
    assert set(batch[0].ravel()) == {7}


def test_single_label_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 200)
    posterior = softmax(rng.normal(size=(200, 5)) + 2 * np.eye(5)[labels])
    found = single_label(posterior, labels, list("abcde"))
    predicted = posterior.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(5), zero_division=0
    )
    for i, name in enumerate("abcde"):
        row = found["per_class"][name]
        assert row["precision"] == pytest.approx(precision[i])
        assert row["recall"] == pytest.approx(recall[i])
        assert row["f1"] == pytest.approx(f1[i])
        assert row["support"] == support[i]
    # Class e has no tile: it does not enter macro-F1.
    assert found["macro_f1"] == pytest.approx(
        f1_score(labels, predicted, labels=range(4), average="macro", zero_division=0)
    )
    sure = posterior.max(axis=1) >= 0.9
    assert found["at_090"]["abstention"] == pytest.approx(1 - sure.mean())
    assert found["at_090"]["accuracy"] == pytest.approx((predicted == labels)[sure].mean())
    assert np.sum(found["confusion"]) == found["n"] == 200


def test_a_class_the_model_does_not_know_is_always_wrong() -> None:
    posterior = np.array([[0.9, 0.1], [0.95, 0.05]])
    found = single_label(posterior, np.array([0, 2]), ["a", "b", "(unknown)"])
    assert found["accuracy"] == 0.5
    assert found["per_class"]["(unknown)"]["recall"] == 0


def test_ece_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.61, 0.61])
    correct = np.array([True, False, True, True])
    assert expected_calibration_error(confidence, correct) == pytest.approx(
        0.5 * abs(0.95 - 0.5) + 0.5 * abs(0.61 - 1.0)
    )


def test_multi_label_counts_a_tile_right_only_if_every_class_is() -> None:
    posterior = np.array([[0.9, 0.2], [0.6, 0.7], [0.1, 0.1]])
    found = multi_label(posterior, np.array([[1, 0], [1, 0], [0, 0]]), ["crater", "dune"])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["per_class"]["crater"]["recall"] == 1
    assert found["confusion"][1] == [[2, 1], [0, 0]]


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_where_it_was_put(true_temperature: float) -> None:
    rng = np.random.default_rng(7)
    logits = rng.normal(scale=2.0, size=(20000, 4))
    posterior = softmax(logits)
    labels = (rng.random((20000, 1)) > posterior.cumsum(axis=1)).sum(axis=1)
    found = fit_temperature(logits * true_temperature, labels)
    assert found == pytest.approx(true_temperature, rel=0.05)
    best = negative_log_likelihood(logits * true_temperature, labels, found, "softmax")
    for other in (found * 0.9, found * 1.1):
        worse = negative_log_likelihood(logits * true_temperature, labels, other, "softmax")
        assert best <= worse


def test_sigmoid_temperature_and_extremes() -> None:
    rng = np.random.default_rng(8)
    logits = rng.normal(scale=2.0, size=(20000, 2))
    truth = rng.random(logits.shape) < sigmoid(logits)
    assert fit_temperature(2 * logits, truth, "sigmoid") == pytest.approx(2.0, rel=0.05)
    np.testing.assert_array_equal(sigmoid(np.array([-1e4, 1e4])), [0.0, 1.0])
