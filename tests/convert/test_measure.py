"""Measures of what quantization does, on cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from winnow_base.errors import RecipeError
from winnow_base.views import Answers
from winnow_convert.golden import render_tiles
from winnow_convert.measure import Outputs, choose_temperature, compare, decisions, figures, rounded
from winnow_convert.thresholds import choose_thresholds

CLASSES = ("other", "crater", "dune")


def outputs(logits: list[list[float]]) -> Outputs:
    return Outputs(Answers(np.array(logits, np.float64)), "softmax", 1.0)


def test_identical_models_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    same = Outputs(Answers(rng.normal(0, 3, (60, 3))), "softmax", 1.3)
    change = compare(same, same, labels, ["s"] * 60, CLASSES, {"crater": 0.6, "dune": 0.6})
    assert change["agreement"] == change["detection_agreement"] == 1
    assert change["rank_correlation"] == pytest.approx(1)
    assert change["accuracy_loss"] == change["macro_recall_loss"] == 0
    assert change["value_lost_at_5_percent"] == 0
    assert change["posterior_change"] == {"mean": 0, "p99": 0}
    assert change["recall_change"]["crater"] == {"change": 0, "low": 0, "high": 0}


def test_changes_are_counted() -> None:
    labels = np.array([1, 1, 2, 0])
    before = outputs([[0, 9, 0], [0, 5, 0], [0, 0, 9], [9, 0, 0]])
    after = outputs([[0, 5, 0], [9, 5, 0], [0, 0, 9], [9, 0, 0]])
    change = compare(
        before, after, labels, ["a", "b", "c", "d"], CLASSES, {"crater": 0.5, "dune": 0.5}
    )
    assert change["agreement"] == 0.75
    assert change["accuracy_loss"] == 0.25
    assert change["macro_recall_loss"] == pytest.approx(0.5 / 3)
    assert change["detections"] == {"float": 3, "int8": 2}
    assert change["recall_change"]["crater"]["change"] == -0.5
    assert change["recall_change"]["crater"]["low"] == -1


def test_value_lost_is_what_the_first_bytes_fail_to_bring() -> None:
    # 5 % of 40 tiles are two: the float order sends two craters, the int8 order one and a mistake.
    labels = np.zeros(40, np.int64)
    labels[:2] = 1
    float_logits, int8_logits = np.zeros((40, 3)), np.zeros((40, 3))
    float_logits[:, 0] = int8_logits[:, 0] = 9
    float_logits[:2, 1] = 20
    int8_logits[0, 1] = 20
    int8_logits[7, 1] = 19
    change = compare(
        Outputs(Answers(float_logits), "softmax", 1.0),
        Outputs(Answers(int8_logits), "softmax", 1.0),
        labels,
        ["s"] * 40,
        CLASSES,
        {"crater": 0.5},
    )
    assert change["value_lost_at_5_percent"] == 0.5


def test_background_is_never_a_detection_and_softmax_gives_at_most_one() -> None:
    posterior = np.array([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
    hit = decisions(posterior, "softmax", CLASSES, {"crater": 0.3, "dune": 0.1})
    assert hit.tolist() == [[False] * 3, [False, True, False], [False, False, True]]
    hit = decisions(posterior, "sigmoid", CLASSES, {"crater": 0.3, "dune": 0.1})
    assert hit.tolist() == [[False, False, True], [False, True, True], [False, False, True]]


def test_thresholds_follow_the_documented_rule() -> None:
    # Ten tiles called crater with posteriors .55 ... ; the wrong ones lie below .70.
    crater = np.array([0.55, 0.58, 0.62, 0.66, 0.72, 0.78, 0.83, 0.88, 0.93, 0.97])
    labels = np.array([0, 0, 1, 0, 1, 1, 1, 1, 1, 1])
    posterior = np.stack([(1 - crater) / 2, crater, (1 - crater) / 2], axis=1)
    chosen = choose_thresholds(posterior, labels, CLASSES, {"other"}, min_precision=0.9)
    assert set(chosen) == {"crater", "dune"}
    assert chosen["crater"]["threshold"] == 0.70
    assert chosen["crater"]["rule"] == "precision"
    assert chosen["crater"]["detections"] == 6
    assert chosen["crater"]["recall"] == pytest.approx(6 / 7)
    # No tile was called dune: val says nothing.
    assert chosen["dune"]["threshold"] == 0.9
    assert chosen["dune"]["rule"] == "default"


def test_unreachable_precision_takes_the_best_f_half() -> None:
    crater = np.repeat([0.60, 0.80], [10, 10])
    labels = np.array([0] * 6 + [1] * 4 + [1, 0] * 5)
    posterior = np.stack([1 - crater, crater, np.zeros(20)], axis=1)
    chosen = choose_thresholds(posterior, labels, CLASSES, {"other"}, min_precision=0.9)
    assert chosen["crater"]["rule"] == "f0.5"
    # At 0.50 precision .45 recall 1, F0.5 .506; from .65 precision .5 recall 5/9, F0.5 .510.
    assert chosen["crater"]["threshold"] == 0.65


def test_thresholds_of_whole_pictures_go_before_those_of_val() -> None:
    posterior = np.array([[0.1, 0.8, 0.1], [0.2, 0.6, 0.2], [0.9, 0.05, 0.05]])
    labels = np.array([1, 0, 0])
    given = {"crater": 0.7}
    chosen = choose_thresholds(posterior, labels, CLASSES, {"other"}, 0.9, given)
    assert (chosen["crater"]["threshold"], chosen["crater"]["rule"]) == (0.7, "swaths")
    assert (chosen["crater"]["precision"], chosen["crater"]["detections"]) == (1.0, 1)
    assert chosen["dune"]["rule"] == "default"
    with pytest.raises(RecipeError, match=r"convert\.thresholds names 'other'"):
        choose_thresholds(posterior, labels, CLASSES, {"other"}, 0.9, {"other": 0.5})


def test_temperature_is_refitted_only_where_it_helps() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (4000, 3))
    posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=p) for p in posterior])
    assert choose_temperature(logits, labels, "softmax", 1.0) == 1.0
    assert choose_temperature(3 * logits, labels, "softmax", 1.0) == pytest.approx(3, rel=0.1)


def test_sigmoid_heads_are_measured_per_class() -> None:
    labels = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 0]])
    sure = Outputs(Answers(np.where(labels > 0, 4.0, -4.0)), "sigmoid", 1.0)
    assert figures(sure, labels, CLASSES)["accuracy"] == 1
    wrong = Outputs(Answers(np.where(labels[[1, 1, 2]] > 0, 4.0, -4.0)), "sigmoid", 1.0)
    change = compare(sure, wrong, labels, ["a"] * 3, CLASSES, {"crater": 0.5, "dune": 0.5})
    assert change["agreement"] == pytest.approx(2 / 3)
    assert change["detections"] == {"float": 3, "int8": 4}


def test_rounding_reaches_into_reports() -> None:
    assert rounded({"a": [1 / 3, {"b": -1e-9}], "n": 7}) == {"a": [0.33333, {"b": 0.0}], "n": 7}


@pytest.mark.parametrize(("shape", "count"), [((128, 128, 1), 8), ((160, 160, 3), 2)])
def test_golden_tiles_are_fixed_varied_and_small(shape: tuple[int, int, int], count: int) -> None:
    tiles = render_tiles(*shape)
    assert tiles.shape == (count, *shape)
    assert tiles.dtype == np.uint8
    np.testing.assert_array_equal(tiles, render_tiles(*shape))
    assert len({tile.tobytes() for tile in tiles}) == count
    assert tiles.std(axis=(1, 2, 3)).min() > 10
