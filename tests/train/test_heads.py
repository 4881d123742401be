"""Heads joined at export: one head that adds what the others say of classes of the same name."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from winnow_base.errors import RecipeError
from winnow_train import model
from winnow_train.recipe import parse_recipe

CLASSES = {"hirise-v1": ("other", "crater", "edge"), "hirise-v3": ("spider", "crater", "other")}


def test_joined_logits_are_the_weighted_sum_of_the_heads() -> None:
    keras.utils.set_random_seed(3)
    pixels = keras.Input((8, 8, 1))
    features = layers.Conv2D(5, 3, activation="relu")(pixels)
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(features)
    heads = {
        h: layers.Reshape((len(c),))(
            layers.Conv2D(len(c), 1, name=f"head-{h}", bias_initializer="random_normal")(pooled)
        )
        for h, c in CLASSES.items()
    }
    net = keras.Model(pixels, heads)
    tiles = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    before = model.predict(net, tiles, scale=model.PIXEL_SCALE)
    model.join_heads(net, "hirise-v1", CLASSES, 0.5)
    after = model.predict(model.export(net, "hirise-v1"), tiles)
    crater, other = before["hirise-v3"][:, 1], before["hirise-v3"][:, 2]
    want = before["hirise-v1"].copy()
    want[:, 1] += 0.5 * (crater - other) / 2
    want[:, 0] += 0.5 * (other - crater) / 2
    np.testing.assert_allclose(after, want, rtol=1e-3, atol=1e-5)
    assert np.abs(want - before["hirise-v1"]).max() > 1e-2
    same = model.predict(net, tiles, scale=model.PIXEL_SCALE)["hirise-v3"]
    np.testing.assert_array_equal(same, before["hirise-v3"])


def test_joining_needs_a_head_trained_along() -> None:
    table = {"name": "x", "data": {"dataset": "hirise-v1"}, "export": {"join": 0.5}}
    with pytest.raises(RecipeError, match=r"`export\.join` is 0\.5"):
        parse_recipe(table)


def test_centred_logits_sum_to_nothing_and_their_posterior_stays() -> None:
    keras.utils.set_random_seed(5)
    pixels = keras.Input((8, 8, 1))
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(layers.Conv2D(5, 3)(pixels))
    drifted = keras.initializers.Constant(-250.0)
    head = layers.Conv2D(3, 1, name="head-x", bias_initializer=drifted)(pooled)
    net = keras.Model(pixels, {"x": layers.Reshape((3,))(head)})
    exported = model.export(net, "x")
    tiles = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    before = model.predict(exported, tiles)
    model.centre(exported, "x")
    after = model.predict(exported, tiles)
    np.testing.assert_allclose(after.sum(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(after - after[:, :1], before - before[:, :1], rtol=1e-3, atol=1e-3)
