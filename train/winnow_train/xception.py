"""A small Xception: separable convolutions with residuals, for nets that fly.

The plan is Chollet 2017 (arXiv:1610.02357): an entry flow whose blocks halve the sides through a
max pool beside a strided 1x1 convolution, a middle flow of residual blocks, an exit flow. Widths
and depth are cut to 33 million multiply-accumulates at 128 x 128 x 1, ReLU6 stands for ReLU (its
range is fixed, which int8 likes), and depthwise and pointwise convolutions are layers of their
own, so that every BatchNorm folds into the convolution before it.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

STEM = 16
ENTRY = (32, 64, 128)
MIDDLE = 2
EXIT = (192, 256)


def small_xception(shape: tuple[int, int, int], width: float = 1.0) -> keras.Model:
    """Build it with random weights: float32 [B, H, W, C] -> features [B, H / 16, W / 16, K].

    `width` multiplies all channels, rounded to 8.
    """
    stem, *entry = (_wide(n, width) for n in (STEM, *ENTRY))
    pixels = layers.Input(shape)
    x = layers.Conv2D(stem, 3, strides=2, padding="same", use_bias=False, name="stem")(pixels)
    x = layers.BatchNormalization(name="stem-norm")(x)
    for number, channels in enumerate(entry, start=1):
        name = f"entry{number}"
        beside = layers.Conv2D(channels, 1, strides=2, use_bias=False, name=f"{name}-beside")(x)
        beside = layers.BatchNormalization(name=f"{name}-beside-norm")(beside)
        x = _separable(x, channels, f"{name}a")
        x = _separable(x, channels, f"{name}b")
        x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}-pool")(x)
        x = layers.Add(name=f"{name}-add")([x, beside])
    for number in range(1, MIDDLE + 1):
        name, beside = f"middle{number}", x
        x = _separable(x, entry[-1], f"{name}a")
        x = _separable(x, entry[-1], f"{name}b")
        x = layers.Add(name=f"{name}-add")([x, beside])
    for number, channels in enumerate(EXIT, start=1):
        x = _separable(x, _wide(channels, width), f"exit{number}")
    x = layers.ReLU(6.0, name="exit-relu")(x)
    return keras.Model(pixels, x, name="small-xception")


def _separable(x: Any, channels: int, name: str) -> Any:
    """ReLU6, depthwise 3x3, pointwise, BatchNorm."""
    x = layers.ReLU(6.0, name=f"{name}-relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}-depthwise")(x)
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}-pointwise")(x)
    return layers.BatchNormalization(name=f"{name}-norm")(x)


def _wide(channels: int, width: float) -> int:
    return max(8, round(channels * width / 8) * 8)
