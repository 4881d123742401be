"""The catalogue's detections as columns in memory: every count that a search shows, at once.

A catalogue of millions of detections is searched by facets whose counts follow every move of a
slider. SQLite would scan the table for each of them; three NumPy columns are scanned once.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FACETS: Final = ("class", "instrument", "bundle", "verdict", "year", "swath")
"""What detections are counted by; all but the class are told by the swath."""
ORDERS: Final = ("confidence", "unsure", "value", "novelty", "newest", "swath")
"""`value`: the class's utility times the posterior. `novelty`: how rare the class is among all
detections of the catalogue, in bits, times the posterior; no picture is looked at for it."""
MOST_VALUES: Final = 200
"""Values of a facet that are counted for a person; a text narrows down what they are of."""
_ROW: Final = np.dtype(
    [("id", "i8"), ("swath", "i8"), ("class", "i8"), ("posterior", "f4"), ("detection", "i1"),
     ("changed", "i8")]
)  # fmt: skip
_CHUNK: Final = 100_000
BLOCK, _TABLE = 1 << 18, 4_000_000
"""Detections between two rows of the table of counts, at the least; cells that it has, at the
most (four octets each)."""
Coded = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""The different values of a facet, sorted, and which of them each swath has."""


@dataclass(frozen=True)
class Query:
    """What is looked for; an empty choice takes all.

    `chosen` maps a facet to the values that are wanted; `lowest` and `highest` bound the
    posterior; `least` is how many finds a swath must have at the least; `text` must stand in the
    swath's name; `box` is south, west, north, east in degrees (west over east: across the date
    line); `since` and `until` bound the start of the swath (UTC, ISO 8601). `worth` maps classes to
    utilities for the order `value`; a class that it lacks is worth 1.
    """

    chosen: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lowest: float = 0.0
    highest: float = 1.0
    least: int = 0
    text: str = ""
    box: tuple[float, float, float, float] | None = None
    since: str = ""
    until: str = ""
    order: str = "confidence"
    worth: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """How many detections a query finds, in how many swaths, and the counts of every facet.

    The counts of a facet are those under all other choices: choosing a further value of the same
    facet adds its count.
    """

    total: int
    swaths: int
    facets: dict[str, dict[str, int]]
    rows: npt.NDArray[np.int64]
    """Ids of the tiles of the page that was asked for, in the order that was asked for."""


