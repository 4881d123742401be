"""Diversity: a picture is worth less the more it looks like one that the ground has already.

Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) in its multiplicative form: a
picture's value per byte is multiplied by 1 - weight x s, where s is its greatest similarity, 0 to
1, to a picture that was sent or goes before it. Pictures of different classes have none in common;
within a class similarity is a Gaussian of the distance between their sketches.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_edge.products.kinds import Kind
from winnow_edge.products.sketch import SKETCH_BYTES, STEP
from winnow_edge.products.table import ProductTable

REACH: Final = 1.0
"""Standard deviation of the similarity, in octaves: about the distance between two tiles of one
dune field."""
GREEDY_PICTURES: Final = 2048
"""Pictures of each class that are chosen one by one; any after them keep their value as it is then.
That is more than a contact carries, and bounds the time."""
KNOWN_PICTURES: Final = 1024
"""Pictures of each class sent before that are remembered, the latest."""

Floats = npt.NDArray[np.float32]


def discounted(
    table: ProductTable,
    density: npt.NDArray[np.float64],
    known: ProductTable | None,
    weight: float,
) -> npt.NDArray[np.float64]:
    """`density` (value per byte, shape (n,)) times novelty, for an order by falling value.

    `known` are products that were sent before. Each picture's novelty is the one that it has when
    its turn comes, so the result, sorted, is the greedy order.
    """
    result = density.copy()
    codes, known_codes = _class_codes(table), _class_codes(known) if known is not None else {}
    for name, places in codes.items():
        seen = known_codes.get(name)
        result[places] = _greedy(
            table[places],
            density[places],
            known[seen[-KNOWN_PICTURES:]] if known is not None and seen is not None else None,
            weight,
        )
    return result


def _class_codes(table: ProductTable) -> dict[str, npt.NDArray[np.intp]]:
    """Places of the pictures in a table, by class name (swaths may number classes otherwise)."""
    columns = table.columns
    pictures = np.flatnonzero(columns["detection"] & (columns["kind"] >= Kind.THUMBNAIL))
    pairs = columns["swath"][pictures].astype(np.int64) << 8 | columns["class_index"][pictures]
    found: dict[str, list[npt.NDArray[np.intp]]] = {}
    for pair in np.unique(pairs).tolist():
        names, index = table.classes[pair >> 8], pair & 0xFF
        name = names[index] if index < len(names) else ""
        found.setdefault(name, []).append(pictures[pairs == pair])
    return {name: np.sort(np.concatenate(parts)) for name, parts in found.items()}


class _Features:
    """The tiles that pictures of one class show: `of` (n,) a picture's feature by number."""

    def __init__(self, table: ProductTable) -> None:
        columns = table.columns
        tiles = columns["swath"].astype(np.int64) << 32 | columns["tile"]
        self.tiles, first, self.of = np.unique(tiles, return_index=True, return_inverse=True)
        self.sketches = _sketches(table[first])
        self.images: npt.NDArray[np.bool_] = columns["kind"] == Kind.IMAGE

    def similarity(self, tile: int, look: Floats) -> Floats:
        """Of every feature to one that looks so; none to itself, whatever its pictures."""
        distance = np.square(self.sketches - look).sum(axis=1)
        similar: Floats = np.exp(distance * np.float32(-0.5 / REACH**2))
        similar[self.tiles == tile] = 0
        return similar


def _sketches(table: ProductTable) -> Floats:
    octets = np.ascontiguousarray(table.columns["sketch"]).view(np.uint8)
    return octets.reshape(len(table), SKETCH_BYTES).astype(np.float32) / np.float32(STEP)


def _greedy(
    table: ProductTable,
    density: npt.NDArray[np.float64],
    known: ProductTable | None,
    weight: float,
) -> npt.NDArray[np.float64]:
    """Density times novelty of the pictures of one class.

    An image that was sent makes every other picture that looks like it less novel, a thumbnail
    only other thumbnails.
    """
    features = _Features(table)
    # Greatest similarity of every feature to what was sent: as thumbnail or image, as image.
    to_any = np.zeros(len(features.tiles), np.float32)
    to_image = to_any.copy()

    def send(tile: int, look: Floats, image: bool) -> None:
        similar = features.similarity(tile, look)
        np.maximum(to_any, similar, out=to_any)
        if image:
            np.maximum(to_image, similar, out=to_image)

    if known is not None:
        before = _Features(known)
        for n, feature in enumerate(before.of):
            look = before.sketches[feature]
            send(int(before.tiles[feature]), look, bool(before.images[n]))
    result = density.copy()
    waiting = np.ones(len(table), bool)
    for _ in range(min(len(table), GREEDY_PICTURES)):
        alike = np.where(features.images, to_image[features.of], to_any[features.of])
        score = np.where(waiting, density * (1 - weight * alike), -1.0)
        chosen = int(score.argmax())
        result[chosen] = score[chosen]
        waiting[chosen] = False
        feature = features.of[chosen]
        look = features.sketches[feature]
        send(int(features.tiles[feature]), look, bool(features.images[chosen]))
    alike = np.where(features.images, to_image[features.of], to_any[features.of])
    return np.where(waiting, density * (1 - weight * alike), result)
