"""The net: a `keras.applications` backbone, pooling, and one 1x1 convolution per head.

While training the input is pixels / 127.5. The backbones were trained on pixels / 127.5 - 1, so
the offset is folded into the stem when its weights are loaded: conv(x - 1) = conv(x) - sum(kernel).
The exported net takes pixels 0..255 as they are, with 1/127.5 in the stem's kernel and every
BatchNorm folded into its convolution, so that an int8 input has scale 1 and zero point -128.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from winnow_train.backbones import (
    CONVOLUTIONS,
    FusedBatchNormalization,
    inputs_of,
    layer_named,
    load_backbone,
    readers_of,
    unpadded,
    with_fused_norms,
)
from winnow_train.fold_check import check_fold, in_dtype
from winnow_train.recipe import Input, Model

#: Pixels are divided by this for training; the exported stem has it folded in.
PIXEL_SCALE = 127.5
#: BatchNorm between pooling and heads, where a recipe has one; exported heads have it folded in.
HEAD_NORM = "head-norm"


def build(
    model: Model, size: Input, heads: dict[str, int], weights: str | None, seed: int
) -> keras.Model:
    """Build the net to be trained: float32 [B, H, W, C] of pixels / 127.5 -> {head: logits [B, K]}.

    `heads` maps a head's name to its number of classes; `weights` is what
    `winnow_train.weights.find_weights` gives. Raises WeightsError if they do not fit.
    """
    keras.utils.set_random_seed(seed)
    backbone = load_backbone(model, (size.height, size.width, size.channels), weights)
    if model.shared:
        backbone = unpadded(backbone, model)
    backbone = with_fused_norms(backbone)
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = model.batchnorm_momentum
            layer.trainable = not model.frozen_batchnorm
    if model.frozen:
        backbone.trainable = False
    if model.frozen_to:
        last = layer_named(backbone, model.frozen_to, "frozen_to", model)
        for layer in backbone.layers[: backbone.layers.index(last) + 1]:
            layer.trainable = False
    kept = backbone.output
    if model.last:
        kept = layer_named(backbone, model.last, "last", model).output
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(kept)
    if model.head_batchnorm:
        momentum = model.batchnorm_momentum
        pooled = layers.BatchNormalization(momentum=momentum, name=HEAD_NORM)(pooled)
    if model.dropout > 0:
        pooled = layers.Dropout(model.dropout, seed=seed, name="dropout")(pooled)
    outputs = {}
    for name, classes in heads.items():
        logits = layers.Conv2D(classes, 1, name=f"head-{name}")(pooled)
        outputs[name] = layers.Reshape((classes,), name=f"logits-{name}")(logits)
    return keras.Model(backbone.input, outputs)


def start_from(net: keras.Model, other: keras.Model) -> int:
    """Copy the weights of `other` into the layers of the same name and shapes; returns how many."""
    theirs = {layer.name: layer.get_weights() for layer in other.layers}
    copied = 0
    for layer in net.layers:
        values = theirs.get(layer.name, [])
        if values and [v.shape for v in values] == [v.shape for v in layer.get_weights()]:
            layer.set_weights(values)
            copied += 1
    return copied


def join_heads(
    net: keras.Model, own: str, classes: dict[str, tuple[str, ...]], weight: float
) -> None:
    """Add `weight` x the other heads' logits to those of the head `own`, class by class by name.

    What another head gives is centred on the mean of the classes that both know, so that the
    classes it does not know keep their place. All heads are linear in the same pooled features,
    so the sum is one head again and costs nothing in flight. `classes`: head -> its classes.
    """
    layer = net.get_layer(f"head-{own}")
    kernel, bias = layer.get_weights()  # [1, 1, F, K], [K]
    for head, names in classes.items():
        shared = [(classes[own].index(c), names.index(c)) for c in names if c in classes[own]]
        if head == own or not shared:
            continue
        mine, theirs = (list(places) for places in zip(*shared, strict=True))
        for values, added in zip(
            (kernel, bias), net.get_layer(f"head-{head}").get_weights(), strict=True
        ):
            part = added[..., theirs]
            values[..., mine] += weight * (part - part.mean(axis=-1, keepdims=True))
    layer.set_weights([kernel, bias])


def export(model: keras.Model, head: str, bias: np.ndarray | None = None) -> keras.Model:
    """One head as it flies: float32 [B, H, W, C] of pixels 0..255 -> float32 logits [B, K].

    BatchNorm is folded into the convolution before it, padding layers into 'same' convolutions,
    dropout is left out, the pixel scale goes into the stem; `bias` [K] is added to the logits.
    Raises ModelError if the folded net does not give the trained net's logits.
    """
    single = in_dtype(keras.Model(model.input, model.output[head]), "float64")
    norms, pads = _foldable(single)
    gone = {x.name for x in (*norms.values(), *pads.values())}
    gone |= {x.name for x in single.layers if isinstance(x, layers.Dropout)} | {HEAD_NORM}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.name in norms:
            config["use_bias"] = True
        if layer.name in pads:
            config["padding"] = "same"
        kind = layer.__class__
        kind = layers.BatchNormalization if kind is FusedBatchNormalization else kind
        copy: keras.layers.Layer = kind.from_config(config)
        return copy

    def call(layer: keras.layers.Layer, *arguments: Any, **keywords: Any) -> Any:
        return arguments[0] if layer.name in gone else layer(*arguments, **keywords)

    folded: keras.Model = keras.models.clone_model(single, clone_function=clone, call_function=call)
    first = True
    for layer in folded.layers:
        if not layer.weights:
            continue
        values = [np.asarray(v, np.float64) for v in single.get_layer(layer.name).get_weights()]
        if layer.name in norms:
            values = _fold_norm(layer, values, norms[layer.name])
        if first and isinstance(layer, CONVOLUTIONS):
            values[0], first = values[0] / PIXEL_SCALE, False
        if layer.name == f"head-{head}":
            if any(x.name == HEAD_NORM for x in single.layers):
                values = _fold_norm_before(single.get_layer(HEAD_NORM), values)
            if bias is not None:
                values[1] = values[1] + bias
        layer.set_weights(values)
    check_fold(single, folded, PIXEL_SCALE, bias)
    return in_dtype(folded, "float32")


def centre(exported: keras.Model, head: str) -> None:
    """Make the logits of every tile sum to 0. A softmax has no use for what logits share; it
    drifts in training, and would take most of the range that int8 has for them."""
    last = exported.get_layer(f"head-{head}")
    last.set_weights([v - v.mean(axis=-1, keepdims=True) for v in last.get_weights()])


def _foldable(
    net: keras.Model,
) -> tuple[dict[str, layers.BatchNormalization], dict[str, layers.ZeroPadding2D]]:
    """By convolution's name: the BatchNorm right behind it, the padding right before it."""
    norms, pads = {}, {}
    for layer in net.layers:
        before = inputs_of(net, layer)
        if len(before) != 1:
            continue
        if isinstance(layer, layers.BatchNormalization) and isinstance(before[0], CONVOLUTIONS):
            if len(readers_of(net, before[0])) == 1 and _is_linear(before[0]):
                norms[before[0].name] = layer
        elif (
            isinstance(layer, CONVOLUTIONS)
            and isinstance(before[0], layers.ZeroPadding2D)
            and len(readers_of(net, before[0])) == 1
            and _pads_like_same(layer, before[0])
        ):
            pads[layer.name] = before[0]
    return norms, pads


