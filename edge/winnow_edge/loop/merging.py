"""Merging: one detection per feature, decided while the swath goes by.

Tiles overlap and so do scales, so one feature is found several times. Class by class the detection
with the highest posterior is kept and those that are of its feature are dropped, then the next
(greedy non-maximum suppression). Of one feature are two detections

- that *touch*: they share more than `limit` of the smaller box (intersection over smaller area, as
  in SAHI);
- or that lie *beside* each other, sharing more than half of that, as diagonal neighbours do, where
  at least `BETWEEN` others touch both and each of these has `CLEARLY` times the odds of the lower
  one: then that one is on the slope of a peak. Where the posterior dips between, both are peaks.

That is a rule about the whole swath; `Merger` reaches the same result in one pass. A detection is
*closed* when no tile still to come can touch its box. It is decided as soon as it is closed and
nothing of higher rank near it is undecided, and given out when it is also known which of the
dropped ones are its own: each belongs to the highest that dropped it. What is open, undecided or
not given out is all the state there is. `PATIENCE` bounds it: chains of ever higher posteriors are
cut there.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from winnow_edge.products.kinds import Box, Detection, Window

Rank = tuple[float, int]
BETWEEN, CLEARLY = 2, 4.0
LIKELY, EXTENT = 0.6, 0.7
"""An outline holds the middle `EXTENT` each way of every tile of the feature that is no coarser
than the one that is kept and has at least `LIKELY` times its odds."""
PATIENCE = 16
"""A detection is decided and given out at the latest when the swath is so many times the height of
its tile past its end."""
_NO_PIXELS: npt.NDArray[np.uint8] = np.empty((0, 0), np.uint8)


class _State(enum.IntEnum):
    UNDECIDED = 0
    KEPT = 1
    """Not given out yet."""
    DONE = 2
    """Dropped, or given out."""


@dataclass(eq=False, slots=True)
class _Candidate:
    detection: Detection
    rank: Rank
    end: int
    """First line after it."""
    touched: list[_Candidate] = field(default_factory=list)
    """Those of lower rank that it touches."""
    beside: list[_Pair] = field(default_factory=list)
    """Those of lower rank beside it."""
    waits: int = 0
    """Of higher rank and near it, and undecided."""
    state: _State = _State.UNDECIDED
    owner: _Candidate | None = None
    """The highest that dropped it."""

    @property
    def overdue(self) -> float:
        """Horizon at which it has been waited for long enough."""
        return self.end + PATIENCE * self.detection.box.lines

    def own(self) -> Iterator[_Candidate]:
        """Those of lower rank that are of its feature, if it is kept."""
        yield from self.touched
        for pair in self.beside:
            if pair.between >= BETWEEN:
                yield pair.low


@dataclass(eq=False, slots=True)
class _Pair:
    """Two detections beside each other, and how many clearly higher ones than the lower touch
    both."""

    high: _Candidate
    low: _Candidate
    between: int


class Merger:
    """Streaming non-maximum suppression with `Box.overlap` above `limit`, or beside each other."""

    def __init__(self, limit: float) -> None:
        self._limit, self._near = limit, limit / 2 if limit < 1 else limit
        self._open: defaultdict[int, list[_Candidate]] = defaultdict(list)
        self._pairs: defaultdict[int, list[_Pair]] = defaultdict(list)
        """Those of which both are open."""
        self._live: list[_Candidate] = []
        """Undecided, or kept and not given out."""
        self._dropped: list[tuple[int, int]] = []
        self._cut = 0

    def __len__(self) -> int:
        """Detections that are not decided, or not given out yet."""
        return len(self._live)

    def add(self, detections: Sequence[Detection]) -> None:
        """Take in the detections of a row of tiles."""
        by_class: defaultdict[int, list[_Candidate]] = defaultdict(list)
        for detection in detections:
            by_class[detection.class_index].append(_candidate(detection))
        for class_index, fresh in by_class.items():
            self._relate(fresh, class_index)
            self._open[class_index] += fresh
            self._live += fresh

    def advance(self, horizon: float) -> list[Detection]:
        """Decide what can be decided when every tile to come begins at or after line `horizon`.

        Returns the detections that are kept and whose feature is known, by tile and class; `merged`
        counts those of the feature, itself included, and `outline` says where it lies.
        """
        if not self._live and not any(self._open.values()):
            return []
        for class_index, known in self._open.items():
            if any(c.end <= horizon for c in known):
                self._open[class_index] = [c for c in known if c.end > horizon]
                self._pairs[class_index] = [
                    p for p in self._pairs[class_index] if min(p.high.end, p.low.end) > horizon
                ]
        # Higher ranks first: what they decide is known when the lower ones are looked at.
        for candidate in sorted(self._live, key=_rank_of):
            if candidate.state is not _State.UNDECIDED or candidate.end > horizon:
                continue
            if not candidate.waits or candidate.overdue <= horizon:
                self._cut += candidate.waits > 0
                self._keep(candidate)
        given = [
            c
            for c in self._live
            if c.state is _State.KEPT
            and (c.overdue <= horizon or all(o.end <= horizon and not o.waits for o in c.own()))
        ]
        result = [_feature(c) for c in given]
        for candidate in given:
            _close(candidate)
        self._live = [c for c in self._live if c.state is not _State.DONE]
        return sorted(result, key=lambda d: (d.tile_index, d.class_index))

    def take_dropped(self) -> list[tuple[int, int]]:
        """Tile index and class of the detections that were dropped since this was last asked."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def take_cut(self) -> int:
        """Detections kept since this was last asked for that were waited for long enough."""
        cut, self._cut = self._cut, 0
        return cut

    def save(self) -> list[dict[str, Any]]:
        """The state as JSON values, without pixels, which `restore` asks for again."""
        live = {id(c): c for c in self._live}
        for known in self._open.values():
            live.update((id(c), c) for c in known)
        for candidate in self._live:
            live.update((id(c), c) for c in candidate.touched)
            live.update((id(p.low), p.low) for p in candidate.beside)
        chosen = sorted(live.values(), key=lambda c: (c.detection.tile_index, c.rank))
        places = {id(c): n for n, c in enumerate(chosen)}
        return [_saved(c, places) for c in chosen]

    def restore(
        self,
        state: Iterable[dict[str, Any]],
        pixels: dict[int, npt.NDArray[np.uint8]],
        windows: Mapping[int, Window] | None = None,
        contexts: Mapping[int, Window] | None = None,
    ) -> None:
        """Take up a saved state; `pixels` holds the tile of every detection that is not dropped,
        `windows` its surroundings where there is a second stage, `contexts` those that come
        down."""
        entries = list(state)
        found = [_restored(entry, pixels, windows, contexts) for entry in entries]
        for entry, candidate in zip(entries, found, strict=True):
            candidate.touched = [found[n] for n in entry.get("touched", ())]
            candidate.beside = [
                _Pair(candidate, found[n], between) for n, between in entry.get("beside", ())
            ]
            if (owner := entry.get("owner")) is not None:
                candidate.owner = found[owner]
            class_index = candidate.detection.class_index
            # Those that are closed leave with the next advance.
            self._open[class_index].append(candidate)
            self._pairs[class_index] += candidate.beside
            if candidate.state is not _State.DONE:
                self._live.append(candidate)

    def _keep(self, candidate: _Candidate) -> None:
        """Keep a candidate and drop what is of its feature."""
        candidate.state = _State.KEPT
        _decided(candidate)
        for other in candidate.own():
            if other.owner is None or candidate.rank < other.owner.rank:
                other.owner = candidate
            if other.state is _State.UNDECIDED:
                _decided(other)
                _close(other)
                self._dropped.append((other.detection.tile_index, other.detection.class_index))

    def _relate(self, fresh: list[_Candidate], class_index: int) -> None:
        """Note which of `fresh` touch, or lie beside, which of the open ones and of each other."""
        known = self._open[class_index]
        everyone = known + fresh
        shared = _overlaps(everyone)
        touching = shared > self._limit
        np.fill_diagonal(touching, False)
        near = shared > self._near
        clearly = _clearly_higher(everyone)
        pairs = self._pairs[class_index]
        if pairs:
            places = {id(c): n for n, c in enumerate(known)}
            at = np.array([(places[id(p.high)], places[id(p.low)]) for p in pairs])
            both = touching[len(known) :, at[:, 0]] & touching[len(known) :, at[:, 1]]
            more = np.count_nonzero(both & clearly[len(known) :, at[:, 1]], axis=0)
            for pair, count in zip(pairs, more.tolist(), strict=True):
                pair.between += count
        # Each pair once: with all known ones, and with the fresh ones before it.
        some = np.tril(near, -1)
        some[: len(known)] = False
        for first, second in np.argwhere(some).tolist():
            one, other = everyone[first], everyone[second]
            if other.rank < one.rank:
                first, second, one, other = second, first, other, one
            if touching[first, second]:
                one.touched.append(other)
            else:
                between = touching[first] & touching[second] & clearly[:, second]
                pair = _Pair(one, other, int(np.count_nonzero(between)))
                one.beside.append(pair)
                pairs.append(pair)
            if one.state is _State.UNDECIDED:
                other.waits += 1


