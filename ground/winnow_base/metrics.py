"""Figures of merit of a classifier, from posteriors and true labels; numpy alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

ECE_BINS = 15
ABSTAIN_BELOW = 0.9


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function, in float64, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, np.float64))))


def posterior(logits: np.ndarray, head: str) -> np.ndarray:
    """Posterior of logits already divided by the temperature, by the kind of head."""
    return sigmoid(logits) if head == "sigmoid" else softmax(logits)


def score(
    posterior: np.ndarray, truth: np.ndarray, classes: list[str], head: str
) -> dict[str, Any]:
    """`single_label` or `multi_label`, by the kind of head."""
    judge = multi_label if head == "sigmoid" else single_label
    return judge(posterior, truth, classes)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 [true, predicted]."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def per_class(confusion: np.ndarray) -> list[dict[str, float]]:
    """Precision, recall, F1 and support of every class; 0 where nothing was predicted or true."""
    right = np.diag(confusion)
    predicted, true = confusion.sum(axis=0), confusion.sum(axis=1)
    rows = []
    for i in range(len(confusion)):
        precision = right[i] / predicted[i] if predicted[i] else 0.0
        recall = right[i] / true[i] if true[i] else 0.0
        both = precision + recall
        rows.append(
            {
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(2 * precision * recall / both) if both else 0.0,
                "support": int(true[i]),
            }
        )
    return rows


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = ECE_BINS
) -> float:
    """ECE over bins of equal width (Naeini et al. 2015; Guo et al. 2017)."""
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    total = 0.0
    for b in range(bins):
        here = place == b
        if here.any():
            total += float(abs(confidence[here].mean() - correct[here].mean())) * here.mean()
    return float(total)


def single_label(posterior: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Figures of a softmax head: posterior [n, K], labels [n].

    A label >= K is a class that the model does not know: always wrong. Macro-F1 is the mean over
    the classes that are present among the labels.
    """
    known = posterior.shape[1]
    predicted = posterior.argmax(axis=1)
    confidence = posterior.max(axis=1)
    correct = predicted == labels
    confusion = confusion_matrix(labels, predicted, max(known, len(classes)))
    rows = per_class(confusion)
    sure = confidence >= ABSTAIN_BELOW
    return {
        "accuracy": float(correct.mean()),
        "macro_f1": float(np.mean([r["f1"] for r in rows if r["support"]])),
        "per_class": dict(zip(classes, rows, strict=True)),
        "confusion": confusion.tolist(),
        "ece": expected_calibration_error(confidence, correct),
        "at_090": {
            "accuracy": float(correct[sure].mean()) if sure.any() else None,
            "abstention": float(1.0 - sure.mean()),
        },
        "n": len(labels),
    }


def multi_label(posterior: np.ndarray, truth: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Figures of a sigmoid head: posterior and truth [n, K]; a class is predicted from 0.5 up.

    `accuracy` is the share of tiles with every class right, that of a class in `per_class` the
    share with this one right; `confusion` is a 2x2 matrix [true][predicted] per class, `label_sets`
    one matrix over the sets of classes that occur.
    """
    predicted = posterior >= 0.5
    truth = truth.astype(bool)
    confidence = np.maximum(posterior, 1 - posterior)
    correct = predicted == truth
    sure = confidence.min(axis=1) >= ABSTAIN_BELOW
    whole = correct.all(axis=1)
    matrices = [
        confusion_matrix(truth[:, k].astype(int), predicted[:, k].astype(int), 2)
        for k in range(len(classes))
    ]
    rows = [per_class(m)[1] for m in matrices]
    for k, row in enumerate(rows):
        row["accuracy"] = float(correct[:, k].mean())
    return {
        "accuracy": float(whole.mean()),
        "macro_f1": float(np.mean([r["f1"] for r in rows if r["support"]])),
        "per_class": dict(zip(classes, rows, strict=True)),
        "confusion": [m.tolist() for m in matrices],
        "label_sets": label_sets(truth, predicted, classes),
        "ece": expected_calibration_error(confidence.ravel(), correct.ravel()),
        "at_090": {
            "accuracy": float(whole[sure].mean()) if sure.any() else None,
            "abstention": float(1.0 - sure.mean()),
        },
        "n": len(truth),
    }


def label_sets(true: np.ndarray, predicted: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """`names` of the sets of classes among true and predicted, bool [n, K], the smallest first,
    and their `confusion`, counts [true][predicted]."""
    bits = 1 << np.arange(len(classes))
    codes = (true.astype(bool) @ bits, predicted.astype(bool) @ bits)
    found = np.unique(np.concatenate(codes))
    order = sorted(found.tolist(), key=lambda code: (code.bit_count(), code))
    place = {code: i for i, code in enumerate(order)}
    rows, columns = (np.array([place[c] for c in some.tolist()], int) for some in codes)
    names = [
        set_name(classes, [bool(code >> k & 1) for k in range(len(classes))]) for code in order
    ]
    matrix = confusion_matrix(rows, columns, len(order))
    return {"names": names, "confusion": matrix.tolist()}


def set_name(classes: Sequence[str], there: Iterable[bool]) -> str:
    """A set of classes in words.

    >>> set_name(["crater", "dune"], [True, True]), set_name(["crater", "dune"], [False, False])
    ('crater + dune', 'none')
    """
    return " + ".join(c for c, held in zip(classes, there, strict=True) if held) or "none"
