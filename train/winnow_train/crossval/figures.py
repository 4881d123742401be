"""The figures of a cross-validation, each with its interval, and one recipe against another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from winnow_base import metrics
from winnow_base.bootstrap import LEVEL, Draws, Floats, interval, ratio
from winnow_base.calibrate import surprise
from winnow_base.errors import DataError
from winnow_train import report_stats as stats
from winnow_train.chosen import Settings
from winnow_train.crossval.choose import DRAWS, SEED, choose, judge, nested
from winnow_train.crossval.outcome import OutOfFold
from winnow_train.report_data import FEWEST_SOURCES, Judged

KEYS = ("accuracy", "macro_f1", "ece", "accuracy_at_090", "abstention_at_090", "group_accuracy")
"""The figures that have an interval, besides those of every class; the last is the mean over
groups of each group's accuracy."""


def figures(found: OutOfFold, criterion: str) -> dict[str, Any]:
    """Everything that `winnow cv` says: JSON-able.

    `nested` are the figures to quote (settings of every fold chosen on the others), `in_sight`
    those with the settings chosen on all folds, `chosen` these settings, `by_fold` a row per fold.
    """
    judged, per_fold = nested(found, criterion)
    chosen = choose(found, criterion)
    seen = judge(found, chosen.temperature, chosen.prior, chosen.borderline)
    return {
        **found.about,
        "n": len(found),
        "sources": len(np.unique(found.sources)),
        "groups": len(judged.draws.names),
        "bootstrap": {
            "unit": found.about["unit"],
            "groups": len(judged.draws.names),
            "draws": DRAWS,
            "level": LEVEL,
            "seed": SEED,
        },
        "criterion": criterion,
        "chosen": chosen.as_dict(),
        "nested": summary(judged),
        "in_sight": {k: v for k, v in summary(seen).items() if k in ("value", "intervals")},
        "by_fold": [
            _fold_row(found, judged, fold, settings)
            for fold, settings in zip(np.unique(found.fold).tolist(), per_fold, strict=True)
        ],
    }


def summary(judged: Judged) -> dict[str, Any]:
    """The figures of judged tiles: `value` as `metrics.score` gives them and `nll`, `intervals` of
    KEYS, `classes` with support, groups and intervals.

    An ECE of a draw is mostly above that of all tiles, since chance gaps add up: its interval may
    lie above its value.
    """
    scores = metrics.score(
        judged.posterior, judged.task.truth, list(judged.classes), judged.task.head
    )
    confidence, correct = judged.decided(judged.temperature)
    draws = judged.draws
    tiles = draws.sums(np.ones(len(judged.correct)))
    sure = judged.confidence >= metrics.ABSTAIN_BELOW
    taken = draws.sums(sure)
    tables = stats.per_class(draws, judged.predicted, judged.member)
    each = _per_group(draws, judged.correct)
    drawn = {
        "accuracy": draws.sums(judged.correct) / tiles,
        "macro_f1": _macro(tables["f1"]),
        "ece": stats.calibration_error(draws, confidence, correct),
        "accuracy_at_090": ratio(draws.sums(sure & judged.correct), taken),
        "abstention_at_090": 1 - taken / tiles,
        "group_accuracy": draws.counts @ each / draws.counts.sum(axis=1),
    }
    return {
        "value": {**scores, "nll": surprise(judged.posterior, judged.task.truth, judged.task.head)},
        "intervals": {key: _spread(drawn[key], len(draws.names)) for key in KEYS},
        "classes": {name: _class_row(judged, tables, k) for k, name in enumerate(judged.classes)},
    }


def _class_row(judged: Judged, tables: dict[str, Floats], k: int) -> dict[str, Any]:
    mine = judged.member[:, k]
    groups = len(np.unique(judged.draws.index[mine]))
    row = {key: _spread(table[:, k], groups) for key, table in tables.items()}
    return {"support": int(mine.sum()), "sources": groups, **row}


def _spread(drawn: Floats, groups: int) -> dict[str, Any]:
    """A figure and its interval, which few groups have none of."""
    found = interval(drawn)
    return found if groups >= FEWEST_SOURCES else {**found, "low": None, "high": None}


def _per_group(draws: Draws, correct: Any) -> Floats:
    """Accuracy of every group alone."""
    right = np.bincount(draws.index, correct.astype(float), minlength=len(draws.names))
    return np.asarray(right / np.bincount(draws.index, minlength=len(draws.names)))