def _decided(candidate: _Candidate) -> None:
    """What waits for it waits no longer."""
    for other in candidate.touched:
        other.waits -= 1
    for pair in candidate.beside:
        pair.low.waits -= 1


def _close(candidate: _Candidate) -> None:
    """It is dropped or given out: its place still counts, its pixels are not needed any more."""
    candidate.state = _State.DONE
    candidate.detection = replace(candidate.detection, pixels=_NO_PIXELS, window=None, context=None)


def _feature(candidate: _Candidate) -> Detection:
    """The detection that stands for all of its feature."""
    found = candidate.detection
    own = [c.detection for c in candidate.own() if c.owner is candidate]
    return replace(found, merged=1 + len(own), outline=outline_of([found, *own]))


class Told(NamedTuple):
    """What an outline is made of; a `Detection` has it all."""

    box: Box
    scale: int
    posterior: float


def outline_of(tiles: Sequence[Told | Detection]) -> Box:
    """The outline of a feature from its tiles, the one that is kept first."""
    best = tiles[0]
    middles = [
        tile.box.middle(EXTENT)
        for tile in tiles
        # Coarser tiles say less of where it ends. Odds are compared without a division.
        if tile.scale <= best.scale
        and tile.posterior * (1 - best.posterior) >= LIKELY * best.posterior * (1 - tile.posterior)
    ]
    line, sample = min(m.line for m in middles), min(m.sample for m in middles)
    end_line = max(m.line + m.lines for m in middles)
    end_sample = max(m.sample + m.samples for m in middles)
    return Box(line, sample, end_line - line, end_sample - sample)


