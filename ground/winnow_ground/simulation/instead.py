"""What would be made of a swath without the net: by one that is never wrong, or by none at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from winnow_edge.products.encode import HEAD
from winnow_edge.products.kinds import NO_CLASS, Kind
from winnow_ground.simulation.decide import Indices, Made, empty_columns
from winnow_ground.simulation.scores import Scores


def never_wrong(made: Made) -> Made:
    """What a net that knows the truth would leave: every tile's record, and record, thumbnail and
    image of each class that a tile shows. `made` is what the real net leaves."""
    scores = made.scores
    numbers = {name: k for k, name in enumerate(scores.manifest.classes)}
    names = np.array([numbers.get(name, NO_CLASS) for name in scores.features or ()], np.int64)
    tile, feature = scores.shows.T.astype(np.int64)
    own = names[feature] != NO_CLASS if len(feature) else np.zeros(0, np.bool_)
    tile, feature = tile[own], feature[own]
    found, which = np.unique(tile << 8 | names[feature], return_inverse=True)
    tiles, classes = found >> 8, (found & 0xFF).astype(np.uint8)
    plain = empty_columns(len(scores.tiles))
    plain["kind"], plain["tile"] = Kind.RECORD, np.arange(len(plain))
    plain["class_index"], plain["bytes"] = NO_CLASS, HEAD.size + scores.tail
    plain = np.delete(plain, np.unique(tiles))
    parts, pairs = [plain], []
    sizes = {
        Kind.RECORD: np.full(len(tiles), HEAD.size + scores.tail),
        Kind.THUMBNAIL: scores.tiles["thumbnail"][tiles],
        Kind.IMAGE: scores.tiles["image"][tiles],
    }
    if scores.around is not None and scores.around["context"].any():
        # Of tiles that the real net passes over the size is not known.
        known, own = scores.around["context"], scores.around["context"][tiles]
        sizes[Kind.CONTEXT] = np.where(own > 0, own, np.uint32(np.median(known[known > 0])))
    for n, (kind, size) in enumerate(sizes.items()):
        columns = empty_columns(len(tiles))
        columns["kind"], columns["tile"], columns["class_index"] = kind, tiles, classes
        columns["posterior"], columns["detection"], columns["bytes"] = 1.0, True, size
        columns["sketch"] = scores.tiles["sketch"][tiles]
        parts.append(columns)
        pairs.append(len(plain) + n * len(tiles) + which)
    return _made(made, np.concatenate(parts), np.concatenate(pairs), np.tile(feature, len(sizes)))


def side_by_side(scores: Scores) -> Indices:
    """The tiles that cover a swath once: of the finest scale, none over another."""
    tiles = scores.tiles
    if not len(tiles):
        return np.empty(0, np.intp)
    finest = tiles["scale"] == tiles["scale"].min()
    side = max(int(tiles["samples"][finest].max()), 1)
    whole = finest & (tiles["line"] % side == 0) & (tiles["sample"] % side == 0)
    return np.flatnonzero(whole)


def images_of(made: Made, tiles: Indices) -> Made:
    """Images of these tiles alone, chosen by no net: they show whatever is there."""
    scores = made.scores
    columns = empty_columns(len(tiles))
    columns["kind"], columns["tile"], columns["class_index"] = Kind.IMAGE, tiles, NO_CLASS
    columns["bytes"] = scores.tiles["image"][tiles]
    shows = scores.shows[np.argsort(scores.shows[:, 0], kind="stable")].astype(np.intp)
    place = np.full(len(scores.tiles), -1, np.intp)
    place[tiles] = np.arange(len(tiles))
    shown = place[shows[:, 0]] >= 0
    row = scores.tiles["row"][tiles]
    return replace(
        made,
        columns=columns,
        row=row.astype(np.int32),
        marks=(),
        passed=(),
        verified=np.zeros_like(made.verified),
        shown=np.zeros_like(made.shown),
        product=place[shows[shown, 0]],
        feature=shows[shown, 1],
        hit=None,
        detections=0,
    )


def _made(
    made: Made, columns: npt.NDArray[np.void], product: Indices, feature: npt.NDArray[np.int64]
) -> Made:
    """As `made`, with these products and the features that they show."""
    row = made.scores.tiles["row"][columns["tile"]]
    order = np.argsort(row, kind="stable")
    where = np.empty(len(order), np.intp)
    where[order] = np.arange(len(order))
    pairs = np.lexsort((feature, where[product]))
    return replace(
        made,
        columns=columns[order],
        row=row[order].astype(np.int32),
        marks=(),
        passed=(),
        verified=np.zeros_like(made.verified),
        product=where[product][pairs],
        feature=feature[pairs].astype(np.intp),
        detections=int(np.count_nonzero(columns["kind"] == Kind.IMAGE)),
    )