def _is_linear(layer: keras.layers.Layer) -> bool:
    return bool(layer.activation is keras.activations.linear)


def _pads_like_same(conv: keras.layers.Layer, pad: layers.ZeroPadding2D) -> bool:
    """Whether explicit padding and a 'valid' convolution equal a 'same' convolution."""
    if conv.padding != "valid":
        return False
    for axis in (0, 1):
        size = pad.input.shape[1 + axis]
        step, kernel = conv.strides[axis], conv.kernel_size[axis]
        total = max((-(-size // step) - 1) * step + kernel - size, 0)
        if tuple(pad.padding[axis]) != (total // 2, total - total // 2):
            return False
    return True


def _fold_norm(
    conv: keras.layers.Layer, values: list[np.ndarray], norm: layers.BatchNormalization
) -> list[np.ndarray]:
    scale, offset = _affine(norm)
    kernel = values[0]
    bias = values[1] if len(values) > 1 else 0.0
    shaped = scale[:, None] if isinstance(conv, layers.DepthwiseConv2D) else scale
    return [kernel * shaped, bias * scale + offset]


def _fold_norm_before(
    norm: layers.BatchNormalization, values: list[np.ndarray]
) -> list[np.ndarray]:
    """Kernel [1, 1, C, K] and bias [K] of the convolution that reads what `norm` gives."""
    scale, offset = _affine(norm)
    kernel, bias = values
    return [kernel * scale[:, None], bias + offset @ kernel[0, 0]]


def _affine(norm: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """What BatchNorm does once trained: x * scale + offset, float64 [C] each."""
    names = [w.name for w in norm.weights]
    state = dict(zip(names, (np.asarray(v, np.float64) for v in norm.get_weights()), strict=True))
    scale = state.get("gamma", 1.0) / np.sqrt(state["moving_variance"] + norm.epsilon)
    return scale, state.get("beta", 0.0) - state["moving_mean"] * scale


def predict(
    model: keras.Model,
    tiles: np.ndarray,
    *,
    scale: float = 1.0,
    views: Sequence[int] = (0,),
    batch: int = 64,
) -> Any:
    """Logits of uint8 tiles [n, H, W, C] divided by `scale`: one array [n, K] or one per head.

    With several dihedral `views` the logits are averaged over them.
    """
    from winnow_train.tiles import dihedral

    parts = []
    for start in range(0, len(tiles), batch):
        chunk = tiles[start : start + batch].astype(np.float32) / scale
        # A ragged last batch would be traced anew: fill it up, cut the answer.
        fill = np.concatenate([chunk, np.zeros((batch - len(chunk), *chunk.shape[1:]), "f4")])
        made = [model.predict_on_batch(np.ascontiguousarray(dihedral(fill, v))) for v in views]
        parts.append(keras.tree.map_structure(lambda *xs: np.mean(xs, axis=0), *made))
    return keras.tree.map_structure(lambda *xs: np.concatenate(xs)[: len(tiles)], *parts)
