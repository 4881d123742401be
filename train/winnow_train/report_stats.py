"""Figures of an evaluation on every draw of `winnow_base.bootstrap`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.bootstrap import Draws, Floats, interval, ratio
from winnow_base.metrics import ECE_BINS

THRESHOLDS = np.round(np.arange(0.0, 1.0, 0.01), 2)

Bools = npt.NDArray[np.bool_]


def per_class(draws: Draws, predicted: Bools, true: Bools) -> dict[str, Floats]:
    """Precision, recall and F1 [draws + 1, K] from predicted and true membership [n, K]."""
    hit = draws.sums(predicted & true)
    claimed, there = draws.sums(predicted), draws.sums(true)
    # A class that is there but never predicted has precision 0, as in `metrics.per_class`.
    precision = np.where((claimed == 0) & (there > 0), 0.0, ratio(hit, claimed))
    return {
        "precision": precision,
        "recall": ratio(hit, there),
        "f1": np.where(there > 0, ratio(2 * hit, claimed + there), np.nan),
    }


def ranking(draws: Draws, score: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """Area under the ROC curve and average precision [draws + 1] of a score [n].

    Equal scores count as one threshold, as in scikit-learn.
    """
    order = np.argsort(-score, kind="stable")
    last = _tie_ends(score[order])
    weight, right = draws.weights(order), positive[order]
    hits = np.cumsum(weight * right, axis=1)
    misses = np.cumsum(weight * ~right, axis=1)
    # Wrong tiles below (and half of those tied with) each right tile.
    first = np.maximum.accumulate(np.where(_tie_starts(score[order]), np.arange(len(score)), 0))
    before = np.concatenate([np.zeros((len(misses), 1)), misses], axis=1)[:, first]
    upto = misses[:, last]
    total_wrong, total_right = misses[:, -1], hits[:, -1]
    below = total_wrong[:, None] - 0.5 * (before + upto)
    area = ratio((weight * right * below).sum(axis=1), total_right * total_wrong)
    precision = ratio(hits[:, last], hits[:, last] + misses[:, last])
    average = ratio(np.nansum(weight * right * precision, axis=1), total_right)
    return area, average


def area_under_risk_coverage(draws: Draws, confidence: Floats, correct: Bools) -> Floats:
    """AURC [draws + 1]: mean error among the most confident tiles, over all coverages.

    Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks"; tiles of equal
    confidence are taken together, so that their order does not matter.
    """
    order = np.argsort(-confidence, kind="stable")
    last = _tie_ends(confidence[order])
    weight = draws.weights(order)
    taken = np.cumsum(weight, axis=1)[:, last]
    wrong = np.cumsum(weight * ~correct[order], axis=1)[:, last]
    return ratio(np.nansum(weight * ratio(wrong, taken), axis=1), weight.sum(axis=1))


def best_area(error: float, n: int) -> float:
    """AURC of a confidence that puts every wrong tile last, at the same error rate."""
    wrong = round(error * n)
    taken = np.arange(1, n + 1)
    return float((np.maximum(taken - (n - wrong), 0) / taken).mean()) if n else 0.0


def risk_coverage(confidence: Floats, correct: Bools) -> dict[str, list[float]]:
    """Points of the risk-coverage curve, one per distinct confidence."""
    order = np.argsort(-confidence, kind="stable")
    ends = np.unique(_tie_ends(confidence[order]))
    wrong = np.cumsum(~correct[order])[ends]
    taken = ends + 1
    coverage, risk = taken / len(order), wrong / taken
    return {"coverage": coverage.tolist(), "risk": risk.tolist()}


def thresholds(draws: Draws, confidence: Floats, correct: Bools) -> dict[str, Any]:
    """Accuracy of the tiles at or above each posterior threshold, and the share abstained on."""
    sure = confidence[:, None] >= THRESHOLDS
    taken, right = draws.sums(sure), draws.sums(sure & correct[:, None])
    total = draws.sums(np.ones(len(confidence)))
    accuracy, abstained = ratio(right, taken), 1 - taken / total[:, None]
    return {
        "threshold": THRESHOLDS.tolist(),
        "accuracy": [interval(accuracy[:, i]) for i in range(len(THRESHOLDS))],
        "abstention": [interval(abstained[:, i]) for i in range(len(THRESHOLDS))],
    }


def calibration_error(draws: Draws, confidence: Floats, correct: Bools) -> Floats:
    """ECE [draws + 1] over bins of equal width; [n] or [n, K] for a head that decides per class."""
    n = len(confidence)
    confidence, correct = confidence.reshape(n, -1), correct.reshape(n, -1)
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    gaps = np.zeros((n, ECE_BINS))
    for column in range(confidence.shape[1]):
        gap = confidence[:, column] - correct[:, column]
        np.add.at(gaps, (np.arange(n), place[:, column]), gap)
    total = draws.sums(np.full(n, float(confidence.shape[1])))
    return np.asarray(np.abs(draws.sums(gaps)).sum(axis=1) / total)


def reliability(confidence: Floats, correct: Bools) -> list[dict[str, float]]:
    """Bins of the reliability diagram that hold tiles: mean confidence, accuracy and count."""
    confidence, correct = confidence.ravel(), correct.ravel()
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    return [
        {
            "bin": int(b),
            "confidence": float(confidence[place == b].mean()),
            "accuracy": float(correct[place == b].mean()),
            "n": int((place == b).sum()),
        }
        for b in range(ECE_BINS)
        if (place == b).any()
    ]


def _tie_starts(ordered: Floats) -> Bools:
    return np.concatenate([[True], ordered[1:] != ordered[:-1]])


def _tie_ends(ordered: Floats) -> npt.NDArray[np.intp]:
    """For each place the last place of the same value."""
    starts = np.flatnonzero(_tie_starts(ordered))
    ends = np.concatenate([starts[1:], [len(ordered)]]) - 1
    return np.asarray(ends[np.cumsum(_tie_starts(ordered)) - 1])
