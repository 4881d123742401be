"""How far people agree beyond chance: Cohen's kappa for two, Fleiss' kappa for more."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from winnow_ground.labelling.answers import LATER, Kept, answers_in
from winnow_ground.labelling.sets import LabelSet

LEVEL: Final = 0.95
RESAMPLES: Final = 1000
K = TypeVar("K")
Said = Mapping[str, str]
"""Of one tile: what each person said."""


@dataclass(frozen=True, slots=True)
class Kappa:
    """A kappa over `tiles` that were answered by two at the least, with its interval (None: one
    answer was all that anyone gave, so that there is nothing to agree on by chance or otherwise).
    `agreed` is the share of agreement as it is, chance included."""

    tiles: int
    agreed: float
    value: float | None
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {"tiles": self.tiles, "agreed": self.agreed, "kappa": self.value,
                "interval": None if self.low is None else [self.low, self.high]}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of a set: `all` people by Fleiss' kappa, each pair by Cohen's (None: no tile in common)."""

    people: dict[str, int]
    all: Kappa | None
    pairs: dict[tuple[str, str], Kappa]

    def as_json(self) -> dict[str, Any]:
        return {
            "people": self.people,
            "fleiss": self.all and self.all.as_json(),
            "cohen": [{"people": pair, **one.as_json()} for pair, one in self.pairs.items()],
        }


def cohen(pairs: Sequence[tuple[str, str]]) -> tuple[float, float | None]:
    """The share of pairs that agree, and Cohen's kappa (J. Cohen, "A coefficient of agreement for
    nominal scales", Educational and Psychological Measurement 20, 1960).

    `pairs` are what the one and the other said of each tile. Kappa is None where both gave one
    and the same answer to all. Raises ValueError without pairs.

    >>> cohen([("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15)
    (0.7, 0.4)
    """
    if not pairs:
        raise ValueError("no tile was answered by both")
    total = len(pairs)
    one, other = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    agreed = sum(first == second for first, second in pairs)
    by_chance = sum(count * other[answer] for answer, count in one.items())
    # Whole numbers as long as it goes: a kappa of exactly 1 or 0 is one.
    if by_chance == total * total:
        return agreed / total, None
    return agreed / total, (agreed * total - by_chance) / (total * total - by_chance)


def fleiss(counts: Sequence[Mapping[str, int]]) -> tuple[float, float | None]:
    """The mean share of pairs of people that agree on a tile, and Fleiss' kappa (J. L. Fleiss,
    "Measuring nominal scale agreement among many raters", Psychological Bulletin 76, 1971).

    `counts` are, of each tile, how many gave each answer: two people at the least. Tiles may have
    been answered by different numbers of people; then each tile counts the same, in agreement and
    in the shares of answers (K. L. Gwet, "Handbook of Inter-Rater Reliability", 2014, chapter 2).
    Kappa is None where one answer was all that anyone gave. Raises ValueError without tiles.

    >>> fleiss([{"a": 3}, {"a": 1, "b": 2}, {"b": 3}])
    (0.7777777777777778, 0.55)
    """
    if not counts or any(sum(tile.values()) < 2 for tile in counts):
        raise ValueError("a tile was answered by fewer than two")
    agreed, shares = 0.0, dict[str, float]()
    for tile in counts:
        people = sum(tile.values())
        agreed += sum(n * (n - 1) for n in tile.values()) / (people * (people - 1))
        for answer, n in tile.items():
            shares[answer] = shares.get(answer, 0.0) + n / people
    agreed /= len(counts)
    if sum(share > 0 for share in shares.values()) == 1:
        return agreed, None
    by_chance = sum((share / len(counts)) ** 2 for share in shares.values())
    return agreed, (agreed - by_chance) / (1 - by_chance)


def agreement(db: sqlite3.Connection, one: LabelSet, seed: int = 0) -> Agreement:
    """The agreement of all who answered in a set.

    `later` is no answer, `unsure` is one like any other. The intervals of 95 % are of the tiles
    drawn again with replacement, RESAMPLES times (Efron's percentiles).
    """
    said = by_tile(answers_in(db, one.id))
    people = Counter(person for tile in said.values() for person in tile)
    shared = [tile for tile in said.values() if len(tile) > 1]
    pairs = {}
    for first, second in combinations(sorted(people), 2):
        both = [(tile[first], tile[second]) for tile in shared if first in tile and second in tile]
        if both:
            pairs[first, second] = Kappa(len(both), *cohen(both), *_spread_of_cohen(both, seed))
    every = [Counter(tile.values()) for tile in shared]
    told = None
    if every and len(people) > 2:
        told = Kappa(len(every), *fleiss(every), *_spread_of_fleiss(every, seed))
    return Agreement(dict(sorted(people.items())), told, pairs)


def by_tile(kept: Sequence[Kept]) -> dict[int, dict[str, str]]:
    """What each person says of each tile; who put it off says nothing."""
    said: dict[int, dict[str, str]] = {}
    for one in kept:
        if one.answer != LATER:
            said.setdefault(one.tile, {})[one.person] = one.says
    return said


Interval = tuple[float, float] | tuple[None, None]
Doubles = npt.NDArray[np.float64]


def _spread_of_cohen(pairs: Sequence[tuple[str, str]], seed: int) -> Interval:
    """The interval of Cohen's kappa. Tiles of one pair of answers are alike: counts are drawn."""
    kinds, draws = _drawn_again(pairs, seed)
    names = sorted({name for pair in kinds for name in pair})
    one, other = (np.array([[pair[i] == name for name in names] for pair in kinds], float)
                  for i in (0, 1))  # fmt: skip
    agreed = draws @ np.array([first == second for first, second in kinds], float)
    return _interval(agreed, ((draws @ one) * (draws @ other)).sum(axis=1))


def _spread_of_fleiss(counts: Sequence[Mapping[str, int]], seed: int) -> Interval:
    """The interval of Fleiss' kappa."""
    kinds, draws = _drawn_again([tuple(sorted(tile.items())) for tile in counts], seed)
    names = sorted({name for tile in kinds for name, _ in tile})
    sizes = [sum(n for _, n in tile) for tile in kinds]
    shares = [[dict(tile).get(name, 0) / size for name in names]
              for tile, size in zip(kinds, sizes, strict=True)]  # fmt: skip
    pairs = [sum(n * (n - 1) for _, n in tile) / (size * (size - 1))
             for tile, size in zip(kinds, sizes, strict=True)]  # fmt: skip
    return _interval(draws @ np.array(pairs), ((draws @ np.array(shares)) ** 2).sum(axis=1))


def _drawn_again(tiles: Sequence[K], seed: int) -> tuple[list[K], Doubles]:
    """The kinds of tiles there are, and the share of each in every sample, (RESAMPLES, kinds)."""
    kinds = Counter(tiles)
    shares = np.array(list(kinds.values())) / len(tiles)
    draws = np.random.default_rng(seed).multinomial(len(tiles), shares, RESAMPLES)
    return list(kinds), draws / len(tiles)


def _interval(agreed: Doubles, by_chance: Doubles) -> Interval:
    """The middle LEVEL of the kappas of all samples; samples of one answer alone have none."""
    some = by_chance < 1 - 1e-12
    if not some.any():
        return None, None
    kappas = (agreed[some] - by_chance[some]) / (1 - by_chance[some])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(kappas, [tail, 1 - tail]).tolist()
    return low, high
