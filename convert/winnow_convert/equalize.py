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
    wires = _Wires(model)
    seen: set[str] = set()
    groups = (
        wires.group_of(start, seen)
        for start in model.layers
        if wires.makes(start) and start.name not in seen
    )
    return [group for group in groups if group is not None]


class _Wires:
    """Which layers of a functional model read which."""

    def __init__(self, model: Any) -> None:
        self._keras = import_keras()
        self._layers = self._keras.layers
        makers = {id(x.output): x for x in model.layers if not isinstance(x.output, list | dict)}
        self._inputs: dict[str, list[Any]] = {}
        self._feeds: dict[str, list[Any]] = {x.name: [] for x in model.layers}
        for layer in model.layers:
            if isinstance(layer, self._layers.InputLayer):
                continue
            tensors = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
            self._inputs[layer.name] = [makers[id(t)] for t in tensors if id(t) in makers]
            for source in self._inputs[layer.name]:
                self._feeds[source.name].append(layer)

    def makes(self, layer: Any) -> bool:
        """Whether a layer's outputs may be scaled: a linear convolution with bias."""
        return (
            type(layer) is self._layers.Conv2D
            and layer.activation is self._keras.activations.linear
            and layer.use_bias
        )

    def group_of(self, start: Any, seen: set[str]) -> Group | None:
        """The layers that one scale must pass through; None where one of them cannot take it.

        Adds what it comes by to `seen`.
        """
        group, waiting, sound = Group(), [start], True
        while waiting:
            layer = waiting.pop()
            if layer.name in seen:
                continue
            seen.add(layer.name)
            if self.makes(layer):
                group.makers.append(layer)
            elif type(layer) is self._layers.Add:
                group.sums.append(layer)
                waiting.extend(self._inputs[layer.name])
            else:  # something else feeds an addition of the group
                sound = False
                continue
            readers = self._feeds[layer.name]
            sums = [r for r in readers if type(r) is self._layers.Add]
            convolutions = [r for r in readers if self._reads(r)]
            waiting.extend(sums)
            group.readers.extend(convolutions)
            # An output of the model must stay as it is.
            sound &= bool(readers) and len(sums) + len(convolutions) == len(readers)
        return group if sound else None

    def _reads(self, layer: Any) -> bool:
        return type(layer) is self._layers.Conv2D and layer.groups == 1


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
