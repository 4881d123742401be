"""The net that flies is compared with the trained one: alike by any of the CPU's kernels."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from winnow_base.errors import ModelError
from winnow_train import model
from winnow_train.fold_check import check_fold, in_dtype
from winnow_train.recipe import Input, Model

#: A net whose BatchNorms hold statistics far from those of their inputs: its float32 logits depend
#: on the order of additions, as those of a net averaged from two runs do.
EXPORT = """
import keras, numpy as np
from winnow_train import model
from winnow_train.recipe import Input, Model

keras.utils.set_random_seed(1)
spec = Model(backbone="MobileNet", alpha=0.25, weights="", head_batchnorm=True)
net = model.build(spec, Input(height=32, width=32, channels=1), {"x": 3}, None, 1)
rng = np.random.default_rng(3)
for layer in net.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        gamma, beta, mean, variance = layer.get_weights()
        layer.set_weights([3 * gamma, beta, mean + rng.normal(0, 99, mean.shape), variance / 9])
model.export(net, "x", np.float32([0, 1, 2]))
"""


def test_a_right_fold_passes_with_the_kernels_as_they_come() -> None:
    exec(EXPORT, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TF_ENABLE_ONEDNN_OPTS", "0"),
        pytest.param("ONEDNN_MAX_CPU_ISA", "AVX2", marks=pytest.mark.slow),
    ],
)
def test_a_right_fold_passes_on_other_paths_of_the_cpu(name: str, value: str) -> None:
    """Read once, when TensorFlow is loaded, so each has a process of its own."""
    environment = os.environ | {name: value}
    done = subprocess.run(
        [sys.executable, "-c", EXPORT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_fold_that_is_hardly_wrong_is_refused() -> None:
    trained = _one_head()
    check_fold(trained, _scaled(trained), 2.0, None)
    for name, weight in (("conv1", 0), ("conv_dw_1", 0), ("conv_pw_3_bn", 2), ("head-x", 1)):
        wrong = _scaled(trained, name, weight)
        with pytest.raises(ModelError, match="differ"):
            check_fold(trained, wrong, 2.0, None)
    with pytest.raises(ModelError, match="differ"):
        check_fold(trained, _scaled(trained), 2.0, np.float64([0, 0, 1e-3]))


def test_every_value_that_is_no_number_is_refused() -> None:
    trained = _one_head()
    with pytest.raises(ModelError, match="nan"):
        check_fold(trained, _scaled(trained, "head-x", 1, np.nan), 2.0, None)


def test_what_flies_is_float32_and_leaves_the_trained_net_alone() -> None:
    net = _net()
    before = net.get_weights()
    flown = model.export(net, "x")
    assert {w.dtype for w in flown.get_weights()} == {np.dtype(np.float32)}
    assert flown.input.dtype == flown.output.dtype == "float32"
    for old, new in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def _one_head() -> keras.Model:
    net = _net()
    return in_dtype(keras.Model(net.input, net.output["x"]), "float64")


def _net() -> keras.Model:
    """A net of random weights whose statistics are those of noise."""
    spec = Model(backbone="MobileNet", alpha=0.25, weights="", last="conv_pw_3_relu")
    net = model.build(spec, Input(height=32, width=32, channels=1), {"x": 3}, None, 1)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    rng = np.random.default_rng(5)
    net(rng.uniform(0, 2, (16, 32, 32, 1)).astype(np.float32), training=True)
    head = net.get_layer("head-x")
    head.set_weights([w + rng.normal(0, 1, w.shape) for w in head.get_weights()])
    return net


def _scaled(
    trained: keras.Model, name: str = "", weight: int = 0, by: float = 1.0001
) -> keras.Model:
    """The net that takes twice the pixels; one weight of the named layer is off by 0.01 %."""
    copy = in_dtype(trained, "float64")
    stem, *others = copy.get_layer("conv1").get_weights()
    copy.get_layer("conv1").set_weights([stem / 2, *others])
    if name:
        values = copy.get_layer(name).get_weights()
        values[weight] *= by
        copy.get_layer(name).set_weights(values)
    return copy
