"""Per-class thresholds on the posterior, chosen on val alone.

The rule, for every class that is not background: of the thresholds 0.50, 0.55 ... 0.95, the lowest
at which at least `min_precision` of the val tiles detected as that class are of it, among at least
FEWEST detections. Where none reaches that precision, the one of the best F0.5, which weighs
precision above recall. A class with fewer than FEWEST detections at 0.50 gets DEFAULT: val says
nothing about it. Background classes get none and are never a detection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from winnow_base.errors import RecipeError
from winnow_convert.measure import FloatArray, LabelArray

GRID = tuple(round(0.50 + 0.05 * step, 2) for step in range(10))
FEWEST = 5
DEFAULT = 0.9
BETA_SQUARED = 0.25


def choose_thresholds(
    posterior: FloatArray,
    labels: LabelArray,
    classes: tuple[str, ...],
    background: Collection[str],
    min_precision: float,
    given: Mapping[str, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """By class, `threshold` with the `precision`, `recall` and `detections` it has on val and the
    `rule` that chose it ("precision", "f0.5", "default", or "swaths" for those in `given`, which
    were chosen on whole pictures). Raises RecipeError for one of a class that gets none.

    `posterior` (n, classes), `labels` (n,) or (n, classes) of 0 and 1.
    """
    given = given or {}
    for name in given:
        if name not in classes or name in background:
            known = ", ".join(c for c in classes if c not in background)
            raise RecipeError(f"convert.thresholds names {name!r}", hint=f"legal: {known}")
    many = labels.ndim == 2
    best = posterior.argmax(axis=1)
    chosen: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(classes):
        if name in background:
            continue
        true = labels[:, k] > 0 if many else labels == k
        # As on board: with a softmax head a tile is a detection of its best class only.
        score = posterior[:, k] if many else np.where(best == k, posterior[:, k], -1.0)
        rows = [_row(score, true, threshold) for threshold in GRID]
        enough = [row for row in rows if row["detections"] >= FEWEST]
        precise = [row for row in enough if row["precision"] >= min_precision]
        if name in given:
            chosen[name] = {**_row(score, true, given[name]), "rule": "swaths"}
        elif precise:
            chosen[name] = {**precise[0], "rule": "precision"}
        elif enough:
            highest = int(np.argmax([_f_half(row) for row in enough]))
            chosen[name] = {**enough[highest], "rule": "f0.5"}
        else:
            chosen[name] = {**_row(score, true, DEFAULT), "rule": "default"}
    return chosen


def _row(score: FloatArray, true: Any, threshold: float) -> dict[str, Any]:
    hit = score >= threshold
    right, detections, there = int((hit & true).sum()), int(hit.sum()), int(true.sum())
    return {
        "threshold": threshold,
        "precision": right / detections if detections else 0.0,
        "recall": right / there if there else 0.0,
        "detections": detections,
    }


def _f_half(row: dict[str, Any]) -> float:
    weighed = BETA_SQUARED * row["precision"] + row["recall"]
    return (1 + BETA_SQUARED) * row["precision"] * row["recall"] / weighed if weighed else 0.0
