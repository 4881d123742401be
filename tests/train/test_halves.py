"""Tiles made of two halves, for sigmoid heads."""

from __future__ import annotations

import numpy as np
import pytest

from winnow_base.errors import RecipeError
from winnow_train.fit import Epoch
from winnow_train.halves import join
from winnow_train.model import PIXEL_SCALE
from winnow_train.recipe import Recipe, parse_recipe
from winnow_train.samples import Sample


def recipe(**augment: object) -> Recipe:
    return parse_recipe(
        {
            "name": "t",
            "data": {"dataset": "hirise-v3", "along": ["hirise-v1"]},
            "input": {"height": 32, "width": 32},
            "model": {"head": "sigmoid"},
            "train": {"batch": 40},
            "augment": {"symmetry": "none", **augment},
        }
    )


def sample() -> Sample:
    """Forty own tiles, of level 50, 100, 150 by what they hold, and forty along, of level 200."""
    kinds = np.array([[0, 0]] * 30 + [[1, 0]] * 6 + [[0, 1]] * 4, np.float32)
    levels = [50] * 30 + [100] * 6 + [150] * 4 + [200] * 40
    along = np.tile(np.eye(3, dtype=np.float32)[0], (80, 1))
    own = np.concatenate([np.ones(40), np.zeros(40)]).astype(np.float32)
    return Sample(
        pixels=[np.full((40, 40, 1), level, np.uint8) for level in levels],
        targets={"hirise-v3": np.concatenate([kinds, np.zeros((40, 2), np.float32)]),
                 "hirise-v1": along},
        weights={"hirise-v3": own, "hirise-v1": np.ones(80, np.float32)},
        draw=np.full(80, 1 / 80),
    )  # fmt: skip


def test_halves_carry_the_classes_of_both_and_weigh_in_the_own_head_only() -> None:
    made = sample()
    both = seen = 0
    for number in range(6):
        for x, y, w in Epoch(made, recipe(halves=0.5), number):
            left, right = (np.rint(x[:, 16, at, 0] * PIXEL_SCALE) for at in (4, 28))
            holds = np.stack([(left == v) | (right == v) for v in (100, 150)], axis=1)
            own = w["hirise-v3"] > 0
            np.testing.assert_array_equal(y["hirise-v3"][own], holds[own])
            joined = left != right
            assert not (joined & ~own).any()
            assert (w["hirise-v1"][joined] == 0).all()
            assert (w["hirise-v1"][~own] == 1).all()
            both, seen = both + int(holds.all(axis=1).sum()), seen + int(joined.sum())
    # Half of 240 own tiles; of those two ninths hold both, two thirds have unlike halves.
    assert 50 < seen < 110
    assert 10 < both < 45
    assert made.targets["hirise-v3"].max(axis=1).sum() == 10  # the sample itself is as it was


def test_halves_leave_the_draw_and_the_other_tiles_of_a_batch_as_they_are() -> None:
    changed = kept = 0
    plain = list(Epoch(sample(), recipe(gain=0.3), 1))
    some = list(Epoch(sample(), recipe(gain=0.3, halves=0.3), 1))
    for (x, y, w), (x2, y2, w2) in zip(plain, some, strict=True):
        same = (x == x2).all(axis=(1, 2, 3))
        for head in y:
            np.testing.assert_array_equal(y[head][same], y2[head][same])
            np.testing.assert_array_equal(w[head][same], w2[head][same])
        assert same[w["hirise-v3"] == 0].all()
        changed, kept = changed + int((~same).sum()), kept + int(same.sum())
    assert 2 < changed < 30
    assert kept + changed == 80


def test_the_middle_halves_stand_side_by_side() -> None:
    ramp = np.arange(8, dtype=np.float32)[None, :, None].repeat(8, axis=0)
    np.testing.assert_array_equal(join([ramp, ramp + 10])[0, :, 0], [2, 3, 4, 5, 12, 13, 14, 15])


def test_halves_need_sigmoid_heads() -> None:
    with pytest.raises(RecipeError, match=r"`augment\.halves` is 0\.2, but the head is softmax"):
        parse_recipe({"name": "t", "data": {"dataset": "hirise-v3"}, "augment": {"halves": 0.2}})
