"""Weights: of another architecture refused in one line, and starting from another run's."""

from __future__ import annotations

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

from winnow_base.errors import WeightsError
from winnow_train import model
from winnow_train.recipe import Input, Model

SIZE = Input(height=32, width=32, channels=1)


@pytest.mark.parametrize("backbone", ["MobileNet", "MobileNetV2"])
def test_weights_of_another_width_or_net_are_refused_without_a_word_of_keras(
    backbone: str, tmp_path: Path
) -> None:
    path = tmp_path / "narrow.weights.h5"
    narrow = keras.applications.MobileNet(
        input_shape=(32, 32, 3), alpha=0.25, weights=None, include_top=False
    )
    narrow.save_weights(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WeightsError, match=f"does not fit {backbone} 0.5"):
            model.build(Model(backbone=backbone, alpha=0.5), SIZE, {"x": 2}, str(path), 1)
    if backbone == "MobileNet":
        net = model.build(Model(backbone=backbone, alpha=0.25), SIZE, {"x": 2}, str(path), 1)
        kernel = np.asarray(narrow.get_layer("conv_pw_13").get_weights()[0])
        np.testing.assert_array_equal(net.get_layer("conv_pw_13").get_weights()[0], kernel)


def test_the_small_xception_folds_for_flight_and_takes_no_weights_file() -> None:
    spec = Model(backbone="SmallXception", alpha=0.5, weights="")
    net = model.build(spec, SIZE, {"x": 3}, None, 1)
    exported = model.export(net, "x")  # raises if the folded net differs
    kinds = {type(layer).__name__ for layer in exported.layers}
    assert "BatchNormalization" not in kinds
    assert {"DepthwiseConv2D", "MaxPooling2D", "Add"} <= kinds
    with pytest.raises(WeightsError, match="no weights exist for SmallXception"):
        model.build(spec, SIZE, {"x": 3}, "imagenet", 1)
