"""Pictures flown by the net that never saw them, and a verdict on each detection: candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_edge.mission import Mission
from winnow_edge.products.kinds import Box
from winnow_train.crossval.splits import NEVER
from winnow_train.mining import IMPOSSIBLE
from winnow_train.second.cache import Arrays, Cache, digest_of
from winnow_train.second.first import FirstStage
from winnow_train.swaths.fly import Flown, Hit, fly
from winnow_train.swaths.match import (
    DUPLICATE,
    FALSE,
    SMALLEST,
    TRUE,
    Judged,
    Verdict,
    lay_over,
)
from winnow_train.windows.pictures import Picture


@dataclass(frozen=True)
class Flights:
    """Pictures in order, with the folds that held them out, and what is known of each hit."""

    judged: tuple[Judged, ...]
    fold: tuple[int, ...]
    sizes: tuple[float, float]

    @property
    def flown(self) -> tuple[Flown, ...]:
        """The pictures as they were flown."""
        return tuple(one.flown for one in self.judged)


@dataclass(frozen=True)
class Candidate:
    """A detection that is kept: the place of its picture, its hit's, the hit and its verdict."""

    picture: int
    place: int
    hit: Hit
    verdict: Verdict


def fly_held_out(
    first: FirstStage, pictures: Sequence[Picture], cache: Cache, progress: Progress
) -> Flights:
    """Fly every picture that a fold held out by that fold's bundle, and lay truth over the hits.

    Pictures that no fold held out are left aside, with a note. Raises DataError where none is left,
    and what a flight raises.
    """
    held = [(first.fold_of(p.source), p) for p in pictures]
    aside = [p for fold, p in held if fold == NEVER]
    mine = [(fold, p) for fold, p in held if fold != NEVER]
    if not mine:
        raise DataError(
            "no fold held out any of the pictures, so there are no candidates",
            where=pictures[0].path.parent,
            hint="name in [windows] the folders that the first stage's recipe names",
        )
    if aside:
        progress.note(f"{len(aside)} pictures train every head: no fold held them out")
    found = []
    digests = {fold: digest_of(bundle.path) for fold, bundle in first.bundles.items()}
    with progress.counting("flying", len(mine)) as advance:
        for fold, picture in mine:
            of = (digests[fold], digest_of(picture.path), _unbound(first.missions[fold]))
            arrays = cache.get("flown", of, _Flight(first, fold, picture))
            found.append(_unpacked(arrays, picture))
            advance(1)
    sizes = (math.ceil(SMALLEST * first.side * min(first.scales)), math.inf)
    return Flights(tuple(lay_over(found, sizes)), tuple(fold for fold, _ in mine), sizes)


def _unbound(mission: Mission) -> Mission:
    """The mission without the paths of its bundles."""
    cameras = {name: replace(c, bundle="") for name, c in mission.instruments.items()}
    return replace(mission, instruments=cameras)


@dataclass(frozen=True)
class _Flight:
    """One flight that may be needed."""

    first: FirstStage
    fold: int
    picture: Picture

    def __call__(self) -> Arrays:
        bundle, mission = self.first.bundles[self.fold], self.first.missions[self.fold]
        return _packed(fly(bundle, [self.picture], mission, Progress(quiet=True))[0])


def _packed(one: Flown) -> Arrays:
    rows = [
        (h.tile, h.box.line, h.box.sample, h.box.lines, h.box.samples, h.scale, h.kept)
        for h in one.hits
    ]
    return {
        "size": np.array([one.lines, one.samples]),
        "boxes": one.boxes,
        "scales": one.scales,
        "hits": np.array(rows, np.int64).reshape(-1, 7),
        "names": np.array([h.class_name for h in one.hits], np.str_),
        "posteriors": np.array([h.posterior for h in one.hits], np.float64),
    }


def _unpacked(held: Arrays, picture: Picture) -> Flown:
    hits = tuple(
        Hit(tile, str(name), Box(*box), scale, posterior, bool(kept))
        for (tile, *box, scale, kept), name, posterior in zip(
            held["hits"].tolist(), held["names"], held["posteriors"].tolist(), strict=True
        )
    )
    lines, samples = held["size"].tolist()
    return Flown(picture, lines, samples, held["boxes"], held["scales"], hits, ())


def candidates(flights: Flights) -> list[Candidate]:
    """The hits that are kept, picture by picture."""
    return [
        Candidate(number, place, hit, verdict)
        for number, one in enumerate(flights.judged)
        for place, (hit, verdict) in enumerate(zip(one.flown.hits, one.verdicts, strict=True))
        if verdict is not None
    ]


def lesson(candidate: Candidate, picture: Picture, classes: Sequence[str]) -> np.ndarray:
    """What a candidate teaches, float32 [K]: its class where it is right, else which classes are
    not there; zeros where nothing is known."""
    what, name = candidate.verdict.what, candidate.hit.class_name
    if what in (TRUE, DUPLICATE):
        return target(name, (), classes)
    return target("", (*picture.absent, *([name] if what == FALSE else [])), classes)


def target(name: str, absent: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """One-hot float32 [K], or IMPOSSIBLE for the classes that are absent where there is no name."""
    found = np.zeros(len(classes), np.float32)
    if name:
        found[classes.index(name)] = 1
        return found
    for one in absent:
        if one in classes:
            found[classes.index(one)] = IMPOSSIBLE
    return found
