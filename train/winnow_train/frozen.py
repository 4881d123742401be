"""A frozen backbone without augmentation gives a tile the same features in every epoch."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from winnow_base.progress import Progress
from winnow_train import model, samples
from winnow_train.recipe import Augment, Recipe
from winnow_train.tiles import to_input


def has_fixed_features(recipe: Recipe) -> bool:
    """Whether what the heads are shown of a tile never changes."""
    return recipe.model.frozen and recipe.augment == Augment(symmetry="none")


def heads_of(net: keras.Model) -> keras.Model:
    """The part behind the pooling, sharing its layers: features [B, 1, 1, C] -> {head: logits}."""
    return keras.Model(net.get_layer("pool").output, net.output)


def with_features(
    net: keras.Model,
    recipe: Recipe,
    sample: samples.Sample,
    validation: samples.Validation | None,
    progress: Progress,
) -> tuple[samples.Sample, samples.Validation | None]:
    """The same tiles, each as the pooled features float32 [1, 1, C] that the heads read."""
    trunk = keras.Model(net.input, net.get_layer("pool").output)
    tiles = to_input(sample.pixels, recipe.input.height, recipe.input.width)

    def features(what: str, pixels: np.ndarray) -> np.ndarray:
        with progress.counting(f"{recipe.model.backbone} on {what}", len(pixels)) as advance:
            parts = []
            for start in range(0, len(pixels), 64):
                part = pixels[start : start + 64]
                parts.append(model.predict(trunk, part, scale=model.PIXEL_SCALE))
                advance(len(part))
        return np.concatenate(parts)

    ready = dataclasses.replace(sample, pixels=list(features("train", tiles)), ready=True)
    if validation is None:
        return ready, None
    return ready, dataclasses.replace(
        validation, pixels=features("val", validation.pixels), scale=1.0
    )
