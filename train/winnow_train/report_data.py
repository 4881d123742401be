"""Everything the evaluation page shows, as one JSON object; nothing here draws."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from winnow_base import bootstrap, metrics
from winnow_base.bootstrap import Draws, Floats, interval
from winnow_base.calibrate import fit_temperature, surprise
from winnow_base.views import Answers
from winnow_train import report_stats as stats
from winnow_train.report_stats import Bools
from winnow_train.tasks import Task

#: A class from fewer sources than this gets no interval: resampling them would promise too much.
FEWEST_SOURCES = 3
FOLDS = 5


@dataclass(frozen=True)
class Judged:
    """A model's answers on a set of tiles.

    posterior float64 [n, K]; truth labels [n], or 0/1 [n, K] of a sigmoid
    head; `member` bool [n, K] is the truth per class; predicted bool [n, K]; confidence [n] and
    correct [n] are those of the tile as a whole (for sigmoid heads the least sure class, and every
    class right).
    """

    task: Task
    classes: tuple[str, ...]
    answers: Answers
    temperature: float | Floats
    posterior: Floats
    member: Bools
    predicted: Bools
    confidence: Floats
    correct: Bools
    draws: Draws

    @classmethod
    def of(cls, answers: Answers, task: Task, temperature: float | Floats) -> Judged:
        """Judge a model's answers; the temperature is of all tiles, or of each, [n, 1]."""
        posterior = answers.posterior(temperature, task.head)
        known = np.arange(len(task.classes))
        if task.head == "sigmoid":
            member, predicted = task.truth > 0, posterior >= 0.5
            confidence = np.maximum(posterior, 1 - posterior).min(axis=1)
            correct = (member == predicted).all(axis=1)
        else:
            member = task.truth[:, None] == known
            predicted = posterior.argmax(axis=1)[:, None] == known
            confidence = posterior.max(axis=1)
            correct = posterior.argmax(axis=1) == task.truth
        draws = Draws.of([t.source for t in task.tiles.tiles])
        return cls(
            task,
            task.classes,
            answers,
            temperature,
            posterior,
            member,
            predicted,
            confidence,
            correct,
            draws,
        )

    def decided(self, temperature: float | Floats) -> tuple[Floats, Bools]:
        """Confidence and correctness of every decision: [n], or [n, K] for sigmoid heads, at the
        temperature of all tiles or of each, [n, 1]."""
        posterior = self.answers.posterior(temperature, self.task.head)
        if self.task.head == "sigmoid":
            return np.maximum(posterior, 1 - posterior), self.predicted == self.member
        return posterior.max(axis=1), posterior.argmax(axis=1) == self.task.truth


