"""From flights, windows and labelled tiles to features: everything that a head learns from."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from winnow_base.pictures import open_picture
from winnow_base.progress import Progress
from winnow_edge.loop.band import UInt8Array
from winnow_train import model
from winnow_train.recipe import Recipe
from winnow_train.second.cache import Arrays, Cache, digest_of
from winnow_train.second.first import FirstStage
from winnow_train.second.flights import Candidate, Flights, candidates, lesson, target
from winnow_train.second.head import Examples
from winnow_train.second.pairs import Cutter
from winnow_train.second.settings import Settings
from winnow_train.tasks import Task
from winnow_train.tiles import decode, decode_all, refuse_no_picture, to_input
from winnow_train.verifier import features
from winnow_train.windows.cut import NODATA_MOST, Window, windows_of
from winnow_train.windows.join import NONE, shares
from winnow_train.windows.pictures import Picture, refuse_misfit

CHUNK = 512
"""Labelled tiles whose features are kept together."""

Place = tuple[int, int, int]
"""Line and sample in binned pixels, and the scale."""


@dataclass(frozen=True)
class Pair:
    """Where a pair lies: the place of its picture, its own there, and what it teaches [K]."""

    picture: int
    place: Place
    target: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Lessons:
    """What heads learn from, and the `candidates` that they are judged on.

    `asked` float32 [m, 2, F], `asked_targets` [m, K] and `asked_fold` [m] are those of the
    candidates. `pairs` are the candidates and windows among the `examples`; labelled tiles follow
    them there.
    """

    examples: Examples
    pairs: tuple[Pair, ...]
    candidates: tuple[Candidate, ...]
    asked: npt.NDArray[np.float32]
    asked_targets: npt.NDArray[np.float32]
    asked_fold: npt.NDArray[np.int64]


class Reader:
    """Cuts pairs from pictures and asks the trunk for their features, once for each picture."""

    def __init__(self, trunk: keras.Model, side: int, nodata: int, cache: Cache) -> None:
        self._trunk, self._side, self._nodata, self._cache = trunk, side, nodata, cache
        weights = hashlib.sha256(b"".join(w.tobytes() for w in trunk.get_weights()))
        self._of = ([type(x).__name__ for x in trunk.layers], weights.hexdigest(), side, nodata)

    def of_picture(self, path: Path, places: Sequence[Place]) -> Arrays:
        """`features` float32 [n, 2, F] of the pairs at `places`, and of each tile the share of
        nodata, `nodata` [n]."""

        def make() -> Arrays:
            pairs = cut_pairs(path, places, self._side, self._nodata)
            found = features(self._trunk, pairs).reshape(len(pairs), 2, -1)
            empty = (pairs[:, : self._side] == self._nodata).mean(axis=(1, 2, 3))
            return {"features": found.astype(np.float32), "nodata": empty}

        return self._cache.get("pairs", (self._of, digest_of(path), list(places)), make)

    def of_tiles(self, task: Task, progress: Progress) -> npt.NDArray[np.float32]:
        """Features float32 [n, F] of a task's tiles, each resized whole to the input."""
        paths = [t.path for t in task.tiles.tiles]
        parts = []
        with progress.counting("labelled tiles", len(paths)) as advance:
            for start in range(0, len(paths), CHUNK):
                some = paths[start : start + CHUNK]
                of = (self._of, [digest_of(path) for path in some])
                made = self._cache.get("tiles", of, partial(self._tiles, some))
                parts.append(made["features"])
                advance(len(some))
        return np.concatenate(parts)

    def _tiles(self, paths: Sequence[Path]) -> Arrays:
        tiles = to_input(decode_all(paths, 1), self._side, self._side)
        found = np.asarray(model.predict(self._trunk, tiles), np.float32)
        return {"features": found.reshape(len(tiles), -1)}


def cut_pairs(path: Path, places: Sequence[Place], side: int, nodata: int) -> UInt8Array:
    """The pairs uint8 [n, 2 side, side, 1] at some places of a picture. Raises DataError."""
    found = np.empty((len(places), 2 * side, side, 1), np.uint8)
    if len(places):
        cutter = Cutter(decode(path, 1)[..., 0], side, nodata)
        for number, place in enumerate(places):
            found[number] = cutter.pair(*place)
    return found


