"""The head: impossible classes, missing surroundings, and that no other is better."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_train.mining import IMPOSSIBLE
from winnow_train.second.crossfit import cross_fit
from winnow_train.second.examples import Lessons
from winnow_train.second.head import Design, Examples, loss_of
from winnow_train.second.settings import Head

CLASSES = ("a", "b", "c")
RIDGE = 1e-3


def examples(number: int = 90, seed: int = 0) -> Examples:
    """Three classes that differ in the tile's second and the surroundings' first feature."""
    rng = np.random.default_rng(seed)
    label = np.arange(number) % 3
    features = rng.normal(0, 1, (number, 2, 5)).astype(np.float32)
    features[:, 0, 1] += 2.0 * (label == 1)
    features[:, 1, 0] += 2.0 * (label == 2)
    targets = np.eye(3, dtype=np.float32)[label]
    return Examples(
        features,
        np.ones(number, bool),
        targets,
        np.ones(number),
        np.arange(number) // 3 % 3 + 1,
    )


def test_no_other_head_has_a_lower_loss() -> None:
    """Steps away from it in any direction, of any size, raise loss and ridge together."""
    held = examples()
    targets = held.targets.copy()
    targets[:20] = 0
    targets[:20, 2] = IMPOSSIBLE
    held = dataclasses.replace(held, targets=targets)
    head = Design(held).fit(RIDGE, 1000)
    spread = (held.features.std(axis=0) + 0.05) * np.sqrt(5)

    def total(kernel: np.ndarray, bias: np.ndarray) -> float:
        found = dataclasses.replace(head, kernel=kernel, bias=bias).posterior(held.features)
        own = kernel * spread.reshape(-1, 1)
        return float(loss_of(found, targets).mean() + RIDGE * (own**2).sum())

    least = total(head.kernel, head.bias)
    rng = np.random.default_rng(3)
    for size in (0.01, 0.1, 1.0):
        for _ in range(10):
            kernel = head.kernel + size * rng.normal(0, 1, head.kernel.shape) / spread.reshape(
                -1, 1
            )
            bias = head.bias + size * rng.normal(0, 1, 3)
            bias -= bias.mean()
            assert total(kernel, bias) > least


def test_what_cannot_be_there_is_unlearned_and_nothing_else_is_said() -> None:
    held = examples()
    strange = np.full((30, 2, 5), 3.0, np.float32)
    target = np.zeros((30, 3), np.float32)
    target[:, 0] = IMPOSSIBLE
    more = Examples(
        np.concatenate([held.features, strange]),
        np.ones(120, bool),
        np.concatenate([held.targets, target]),
        np.ones(120),
        np.ones(120, np.int64),
    )
    before = Design(dataclasses.replace(held, features=held.features * [[[1], [0]]])).fit(
        RIDGE, 500
    )
    after = Design(more).fit(RIDGE, 500)
    assert after.posterior(strange[:1])[0, 0] < 0.05
    assert before.posterior(strange[:1]).shape == (1, 3)
    assert loss_of(np.array([[0.2, 0.5, 0.3]]), target[:1])[0] == pytest.approx(-np.log(0.8))


def test_surroundings_that_are_not_there_have_no_influence() -> None:
    held = examples()
    around = np.arange(90) % 2 == 0
    one = dataclasses.replace(held, around=around)
    noise = held.features.copy()
    noise[~around, 1] = 1e4
    two = dataclasses.replace(one, features=noise)
    heads = [Design(one).fit(RIDGE, 100), Design(two).fit(RIDGE, 100)]
    np.testing.assert_array_equal(heads[0].kernel, heads[1].kernel)


def lessons(held: Examples) -> Lessons:
    """Every example is a candidate too."""
    return Lessons(held, (), (), held.features, held.targets, held.fold)


def test_a_fold_is_judged_by_heads_that_saw_nothing_of_it() -> None:
    """Labels of a fold turned round change nothing in what is said of it."""
    held, rules = examples(), Head(ridge=(RIDGE,))
    plain = cross_fit(lessons(held), rules, CLASSES, Progress(quiet=True))
    targets = held.targets.copy()
    targets[held.fold == 2] = np.roll(targets[held.fold == 2], 1, axis=1)
    other = cross_fit(
        lessons(dataclasses.replace(held, targets=targets)), rules, CLASSES, Progress(quiet=True)
    )
    mine = held.fold == 2
    np.testing.assert_allclose(other.posterior[mine], plain.posterior[mine], atol=1e-4)
    assert np.abs(other.posterior[~mine] - plain.posterior[~mine]).max() > 0.01
    right = plain.posterior.argmax(axis=1) == held.targets.argmax(axis=1)
    assert right.mean() > 0.7


def test_the_ridge_is_the_one_that_held_out_candidates_ask_for() -> None:
    rules = Head(ridge=(RIDGE, 100.0))
    found = cross_fit(lessons(examples(600)), rules, CLASSES, Progress(quiet=True))
    assert found.ridge == RIDGE
    assert found.ridges == {1: RIDGE, 2: RIDGE, 3: RIDGE}


def test_a_class_that_one_fold_holds_alone_is_refused() -> None:
    held = examples()
    only = held.rows((held.targets[:, 1] == 0) | (held.fold == 3))
    with pytest.raises(DataError, match="fold 3 holds every example of b"):
        cross_fit(lessons(only), Head(ridge=(RIDGE,)), CLASSES, Progress(quiet=True))


def test_candidates_of_one_fold_or_without_truth_are_refused() -> None:
    held = examples()
    one = dataclasses.replace(held, fold=np.ones(90, np.int64))
    with pytest.raises(DataError, match="in one fold alone"):
        cross_fit(lessons(one), Head(), CLASSES, Progress(quiet=True))
    nothing = dataclasses.replace(lessons(held), asked_targets=np.zeros((90, 3), np.float32))
    with pytest.raises(DataError, match="nothing is known of any detection"):
        cross_fit(nothing, Head(), CLASSES, Progress(quiet=True))
