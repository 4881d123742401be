"""From scores to products, as the flight loop makes them: decided, merged, sampled, row by row.

Decisions, merging, audits and the values of products are the code that flies. Pixels are not there,
so a picture is its size and its sketch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from winnow_edge.loop.decision import Decided, Decider, SecondViews
from winnow_edge.loop.merging import Merger
from winnow_edge.mission import Mission
from winnow_edge.products.audit import drawn
from winnow_edge.products.encode import HEAD
from winnow_edge.products.kinds import NO_CLASS, Box, Detection, Kind
from winnow_edge.products.table import COLUMNS
from winnow_ground.simulation.scores import Scores

_NO_PIXELS: npt.NDArray[np.uint8] = np.empty((0, 0), np.uint8)
_BLOCK_LINES = 256
"""Quick looks of sections come with the block of lines in which they end (`loop.intake`)."""
_OUTLINE_BYTES = 14
"""What the JPEG of a feature that several tiles tell of has more: a comment with its outline."""
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Made:
    """The products of one swath in the order in which the loop stores them.

    `columns` is of dtype `COLUMNS`, shape (n,), with ids and swath 0; `row` int32 (n,) is the row
    of tiles that each is stored with, rising. `marks` (row, place) are the records of detections
    that are found, with a later row, to be of another one's feature, or refused by the second
    stage; `passed` (row, place, class, posterior) are those that say from then on what it said.
    Rows have `due` (the line with which they are complete), `shown` tiles that the net sees, second
    views counted twice, and `verified` detections that the second stage is asked about. `feature`
    and `product` are pairs: the true features of a product's own class that it shows. `best` uint8
    (tiles,) are the classes that the tiles were taken for, `hit` bool (tiles,) those that passed a
    threshold (None: no net chose); `detections` counts those after merging.
    """

    scores: Scores
    columns: npt.NDArray[np.void]
    row: npt.NDArray[np.int32]
    marks: tuple[tuple[int, int], ...]
    passed: tuple[tuple[int, int, int, float], ...]
    due: npt.NDArray[np.int64]
    shown: npt.NDArray[np.int64]
    verified: npt.NDArray[np.int64]
    product: Indices
    feature: Indices
    best: npt.NDArray[np.uint8]
    hit: npt.NDArray[np.bool_] | None
    detections: int

    @cached_property
    def bounds(self) -> list[int]:
        """The first product of each row, and behind them all of them."""
        return [int(at) for at in np.searchsorted(self.row, np.arange(len(self.due) + 1))]

    @cached_property
    def marked(self) -> dict[int, list[int]]:
        """The places of `marks` by row."""
        found: dict[int, list[int]] = {}
        for row, place in self.marks:
            found.setdefault(row, []).append(place)
        return found

    @cached_property
    def renamed(self) -> dict[int, list[tuple[int, int, float]]]:
        """Place, class and posterior of `passed` by row."""
        found: dict[int, list[tuple[int, int, float]]] = {}
        for row, place, class_index, posterior in self.passed:
            found.setdefault(row, []).append((place, class_index, posterior))
        return found

    @property
    def bytes(self) -> int:
        """Of all products."""
        return int(self.columns["bytes"].sum(dtype=np.int64))


@dataclass
class _Parts:
    """Products as they are made: arrays of `COLUMNS` and of their rows."""

    columns: list[npt.NDArray[np.void]] = field(default_factory=list)
    rows: list[npt.NDArray[np.int32]] = field(default_factory=list)
    ranks: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def add(self, columns: npt.NDArray[np.void], rows: npt.NDArray[np.int64], rank: int) -> None:
        """`rank` orders what is stored with one row: records, samples, detections, quick looks."""
        self.columns.append(columns)
        self.rows.append(rows.astype(np.int32))
        self.ranks.append(np.full(len(columns), rank))

    def ordered(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int32], Indices]:
        """Everything in order, and where each product was before."""
        rows = np.concatenate(self.rows)
        order = np.lexsort((np.concatenate(self.ranks), rows))  # stable
        return np.concatenate(self.columns)[order], rows[order], order


def empty_columns(count: int) -> npt.NDArray[np.void]:
    """`count` products of which nothing is set, each about one tile."""
    columns = np.zeros(count, COLUMNS)
    if "tiles" in (COLUMNS.names or ()):
        columns["tiles"] = 1
    return columns


def thresholds_of(scores: Scores, mission: Mission) -> dict[str, float]:
    """The mission's thresholds, else the bundle's, by class of the bundle."""
    thresholds = dict(scores.manifest.thresholds)
    for name, rule in mission.classes.items():
        if name in scores.manifest.classes and rule.threshold is not None:
            thresholds[name] = rule.threshold
    return thresholds


def decide(scores: Scores, mission: Mission, name: str = "") -> Made:
    """What the flight loop makes of a swath; `name` is that of the observation, which draws the
    tiles of the audit."""
    tiles, thresholds = scores.tiles, thresholds_of(scores, mission)
    seen = np.flatnonzero(~tiles["screened"])
    decided = _decided(scores, thresholds, seen)
    best = np.full(len(tiles), NO_CLASS, np.uint8)
    posterior = np.zeros(len(tiles))
    hit = np.zeros(len(tiles), np.bool_)
    best[seen], posterior[seen] = decided.class_index, decided.posterior
    places = seen[decided.tiles]
    hit[places] = True
    rows = tiles["row"].astype(np.int64)
    parts = _Parts()
    records = empty_columns(len(tiles))
    records["kind"], records["tile"] = Kind.RECORD, np.arange(len(tiles))
    records["class_index"], records["posterior"] = best, posterior
    records["detection"], records["bytes"] = hit, HEAD.size + scores.tail
    parts.add(records, rows, 0)
    _sample(parts, scores, mission, records, thresholds, name or scores.name)
    kept, dropped = _merged(scores, mission, decided, places)
    kept, verified = _verified(scores, kept)
    pictures, picture_rows = _pictures(scores, kept)
    parts.add(pictures, picture_rows, 2)
    _quick_looks(parts, scores)
    columns, row, order = parts.ordered()
    where = np.empty(len(order), np.intp)
    where[order] = np.arange(len(order))
    marks = tuple(
        (row_at, int(where[tile]))
        for row_at, tile, class_index in dropped
        if best[tile] == class_index  # with a sigmoid head the record may name another class
    ) + tuple((row_at, int(where[tile])) for row_at, tile in verified.refused)
    passed = tuple(
        (row_at, int(where[tile]), class_index, posterior_of)
        for row_at, tile, class_index, posterior_of in verified.passed
    )
    known = columns.copy()
    for _, place, class_index, _ in passed:
        known["class_index"][place] = class_index
    product, feature = _shown(scores, known)
    ends = np.flatnonzero(np.diff(rows, append=rows[-1:] + 1)) if len(rows) else []
    shown = np.bincount(rows, weights=~tiles["screened"] * 1.0)
    if scores.twice is not None:
        shown += np.bincount(rows, weights=scores.twice * 1.0)
    return Made(
        scores=scores,
        columns=columns,
        row=row,
        marks=marks,
        passed=passed,
        due=tiles["due"][ends].astype(np.int64),
        shown=shown.astype(np.int64),
        verified=np.bincount(np.array(verified.rows, np.int64), minlength=len(shown)),
        product=product,
        feature=feature,
        best=best,
        hit=hit,
        detections=len(kept),
    )


def _decided(scores: Scores, thresholds: Mapping[str, float], seen: Indices) -> Decided:
    """Decisions on the tiles that the net saw; `tiles` count among these."""
    second = None
    if scores.second is not None and scores.twice is not None:
        twice = np.flatnonzero(scores.twice[seen])
        second = SecondViews(twice, scores.second[seen[twice]])
    allowed = None if scores.allowed is None else scores.allowed[seen]
    decider = Decider(scores.manifest, dict(thresholds))
    return decider.decide(scores.logits[seen], second, allowed)


def _merged(
    scores: Scores, mission: Mission, decided: Decided, places: Indices
) -> tuple[list[tuple[int, Detection]], list[tuple[int, int, int]]]:
    """Detections that stay, each with the row it is stored with, and those that are dropped, as
    (row, tile, class)."""
    kept: list[tuple[int, Detection]] = []
    dropped: list[tuple[int, int, int]] = []
    merger = Merger(mission.tiling.merge)
    hits = list(_hits(scores, decided, places))
    at, last = 0, -1
    for row, horizon in _horizons(scores):
        begin = at
        while at < len(hits) and hits[at][0] == row:
            at += 1
        last = row
        if at == begin and not len(merger):
            continue
        if at > begin:
            merger.add([detection for _, detection in hits[begin:at]])
        kept += [(row, found) for found in merger.advance(horizon)]
        dropped += [(row, *entry) for entry in merger.take_dropped()]
    kept += [(last, found) for found in merger.advance(math.inf)]
    dropped += [(last, *entry) for entry in merger.take_dropped()]
    return kept, dropped


@dataclass
class _Verified:
    """What the second stage said: the `rows` of detections that it was asked about; the tiles that
    it `refused`, as (row, tile); those that `passed`, as (row, tile, class, posterior)."""

    rows: list[int] = field(default_factory=list)
    refused: list[tuple[int, int]] = field(default_factory=list)
    passed: list[tuple[int, int, int, float]] = field(default_factory=list)


def _verified(
    scores: Scores, kept: list[tuple[int, Detection]]
) -> tuple[list[tuple[int, Detection]], _Verified]:
    """The detections as the second stage leaves them (`loop.collect`)."""
    said = _Verified()
    if scores.around is None or not scores.minded:
        return kept, said
    left = list[tuple[int, Detection]]()
    for row, found in kept:
        entry = scores.around[found.tile_index]
        if found.class_index not in scores.minded or not entry["asked"]:
            left.append((row, found))
            continue
        said.rows.append(row)
        name, posterior = int(entry["verified"]), float(entry["posterior"])
        if name == NO_CLASS:
            said.refused.append((row, found.tile_index))
            continue
        said.passed.append((row, found.tile_index, name, posterior))
        left.append((row, replace(found, class_index=name, posterior=posterior)))
    return left, said


def _hits(scores: Scores, decided: Decided, places: Indices) -> Iterator[tuple[int, Detection]]:
    some = scores.tiles[places]
    sides = (some[name].tolist() for name in ("line", "sample", "lines", "samples"))
    boxes = zip(*sides, strict=True)
    more = (places, decided.classes, decided.posteriors, some["scale"], some["row"])
    for box, tile, index, posterior, scale, row in zip(
        boxes, *(column.tolist() for column in more), strict=True
    ):
        yield row, Detection(tile, Box(*box), scale, index, posterior, _NO_PIXELS)


def _horizons(scores: Scores) -> Iterator[tuple[int, float]]:
    """Each row with the first line that a tile after it can have (`loop.intake`)."""
    tiles = scores.tiles
    if not len(tiles):
        return
    firsts = np.flatnonzero(np.diff(tiles["row"], prepend=tiles["row"][0] - 1))
    rows = (tiles[name][firsts].tolist() for name in ("row", "scale", "line"))
    last = dict.fromkeys(np.unique(tiles["scale"]).tolist(), -1)
    for row, scale, line in zip(*rows, strict=True):
        last[scale] = line // scale
        yield row, float(min((origin + 1) * scale for scale, origin in last.items()))


def _pictures(
    scores: Scores, kept: list[tuple[int, Detection]]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """Thumbnail, image and context of each detection, and their rows."""
    tiles = np.array([found.tile_index for _, found in kept], np.intp)
    contexts = np.zeros(len(kept), np.uint32)
    if scores.around is not None:
        contexts = scores.around["context"][tiles]
    kinds = (Kind.THUMBNAIL, Kind.IMAGE, Kind.CONTEXT)
    columns = empty_columns(len(kinds) * len(kept))
    for n, kind in enumerate(kinds):
        some = columns[n :: len(kinds)]
        some["kind"], some["tile"], some["detection"] = kind, tiles, True
        some["class_index"] = [found.class_index for _, found in kept]
        some["posterior"] = [found.posterior for _, found in kept]
        some["sketch"] = scores.tiles["sketch"][tiles]
        if kind is Kind.CONTEXT:
            some["bytes"] = contexts
            continue
        some["bytes"] = scores.tiles["thumbnail" if kind is Kind.THUMBNAIL else "image"][tiles]
        some["bytes"] += np.array(
            [_OUTLINE_BYTES * (found.merged > 1) for _, found in kept], np.uint32
        )
    rows = np.repeat(np.array([row for row, _ in kept], np.int64), len(kinds))
    made = columns["bytes"] > 0
    return columns[made], rows[made]


def _sample(
    parts: _Parts,
    scores: Scores,
    mission: Mission,
    records: npt.NDArray[np.void],
    thresholds: Mapping[str, float],
    name: str,
) -> None:
    """The pictures of `loop.sampling`: of the audit, and of tiles that the net abstains on."""
    chosen: list[tuple[Kind, Indices]] = []
    audit, ask = mission.audit, mission.ask
    size = scores.tiles["thumbnail"].astype(np.int64)
    if audit.share:
        tiles = np.flatnonzero(drawn(audit.seed, name, 0, len(records), audit.share))
        chosen.append((Kind.AUDIT, _within(tiles, size, audit.bytes)))
    if ask.bytes:
        limits = np.array([thresholds.get(n, -math.inf) for n in scores.manifest.classes])
        rows = np.flatnonzero(~scores.tiles["screened"] & ~records["detection"])
        best = records["posterior"][rows]
        asked = (ask.posterior <= best) & (best < limits[records["class_index"][rows]])
        chosen.append((Kind.QUESTION, _within(rows[asked], size, ask.bytes)))
    for kind, tiles in chosen:
        columns = records[tiles].copy()
        columns["kind"], columns["detection"], columns["bytes"] = kind, False, size[tiles]
        parts.add(columns, scores.tiles["row"][tiles].astype(np.int64), 1)


def _within(tiles: Indices, size: npt.NDArray[np.int64], most: int) -> Indices:
    """Those before the first that the quota of bytes does not hold."""
    return tiles[: int(np.searchsorted(np.cumsum(size[tiles]), most, side="right"))]


def _quick_looks(parts: _Parts, scores: Scores) -> None:
    if not scores.quick_looks:
        return
    columns = empty_columns(len(scores.quick_looks))
    columns["kind"] = Kind.QUICK_LOOK
    columns["tile"] = np.arange(len(columns))
    columns["class_index"], columns["bytes"] = NO_CLASS, [size for _, size in scores.quick_looks]
    due = scores.tiles["due"]
    rows = []
    for end, _ in scores.quick_looks:
        block = -(-end // _BLOCK_LINES) * _BLOCK_LINES
        at = int(np.searchsorted(np.maximum.accumulate(due), block, side="right"))
        rows.append(int(scores.tiles["row"][max(at - 1, 0)]) if len(due) else 0)
    rows[-1] = int(scores.tiles["row"][-1]) if len(due) else 0
    parts.add(columns, np.array(rows, np.int64), 3)


def _shown(scores: Scores, columns: npt.NDArray[np.void]) -> tuple[Indices, Indices]:
    """Pairs of a product and a feature of its class that it shows; both empty without truth."""
    if scores.features is None or not len(scores.shows):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    known = {name: n for n, name in enumerate(scores.manifest.classes)}
    classes = np.array([known.get(name, NO_CLASS) for name in scores.features])
    order = np.argsort(scores.shows[:, 0], kind="stable")
    tile, feature = scores.shows[order].T.astype(np.intp)
    wanted = np.flatnonzero(columns["detection"])
    low = np.searchsorted(tile, columns["tile"][wanted], side="left")
    high = np.searchsorted(tile, columns["tile"][wanted], side="right")
    count = high - low
    product = np.repeat(wanted, count)
    start = np.repeat(low - np.cumsum(count) + count, count)
    shown = feature[start + np.arange(len(product))]
    own = classes[shown] == columns["class_index"][product]
    return product[own], shown[own]
