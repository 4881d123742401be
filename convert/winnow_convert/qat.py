"""Quantization-aware fine-tuning: the float net learns to live with int8 before it is converted.

A copy of the net rounds its weights (per output channel, symmetric) and its activations (per
tensor, ranges of the calibration tiles) to 8 bits in the forward pass, with straight-through
gradients (Jacob et al. 2018, arXiv:1712.05877), and learns to give the float net's own posteriors
(Mishra and Marr 2018, "Apprentice", arXiv:1711.05852). No label is used, so it cannot learn
anything but to be the float net in 8 bits. What comes back is a plain net without rounding layers:
the converter takes it as it takes any other, and the ops are the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.progress import Step
from winnow_convert.source import Source, import_keras

UInt8Array = npt.NDArray[np.uint8]
BITS = 8
BATCH = 32
SMALLEST_RANGE = 1e-6


def fine_tune(
    source: Source,
    tiles: UInt8Array,
    calibration: UInt8Array,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    progress: Step,
) -> Source:
    """`source` with a model that loses less when it is quantized; `source` itself stays as it is.

    `tiles` uint8 (n, height, width, channels) of train teach it, mirrored at random;
    `calibration` likewise sets the activation ranges. The same seed gives the same weights on the
    same machine.
    """
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    softmax = source.head == "softmax"
    net = _rounding_copy(keras, source.model, calibration, "softmax" if softmax else "sigmoid")
    steps = epochs * max(1, len(tiles) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    net.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=keras.losses.KLDivergence() if softmax else keras.losses.BinaryCrossentropy(),
        jit_compile=False,
    )
    rng = np.random.default_rng(seed)
    done = 0
    for _ in range(epochs):
        order = rng.permutation(len(tiles))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            batch = tiles[order[start : start + BATCH]].astype(np.float32)
            mirrored = rng.random(BATCH) < 0.5
            batch[mirrored] = batch[mirrored, :, ::-1]
            net.train_on_batch(batch, _posterior(keras, source, batch))
            done += 1
            progress("learning to be int8", done, steps)
    tuned = keras.models.clone_model(source.model)
    for layer in tuned.layers:
        layer.set_weights(net.get_layer(layer.name).get_weights())
    return dataclasses.replace(source, model=tuned)


def _posterior(keras: Any, source: Source, pixels: npt.NDArray[np.float32]) -> Any:
    logits = source.model(pixels, training=False)
    logits = keras.ops.reshape(logits, (len(pixels), -1))
    activate = keras.ops.softmax if source.head == "softmax" else keras.ops.sigmoid
    return keras.ops.convert_to_numpy(activate(logits))


def _rounding_copy(keras: Any, model: Any, calibration: UInt8Array, activation: str) -> Any:
    """The net with rounded weights and activations, giving posteriors; layers keep their names.

    The stem stays frozen: the pixel scale in its kernel makes its weights two orders smaller than
    all others, so that one learning rate does not fit both.
    """
    ranges = activation_ranges(model, calibration)
    kinds = _rounding_layers(keras)
    stem = next((x.name for x in model.layers if x.weights), None)

    def clone(layer: Any) -> Any:
        kind = kinds.get(type(layer), type(layer))
        copy = kind.from_config(layer.get_config())
        copy.trainable = layer.name != stem
        return copy

    def call(layer: Any, *arguments: Any, **keywords: Any) -> Any:
        out = layer(*arguments, **keywords)
        if layer.name not in ranges:
            return out
        low, high = ranges[layer.name]
        return kinds["activation"](low, high, name=f"{layer.name}-int8")(out)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        copy.get_layer(layer.name).set_weights(layer.get_weights())
    classes = int(np.prod(model.outputs[0].shape[1:]))
    logits = keras.layers.Reshape((classes,), name="flat-logits")(copy.output)
    return keras.Model(copy.input, keras.layers.Activation(activation, name="posterior")(logits))


def activation_ranges(model: Any, calibration: UInt8Array) -> dict[str, tuple[float, float]]:
    """Least and greatest value of every layer's output that int8 stores, 0 included, by name.

    A convolution that only a ReLU reads is fused with it and stores nothing itself.
    """
    keras = import_keras()
    layers = keras.layers
    readers: dict[int, list[Any]] = {}
    for layer in model.layers:
        if not isinstance(layer, layers.InputLayer):
            tensors = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
            for tensor in tensors:
                readers.setdefault(id(tensor), []).append(layer)
    silent = (layers.InputLayer, layers.Reshape, layers.Flatten, layers.ZeroPadding2D)

    def stored(layer: Any) -> bool:
        after = readers.get(id(layer.output), [])
        fused = bool(after) and all(isinstance(x, layers.ReLU) for x in after)
        return not isinstance(layer, silent) and not fused

    chosen = [x for x in model.layers if stored(x)]
    probe = keras.Model(model.input, [x.output for x in chosen])
    low, high = np.zeros(len(chosen)), np.zeros(len(chosen))
    for start in range(0, len(calibration), BATCH):
        outputs = probe(calibration[start : start + BATCH].astype(np.float32), training=False)
        for k, out in enumerate(outputs if isinstance(outputs, list | tuple) else [outputs]):
            values = keras.ops.convert_to_numpy(out)
            low[k], high[k] = min(low[k], values.min()), max(high[k], values.max())
    high = np.maximum(high, low + SMALLEST_RANGE)
    return {x.name: (float(a), float(b)) for x, a, b in zip(chosen, low, high, strict=True)}


def _rounding_layers(keras: Any) -> dict[Any, Any]:
    """Stand-ins, by the layer class that they stand in for: the kernel is rounded as it is used."""
    layers, ops = keras.layers, keras.ops

    def rounded(value: Any, low: Any, high: Any, levels: int) -> Any:
        step = (high - low) / levels
        clipped = ops.clip(value, low, high)
        nearest = ops.round(clipped / step) * step
        # Straight through: the gradient is that of clipping alone.
        return clipped + ops.stop_gradient(nearest - clipped)

    def rounded_kernel(kernel: Any, axes: tuple[int, ...]) -> Any:
        top = ops.stop_gradient(ops.max(ops.abs(kernel), axis=axes, keepdims=True))
        top = ops.maximum(top, 1e-12)
        return rounded(kernel, -top, top, 2**BITS - 2)

    class Convolution(layers.Conv2D):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            out = ops.conv(
                inputs,
                rounded_kernel(self.kernel, (0, 1, 2)),
                strides=list(self.strides),
                padding=self.padding,
                data_format=self.data_format,
            )
            return self.activation(out + self.bias if self.use_bias else out)

    class Depthwise(layers.DepthwiseConv2D):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            out = ops.depthwise_conv(
                inputs,
                rounded_kernel(self.kernel, (0, 1)),
                strides=self.strides,
                padding=self.padding,
                data_format=self.data_format,
            )
            return self.activation(out + self.bias if self.use_bias else out)

    class Dense(layers.Dense):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            out = ops.matmul(inputs, rounded_kernel(self.kernel, (0,)))
            return self.activation(out + self.bias if self.use_bias else out)

    class Activation(layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, low: float, high: float, **keywords: Any) -> None:
            super().__init__(**keywords)
            # The zero point is a whole step, so that 0 (padding, ReLU) is stored exactly.
            step = (high - low) / (2**BITS - 1)
            self.low = float(np.round(low / step) * step)
            self.high = self.low + (high - low)

        def call(self, inputs: Any) -> Any:
            return rounded(inputs, self.low, self.high, 2**BITS - 1)

    return {
        layers.Conv2D: Convolution,
        layers.DepthwiseConv2D: Depthwise,
        layers.Dense: Dense,
        "activation": Activation,
    }
