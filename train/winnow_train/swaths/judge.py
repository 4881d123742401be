"""The figures of hits that were laid over what is known (`match` says what is right and false).

Every precision stands beside the one that windows placed everywhere would have: the share of the
windows that flew which can show a feature of the class, scale by scale. Large windows nearly always
hold a crater, so that their precision alone proves little.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from winnow_base.bootstrap import LEVEL, Draws, interval, ratio
from winnow_train.report_data import FEWEST_SOURCES
from winnow_train.swaths.fly import FLOOR
from winnow_train.swaths.match import (
    BESIDE,
    DUPLICATE,
    EVERY_SIZE,
    FALSE,
    TRUE,
    UNKNOWN,
    Judged,
    side_of,
)

SIZES = (0, 16, 24, 40, 80, 160, 320)
"""Sides, in pixels of the picture, between which recall is told."""
FIRST = (1, 5, 10, 20, 50)
DRAWS, SEED = 2000, 0
TOLD = (TRUE, DUPLICATE, FALSE, BESIDE)

Row = dict[str, Any]


def figures(
    judged: Sequence[Judged],
    thresholds: Mapping[str, float],
    sizes: tuple[float, float] = EVERY_SIZE,
) -> Row:
    """Figures of all classes judged, at `thresholds` (class -> posterior).

    `classes[name]`: features, those found and those shown by any hit that is kept, with `recall`
    and `recall_shown`, and by size; hits by verdict, with `precision` (duplicates are false),
    `precision_shown` (they are right), `everywhere` (`precision_shown` of windows placed
    everywhere, spread over the scales as the hits are) and `by_scale`; `average_precision`; false
    alarms per 1,000 windows and per swath. Intervals draw sources (`bootstrap`); there is none of
    fewer than three. `first[k]`: what the first k pictures of every swath are, counted together.
    `swaths`: the same counts of each. `sizes` are told as they were given to `lay_over`.
    """
    classes = {}
    for name, threshold in thresholds.items():
        if any(name in one.known for one in judged):
            classes[name] = _of_class(judged, name, max(threshold, FLOOR))
    sources = {one.flown.picture.source for one in judged}
    return {
        "n": len(judged),
        "windows": sum(one.flown.windows for one in judged),
        "sizes": [sizes[0], sizes[1] if np.isfinite(sizes[1]) else None],
        "bootstrap": {
            "unit": "source",
            "sources": len(sources),
            "draws": DRAWS,
            "level": LEVEL,
            "seed": SEED,
        },
        "classes": classes,
        "first": {str(k): first_products(judged, thresholds, k) for k in FIRST},
        "swaths": [_of_swath(one, thresholds) for one in judged],
    }


def _of_class(judged: Sequence[Judged], name: str, threshold: float) -> Row:
    some = [one for one in judged if name in one.known]
    sources = [one.flown.picture.source for one in some]
    rows = [_counts(one, name, threshold) for one in some]
    by = {key: np.array([row[key] for row in rows], float) for key in rows[0]}
    total = {key: int(column.sum()) for key, column in by.items()}
    right = by[TRUE] + by[DUPLICATE]
    windows = sum(one.flown.windows for one in some)
    scales = _by_scale(some, name, threshold)
    return {
        "threshold": threshold,
        "swaths": len(some),
        **total,
        "recall": _share(by["found"], by["features"], sources),
        "recall_shown": _share(by["shown"], by["features"], sources),
        "recall_by_size": _by_size(some, name, threshold),
        "precision": _share(by[TRUE], right + by[FALSE], sources),
        "precision_shown": _share(right, right + by[FALSE], sources),
        "everywhere": _weighted([(row["everywhere"], _decided(row)) for row in scales]),
        "by_scale": scales,
        "average_precision": average_precision(some, name),
        "false_per_1000_windows": 1000 * total[FALSE] / windows if windows else None,
        "false_per_swath": total[FALSE] / len(some),
        "swaths_with_false": int((by[FALSE] > 0).sum()),
    }


def _counts(one: Judged, name: str, threshold: float) -> dict[str, int]:
    """Features, those found and shown, and hits by verdict."""
    told = one.told(name, threshold)
    kinds = Counter(verdict.what for _, verdict in told)
    return {
        "features": len(one.features(name)),
        "found": len(_found(one, name, threshold)),
        "shown": len(_shown(one, name, threshold)),
        **{what: kinds[what] for what in TOLD},
    }


def _found(one: Judged, name: str, threshold: float) -> set[int]:
    return {v.finds for _, v in one.told(name, threshold) if v.finds is not None}


def _shown(one: Judged, name: str, threshold: float) -> set[int]:
    return {n for _, v in one.told(name, threshold) for n in v.shows}


def _decided(row: Row) -> int:
    """Hits that are right or false."""
    return int(row[TRUE] + row[DUPLICATE] + row[FALSE])


def _by_scale(some: Sequence[Judged], name: str, threshold: float) -> list[Row]:
    """Hits by verdict and their precision, scale by scale, beside that of windows everywhere."""
    kinds: defaultdict[int, Counter[str]] = defaultdict(Counter)
    right, windows = Counter[int](), Counter[int]()
    for one in some:
        for hit, verdict in one.told(name, threshold):
            kinds[hit.scale][verdict.what] += 1
        for scale, (able, told) in one.everywhere[name].items():
            right[scale] += able
            windows[scale] += told
    found = []
    for scale in sorted(windows):
        row: Row = {"scale": scale, **{what: kinds[scale][what] for what in TOLD}}
        number = _decided(row)
        row["precision"] = row[TRUE] / number if number else None
        row["precision_shown"] = (row[TRUE] + row[DUPLICATE]) / number if number else None
        row["everywhere"] = right[scale] / windows[scale] if windows[scale] else None
        found.append(row)
    return found


def _weighted(shares: Sequence[tuple[float | None, int]]) -> float | None:
    """The mean of shares by their weights; None without any weight."""
    some = [(share, weight) for share, weight in shares if share is not None and weight]
    total = sum(weight for _, weight in some)
    return sum(share * weight for share, weight in some) / total if total else None


def _by_size(some: Sequence[Judged], name: str, threshold: float) -> list[Row]:
    rows: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for one in some:
        found, shown = _found(one, name, threshold), _shown(one, name, threshold)
        for number in one.features(name):
            side = side_of(one.flown.picture.features[number].box)
            row = rows[int(np.searchsorted(SIZES, side, side="right")) - 1]
            row["features"] += 1
            row["found"] += number in found
            row["shown"] += number in shown
    return [
        {
            "from": SIZES[size],
            "below": SIZES[size + 1] if size + 1 < len(SIZES) else None,
            **{key: rows[size][key] for key in ("features", "found", "shown")},
        }
        for size in sorted(rows)
    ]


def average_precision(some: Sequence[Judged], name: str) -> float | None:
    """Mean precision over the features of a class, each at the hit that finds it, in the order of
    posteriors; None without any feature.

    Duplicates are false, hits beside the point are passed over, and features that no hit down to
    FLOOR finds count with a precision of 0 (the area under the raw curve; Everingham et al. 2010
    interpolate it).
    """
    total = sum(len(one.features(name)) for one in some)
    if not total:
        return None
    hits = [
        (hit.posterior, at, verdict)
        for at, one in enumerate(some)
        for hit, verdict in one.told(name, FLOOR)
        if verdict.what in (TRUE, DUPLICATE, FALSE)
    ]
    seen = set[tuple[int, int]]()
    right, gained = 0, 0.0
    for count, (_, at, verdict) in enumerate(sorted(hits, key=lambda h: -h[0]), start=1):
        right += verdict.what == TRUE
        if verdict.finds is not None and (at, verdict.finds) not in seen:
            seen.add((at, verdict.finds))
            gained += right / count
    return gained / total


def first_products(judged: Sequence[Judged], thresholds: Mapping[str, float], k: int) -> Row:
    """What the first k pictures of every swath are: counts of verdicts, and their precisions.

    `everywhere` is the mean, over those right or false, of what windows placed everywhere would
    have of the same class and scale.
    """
    kinds, places = Counter[str](), Counter[tuple[str, int]]()
    for one in judged:
        hits, verdicts = one.flown.hits, one.verdicts
        sent = [
            i
            for i in one.flown.order
            if hits[i].posterior >= thresholds.get(hits[i].class_name, 2.0)
        ]
        for i in sent[:k]:
            verdict = verdicts[i]
            what = verdict.what if verdict else UNKNOWN
            kinds[what] += 1
            if what in (TRUE, DUPLICATE, FALSE):
                places[hits[i].class_name, hits[i].scale] += 1
    told = kinds[TRUE] + kinds[DUPLICATE] + kinds[FALSE]
    shares = [(_everywhere(judged, *place), number) for place, number in places.items()]
    return {
        **{what: kinds[what] for what in (*TOLD, UNKNOWN)},
        "precision": kinds[TRUE] / told if told else None,
        "precision_shown": (kinds[TRUE] + kinds[DUPLICATE]) / told if told else None,
        "everywhere": _weighted(shares),
    }


def _everywhere(judged: Sequence[Judged], name: str, scale: int) -> float | None:
    pairs = [one.everywhere.get(name, {}).get(scale, (0, 0)) for one in judged]
    windows = sum(told for _, told in pairs)
    return sum(able for able, _ in pairs) / windows if windows else None


def _of_swath(one: Judged, thresholds: Mapping[str, float]) -> Row:
    by_class = {}
    for name, threshold in thresholds.items():
        row = _counts(one, name, threshold)
        row[UNKNOWN] = sum(v.what == UNKNOWN for _, v in one.told(name, threshold))
        if any(row.values()):
            by_class[name] = row
    return {
        "swath": one.flown.picture.path.name,
        "source": one.flown.picture.source,
        "lines": one.flown.lines,
        "samples": one.flown.samples,
        "windows": one.flown.windows,
        "by_class": by_class,
    }


def choose_thresholds(
    judged: Sequence[Judged], names: Sequence[str], most: float
) -> dict[str, float]:
    """The lowest threshold of every class judged at which its false hits are `most` a swath.

    Duplicates are no false alarms. Steps of 0.01 from 0.5; 1.0 where no step is enough.
    """
    chosen = {}
    for name in names:
        some = [one for one in judged if name in one.known]
        if not some:
            continue
        false = [
            hit.posterior
            for one in some
            for hit, verdict in one.told(name, FLOOR)
            if verdict.what == FALSE
        ]
        for step in range(50, 101):
            if sum(p >= step / 100 for p in false) <= most * len(some):
                break
        chosen[name] = step / 100
    return chosen


def _share(some: np.ndarray, of: np.ndarray, sources: Sequence[str]) -> dict[str, float | None]:
    """A share of counts by swath, with its interval over sources drawn with replacement."""
    draws = Draws.of(sources, seed=SEED, draws=DRAWS)
    found = interval(ratio(draws.sums(some), draws.sums(of)))
    there = {source for source, number in zip(sources, of, strict=True) if number}
    return {**found, "low": None, "high": None} if len(there) < FEWEST_SOURCES else found
