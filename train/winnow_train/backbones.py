"""Backbones of `keras.applications`: weights for grey and colour, and changes made to them.

The ImageNet weights expect pixels / 127.5 - 1; the offset is folded into the stem, as
`winnow_train.model` says.
"""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras import layers

from winnow_base.errors import NetworkError, RecipeError, WeightsError
from winnow_train.recipe import Model
from winnow_train.xception import small_xception

#: Backbones whose ImageNet weights expect [-1, 1], with the arguments that they need.
BACKBONES: dict[str, dict[str, Any]] = {
    "MobileNet": {},
    "MobileNetV2": {},
    "MobileNetV3Large": {"minimalistic": True, "include_preprocessing": False},
    "MobileNetV3Small": {"minimalistic": True, "include_preprocessing": False},
    "ResNet50V2": {},
    "ResNet101V2": {},
    "Xception": {},
    "InceptionV3": {},
    "NASNetMobile": {},
}
#: The one that is ours, without ImageNet weights; `alpha` multiplies its widths.
SMALL_XCEPTION = "SmallXception"
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)


def load_backbone(model: Model, shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    """The backbone of a recipe, without its top, for inputs of `shape`; Raises WeightsError."""
    if model.backbone == SMALL_XCEPTION:
        if weights is not None:
            raise WeightsError(
                f"no weights exist for {SMALL_XCEPTION}",
                where=weights,
                hint='leave model.weights = "", or start from a run with distill.start',
            )
        return small_xception(shape, model.alpha or 1.0)
    if model.backbone not in BACKBONES:
        known = ", ".join((*BACKBONES, SMALL_XCEPTION))
        raise RecipeError(f"model.backbone is {model.backbone!r}", hint=f"known: {known}")
    make = getattr(keras.applications, model.backbone)
    arguments = dict(BACKBONES[model.backbone], include_top=False)
    if model.alpha > 0 and model.backbone.startswith("MobileNet"):
        arguments["alpha"] = model.alpha
    if weights is None:
        bare: keras.Model = make(input_shape=shape, weights=None, **arguments)
        return bare
    colour = _with_weights(model, (*shape[:2], 3), weights, arguments)
    net = colour if shape[2] == 3 else make(input_shape=shape, weights=None, **arguments)
    stem = next(i for i, x in enumerate(net.layers) if isinstance(x, layers.Conv2D))
    kernel = np.asarray(colour.layers[stem].get_weights()[0])
    for target, source in zip(net.layers, colour.layers, strict=True):
        values = source.get_weights()
        if target is net.layers[stem] and shape[2] == 1:
            values[0] = kernel.sum(axis=2, keepdims=True)
        target.set_weights(values)
    _fold_offset(net, stem, kernel.sum(axis=(0, 1, 2)))
    return net


def _with_weights(
    model: Model, shape: tuple[int, int, int], weights: str, arguments: dict[str, Any]
) -> keras.Model:
    try:
        # Keras warns of every layer that it skips before it refuses the file as a whole.
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            make = getattr(keras.applications, model.backbone)
            net: keras.Model = make(input_shape=shape, weights=weights, **arguments)
        for warning in warned:
            if "Skipping" in str(warning.message):
                raise ValueError(str(warning.message))
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        # Keras raises a bare Exception where it cannot download.
        if first.startswith("URL fetch failure"):
            raise NetworkError(
                "Keras cannot fetch the ImageNet weights",
                where=model.backbone,
                hint="name a file instead, see `winnow weights list`, or start from random weights "
                'with model.weights = ""',
            ) from error
        if not isinstance(error, ValueError | KeyError | OSError):
            raise
        raise WeightsError(
            f"does not fit {model.backbone} {model.alpha:g}: {first[:160]}",
            where=weights,
            hint="name the weights of this very backbone and width",
        ) from error
    return net


def _fold_offset(net: keras.Model, stem: int, offset: np.ndarray) -> None:
    """Make conv(x) behave as conv(x - 1) by the stem's bias or the BatchNorm behind it."""
    conv = net.layers[stem]
    if conv.use_bias:
        conv.bias.assign(conv.bias - offset)
        return
    norm = next(x for x in net.layers[stem:] if isinstance(x, layers.BatchNormalization))
    norm.moving_mean.assign(norm.moving_mean + offset)


class FusedBatchNormalization(layers.BatchNormalization):
    """BatchNormalization of [B, H, W, C] that trains by TensorFlow's fused op.

    Keras writes the same arithmetic as a dozen passes over the activations, which cost a CPU more
    than all convolutions: a training step of MobileNet 0.5 takes 2.2 times as long. Other backends
    keep Keras' own. The running variance is the unbiased one, as the op gives it.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if keras.backend.backend() != "tensorflow" or not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        out, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma if self.scale else tf.ones(inputs.shape[-1]),
            offset=self.beta if self.center else tf.zeros(inputs.shape[-1]),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        for running, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + now * (1 - self.momentum))
        return out


def with_fused_norms(net: keras.Model) -> keras.Model:
    """The same net and weights, its BatchNorms over channels of four-axis tensors fused."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = layer.__class__
        if kind is layers.BatchNormalization and len(layer.input.shape) == 4:
            kind = FusedBatchNormalization
        copy: keras.layers.Layer = kind.from_config(layer.get_config())
        return copy

    fused: keras.Model = keras.models.clone_model(net, clone_function=clone)
    fused.set_weights(net.get_weights())
    return fused


def unpadded(net: keras.Model, model: Model) -> keras.Model:
    """The same weights without padding up to the layer `model.shared`, with 'same' padding after.

    What a feature up to there is depends on the pixels under it alone, not on where the tile ends:
    overlapping tiles share it. Raises RecipeError unless the layers up to there are a plain chain.
    """
    layer_named(net, model.shared, "shared", model)
    chain = True
    for layer in net.layers:
        chain = chain and len(inputs_of(net, layer)) <= 1 and len(readers_of(net, layer)) == 1
        if layer.name == model.shared:
            break
    if not chain or model.backbone != "MobileNet":
        raise RecipeError(
            f"model.shared is {model.shared!r}, but layers of {model.backbone} branch",
            hint='only MobileNet (version 1) is a plain chain: share it or leave out "shared"',
        )
    padding = "valid"

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        nonlocal padding
        config = layer.get_config()
        if isinstance(layer, CONVOLUTIONS):
            config["padding"] = padding
        if layer.name == model.shared:
            padding = "same"
        copy: keras.layers.Layer = layer.__class__.from_config(config)
        return copy

    def call(layer: keras.layers.Layer, *arguments: Any, **keywords: Any) -> Any:
        bare = isinstance(layer, layers.ZeroPadding2D)
        return arguments[0] if bare else layer(*arguments, **keywords)

    try:
        bare: keras.Model = keras.models.clone_model(net, clone_function=clone, call_function=call)
    except ValueError as error:
        raise RecipeError(
            f"model.shared is {model.shared!r}: without padding nothing is left of so small a tile",
            hint="share fewer layers, or make the input larger",
        ) from error
    bare.set_weights(net.get_weights())
    return bare


def layer_named(net: keras.Model, name: str, key: str, model: Model) -> keras.layers.Layer:
    """The layer that the recipe's key names, or RecipeError."""
    if name not in (names := [x.name for x in net.layers]):
        raise RecipeError(
            f"model.{key} is {name!r}, no layer of {model.backbone}",
            hint=f"the last ones are {', '.join(names[-6:])}",
        )
    return net.get_layer(name)


def inputs_of(net: keras.Model, layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers whose outputs a layer reads."""
    if isinstance(layer, layers.InputLayer):
        return []
    tensors = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    makers = {id(x.output): x for x in net.layers if not isinstance(x.output, (list, dict))}
    return [makers[id(t)] for t in tensors if id(t) in makers]


def readers_of(net: keras.Model, layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that read a layer\'s output."""
    return [x for x in net.layers if layer in inputs_of(net, x)]