class Columns:
    """Detections and swaths of a catalogue, in memory; `follow` brings in what is new.

    Detections lie in the order of their posterior, so a slider is a slice and a page of the surest
    is its end. `_key` is swath x classes + class, so one count of it answers every facet. `_before`
    has these counts over all that lies before each block, so that a slice costs two blocks.
    """

    def __init__(self, db: sqlite3.Connection, block: int = BLOCK) -> None:
        self._db, self._least_block = db, block
        self._seen = self._version = -1
        self._id = np.zeros(0, np.int64)
        self._posterior = np.zeros(0, np.float32)
        self._key = np.zeros(0, np.int32)
        self._block, self._before = 1, np.zeros((1, 0), np.int32)
        self.ids = np.zeros(0, np.int64)
        self.classes: list[str] = []
        self._of_class = np.zeros(0, np.int64)
        self.follow()

    def __len__(self) -> int:
        return len(self._id)

    def follow(self) -> bool:
        """Read what has changed since the last time; whether anything had."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return False
        self._db.execute("BEGIN")  # swaths and tiles of the same moment
        try:
            self._read_classes()
            self._read_swaths()
            self._read_tiles()
        finally:
            if self._db.in_transaction:
                self._db.execute("COMMIT")
        self._version = version  # what failed is read again the next time
        return True

    def find(self, query: Query, *, first: int = 0, most: int = 50) -> Found:
        """Count what the query finds, and take `most` of it from number `first` on."""
        span = self._span(query)
        counts = self._counts(span)
        wanted = _chosen(query, "class", np.array(self.classes, object))
        passing = self._passing(query)
        if query.least > 1:
            passing["least"] = (counts * wanted).sum(axis=1) >= query.least
        every = np.logical_and.reduce(list(passing.values()))
        facets = {}
        for name in FACETS:
            others = np.logical_and.reduce([mask for key, mask in passing.items() if key != name])
            facets[name] = self._facet(name, counts, others, wanted)
        allowed = every[:, None] & wanted
        finds = (counts * allowed).sum(axis=1)
        page = self._page(query, span, allowed, finds, first, most)
        return Found(int(finds.sum()), int((finds > 0).sum()), facets, page)

    def known(self, facet: str) -> frozenset[str]:
        """The values of a facet that any swath or detection has."""
        return frozenset(self.classes if facet == "class" else self._values[facet][0].tolist())

    def _span(self, query: Query) -> slice:
        """The detections between the two ends of the slider."""
        low = np.searchsorted(self._posterior, np.float32(query.lowest), side="left")
        high = np.searchsorted(self._posterior, np.float32(query.highest), side="right")
        return slice(int(low), int(high))

    def _counts(self, span: slice) -> npt.NDArray[np.int64]:
        """Detections (swaths, classes)."""
        shape = len(self.ids), len(self.classes)
        first, last = -(-span.start // self._block), span.stop // self._block
        if first >= last:
            return self._count(span.start, span.stop).reshape(shape)
        counts = self._before[last] - self._before[first]
        counts = counts + self._count(span.start, first * self._block)
        return (counts + self._count(last * self._block, span.stop)).reshape(shape)

    def _count(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        return np.bincount(self._key[start:stop], minlength=len(self.ids) * len(self.classes))

    def _count_blocks(self) -> None:
        cells = max(1, len(self.ids) * len(self.classes))
        blocks = min(len(self) // self._least_block, _TABLE // cells)
        self._block = -(-len(self) // blocks) if blocks else len(self) + 1
        self._before = np.zeros((blocks + 1, cells), np.int32)
        for block in range(blocks):
            start = block * self._block
            self._before[block + 1] = self._before[block] + self._count(
                start, min(start + self._block, len(self))
            )

    def _passing(self, query: Query) -> dict[str, npt.NDArray[np.bool_]]:
        """Which swaths each of the choices lets through."""
        passing = {"all": np.ones(len(self.ids), bool)}
        for facet, (values, codes) in self._values.items():
            if query.chosen.get(facet):
                passing[facet] = _chosen(query, facet, values)[codes]
        if query.text:
            text = query.text.casefold()
            passing["text"] = np.array([text in name for name in self._plain], bool)
        if query.since or query.until:
            known = self._starts != ""
            late = self._starts >= query.since
            passing["date"] = known & late & (self._starts <= (query.until or "~"))
        if query.box is not None:
            passing["box"] = _within(self._places, query.box)
        return passing

    def _facet(
        self,
        name: str,
        counts: npt.NDArray[np.int64],
        others: npt.NDArray[np.bool_],
        wanted: npt.NDArray[np.bool_],
    ) -> dict[str, int]:
        if name == "class":
            return _counted(np.array(self.classes, object), counts[others].sum(axis=0))
        values, codes = self._values[name]
        finds = (counts * wanted).sum(axis=1) * others
        totals = np.zeros(len(values), np.int64)
        np.add.at(totals, codes, finds)
        return _counted(values, totals)

    def _page(
        self,
        query: Query,
        span: slice,
        allowed: npt.NDArray[np.bool_],
        finds: npt.NDArray[np.int64],
        first: int,
        most: int,
    ) -> npt.NDArray[np.int64]:
        flat, order = allowed.ravel(), query.order
        if order in ("value", "novelty"):
            weights = self._worth(query.worth) if order == "value" else self._rarity()
            return self._id[self._heaviest(span, flat, weights, first + most)[first:]]
        if order not in ("newest", "swath"):
            taken = self._walk(span, flat, first + most, back=order != "unsure")
            return self._id[taken[first:]]
        # The swaths that the page reaches, in order; then their detections, the surest first.
        rank = self._newest if order == "newest" else np.arange(len(self.ids))
        upto = np.searchsorted(np.cumsum(finds[rank]), first + most, side="left") + 1
        place = np.full(len(self.ids), -1)
        place[rank[:upto]] = np.arange(min(int(upto), len(rank)))
        reached = allowed & (place >= 0)[:, None]
        rows = np.flatnonzero(reached.ravel()[self._key[span]])
        swath = place[self._key[span][rows] // max(len(self.classes), 1)]
        ordered = rows[np.lexsort((-rows, swath))][first : first + most]
        return self._id[span][ordered]

    def _walk(
        self, span: slice, flat: npt.NDArray[np.bool_], most: int, *, back: bool
    ) -> npt.NDArray[np.int64]:
        """Numbers of the first `most` detections that are allowed, from one end of the span."""
        taken: list[npt.NDArray[np.int64]] = []
        have, low, high = 0, span.start, span.stop
        while have < most and low < high:
            part = slice(max(low, high - _CHUNK), high) if back else slice(low, low + _CHUNK)
            part = slice(part.start, min(part.stop, high))
            rows = np.flatnonzero(flat[self._key[part]]) + part.start
            taken.append(rows[::-1] if back else rows)
            have += len(rows)
            low, high = (low, part.start) if back else (part.stop, high)
        return np.concatenate(taken)[:most] if taken else np.zeros(0, np.int64)

    def _worth(self, worth: Mapping[str, float]) -> npt.NDArray[np.float32]:
        return np.array([worth.get(name, 1.0) for name in self.classes], np.float32)

    def _rarity(self) -> npt.NDArray[np.float32]:
        """The information of each class, in bits: minus the logarithm of its share, with one
        detection more of each so that a class that is new has one too."""
        shares = (self._of_class + 1) / (self._of_class.sum() + len(self.classes))
        return -np.log2(shares).astype(np.float32)

    def _heaviest(
        self,
        span: slice,
        flat: npt.NDArray[np.bool_],
        weights: npt.NDArray[np.float32],
        most: int,
    ) -> npt.NDArray[np.int64]:
        """Numbers of the `most` detections with the largest weight times posterior.

        They are looked for from the surest down, until none that is left can be among them.
        """
        of_key = np.tile(weights, len(self.ids))
        rows, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        step = _CHUNK if most < _CHUNK else len(self)
        largest = weights[self._of_class > 0].max(initial=0)
        for high in range(span.stop, span.start, -max(step, 1)):
            if (
                len(rows)
                and len(rows) >= most
                and scores[-1] >= self._posterior[high - 1] * largest
            ):
                break
            part = slice(max(span.start, high - step), high)
            found = np.flatnonzero(flat[self._key[part]])[::-1] + part.start
            rows = np.concatenate([rows, found])
            score = self._posterior[found] * of_key[self._key[found]]
            scores = np.concatenate([scores, score])
            order = np.argsort(-scores, kind="stable")[:most]
            rows, scores = rows[order], scores[order]
        return rows

    def _read_classes(self) -> None:
        kinds = self._db.execute("SELECT id, name FROM class ORDER BY id").fetchall()
        names = [row[1] for row in kinds]
        if self.classes and len(names) != len(self.classes):
            swath, index = np.divmod(self._key, len(self.classes))
            self._key = (swath * len(names) + index).astype(np.int32)
        self._class_ids, self.classes = np.array([row[0] for row in kinds], np.int64), names

    def _read_swaths(self) -> None:
        found = self._db.execute(
            "SELECT swath.id, swath.name, instrument, coalesce(bundle.name, ''),"
            " coalesce(verdict, ''), coalesce(start, ''), latitude, longitude"
            " FROM swath LEFT JOIN bundle ON bundle.id = swath.bundle ORDER BY swath.id"
        ).fetchall()
        before, self.ids = self.ids, np.array([row[0] for row in found], np.int64)
        if not np.array_equal(before, self.ids[: len(before)]):
            self._seen = -1  # swaths were taken away: their places in the key are others'
            self._id, self._posterior, self._key = self._id[:0], self._posterior[:0], self._key[:0]
        self.names = [row[1] for row in found]
        self._plain = [name.casefold() for name in self.names]
        self._starts = np.array([row[5] for row in found], np.str_)
        self._newest = np.argsort(self._starts, kind="stable")[::-1]
        self._places = np.array([row[6:8] for row in found], np.float64).reshape(-1, 2)
        told = {
            "instrument": [row[2] for row in found],
            "bundle": [row[3] for row in found],
            "verdict": [row[4] for row in found],
            "year": [row[5][:4] for row in found],
            "swath": self.names,
        }
        self._values = {name: _coded(values) for name, values in told.items()}

    def _read_tiles(self) -> None:
        cursor = self._db.execute(
            "SELECT id, swath, class, posterior, detection, changed FROM tile"
            " WHERE changed > ? AND class IS NOT NULL",
            (self._seen,),
        )
        seen, kept, parts = self._seen, None, [(self._id, self._posterior, self._key)]
        while len(read := np.fromiter(itertools.islice(cursor, _CHUNK), _ROW)):
            if kept is None and len(self._id):
                kept = np.ones(len(self._id), bool)
            if kept is not None:
                kept &= np.isin(self._id, read["id"], invert=True)
            seen = max(seen, int(read["changed"].max()))
            read = read[read["detection"] == 1]
            swath = np.searchsorted(self.ids, read["swath"])
            key = swath * len(self.classes) + np.searchsorted(self._class_ids, read["class"])
            parts.append((read["id"].copy(), read["posterior"].copy(), key.astype(np.int32)))
        self._seen = seen
        if kept is not None:
            parts[0] = self._id[kept], self._posterior[kept], self._key[kept]
        new = len(parts) > 1
        if new:
            self._id, self._posterior, self._key = map(np.concatenate, zip(*parts, strict=True))
            del parts
            order = np.argsort(self._posterior, kind="stable")
            self._posterior = self._posterior[order]
            self._id, self._key = self._id[order], self._key[order]
        if new or len(self._of_class) != len(self.classes):
            classes = max(len(self.classes), 1)
            self._of_class = np.bincount(self._key % classes, minlength=len(self.classes))
        if new or self._before.shape[1] != max(1, len(self.ids) * len(self.classes)):
            self._count_blocks()


def _coded(values: list[str]) -> Coded:
    if not values:
        return np.zeros(0, object), np.zeros(0, np.int64)
    names, codes = np.unique(np.array(values, object), return_inverse=True)
    return names, codes.astype(np.int64)


def _chosen(query: Query, facet: str, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    chosen = query.chosen.get(facet)
    return np.array([not chosen or name in chosen for name in values], bool)


def _counted(names: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> dict[str, int]:
    """The largest counts by name, the largest first; names without a count are left out."""
    there = np.flatnonzero(counts)
    order = there[np.lexsort((there, -counts[there]))][:MOST_VALUES]
    return {str(names[i]): int(counts[i]) for i in order}


def _within(
    places: npt.NDArray[np.float64], box: tuple[float, float, float, float]
) -> npt.NDArray[np.bool_]:
    south, west, north, east = box
    latitude, longitude = places.T
    across = (longitude >= west) & (longitude <= east)
    if west > east:
        across = (longitude >= west) | (longitude <= east)
    found: npt.NDArray[np.bool_] = (latitude >= south) & (latitude <= north) & across
    return found