def figures(judged: Judged) -> dict[str, Any]:
    """The key figures with intervals, and all curves."""
    draws, detail = judged.draws, class_detail(judged)
    total = draws.sums(np.ones(len(judged.correct)))
    accuracy = draws.sums(judged.correct) / total
    f1 = stats.per_class(draws, judged.predicted, judged.member)["f1"]
    with np.errstate(all="ignore"):
        there = np.isfinite(f1)
        macro = np.where(there, f1, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    sure = judged.confidence >= metrics.ABSTAIN_BELOW
    taken = draws.sums(sure)
    aurc = interval(stats.area_under_risk_coverage(draws, judged.confidence, judged.correct))
    error = 1 - float(accuracy[0])
    return {
        "bootstrap": {
            "unit": "source",
            "sources": len(draws.names),
            "draws": bootstrap.DRAWS,
            "level": bootstrap.LEVEL,
            "seed": 0,
        },
        "intervals": {
            "accuracy": interval(accuracy),
            "macro_f1": interval(macro),
            "accuracy_at_090": interval(bootstrap.ratio(draws.sums(sure & judged.correct), taken)),
            "abstention_at_090": interval(1 - taken / total),
            "aurc": aurc,
        },
        "class_detail": detail,
        "calibration": calibration(judged),
        "selective": {
            "aurc": aurc,
            "e_aurc": aurc["value"] - stats.best_area(error, len(judged.correct)),
            "error": error,
            "risk_coverage": stats.risk_coverage(judged.confidence, judged.correct),
            "thresholds": stats.thresholds(draws, judged.confidence, judged.correct),
        },
        "per_source": per_source(judged),
    }


def class_detail(judged: Judged) -> dict[str, dict[str, Any]]:
    """Per class: support, sources, precision, recall, F1, ROC AUC and average precision."""
    draws = judged.draws
    tables = stats.per_class(draws, judged.predicted, judged.member)
    found = {}
    for k, name in enumerate(judged.classes):
        mine = judged.member[:, k]
        sources = len(np.unique(draws.index[mine]))
        area, average = stats.ranking(draws, judged.posterior[:, k], mine)
        values = {
            **{key: interval(table[:, k]) for key, table in tables.items()},
            "roc_auc": interval(area),
            "average_precision": interval(average),
        }
        if sources < FEWEST_SOURCES:
            values = {key: {**v, "low": None, "high": None} for key, v in values.items()}
        found[name] = {"support": int(mine.sum()), "sources": sources, **values}
    return found


def calibration(judged: Judged) -> dict[str, Any]:
    """Reliability before and after temperature, and with one fitted on other sources."""
    found: dict[str, Any] = {"temperature": judged.temperature}
    for key, heat in (("before", 1.0), ("after", judged.temperature)):
        confidence, correct = judged.decided(heat)
        ece = stats.calibration_error(judged.draws, confidence, correct)
        found[key] = {
            "ece": interval(ece),
            "nll": _nll(judged, heat),
            "bins": stats.reliability(confidence, correct),
        }
    found["refitted"] = _refitted(judged)
    return found


def _nll(judged: Judged, temperature: float) -> float | None:
    rows, head = _known(judged), judged.task.head
    if not rows.any():
        return None
    posterior = judged.answers.posterior(temperature, head)
    return surprise(posterior[rows], judged.task.truth[rows], head)


def _known(judged: Judged) -> Bools:
    if judged.task.head == "sigmoid":
        return np.ones(len(judged.correct), bool)
    return np.asarray(judged.task.truth < len(judged.classes))


def _refitted(judged: Judged) -> dict[str, Any] | None:
    """ECE where every tile's temperature was fitted on the other folds' sources alone."""
    groups, known = judged.draws.index, _known(judged)
    folds = min(FOLDS, len(judged.draws.names))
    if folds < 2:
        return None
    logits, temperatures = judged.answers.logits, []
    heats = np.ones((len(logits), 1))
    for rest, fold in GroupKFold(folds).split(logits, groups=groups):
        rest = rest[known[rest]]
        if not len(rest):
            return None
        heat = fit_temperature(logits[rest], judged.task.truth[rest], judged.task.head)
        heats[fold] = heat
        temperatures.append(heat)
    confidence, correct = judged.decided(heats)
    ece = stats.calibration_error(judged.draws, confidence, correct)
    return {"folds": folds, "temperatures": temperatures, "ece": interval(ece)}


def per_source(judged: Judged) -> list[dict[str, Any]]:
    """Every source with its errors, the worst first."""
    rows = []
    for number, name in enumerate(judged.draws.names):
        mine = np.flatnonzero(judged.draws.index == number)
        wrong = mine[~judged.correct[mine]]
        mistakes = Counter(f"{_true(judged, i)} as {_said(judged, i)}" for i in wrong)
        common = sorted(mistakes.items(), key=lambda m: (-m[1], m[0]))[:1]
        rows.append(
            {
                "source": name,
                "tiles": len(mine),
                "errors": len(wrong),
                "error_rate": len(wrong) / len(mine),
                "mean_posterior": float(judged.confidence[mine].mean()),
                "confident_errors": int((judged.confidence[wrong] >= metrics.ABSTAIN_BELOW).sum()),
                "commonest": f"{common[0][0]} ({common[0][1]})" if common else "",
            }
        )
    return sorted(rows, key=lambda r: (-r["errors"], -r["error_rate"], r["source"]))


def _true(judged: Judged, i: int) -> str:
    if judged.task.head == "softmax" and not judged.member[i].any():
        return "(unknown to the model)"
    return metrics.set_name(judged.classes, judged.member[i])


def _said(judged: Judged, i: int) -> str:
    return metrics.set_name(judged.classes, judged.predicted[i])


def worst_confusions(judged: Judged, pairs: int, tiles: int) -> list[dict[str, Any]]:
    """The commonest mistakes, each with the tiles on which the model was surest of it."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i in np.flatnonzero(~judged.correct).tolist():
        groups.setdefault((_true(judged, i), _said(judged, i)), []).append(i)
    ordered = sorted(groups.items(), key=lambda g: (-len(g[1]), g[0]))
    return [
        {
            "true": true,
            "predicted": said,
            "n": len(rows),
            "of": sum(_true(judged, i) == true for i in range(len(judged.correct))),
            "rows": sorted(rows, key=lambda i: -judged.confidence[i])[:tiles],
        }
        for (true, said), rows in ordered[:pairs]
    ]


def exemplars(judged: Judged, tiles: int) -> dict[str, list[int]]:
    """Rows of the surest right tiles of every class, each of another source while there are."""
    found = {}
    for k, name in enumerate(judged.classes):
        mine = np.flatnonzero(judged.member[:, k] & judged.predicted[:, k])
        mine = mine[np.argsort(-judged.posterior[mine, k], kind="stable")]
        seen: set[int] = set()
        first: list[int] = []
        later: list[int] = []
        for i in mine.tolist():
            (later if judged.draws.index[i] in seen else first).append(i)
            seen.add(int(judged.draws.index[i]))
        found[name] = (first + later)[:tiles]
    return found
