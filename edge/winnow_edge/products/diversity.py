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
AT_ONCE: Final = 128
"""Pictures that are compared at once: a product of so few sketches wakes no threads of a BLAS."""

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


def _sketches(table: ProductTable) -> Floats:
    octets = np.ascontiguousarray(table.columns["sketch"]).view(np.uint8)
    return octets.reshape(len(table), SKETCH_BYTES).astype(np.float32)


class _Sent:
    """How near every feature is to what was sent: `near` float32 (2, f) has the smallest distance
    to anything (row 0) and to an image (row 1), squared, in `STEP`s.

    Distances are sums of products of octets, whole numbers under 2**24, so that float32 has them
    exactly in any order; and the greatest similarity is the one of the smallest distance.
    """

    def __init__(self, features: _Features) -> None:
        self._features = features
        self.near = np.full((2, len(features.tiles)), np.inf, np.float32)

    def add(
        self, tiles: npt.NDArray[np.int64], looks: Floats, images: npt.NDArray[np.bool_]
    ) -> None:
        """These were sent; a tile is not near itself, whatever its pictures."""
        features = self._features
        own = np.minimum(np.searchsorted(features.tiles, tiles), len(features.tiles) - 1)
        own[features.tiles[own] != tiles] = -1
        for low in range(0, len(tiles), AT_ONCE):
            some = slice(low, low + AT_ONCE)
            for first in range(0, len(features.tiles), AT_ONCE):
                part = slice(first, first + AT_ONCE)
                distance = _distance(looks[some], features.sketches[part])
                inside = own[some] - first
                same = np.flatnonzero((inside >= 0) & (inside < AT_ONCE))
                distance[same, inside[same]] = np.inf
                near = self.near[:, part]
                np.minimum(near[0], distance.min(axis=0), out=near[0])
                if images[some].any():
                    np.minimum(near[1], distance[images[some]].min(axis=0), out=near[1])


def _distance(some: Floats, others: Floats) -> Floats:
    """Squared distances of all pairs, (n, 8) and (m, 8) to (n, m), in `STEP`s."""
    squares = np.square(some).sum(axis=1), np.square(others).sum(axis=1)
    return np.asarray(squares[0][:, None] - 2 * (some @ others.T) + squares[1])


def _similar(near: Floats) -> Floats:
    """Similarity at squared distances in `STEP`s."""
    return np.asarray(np.exp(near * np.float32(-0.5 / (REACH * STEP) ** 2)))


def _greedy(
    table: ProductTable,
    density: npt.NDArray[np.float64],
    known: ProductTable | None,
    weight: float,
) -> npt.NDArray[np.float64]:
    """Density times novelty of the pictures of one class.

    An image that was sent makes every other picture that looks like it less novel, a thumbnail
    only other thumbnails. What is sent makes no other picture more novel, so the best of a few is
    the best of all as long as it is better than all others were.
    """
    features = _Features(table)
    sent = _Sent(features)
    if known is not None:
        before = _Features(known)
        images = np.bincount(before.of, before.images, len(before.tiles)) > 0
        sent.add(before.tiles, before.sketches, images)
    worth, kinds = density.copy(), features.images.astype(np.intp)
    waiting = np.ones(len(table), bool)
    left = min(len(table), GREEDY_PICTURES)
    while True:
        near = sent.near[kinds, features.of]
        score = np.where(waiting, density * (1 - weight * _similar(near)), -1.0)
        if not left:
            return np.where(waiting, score, worth)
        few, limit = _foremost(score)
        few = few[waiting[few]]
        order, scores = _in_turn(few, features, density[few], near[few], weight, limit)
        order, scores = order[:left], scores[:left]
        worth[order], waiting[order] = scores, False
        left -= len(order)
        of = features.of[order]
        sent.add(features.tiles[of], features.sketches[of], features.images[order])


def _foremost(
    score: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.intp], tuple[float, int]]:
    """Places of the `AT_ONCE` greatest scores, ascending, of equal ones the first; and the best of
    all others: its score and place."""
    if len(score) <= AT_ONCE:
        return np.arange(len(score)), (-np.inf, len(score))
    limit = score[np.argpartition(-score, AT_ONCE)[AT_ONCE]]
    above, equal = np.flatnonzero(score > limit), np.flatnonzero(score == limit)
    room = AT_ONCE - len(above)
    return np.union1d(above, equal[:room]), (float(limit), int(equal[room]))


def _in_turn(
    few: npt.NDArray[np.intp],
    features: _Features,
    density: npt.NDArray[np.float64],
    near: Floats,
    weight: float,
    limit: tuple[float, int],
) -> tuple[list[int], list[float]]:
    """The best of `few` pictures, again and again, as long as it goes before the score and place of
    `limit`, and its scores."""
    of, images = features.of[few], features.images[few]
    distance = _distance(features.sketches[of], features.sketches[of])
    distance[of[:, None] == of] = np.inf
    distance[np.ix_(~images, images)] = np.inf  # a thumbnail makes no image stale
    waiting = np.ones(len(few), bool)
    order, scores = list[int](), list[float]()
    for _ in range(len(few)):
        score = np.where(waiting, density * (1 - weight * _similar(near)), -1.0)
        best = int(score.argmax())
        value, place = float(score[best]), int(few[best])
        if (-value, place) > (-limit[0], limit[1]):
            break
        order.append(place)
        scores.append(value)
        waiting[best] = False
        near = np.minimum(near, distance[best])
    return order, scores
