"""What the net looks at: class activation maps, or occlusion where a model shows no features.

A net that ends in global average pooling and an affine head gives each class a map whose mean is
the logit (Zhou et al. 2016, "Learning Deep Features for Discriminative Localization"). The head is
applied at every place of the last feature map, so this holds for any affine head, a folded or
unfolded BatchNorm included, and it is checked. A bundle shows no features: there the map is the
logit's loss when a patch of the tile is replaced by the tile's mean (Zeiler and Fergus 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Tiles = npt.NDArray[np.uint8]

PATCHES = 8
#: Greatest difference of a map's mean from its logit, as a share of the logits' range.
TOLERANCE = 1e-3


def activation_maps(net: Any, tiles: Tiles) -> tuple[Floats, float] | None:
    """Maps float32 [n, h, w, K] of uint8 tiles [n, H, W, C], and how far their means are off.

    None if the net does not end in global average pooling and an affine head.
    """
    import keras

    from winnow_train.model import predict

    pools = [x for x in net.layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    if not pools:
        return None
    pool = pools[-1]
    body = keras.Model(net.input, [pool.input, net.output])
    head = keras.Model(pool.output, net.output)
    features, logits = predict(body, tiles)
    n, high, wide, depth = features.shape
    places = features.reshape(-1, *pool.output.shape[1:-1], depth)
    maps = np.asarray(head.predict(places, batch_size=4096, verbose=0), np.float32)
    maps = maps.reshape(n, high, wide, -1)
    off = float(np.abs(maps.mean(axis=(1, 2)) - logits).max())
    return (maps, off) if off <= TOLERANCE * float(np.ptp(logits)) else None


def occlusion_maps(infer: Callable[[Tiles], npt.NDArray[Any]], tiles: Tiles) -> Floats:
    """Loss of every logit, float32 [n, 8, 8, K], when a patch is replaced by the tile's mean."""
    whole = np.asarray(infer(tiles), np.float32)
    maps = np.zeros((len(tiles), PATCHES, PATCHES, whole.shape[1]), np.float32)
    rows = np.linspace(0, tiles.shape[1], PATCHES + 1).round().astype(int)
    columns = np.linspace(0, tiles.shape[2], PATCHES + 1).round().astype(int)
    mean = tiles.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    for i in range(PATCHES):
        for j in range(PATCHES):
            hidden = tiles.copy()
            hidden[:, rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = mean
            maps[:, i, j] = whole - infer(hidden)
    return maps


def centred(maps: Floats, head: str) -> Floats:
    """Maps as evidence for one class over the others: a softmax ignores what all logits share."""
    return maps if head == "sigmoid" else maps - maps.mean(axis=3, keepdims=True)


def overlay(tile: Tiles, evidence: Floats) -> Tiles:
    """The tile in grey with evidence for the class in red, against it in blue: uint8 [H, W, 3].

    tile uint8 [H, W, C]; evidence float32 [h, w], scaled by its own greatest size.
    """
    from PIL import Image

    high, wide = tile.shape[:2]
    large = Image.fromarray(evidence.astype(np.float32)).resize(
        (wide, high), Image.Resampling.BICUBIC
    )
    share = np.asarray(large) / max(float(np.abs(evidence).max()), 1e-9)
    share = np.clip(share, -1, 1)[..., None]
    grey = np.repeat(tile.mean(axis=2, keepdims=True), 3, axis=2)
    red, blue = np.array([214.0, 47.0, 39.0]), np.array([49.0, 104.0, 189.0])
    colour = np.where(share > 0, red, blue)
    mix = 0.6 * np.abs(share)
    return np.asarray(np.clip(grey * (1 - mix) + colour * mix, 0, 255), np.uint8)
