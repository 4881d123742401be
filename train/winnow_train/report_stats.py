"""Figures with honest intervals: tiles of one source are not independent, so sources are drawn.

An interval is the percentile bootstrap over sources (Efron and Tibshirani 1993, chapters 8 and 13):
sources are drawn with replacement, all tiles of a source together, and the figure is computed on
each draw. Every draw is a row of weights, so all draws are computed at once; row 0 holds ones and
gives the figure itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.metrics import ECE_BINS

DRAWS, LEVEL = 1000, 0.95
THRESHOLDS = np.round(np.arange(0.0, 1.0, 0.01), 2)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Draws:
    """Resampled sources: `counts` [draws + 1, sources], `index` [n] the source of every tile."""

    names: tuple[str, ...]
    index: npt.NDArray[np.intp]
    counts: Floats

    @classmethod
    def of(cls, sources: Sequence[str], seed: int = 0, draws: int = DRAWS) -> Draws:
        """Draw from the sources of n tiles."""
        names, index = np.unique(np.asarray(sources), return_inverse=True)
        rng = np.random.default_rng(seed)
        even = np.full(len(names), 1.0 / len(names))
        drawn = rng.multinomial(len(names), even, size=draws)
        counts = np.concatenate([np.ones((1, len(names))), drawn])
        return cls(tuple(names.tolist()), index.reshape(-1), counts)

    def sums(self, values: npt.ArrayLike) -> Floats:
        """Weighted sums over tiles of `values` [n, ...], per draw [draws + 1, ...]."""
        values = np.asarray(values, np.float64)
        per_source = np.zeros((len(self.names), *values.shape[1:]))
        np.add.at(per_source, self.index, values)
        total: Floats = np.tensordot(self.counts, per_source, axes=1)
        return total

    def weights(self, order: npt.NDArray[np.intp]) -> Floats:
        """Weights of the tiles in an order, per draw [draws + 1, n]."""
        return self.counts[:, self.index[order]]


def interval(values: Floats) -> dict[str, Any]:
    """A figure and its interval from its values per draw.

    There is none where no draw differs (zero errors in a few sources prove little).

    Draws in which the figure is not defined (a class was not drawn) are left out; with fewer than
    half of the draws defined there is no interval.
    """
    value = float(values[0])
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    drawn = values[1:][np.isfinite(values[1:])]
    if len(drawn) < len(values[1:]) / 2 or not len(drawn):
        return {"value": value, "low": None, "high": None}
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    if low == high:
        return {"value": value, "low": None, "high": None}
    return {"value": value, "low": float(low), "high": float(high)}


def ratio(above: Floats, below: Floats) -> Floats:
    """`above` / `below`, NaN where `below` is 0."""
    return np.asarray(
        np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    )


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
