"""What both stages make of a flight at some thresholds, and thresholds from a rate of false alarms.

A rule has a threshold of the first stage for every class and, where the second stage is asked, one
of the second. Both kinds of system, with and without a second stage, get theirs by one principle:
of all that keep to the rate, the one that finds most, of these the one with the fewest false
alarms, of these the lowest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from winnow_train.second.flights import Candidate, Flights
from winnow_train.second.head import Floats
from winnow_train.swaths.fly import FLOOR, Flown
from winnow_train.swaths.match import FALSE

FIRST_STEPS = tuple(round(n / 100, 2) for n in range(round(100 * FLOOR), 100))
ASKED_FROM = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97)
SECOND_STEPS = tuple(round(n / 20, 2) for n in range(2, 20))
NEVER_REACHED = 2.0


@dataclass(frozen=True)
class Rule:
    """Thresholds by class: of the first stage (a class that is not named is never detected) and of
    the second (of a class that is not named it is not asked)."""

    first: Mapping[str, float]
    second: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """What the second stage says of every candidate, float64 [m, K], in the order of `classes`."""

    classes: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    posterior: Floats

    def by_place(self) -> dict[tuple[int, int], int]:
        """Rows by the place of the picture and that of the hit."""
        return {(c.picture, c.place): row for row, c in enumerate(self.candidates)}


def apply(flights: Flights, answers: Answers, rules: Mapping[int, Rule]) -> list[Flown]:
    """The pictures with the hits that come through the rule of their fold, as on board.

    Of the classes that reach their threshold of the second stage, the one with the highest
    posterior counts: a hit keeps its class, gets another, or is refused.
    """
    rows, found = answers.by_place(), []
    for number, (one, fold) in enumerate(zip(flights.flown, flights.fold, strict=True)):
        rule, hits = rules[fold], []
        for place, hit in enumerate(one.hits):
            row = rows.get((number, place))
            if row is None or hit.posterior < rule.first.get(hit.class_name, NEVER_REACHED):
                continue
            if hit.class_name in rule.second:
                said = dict(zip(answers.classes, answers.posterior[row].tolist(), strict=True))
                able = [(said[c], c) for c, limit in rule.second.items() if said[c] >= limit]
                if not able:
                    continue
                posterior, name = max(able)
                hit = replace(hit, class_name=name, posterior=max(posterior, FLOOR))
            hits.append(hit)
        found.append(replace(one, hits=tuple(hits)))
    return found


def choose(
    flights: Flights,
    answers: Answers,
    names: Sequence[str],
    folds: Sequence[int],
    rate: float,
    *,
    asks: bool,
    own: Mapping[str, float] | None = None,
) -> Rule:
    """The rule that pictures of some `folds` ask for, class by class, at a `rate` of false alarms
    of each class in a picture; with a second stage if it `asks`.

    `own` thresholds of the first stage stay where they are given. What a class is relabelled to is
    left aside here. A class that is known in no picture gets none.
    """
    first, second = {}, {}
    for name in names:
        known = [
            n
            for n, (one, fold) in enumerate(zip(flights.judged, flights.fold, strict=True))
            if fold in folds and name in one.known
        ]
        if not known:
            continue
        mine = _Class.of(answers, name, set(known))
        given = None if own is None else own.get(name)
        starts = (given,) if given is not None else (ASKED_FROM if asks else FIRST_STEPS)
        steps = SECOND_STEPS if asks else (0.0,)
        least = mine.best(starts, steps, rate * len(known))
        first[name] = least[0]
        if asks:
            second[name] = least[1]
    return Rule(first, second)


@dataclass(frozen=True)
class _Class:
    """The candidates of a class: posteriors [n] of both stages, whether each is false, and the
    feature it finds (-1: none)."""

    first: Floats
    second: Floats
    false: npt.NDArray[np.bool_]
    finds: npt.NDArray[np.int64]

    @classmethod
    def of(cls, answers: Answers, name: str, pictures: set[int]) -> _Class:
        """Those in some pictures."""
        column, features = answers.classes.index(name), dict[tuple[int, int], int]()
        rows = [
            (c.hit.posterior, answers.posterior[row, column], c.verdict.what == FALSE, finds)
            for row, c in enumerate(answers.candidates)
            if c.picture in pictures and c.hit.class_name == name
            for finds in [
                -1
                if c.verdict.finds is None
                else features.setdefault((c.picture, c.verdict.finds), len(features))
            ]
        ]
        table = np.array(rows, np.float64).reshape(-1, 4)
        return cls(table[:, 0], table[:, 1], table[:, 2] > 0, table[:, 3].astype(np.int64))

    def best(
        self, starts: Sequence[float], steps: Sequence[float], most: float
    ) -> tuple[float, float]:
        """The two thresholds; the highest of each where none keeps to `most` false alarms."""
        best: tuple[tuple[float, ...], tuple[float, float]] | None = None
        for start in starts:
            for step in steps:
                through = (self.first >= start) & (self.second >= step)
                false = int(self.false[through].sum())
                if false > most:
                    continue
                right = self.finds[through]
                found = len(np.unique(right[right >= 0]))
                score = (found, -false, -start, -step)
                if best is None or score > best[0]:
                    best = score, (start, step)
        return best[1] if best else (max(starts), max(steps))
