"""One stage against two, on pictures that neither saw: figures, paired gains, and a verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from winnow_base.bootstrap import LEVEL, Draws, Floats, interval, ratio
from winnow_train.report_data import FEWEST_SOURCES
from winnow_train.second.flights import Flights
from winnow_train.second.rules import Answers, Rule, apply, choose
from winnow_train.swaths import judge
from winnow_train.swaths.fly import FLOOR
from winnow_train.swaths.match import Judged, lay_over

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""False alarms of a class in a picture, for the curve."""
BETTER, WORSE, NOISE, TRADE = (
    "better beyond its noise",
    "worse beyond its noise",
    "within its noise",
    "a trade",
)
FIGURES = (
    "threshold", "features", "found", "shown", "true", "duplicate", "false", "recall",
    "recall_shown", "precision", "precision_shown", "average_precision", "false_per_swath",
    "swaths_with_false",
)  # fmt: skip

Row = dict[str, Any]


def judge_both(
    flights: Flights, answers: Answers, own: Mapping[str, float], names: Sequence[str], rate: float
) -> Row:
    """Figures of the first stage alone and of both, JSON-able; `names` are the classes asked about.

    `at_rate`: every threshold chosen on the other folds, from `rate` false alarms of a class in a
    picture. `behind_own`: the first stage's thresholds are its `own` for both. Each has `first`,
    `both` and `gain` by class, and `verdict`. `curve`: found and false at other rates. `chosen`:
    the thresholds that all folds together ask for, at `rate`.
    """
    known = [n for n in names if any(n in one.known for one in flights.judged)]
    sources = {one.picture.source for one in flights.flown}
    at_rate = _compared(flights, answers, known, rate, None)
    fixed = _compared(flights, answers, known, rate, own)
    every = sorted(set(flights.fold))
    rule = choose(flights, answers, known, every, rate, asks=True)
    return {
        "false_per_swath": rate,
        "n": len(flights.judged),
        "bootstrap": {
            "unit": "source",
            "sources": len(sources),
            "draws": judge.DRAWS,
            "level": LEVEL,
            "seed": judge.SEED,
        },
        "classes": known,
        "unknown": [n for n in names if n not in known],
        "at_rate": at_rate,
        "behind_own": fixed,
        "curve": [_point(flights, answers, known, one) for one in RATES],
        "chosen": {
            name: {"first": rule.first[name], "second": rule.second[name]} for name in known
        },
        "verdict": at_rate["verdict"],
        "pays": at_rate["pays"],
    }


def _nested(
    flights: Flights,
    answers: Answers,
    names: Sequence[str],
    rate: float,
    own: Mapping[str, float] | None,
    *,
    asks: bool,
) -> list[Judged]:
    """The pictures with the hits that come through thresholds chosen on the other folds."""
    folds = sorted(set(flights.fold))
    rules: dict[int, Rule] = {}
    for fold in folds:
        others = [other for other in folds if other != fold]
        rules[fold] = choose(flights, answers, names, others, rate, asks=asks, own=own)
    return lay_over(apply(flights, answers, rules), flights.sizes)


def _compared(
    flights: Flights,
    answers: Answers,
    names: Sequence[str],
    rate: float,
    own: Mapping[str, float] | None,
) -> Row:
    alone = (
        _nested(flights, answers, names, rate, None, asks=False)
        if own is None
        else _as_it_flies(flights, answers, names, own)
    )
    both = _nested(flights, answers, names, rate, own, asks=True)
    gains = {name: _gain(alone, both, name) for name in names}
    verdicts = {name: verdict(row["found"], row["false"]) for name, row in gains.items()}
    for name, words in verdicts.items():
        gains[name]["verdict"] = words
    pays = BETTER in verdicts.values() and not {WORSE, TRADE} & set(verdicts.values())
    return {
        "first": _figures(alone, names),
        "both": _figures(both, names),
        "gain": gains,
        "pays": pays,
        "verdict": _words(verdicts, pays),
    }


def _as_it_flies(
    flights: Flights, answers: Answers, names: Sequence[str], own: Mapping[str, float]
) -> list[Judged]:
    rule = Rule({name: own[name] for name in names if name in own})
    return lay_over(apply(flights, answers, dict.fromkeys(flights.fold, rule)), flights.sizes)


def _words(verdicts: Mapping[str, str], pays: bool) -> str:
    if pays:
        better = ", ".join(name for name, words in verdicts.items() if words == BETTER)
        return f"it pays beyond its noise: {better}"
    for words, says in (
        (WORSE, "gets worse beyond its noise"),
        (TRADE, "finds less or raises more"),
    ):
        if worse := [name for name, given in verdicts.items() if given == words]:
            return f"it does not pay: {', '.join(worse)} {says}"
    return "it does not pay beyond its noise: fly without it"