def gather(
    first: FirstStage,
    flights: Flights,
    pictures: Sequence[Picture],
    task: Task,
    settings: Settings,
    reader: Reader,
    progress: Progress,
) -> Lessons:
    """Candidates of the flights, windows of all `pictures` and labelled tiles, with features."""
    held = candidates(flights)
    home = {picture.path: number for number, picture in enumerate(pictures)}
    flown = [home[one.picture.path] for one in flights.flown]
    asked = [
        Pair(
            flown[c.picture],
            _place_of(c),
            lesson(c, pictures[flown[c.picture]], first.classes),
        )
        for c in held
    ]
    drawn = _windows(pictures, settings.recipe, first.classes, progress)
    found, kept = _features([*asked, *drawn], len(asked), pictures, reader, progress)
    pairs = [*asked, *drawn]
    teaches = kept & np.array([bool(p.target.any()) for p in pairs], bool)
    fold = np.array([first.fold_of(pictures[p.picture].source) for p in pairs], np.int64)
    tiles = reader.of_tiles(task, progress)
    kinds = np.where(np.arange(len(pairs)) < len(asked), settings.head.candidates, 1.0)
    mine = np.flatnonzero(teaches & (kinds > 0))
    targets = np.array([p.target for p in pairs], np.float32).reshape(-1, len(first.classes))
    return Lessons(
        examples=_joined(
            found[mine], targets[mine], kinds[mine], fold[mine], tiles, task, first, settings
        ),
        pairs=tuple(pairs[i] for i in mine),
        candidates=tuple(held),
        asked=found[: len(asked)],
        asked_targets=targets[: len(asked)],
        asked_fold=fold[: len(asked)],
    )


def _joined(
    found: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    kinds: npt.NDArray[np.float64],
    fold: npt.NDArray[np.int64],
    tiles: npt.NDArray[np.float32],
    task: Task,
    first: FirstStage,
    settings: Settings,
) -> Examples:
    """Pairs and labelled tiles as examples, weighed by class and kind; those of no weight go."""
    alone = np.stack([tiles, np.zeros_like(tiles)], axis=1)
    weights = np.concatenate([kinds, np.full(len(tiles), settings.head.tiles)])
    keep = weights > 0
    every = np.concatenate([targets, task.targets()])[keep]
    shown = np.where(every.max(axis=1) > 0, every.argmax(axis=1), -1).tolist()
    number = Counter(shown)
    sources = [first.fold_of(t.source) for t in task.tiles.tiles]
    return Examples(
        np.concatenate([found, alone])[keep],
        np.flatnonzero(keep) < len(found),
        every,
        weights[keep] * np.array([number[k] ** -settings.head.balance for k in shown]),
        np.concatenate([fold, np.array(sources, np.int64)])[keep],
    )


def _place_of(candidate: Candidate) -> Place:
    hit = candidate.hit
    return hit.box.line // hit.scale, hit.box.sample // hit.scale, hit.scale


def _windows(
    pictures: Sequence[Picture], recipe: Recipe, classes: Sequence[str], progress: Progress
) -> list[Pair]:
    """Windows drawn as often as the recipe's `windows.draw` says, the folders alike."""
    rules, side = recipe.windows, recipe.input.height
    every: list[Window] = []
    for number, picture in enumerate(pictures):
        lines, samples = _size_of(picture)
        refuse_misfit(picture, lines, samples)
        every += windows_of(picture, number, (lines, samples), side, rules, recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    found = []
    for group, wanted in rules.draw.items():
        some = [w for w in every if (w.class_name or NONE) == group]
        if not some:
            if wanted:
                progress.warn(f"no picture gives a window of {group}")
            continue
        share = shares([group] * len(some), some, pictures)
        places = rng.choice(len(some), min(wanted, len(some)), replace=False, p=share / share.sum())
        for window in (some[place] for place in sorted(places.tolist())):
            place = (window.line, window.sample, window.scale)
            teaches = target(window.class_name, window.absent, classes)
            found.append(Pair(window.picture, place, teaches))
    return found


def _size_of(picture: Picture) -> tuple[int, int]:
    refuse_no_picture(picture.path)
    with open_picture(picture.path) as image:
        return image.height, image.width


def _features(
    pairs: Sequence[Pair],
    asked: int,
    pictures: Sequence[Picture],
    reader: Reader,
    progress: Progress,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Features [n, 2, F] of pairs, and which of them may teach: of windows, those that would not be
    screened; the first `asked` pairs were flown, so they may."""
    by_picture: defaultdict[int, list[int]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        by_picture[pair.picture].append(number)
    found: npt.NDArray[np.float32] | None = None
    kept = np.ones(len(pairs), bool)
    with progress.counting("features", len(pairs)) as advance:
        for picture, mine in sorted(by_picture.items()):
            made = reader.of_picture(pictures[picture].path, [pairs[n].place for n in mine])
            if found is None:
                found = np.empty((len(pairs), *made["features"].shape[1:]), np.float32)
            found[mine] = made["features"]
            kept[mine] = made["nodata"] <= NODATA_MOST
            advance(len(mine))
    kept[:asked] = True
    return np.zeros((0, 2, 1), np.float32) if found is None else found, kept