def _fold_row(found: OutOfFold, judged: Judged, fold: int, settings: Settings) -> dict[str, Any]:
    mine = found.fold == fold
    scores = metrics.score(
        judged.posterior[mine], found.truth[mine], list(found.classes), found.head
    )
    groups = np.unique(found.groups[mine])
    return {
        "fold": fold,
        "n": int(mine.sum()),
        "groups": len(groups),
        "first": str(groups[0]),
        "accuracy": scores["accuracy"],
        "macro_f1": scores["macro_f1"],
        **settings.as_dict(),
    }


def compare(ours: OutOfFold, theirs: OutOfFold, criterion: str) -> dict[str, Any]:
    """`ours` minus `theirs` on the tiles that both have, paired, groups drawn together.

    Both nested. `gain` holds accuracy, macro_f1 and the recall of every class, with intervals (none
    of fewer than three groups); `verdict` says it in words. Raises DataError where they share no
    tile, or label one differently.
    """
    places = {str(name): i for i, name in enumerate(theirs.names)}
    shared = [i for i, name in enumerate(ours.names) if str(name) in places]
    if not shared:
        raise DataError("the two cross-validations have no tile in common")
    refuse_other_classes(ours.classes, ours.head, theirs)
    other_rows = np.array([places[str(ours.names[i])] for i in shared])
    mine, other = ours.rows(np.array(shared)), theirs.rows(other_rows)
    if not np.array_equal(mine.truth, other.truth):
        raise DataError("the two cross-validations label a tile differently")
    first = nested(ours, criterion)[0].posterior[np.array(shared)]
    second = nested(theirs, criterion)[0].posterior[other_rows]
    same = bool(np.array_equal(mine.fold, other.fold))
    return {"same_folds": same, **paired(mine, first, second)}


def refuse_other_classes(classes: Sequence[str], head: str, theirs: OutOfFold) -> None:
    """Raise DataError where another cross-validation is not of these classes and this head."""
    if tuple(classes) != theirs.classes or head != theirs.head:
        raise DataError(
            f"the classes are {', '.join(classes)} ({head}) here and "
            f"{', '.join(theirs.classes)} ({theirs.head}) there",
            hint="compare recipes of the same classes",
        )


def paired(found: OutOfFold, ours: Floats, theirs: Floats) -> dict[str, Any]:
    """Two posteriors [n, K] of the same tiles: the keys of `compare` but `same_folds`."""
    draws = Draws.of(found.groups.tolist(), seed=SEED, draws=DRAWS)
    tiles = draws.sums(np.ones(len(found)))
    right = [draws.sums(_correct(p, found).astype(float)) / tiles for p in (ours, theirs)]
    tables = [stats.per_class(draws, *_membership(p, found)) for p in (ours, theirs)]
    groups = len(draws.names)
    accuracy = _spread(right[0] - right[1], groups)
    macro = _macro(tables[0]["f1"]) - _macro(tables[1]["f1"])
    true = _membership(ours, found)[1]
    recall = tables[0]["recall"] - tables[1]["recall"]
    return {
        "n": len(found),
        "groups": groups,
        "ours": float(right[0][0]),
        "theirs": float(right[1][0]),
        "gain": {
            "accuracy": accuracy,
            "macro_f1": _spread(macro, groups),
            "recall": {
                name: _spread(recall[:, k], len(np.unique(draws.index[true[:, k]])))
                for k, name in enumerate(found.classes)
            },
        },
        "verdict": verdict(accuracy),
    }


def verdict(gain: dict[str, Any]) -> str:
    """What an interval of a gain allows to say.

    >>> verdict({"value": 0.02, "low": 0.01, "high": 0.03})
    'better beyond its noise: replace'
    >>> verdict({"value": 0.02, "low": -0.01, "high": 0.05})
    'within its noise: keep what flies'
    """
    if gain["low"] is None or gain["low"] <= 0 <= gain["high"]:
        return "within its noise: keep what flies"
    return "better beyond its noise: replace" if gain["low"] > 0 else "worse: keep what flies"


def _membership(posterior: Floats, found: OutOfFold) -> tuple[Any, Any]:
    """Predicted and true membership, bool [n, K]."""
    if found.head == "sigmoid":
        return posterior >= 0.5, found.truth > 0
    known = np.arange(len(found.classes))
    return posterior.argmax(axis=1)[:, None] == known, found.truth[:, None] == known


def _correct(posterior: Floats, found: OutOfFold) -> Any:
    predicted, true = _membership(posterior, found)
    return (predicted == true).all(axis=1)


def _macro(f1: Floats) -> Floats:
    there = np.isfinite(f1)
    return np.asarray(np.where(there, f1, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1))
