"""What quantization did: to accuracy, to posteriors, and to the decisions made on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base import metrics
from winnow_base.bootstrap import Draws, bounds, ratio
from winnow_base.calibrate import fit_temperature, negative_log_likelihood, surprise
from winnow_base.views import Answers

FloatArray = npt.NDArray[np.float64]
LabelArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

REFIT_GAIN = 0.002
"""Share by which the negative log-likelihood on val must fall for a refitted temperature to replace
that of the float model."""
BOOTSTRAPS = 500
DIGITS = 5
"""Figures are rounded to this many decimals: float noise must not change a bundle's bytes."""


@dataclass(frozen=True)
class Outputs:
    """What one model says of the val tiles and how that becomes posteriors."""

    answers: Answers
    head: str
    temperature: float

    @property
    def posterior(self) -> FloatArray:
        """Posteriors, float64 (n, classes), with second views where they are flown."""
        return self.answers.posterior(self.temperature, self.head)


def figures(outputs: Outputs, labels: LabelArray, classes: Sequence[str]) -> dict[str, Any]:
    """Figures of merit as `winnow evaluate` prints them, plus `macro_recall` and `nll`."""
    posterior = outputs.posterior
    found = metrics.score(posterior, labels, list(classes), outputs.head)
    rows = [row for row in found["per_class"].values() if row["support"]]
    found["macro_recall"] = float(np.mean([row["recall"] for row in rows]))
    found["nll"] = surprise(posterior, labels, outputs.head)
    found["net_calls"] = outputs.answers.net_calls(outputs.temperature, outputs.head)
    return found


def choose_temperature(logits: FloatArray, labels: LabelArray, head: str, kept: float) -> float:
    """The float model's temperature, or one refitted on int8 logits where that helps on val.

    Both are of a single view of every tile.
    """
    fitted = round(fit_temperature(logits, labels, head), DIGITS)
    before = negative_log_likelihood(logits, labels, kept, head)
    after = negative_log_likelihood(logits, labels, fitted, head)
    return fitted if after < before * (1 - REFIT_GAIN) else kept


def compare(
    before: Outputs,
    after: Outputs,
    labels: LabelArray,
    sources: Sequence[str],
    classes: tuple[str, ...],
    thresholds: Mapping[str, float],
) -> dict[str, Any]:
    """How the int8 model (`after`) differs from the float one (`before`) on val.

    Keys: `accuracy_loss`, `macro_f1_loss`, `macro_recall_loss` (float minus int8); `agreement`
    (share of tiles with the same best class, or the same answer on every class of a sigmoid head);
    `posterior_change.mean`/`.p99` of the best class's posterior; `detection_agreement`;
    `rank_correlation` of the order in which the tiles would go down, `rank_correlation_detections`
    among tiles that either model detects, `value_lost_at_5_percent` of the bytes; and
    `recall_change` per class with a 95 % interval that resamples sources.
    """
    old, new = before.posterior, after.posterior
    a, b = figures(before, labels, classes), figures(after, labels, classes)
    hit_old, hit_new = (decisions(p, before.head, classes, thresholds) for p in (old, new))
    best_old, best_new = old.argmax(axis=1), new.argmax(axis=1)
    if before.head == "sigmoid":
        agree = ((old >= 0.5) == (new >= 0.5)).all(axis=1)
    else:
        agree = best_old == best_new
    rows = np.arange(len(old))
    moved = np.abs(new[rows, best_old] - old[rows, best_old])
    worth_old, worth_new = (old * hit_old).ravel(), (new * hit_new).ravel()
    either = (hit_old | hit_new).ravel()
    truth = labels if labels.ndim == 2 else np.eye(len(classes), dtype=np.int64)[labels]
    return {
        "accuracy_loss": a["accuracy"] - b["accuracy"],
        "macro_f1_loss": a["macro_f1"] - b["macro_f1"],
        "macro_recall_loss": a["macro_recall"] - b["macro_recall"],
        "agreement": float(agree.mean()),
        "posterior_change": {
            "mean": float(moved.mean()),
            "p99": float(np.percentile(moved, 99)),
        },
        "detection_agreement": float((hit_old == hit_new).all(axis=1).mean()),
        "detections": {"float": int(hit_old.sum()), "int8": int(hit_new.sum())},
        "rank_correlation": _order_correlation(worth_old, worth_new),
        "rank_correlation_detections": _order_correlation(worth_old[either], worth_new[either]),
        "value_lost_at_5_percent": _value_lost(worth_old, worth_new, truth.ravel(), len(old)),
        "recall_change": _recall_change(best_old, best_new, labels, sources, classes)
        if labels.ndim == 1
        else {},
    }


def decisions(
    posterior: FloatArray, head: str, classes: tuple[str, ...], thresholds: Mapping[str, float]
) -> BoolArray:
    """Which tiles are detections of which classes, bool (n, classes), as decided on board: with a
    softmax head at most the best class, with a sigmoid head every class on its own."""
    limits = np.array([thresholds.get(name, np.inf) for name in classes])
    hit = posterior >= limits
    if head == "softmax":
        hit &= np.arange(len(classes)) == posterior.argmax(axis=1)[:, np.newaxis]
    return np.asarray(hit)


def rounded(value: Any) -> Any:
    """`value` with every float in it rounded to DIGITS decimals."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return round(float(value), DIGITS) + 0.0 if isinstance(value, float) else value


def _order_correlation(old: FloatArray, new: FloatArray) -> float:
    """Spearman's rho of two orders of descending worth; what is worth the same goes in file order.

    1.0 where there are fewer than two items, since no order can change.
    """
    if len(old) < 2:
        return 1.0
    place = [np.argsort(np.argsort(-worth, kind="stable")) for worth in (old, new)]
    return float(np.corrcoef(place[0], place[1])[0, 1])


def _value_lost(
    old: FloatArray, new: FloatArray, truth: LabelArray, tiles: int, share: float = 0.05
) -> float:
    """Share of the true value lost when the int8 order fills `share` of the bytes with detections.

    Every tile has the same size and each right detection the same utility; 0.0 where the float
    order delivers nothing.
    """
    room = max(1, round(share * tiles))

    def delivered(worth: FloatArray) -> int:
        sent = np.argsort(-worth, kind="stable")[:room]
        return int(truth[sent[worth[sent] > 0]].sum())

    full = delivered(old)
    return (full - delivered(new)) / full if full else 0.0


def _recall_change(
    best_old: LabelArray,
    best_new: LabelArray,
    labels: LabelArray,
    sources: Sequence[str],
    classes: tuple[str, ...],
) -> dict[str, Any]:
    """Per class, int8 recall minus float recall, `low` and `high` its 95 % interval by bootstrap
    over sources (tiles of one image are not independent)."""
    change = (best_new == labels).astype(np.int64) - (best_old == labels)
    draws = Draws.picked(sources, draws=BOOTSTRAPS)
    among = np.eye(len(classes))[labels]
    gain, size = draws.sums(among * change[:, np.newaxis]), draws.sums(among)
    found: dict[str, Any] = {}
    for k, name in enumerate(classes):
        if size[0, k]:
            moved = ratio(gain[:, k], size[:, k])
            low, high = bounds(moved)
            found[name] = {"change": float(moved[0]), "low": low, "high": high}
    return found
