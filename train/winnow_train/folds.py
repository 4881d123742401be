"""Folds of sources for cross-validation: every source in one fold, every class in every fold.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) over sources instead of tiles: the
class that is left with the fewest sources goes first, its largest source to the fold that lacks it
most. Landmark tiles, scenes, release pictures and strips are assigned together, so that a source
known from two data sets is left out of both.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

from winnow_base.errors import DataError


def assign(
    counts: Mapping[str, Mapping[str, int]], folds: int, seed: int, *, strict: bool = True
) -> dict[str, int]:
    """The fold, 0 to `folds` - 1, of every source; `counts[source][class]` are its tiles.

    The answer depends on names, counts and `seed` alone, not on their order. Raises DataError for
    fewer sources than folds and, where `strict`, for a class in too few sources for all folds.
    """
    if not 2 <= folds <= len(counts):
        raise DataError(
            f"{len(counts)} sources do not make {folds} folds",
            hint="at least 2 folds, and a source for each",
        )
    homes: dict[str, int] = {}
    total = Counter[str]()
    for of_source in counts.values():
        total.update(of_source)
    held = [Counter[str]() for _ in range(folds)]
    left = {s: {c for c, n in of.items() if n > 0} for s, of in counts.items()}
    while left:
        sources = Counter(c for classes in left.values() for c in classes)
        rarest = min(sources, key=lambda c: (sources[c], c)) if sources else ""
        mine = [s for s, classes in left.items() if rarest in classes] or list(left)
        for source in sorted(mine, key=lambda s: (-counts[s].get(rarest, 0), _shuffled(s, seed))):
            home = min(range(folds), key=lambda f: _fullness(held[f], rarest, total, f, seed))
            homes[source] = home
            held[home].update(counts[source])
            del left[source]
    if strict:
        refuse_empty_folds(homes, counts, folds)
    return homes


def refuse_empty_folds(
    homes: Mapping[str, int], counts: Mapping[str, Mapping[str, int]], folds: int
) -> None:
    """Raise DataError for a class that a fold has no tile of."""
    held = [Counter[str]() for _ in range(folds)]
    for source, home in homes.items():
        held[home].update({c: n for c, n in counts[source].items() if n > 0})
    for name in sorted({c for of in held for c in of}):
        for fold, of in enumerate(held):
            if not of[name]:
                few = sum(counts[s].get(name, 0) > 0 for s in homes)
                raise DataError(
                    f"fold {fold + 1} of {folds} has no tile of {name!r}: it is in {few} "
                    f"source{'s' * (few != 1)}",
                    hint="make fewer folds, or leave the class out",
                )


def _fullness(
    held: Counter[str], rarest: str, total: Counter[str], fold: int, seed: int
) -> tuple[float, float, str]:
    """How much of a class, and of all classes, a fold has already; ties are broken by the seed."""
    everything = sum(held[c] / n for c, n in total.items() if n)
    return held[rarest], everything, _shuffled(str(fold), seed)


def _shuffled(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
