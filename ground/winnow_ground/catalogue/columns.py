"""The catalogue's detections as columns in memory: every count that a search shows, at once.

A catalogue of millions of detections is searched by facets whose counts follow every move of a
slider. SQLite would scan the table for each of them; three NumPy columns are scanned once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from winnow_ground.catalogue.facets import NO_SWATHS, Query, chosen, read_swaths
from winnow_ground.catalogue.held import (
    Held,
    Numbered,
    Told,
    nothing,
    read_all,
    read_new,
    renumbered,
)
from winnow_ground.catalogue.kept import Beside, State

FACETS: Final = ("class", "instrument", "bundle", "verdict", "year", "swath")
"""What detections are counted by; all but the class are told by the swath."""
ORDERS: Final = ("confidence", "unsure", "value", "novelty", "newest", "swath")
"""`value`: the class's utility times the posterior. `novelty`: how rare the class is among all
detections of the catalogue, in bits, times the posterior; no picture is looked at for it."""
MOST_VALUES: Final = 200
"""Values of a facet that are counted for a person; a text narrows down what they are of."""
_CHUNK: Final = 100_000
_RARE: Final = 50
"""Fewer than one in so many are looked up by their keys, not found among the others."""
BLOCK, _TABLE = 1 << 18, 4_000_000
"""Detections between two rows of the table of counts, at the least; cells that it has, at the
most (four octets each)."""


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
    is its end. A key is swath x classes + class, so one count of it answers every facet. `_before`
    has these counts over all that lies before each block, so that a slice costs two blocks; the
    order by key finds the detections of a swath without a look at the others.

    What is kept `beside` the catalogue of its state is taken; `told` is given the share that was
    read while everything is read.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        block: int = BLOCK,
        *,
        beside: Beside | None = None,
        told: Told | None = None,
    ) -> None:
        self._db, self._least_block, self._beside, self._told = db, block, beside, told
        self._version = -1
        self._held: Held | None = None
        self._swaths = NO_SWATHS
        self._block, self._before = 1, np.zeros((1, 0), np.int32)
        self._numbered = Numbered(np.zeros(0, np.int64), np.zeros(0, np.int64))
        """What the keys are made of."""
        self.classes: list[str] = []
        self._of_class = np.zeros(0, np.int64)
        self.follow()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def _rows(self) -> Held:
        return self._held or nothing()

    @property
    def version(self) -> int:
        """The state that was read last: another number after each change."""
        return self._version

    def follow(self) -> bool:
        """Read what has changed since the last time; whether anything had."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return False
        before = self._beside.state() if self._beside is not None else None
        self._db.execute("BEGIN")  # swaths and tiles of the same moment
        try:
            kinds = self._db.execute("SELECT id, name FROM class ORDER BY id").fetchall()
            self.classes = [row[1] for row in kinds]
            self._swaths = read_swaths(self._db, self._swaths)
            classes = np.array([row[0] for row in kinds], np.int64)
            self._read_tiles(Numbered(self._swaths.ids, classes), before)
        finally:
            if self._db.in_transaction:
                self._db.execute("COMMIT")
        self._version = version  # what failed is read again the next time
        return True

    def keepable(self) -> tuple[State, Held, Numbered] | None:
        """What can be kept beside the catalogue for the next start, and for which state of it; None
        where it has changed since it was read, or a moment ago."""
        state = self._beside.settled() if self._beside is not None else None
        if self._beside is None or self._held is None or state is None:
            return None
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version != self._version or self._beside.settled() != state:
            return None
        return state, self._held, self._numbered

    def find(
        self, query: Query, *, first: int = 0, most: int = 50, facets: Sequence[str] = FACETS
    ) -> Found:
        """Count what the query finds, by each of `facets`, and take `most` of it from number
        `first` on."""
        span = self._span(query)
        counts = self._counts(span)
        wanted = chosen(query, "class", self.classes)
        wanted_counts = counts @ wanted.astype(np.int64)
        passing = self._swaths.passing(query)
        if query.least > 1:
            passing["least"] = wanted_counts >= query.least
        every = _all(passing, len(self.ids))
        told = {}
        for name in facets:
            others = every
            if name in passing:
                rest = {key: mask for key, mask in passing.items() if key != name}
                others = _all(rest, len(self.ids))
            told[name] = self._facet(name, counts, others, wanted_counts)
        finds = wanted_counts * every
        page = self._page(query, span, every[:, None] & wanted, counts, first, most)
        return Found(int(finds.sum()), int(np.count_nonzero(finds)), told, page)

    def known(self, facet: str) -> frozenset[str]:
        """The values of a facet that any swath or detection has."""
        return frozenset(
            self.classes if facet == "class" else self._swaths.values[facet][0].tolist()
        )

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Ids of the swaths."""
        return self._numbered.swaths

    def _span(self, query: Query) -> slice:
        """The detections between the two ends of the slider."""
        posterior = self._rows.posterior
        low = np.searchsorted(posterior, np.float32(query.lowest), side="left")
        high = np.searchsorted(posterior, np.float32(query.highest), side="right")
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
        return np.bincount(self._rows.key[start:stop], minlength=self._numbered.cells)

    def _count_blocks(self) -> None:
        cells = max(1, self._numbered.cells)
        blocks = min(len(self) // self._least_block, _TABLE // cells)
        self._block = -(-len(self) // blocks) if blocks else len(self) + 1
        self._before = np.zeros((blocks + 1, cells), np.int32)
        for block in range(blocks):
            start = block * self._block
            self._before[block + 1] = self._before[block] + self._count(
                start, min(start + self._block, len(self))
            )
        # Where the detections of each key begin in the order by key.
        self._begin = np.zeros(self._numbered.cells + 1, np.int64)
        np.cumsum(self._count(0, len(self)), out=self._begin[1:])

    def _facet(
        self,
        name: str,
        counts: npt.NDArray[np.int64],
        others: npt.NDArray[np.bool_],
        wanted_counts: npt.NDArray[np.int64],
    ) -> dict[str, int]:
        if name == "class":
            return _counted(np.array(self.classes, object), others.astype(np.int64) @ counts)
        values, codes = self._swaths.values[name]
        # Sums are exact: a double counts to 2^53.
        totals = np.bincount(codes, wanted_counts * others, minlength=len(values))
        return _counted(values, totals.astype(np.int64))

    def _page(
        self,
        query: Query,
        span: slice,
        allowed: npt.NDArray[np.bool_],
        counts: npt.NDArray[np.int64],
        first: int,
        most: int,
    ) -> npt.NDArray[np.int64]:
        ids, order, finds = self._rows.id, query.order, counts * allowed
        if order in ("newest", "swath"):
            rank = self._swaths.newest if order == "newest" else np.arange(len(self.ids))
            return ids[self._by_swath(span, finds, rank, first + most)[first:]]
        if order in ("value", "novelty"):
            weights = self._worth(query.worth) if order == "value" else self._rarity()
            largest = weights[finds.any(axis=0)].max(initial=0)
            rows = self._heaviest(span, allowed.ravel(), (weights, largest), first + most)
            return ids[rows[first:]]
        back, total = order != "unsure", int(finds.sum())
        if total * _RARE < span.stop - span.start:
            taken = np.sort(self._of_keys(np.flatnonzero(finds), span))
            taken = taken[::-1][: first + most] if back else taken[: first + most]
        else:
            taken = self._walk(span, allowed.ravel(), first + most, back=back)
        return ids[taken[first:]]

    def _by_swath(
        self,
        span: slice,
        finds: npt.NDArray[np.int64],
        rank: npt.NDArray[np.int64],
        most: int,
    ) -> npt.NDArray[np.int64]:
        """Numbers of the first `most` detections where swaths have this rank, the surest of a swath
        first."""
        upto = np.searchsorted(np.cumsum(finds.sum(axis=1)[rank]), most, side="left") + 1
        place = np.full(len(self.ids), -1)
        place[rank[:upto]] = np.arange(min(int(upto), len(rank)))
        reached = finds * (place >= 0)[:, None]
        rows = self._of_keys(np.flatnonzero(reached), span)
        swath = place[self._rows.key[rows] // max(len(self.classes), 1)]
        return rows[np.lexsort((-rows, swath))][:most]

    def _of_keys(self, keys: npt.NDArray[np.int64], span: slice) -> npt.NDArray[np.int64]:
        """Numbers of the detections of these keys within the span."""
        starts, counts = self._begin[keys], self._begin[keys + 1] - self._begin[keys]
        ends = np.cumsum(counts)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        rows = self._rows.by_key[np.repeat(starts, counts) + within].astype(np.int64)
        return rows[(rows >= span.start) & (rows < span.stop)]

    def _walk(
        self, span: slice, flat: npt.NDArray[np.bool_], most: int, *, back: bool
    ) -> npt.NDArray[np.int64]:
        """Numbers of the first `most` detections that are allowed, from one end of the span."""
        taken: list[npt.NDArray[np.int64]] = []
        have, low, high = 0, span.start, span.stop
        while have < most and low < high:
            part = slice(max(low, high - _CHUNK), high) if back else slice(low, low + _CHUNK)
            part = slice(part.start, min(part.stop, high))
            rows = np.flatnonzero(flat[self._rows.key[part]]) + part.start
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
        weighed: tuple[npt.NDArray[np.float32], np.float32],
        most: int,
    ) -> npt.NDArray[np.int64]:
        """Numbers of the `most` detections with the largest weight times posterior; `weighed` has
        the weights of the classes, and the largest of those that are found.

        They are looked for from the surest down, until none that is left can be among them.
        """
        weights, largest = weighed
        of_key = np.tile(weights, len(self.ids))
        rows, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        step = _CHUNK if most < _CHUNK else len(self)
        for high in range(span.stop, span.start, -max(step, 1)):
            if (
                len(rows)
                and len(rows) >= most
                and scores[-1] >= self._rows.posterior[high - 1] * largest
            ):
                break
            part = slice(max(span.start, high - step), high)
            found = np.flatnonzero(flat[self._rows.key[part]])[::-1] + part.start
            rows = np.concatenate([rows, found])
            score = self._rows.posterior[found] * of_key[self._rows.key[found]]
            scores = np.concatenate([scores, score])
            order = np.argsort(-scores, kind="stable")[:most]
            rows, scores = rows[order], scores[order]
        return rows

    def _read_tiles(self, now: Numbered, state: State | None) -> None:
        before, held = self._numbered, self._held
        if not (_begins(now.swaths, before.swaths) and _begins(now.classes, before.classes)):
            held = None  # some were taken away: their places in the key are others'
        if held is None:
            self._held = None  # its memory is free for what comes
            kept = self._beside.load(now, state) if self._beside is not None else None
            found = kept if kept is not None else read_all(self._db, now, self._told)
        else:
            if len(now.classes) != len(before.classes):
                held = renumbered(held, len(before.classes), len(now.classes))
            found = read_new(self._db, now, held)
        changed = found is not self._held or now.cells != before.cells
        self._held, self._numbered = found, now
        if changed:
            classes = max(len(self.classes), 1)
            self._of_class = np.bincount(found.key % classes, minlength=len(self.classes))
            self._count_blocks()


def _begins(longer: npt.NDArray[np.int64], begin: npt.NDArray[np.int64]) -> bool:
    """Whether the one begins with the other."""
    return np.array_equal(longer[: len(begin)], begin)


def _all(masks: Mapping[str, npt.NDArray[np.bool_]], size: int) -> npt.NDArray[np.bool_]:
    """Where all masks are true."""
    found = np.ones(size, bool)
    for mask in masks.values():
        found &= mask
    return found


def _counted(names: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> dict[str, int]:
    """The largest counts by name, the largest first; names without a count are left out."""
    there = np.flatnonzero(counts)
    order = there[np.lexsort((there, -counts[there]))][:MOST_VALUES]
    return {str(names[i]): int(counts[i]) for i in order}