def verdict(found: Mapping[str, float | None], false: Mapping[str, float | None]) -> str:
    """What two gains allow to say: in the share found, and in false alarms.

    Better is one whose interval lies on the good side of 0 while the other is no loss; where the
    other is a loss, even within its noise, it is a trade.

    >>> up = {"value": 0.1, "low": 0.05, "high": 0.2}
    >>> verdict(up, {"value": 0.0, "low": None, "high": None})
    'better beyond its noise'
    >>> verdict(up, {"value": 0.1, "low": -0.1, "high": 0.2})
    'a trade'
    >>> verdict({"value": 0.0, "low": -0.1, "high": 0.1}, up)
    'worse beyond its noise'
    """
    sides = [_side(found), -_side(false)]
    if 1 in sides:
        lost = (found["value"] or 0.0) < 0 or (false["value"] or 0.0) > 0
        return TRADE if lost else BETTER
    return WORSE if -1 in sides else NOISE


def _side(gain: Mapping[str, float | None]) -> int:
    """1 where a whole interval lies above 0, -1 below, else 0."""
    low, high = gain["low"], gain["high"]
    if low is None or high is None:
        return 0
    return int(low > 0) - int(high < 0)


def _figures(judged: Sequence[Judged], names: Sequence[str]) -> Row:
    """By class: FIGURES, pictures with a feature and those in which one is found, and the same
    counts by folder of pictures."""
    rows = judge.figures(judged, dict.fromkeys(names, FLOOR))["classes"]
    found = {}
    for name in names:
        of = {key: rows[name][key] for key in FIGURES if key != "threshold"}
        told, there = _pictures(judged, name)
        folders: defaultdict[str, list[Judged]] = defaultdict(list)
        for one in judged:
            if name in one.known:
                folders[one.flown.picture.path.parent.name].append(one)
        of |= {"pictures_with": there, "pictures_found": told, "by_folder": {}}
        for folder, some in sorted(folders.items()):
            total = judge.figures(some, {name: FLOOR})["classes"][name]
            told, there = _pictures(some, name)
            of["by_folder"][folder] = {
                "swaths": len(some),
                "pictures_with": there,
                "pictures_found": told,
                **{key: total[key] for key in ("features", "found", "true", "false")},
            }
        found[name] = of
    return found


def _pictures(judged: Sequence[Judged], name: str) -> tuple[int, int]:
    """Pictures in which a feature of the class is found, and those that have one."""
    rows = [_counts(one, name) for one in judged if name in one.known]
    return sum(found > 0 for found, _, _ in rows), sum(there > 0 for _, there, _ in rows)


def _counts(one: Judged, name: str) -> tuple[int, int, int]:
    """Features found, features, and false alarms."""
    told = one.told(name, FLOOR)
    found = {verdict.finds for _, verdict in told if verdict.finds is not None}
    return len(found), len(one.features(name)), sum(v.what == judge.FALSE for _, v in told)


def _gain(alone: Sequence[Judged], both: Sequence[Judged], name: str) -> Row:
    """`both` minus `alone`, sources drawn together: the share of features `found`, and the `false`
    alarms in a picture."""
    pairs = [(a, b) for a, b in zip(alone, both, strict=True) if name in a.known]
    rows = np.array([[_counts(one, name) for one in pair] for pair in pairs], float)
    sources = [a.flown.picture.source for a, _ in pairs]
    draws = Draws.of(sources, seed=judge.SEED, draws=judge.DRAWS)
    sums = draws.sums(rows)  # [draws + 1, 2, 3]
    more = sums[:, 1] - sums[:, 0]
    with_feature = {s for s, row in zip(sources, rows, strict=True) if row[0, 1]}
    return {
        "found": _spread(ratio(more[:, 0], sums[:, 0, 1]), len(with_feature)),
        "false": _spread(ratio(more[:, 2], draws.sums(np.ones(len(pairs)))), len(set(sources))),
    }


def _spread(drawn: Floats, sources: int) -> dict[str, float | None]:
    found = interval(drawn)
    return found if sources >= FEWEST_SOURCES else {**found, "low": None, "high": None}


def _point(flights: Flights, answers: Answers, names: Sequence[str], rate: float) -> Row:
    """Shares found and false alarms in a picture, of both systems, by class, at a rate."""
    point: Row = {"rate": rate}
    for key, asks in (("first", False), ("both", True)):
        judged = _nested(flights, answers, names, rate, None, asks=asks)
        point[key] = {}
        for name in names:
            rows = np.array([_counts(one, name) for one in judged if name in one.known])
            found, there, false = rows.sum(axis=0).tolist()
            point[key][name] = {
                "recall": found / there if there else None,
                "false_per_swath": false / len(rows),
            }
    return point