def _clearly_higher(some: list[_Candidate]) -> npt.NDArray[np.bool_]:
    """Whether the first has `CLEARLY` times the odds of the second: bool (n, n)."""
    posterior = np.array([c.detection.posterior for c in some])
    high, low = posterior[:, None], posterior[None]
    result: npt.NDArray[np.bool_] = high * (1 - low) >= CLEARLY * low * (1 - high)
    return result


def _overlaps(some: list[_Candidate]) -> npt.NDArray[np.float64]:
    """`Box.overlap` of each with each, shape (n, n)."""
    boxes = [c.detection.box for c in some]
    rows = [(b.line, b.sample, b.lines, b.samples) for b in boxes]
    line, sample, lines, samples = np.array(rows, np.int64).T
    height = _shared(line, line + lines)
    height *= _shared(sample, sample + samples)
    area = lines * samples
    result: npt.NDArray[np.float64] = height / np.minimum(area[:, None], area)
    return result


def _shared(first: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """What two intervals share, each with each."""
    sides = np.minimum(end[:, None], end)
    sides -= np.maximum(first[:, None], first)
    return np.maximum(sides, 0, out=sides)


def _saved(candidate: _Candidate, places: Mapping[int, int]) -> dict[str, Any]:
    found = candidate.detection
    entry: dict[str, Any] = {
        "tile": found.tile_index,
        "box": [getattr(found.box, n) for n in Box.__slots__],
        "scale": found.scale,
        "class": found.class_index,
        "posterior": found.posterior,
    }
    more: dict[str, Any] = {
        "dropped": candidate.state is _State.DONE,
        "kept": candidate.state is _State.KEPT,
        "waits": candidate.waits,
    }
    if candidate.state is not _State.DONE:
        more["touched"] = [places[id(c)] for c in candidate.touched]
        more["beside"] = [[places[id(p.low)], p.between] for p in candidate.beside]
    elif candidate.owner is not None and id(candidate.owner) in places:
        entry["owner"] = places[id(candidate.owner)]
    return entry | {key: value for key, value in more.items() if value}


def _restored(
    entry: Mapping[str, Any],
    pixels: Mapping[int, npt.NDArray[np.uint8]],
    windows: Mapping[int, Window] | None,
    contexts: Mapping[int, Window] | None,
) -> _Candidate:
    dropped, tile = "dropped" in entry, entry["tile"]
    detection = Detection(
        tile,
        Box(*entry["box"]),
        entry["scale"],
        entry["class"],
        entry["posterior"],
        _NO_PIXELS if dropped else pixels[tile],
        window=windows.get(tile) if windows and not dropped else None,
        context=contexts.get(tile) if contexts and not dropped else None,
    )
    state = _State.DONE if dropped else _State.KEPT if "kept" in entry else _State.UNDECIDED
    candidate = _candidate(detection)
    candidate.waits, candidate.state = entry.get("waits", 0), state
    return candidate


def _candidate(detection: Detection) -> _Candidate:
    # The higher posterior first, then the earlier tile.
    rank = (-detection.posterior, detection.tile_index)
    return _Candidate(detection, rank, detection.box.line + detection.box.lines)


def _rank_of(candidate: _Candidate) -> Rank:
    return candidate.rank
