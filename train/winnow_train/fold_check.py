"""Whether a net made ready for flight computes what the trained net computes.

Both are compared in float64, before their weights are rounded. In float32 the rounding of every
product depends on the kernels that TensorFlow chooses for the CPU (oneDNN with AVX-512 or without),
and large activations make that visible in the logits of a net whose weights are right.
"""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

from winnow_base.errors import ModelError

#: Largest difference beside the largest logit; float64 leaves eight digits for a deep net to lose.
TOLERANCE = 1e-8


def in_dtype(net: keras.Model, dtype: str) -> keras.Model:
    """A copy of `net` whose layers and weights are of `dtype`."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        copy: keras.layers.Layer = layer.__class__.from_config(
            layer.get_config() | {"dtype": dtype}
        )
        return copy

    copy: keras.Model = keras.models.clone_model(net, clone_function=clone)
    for layer in copy.layers:
        if layer.weights:  # an input layer may have got another name
            values = net.get_layer(layer.name).get_weights()
            layer.set_weights([np.asarray(v, dtype) for v in values])
    return copy


def check_fold(
    trained: keras.Model, folded: keras.Model, scale: float, bias: npt.NDArray[np.floating] | None
) -> None:
    """Raise ModelError unless `folded` of x * `scale` gives `trained` of x, plus `bias` [K].

    Both nets are of float64, take [B, H, W, C] and give logits [B, K]; x is noise of 0 to 2.
    """
    # Multiples of 1/128 stay exact when Keras hands them over as float32, and so do their products
    # with a scale of a few bits.
    noise = np.random.default_rng(0).integers(0, 256, (2, *trained.input.shape[1:])) / 128
    want = keras.ops.convert_to_numpy(trained(noise, training=False))
    have = keras.ops.convert_to_numpy(folded(noise * scale, training=False))
    want = want if bias is None else want + bias
    worst = float(np.abs(want - have).max())
    if not worst <= TOLERANCE * float(np.abs(want).max()):
        raise ModelError(f"the folded net's logits differ from the trained net's by {worst:.3g}")
