"""Equalization of linear activations before quantization, without changing the function.

An activation is quantized with one scale for all its channels, so one channel of wide range takes
the resolution of all others. Where convolutions without activation function feed, directly or
through additions, nothing but convolutions (the linear bottlenecks of MobileNetV2), channel c may
be divided by any s_c > 0 if the kernels that read it are multiplied by s_c. This chooses the s_c
that give every channel the same range on calibration tiles: cross-layer equalization (Nagel et al.
2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721)
across linear layers, with measured ranges instead of weight ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_convert.source import import_keras

UInt8Array = npt.NDArray[np.uint8]
SMALLEST = 1e-3
"""Of a channel's range to the widest: a channel that is all but dead is not blown up further."""
BATCH = 32


@dataclass
class Group:
    """Layers whose outputs share their channels: linear convolutions and the additions that join
    them; `readers` are the convolutions that read any of them."""

    makers: list[Any] = field(default_factory=list)
    sums: list[Any] = field(default_factory=list)
    readers: list[Any] = field(default_factory=list)


def equalize(model: Any, tiles: UInt8Array) -> tuple[Any, int]:
    """A copy of a Keras model with equalized linear activations, and how many groups it has.

    `tiles` uint8 (n, height, width, channels) are calibration tiles. The copy computes the same
    function up to rounding. A model without such groups comes back as it is.
    """
    keras = import_keras()
    found = linear_groups(model)
    if not found:
        return model, 0
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    members = [layer for group in found for layer in (*group.makers, *group.sums)]
    ranges = _ranges(keras, model, [layer.output for layer in members], tiles)
    by_name = {layer.name: r for layer, r in zip(members, ranges, strict=True)}
    for group in found:
        widest = np.max([by_name[x.name] for x in (*group.makers, *group.sums)], axis=0)
        if not widest.max() > 0:
            continue
        scale = np.clip(widest / widest.max(), SMALLEST, 1.0)
        for layer in group.makers:
            kernel, bias = copy.get_layer(layer.name).get_weights()
            copy.get_layer(layer.name).set_weights([kernel / scale, bias / scale])
        for layer in group.readers:
            kernel, *rest = copy.get_layer(layer.name).get_weights()
            copy.get_layer(layer.name).set_weights([kernel * scale[:, np.newaxis], *rest])
    return copy, len(found)


def linear_groups(model: Any) -> list[Group]:
    """The groups of a functional model's layers that may be equalized."""
    keras = import_keras()
    layers = keras.layers
    makers_of = {id(x.output): x for x in model.layers if not isinstance(x.output, list | dict)}
    feeds: dict[str, list[Any]] = {x.name: [] for x in model.layers}
    inputs: dict[str, list[Any]] = {}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        tensors = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
        inputs[layer.name] = [makers_of[id(t)] for t in tensors if id(t) in makers_of]
        for source in inputs[layer.name]:
            feeds[source.name].append(layer)

    def linear(layer: Any) -> bool:
        return (
            type(layer) is layers.Conv2D
            and layer.activation is keras.activations.linear
            and layer.use_bias
        )

    def reads(layer: Any) -> bool:
        return type(layer) is layers.Conv2D and layer.groups == 1

    found, seen = [], set()
    for start in model.layers:
        if not linear(start) or start.name in seen:
            continue
        group, waiting, sound = Group(), [start], True
        while waiting:
            layer = waiting.pop()
            if layer.name in seen:
                continue
            seen.add(layer.name)
            if linear(layer):
                group.makers.append(layer)
            elif type(layer) is layers.Add:
                group.sums.append(layer)
                waiting.extend(inputs[layer.name])
            else:  # something else feeds an addition of the group
                sound = False
                continue
            sound &= bool(feeds[layer.name])  # an output of the model must stay as it is
            for reader in feeds[layer.name]:
                if type(reader) is layers.Add:
                    waiting.append(reader)
                elif reads(reader):
                    group.readers.append(reader)
                else:
                    sound = False
        if sound:
            found.append(group)
    return found


def _ranges(
    keras: Any, model: Any, tensors: list[Any], tiles: UInt8Array
) -> list[npt.NDArray[np.float64]]:
    """Largest magnitude of every channel of every tensor over the tiles."""
    probe = keras.Model(model.inputs, tensors)
    widest: list[npt.NDArray[np.float64]] = []
    for start in range(0, len(tiles), BATCH):
        outputs = probe([tiles[start : start + BATCH].astype(np.float32)], training=False)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        now = [np.abs(np.asarray(x)).max(axis=(0, 1, 2)).astype(np.float64) for x in outputs]
        widest = [np.maximum(a, b) for a, b in zip(widest, now, strict=True)] if widest else now
    return widest
