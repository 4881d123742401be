"""What a net's training tiles look like, for the manifest of its bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from winnow_base.appearance import Measured, describe
from winnow_train.recipe import Recipe
from winnow_train.tasks import Task
from winnow_train.tiles import decode, decode_all, to_input
from winnow_train.windows.pictures import Picture

MOST_TILES = 400
MOST_PICTURES = 40
EMPTY = 0.01
"""Share of zeros from which a window of a picture is not measured, as on the ground."""


def appearance_of(
    training: Task, recipe: Recipe, pictures: Sequence[Picture] = ()
) -> dict[str, Any]:
    """Brightness and contrast of the training tiles as the net sees them, before augmentation.

    Every k-th tile is measured, and of pictures that give windows the tiles side by side at the
    scales of the windows, but those that hold a part of a strip's black frame.
    """
    tiles = training.tiles.tiles
    some = tiles[:: -(-len(tiles) // MOST_TILES)]
    size = recipe.input
    pixels = to_input(decode_all([t.path for t in some], size.channels), size.height, size.width)
    parts = [Measured.of(pixels)]
    for picture in pictures[:: max(1, -(-len(pictures) // MOST_PICTURES))]:
        grey = decode(picture.path, 1)[..., 0]
        for scale in recipe.windows.scales:
            high, wide = size.height * scale, size.width * scale
            rows, columns = grey.shape[0] // high, grey.shape[1] // wide
            if not rows or not columns:
                continue
            shape = (rows, size.height, scale, columns, size.width, scale)
            whole = grey[: rows * high, : columns * wide]
            cut = whole.reshape(shape).mean(axis=(2, 5))
            windows = cut.swapaxes(1, 2).reshape(-1, size.height, size.width)
            empty = (whole == 0).reshape(rows, high, columns, wide).mean(axis=(1, 3)) > EMPTY
            parts.append(Measured.of(np.rint(windows[~empty.ravel()]).astype(np.uint8)))
    return describe(Measured.joined(parts))
