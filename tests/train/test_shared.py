"""Nets whose first layers overlapping tiles share: a strip gives what its tiles give."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.speed.shared import measure
from winnow_base.errors import RecipeError
from winnow_train import model
from winnow_train.recipe import Input, Model

NET = Model(
    backbone="MobileNet", alpha=0.25, weights="", last="conv_pw_12_relu", shared="conv_pw_6_relu"
)
TILE, HOP = 96, 32


def test_features_of_a_strip_are_those_of_its_tiles() -> None:
    import keras

    pixels = np.random.default_rng(0).uniform(0, 2, (1, TILE, TILE + 2 * HOP, 1)).astype("f4")
    nets = {
        width: model.build(NET, Input(TILE, width, 1), {"own": 3}, None, seed=4)
        for width in (TILE, TILE + 2 * HOP)
    }
    tile, strip = (
        keras.Model(net.input, net.get_layer(NET.shared).output) for net in nets.values()
    )
    for layer in strip.layers:  # one pass sets the statistics of random weights
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    strip(pixels, training=True)
    tile.set_weights(strip.get_weights())
    features = np.asarray(strip(pixels))
    for number in range(3):
        window = pixels[:, :, number * HOP : number * HOP + TILE]
        alone = np.asarray(tile(window))
        side, first = alone.shape[2], number * HOP // 16
        np.testing.assert_allclose(features[:, :, first : first + side], alone, atol=1e-4)
        assert np.ptp(alone) > 0.1


def test_int8_strips_give_their_tiles_logits_bit_for_bit() -> None:
    # `measure` ends the program where a logit differs.
    rows = measure(["conv_pw_4_relu"], ["2x3"], 1, tile=64, alpha=0.25)
    tiles, strip = rows[-2:]
    assert strip["MMAC"] < tiles["MMAC"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shared": "conv_pw_11_relu"}, "nothing is left"),
        ({"backbone": "MobileNetV2", "last": "", "shared": "block_6_expand"}, "branch"),
    ],
)
def test_what_cannot_be_shared_is_refused(change: dict[str, str], said: str) -> None:
    wanted = dataclasses.replace(NET, **change)
    if wanted.backbone == "MobileNetV2":
        wanted = dataclasses.replace(wanted, alpha=0.35)
    with pytest.raises(RecipeError, match=said):
        model.build(wanted, Input(TILE, TILE, 1), {"own": 3}, None, seed=1)
