"""Figures with intervals over sources, against scikit-learn and against the plain figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from winnow_base import metrics
from winnow_base.bootstrap import Draws, interval
from winnow_base.views import Answers
from winnow_train import report_plots
from winnow_train import report_stats as stats
from winnow_train.datasets import Tile, TileSet
from winnow_train.report_data import Judged, exemplars, figures, worst_confusions
from winnow_train.tasks import Task

CLASSES = ("other", "crater", "dune")


def task_of(truth: np.ndarray, sources: list[str], head: str = "softmax") -> Task:
    labels = truth if head == "softmax" else truth.argmax(axis=1)
    tiles = tuple(
        Tile(Path(f"{s}-{i:03d}.png"), int(k), "val", s)
        for i, (s, k) in enumerate(zip(sources, labels, strict=True))
    )
    return Task(TileSet("folder", CLASSES, tiles, "made up"), CLASSES, head, truth)


def judged(n: int = 240, sources: int = 12, seed: int = 0, head: str = "softmax") -> Judged:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    logits = rng.normal(0, 1.2, (n, 3)) + 1.6 * np.eye(3)[labels]
    logits = np.round(logits * 4) / 4  # ties, as int8 logits have
    truth = labels.astype(np.int32) if head == "softmax" else np.eye(3, dtype=np.float32)[labels]
    if head == "sigmoid":
        truth[::7, 0] = 1
    names = [f"s{k:02d}" for k in rng.integers(0, sources, n)]
    return Judged.of(Answers(logits), task_of(truth, names, head), 1.3)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 60), levels=st.integers(2, 30))
def test_ranking_equals_scikit_learn_on_every_draw(seed: int, n: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, levels, n) / levels
    positive = rng.random(n) < 0.4
    draws = Draws.of([f"s{k}" for k in rng.integers(0, 6, n)], seed=seed, draws=5)
    area, average = stats.ranking(draws, score, positive)
    weights = draws.weights(np.arange(n))
    for row, weight in enumerate(weights):
        if not (weight[positive].sum() and weight[~positive].sum()):
            assert not np.isfinite(area[row])
            continue
        want = roc_auc_score(positive, score, sample_weight=weight)
        assert area[row] == pytest.approx(want, abs=1e-9)
        want = average_precision_score(positive, score, sample_weight=weight)
        assert average[row] == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_figures_without_resampling_are_the_plain_ones(head: str) -> None:
    j = judged(head=head)
    found = figures(j)
    plain = metrics.score(j.posterior, j.task.truth, list(CLASSES), head)
    assert found["intervals"]["accuracy"]["value"] == pytest.approx(plain["accuracy"])
    assert found["intervals"]["macro_f1"]["value"] == pytest.approx(plain["macro_f1"])
    assert found["calibration"]["after"]["ece"]["value"] == pytest.approx(plain["ece"])
    at = plain["at_090"]
    assert found["intervals"]["accuracy_at_090"]["value"] == pytest.approx(at["accuracy"])
    assert found["intervals"]["abstention_at_090"]["value"] == pytest.approx(at["abstention"])
    for name in CLASSES:
        for key in ("precision", "recall", "f1"):
            got = found["class_detail"][name][key]["value"]
            assert got == pytest.approx(plain["per_class"][name][key])
    curve = found["selective"]["thresholds"]
    k = curve["threshold"].index(0.9)
    assert curve["abstention"][k]["value"] == pytest.approx(at["abstention"])
    assert sum(s["tiles"] for s in found["per_source"]) == plain["n"]
    right = plain["n"] - sum(s["errors"] for s in found["per_source"])
    assert right / plain["n"] == pytest.approx(plain["accuracy"])


def test_area_under_risk_coverage_by_hand() -> None:
    draws = Draws.of(["a", "b", "c", "d"], draws=3)
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    correct = np.array([True, False, True, True])
    area = stats.area_under_risk_coverage(draws, confidence, correct)[0]
    assert area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert stats.best_area(0.25, 4) == pytest.approx(1 / 16)
    tied = stats.area_under_risk_coverage(draws, np.full(4, 0.5), correct)[0]
    assert tied == pytest.approx(0.25)


def test_intervals_know_that_tiles_of_a_source_go_together() -> None:
    correct = np.repeat([True, True, True, False, True, True], 50)
    together = Draws.of(np.repeat([f"s{k}" for k in range(6)], 50).tolist())
    apart = Draws.of([f"t{i}" for i in range(300)])
    spans = []
    for draws in (together, apart):
        found = interval(draws.sums(correct) / draws.sums(np.ones(300)))
        assert found["value"] == pytest.approx(5 / 6)
        assert found["low"] <= found["value"] <= found["high"]
        spans.append(found["high"] - found["low"])
    assert spans[0] > 4 * spans[1]


def test_no_interval_where_there_is_no_evidence_for_one() -> None:
    flat = np.zeros(1001)
    assert interval(flat) == {"value": 0.0, "low": None, "high": None}
    rare = np.where(np.arange(1001) % 3 == 0, 0.5 + np.arange(1001) / 5000, np.nan)
    assert interval(rare)["low"] is None
    assert interval(np.full(5, np.nan))["value"] is None
    truth = np.array([0] * 30 + [1] * 10 + [2] * 5, np.int32)
    sources = [f"s{i % 6}" for i in range(40)] + ["only"] * 5
    logits = np.eye(3)[truth] * 2 + np.random.default_rng(0).normal(0, 2, (45, 3))
    detail = figures(Judged.of(Answers(logits), task_of(truth, sources), 1.0))["class_detail"]
    assert detail["dune"]["sources"] == 1
    assert detail["dune"]["roc_auc"]["low"] is None
    assert detail["other"]["roc_auc"]["low"] is not None


def test_the_order_of_the_tiles_makes_no_difference() -> None:
    j = judged()
    order = np.random.default_rng(3).permutation(len(j.correct))
    tiles = tuple(j.task.tiles.tiles[i] for i in order)
    sources = [t.source for t in tiles]
    other = Judged.of(
        Answers(j.answers.logits[order]), task_of(j.task.truth[order], sources), j.temperature
    )
    one, two = figures(j), figures(other)
    for key in ("intervals", "class_detail", "per_source", "bootstrap"):
        assert _flat(one[key]) == pytest.approx(_flat(two[key]))
    assert _flat(one["selective"]) == pytest.approx(_flat(two["selective"]))
    assert one["calibration"]["refitted"]["ece"]["value"] == pytest.approx(
        two["calibration"]["refitted"]["ece"]["value"], abs=0.02
    )


def _flat(found: object) -> list[object]:
    if isinstance(found, dict):
        return [x for v in found.values() for x in _flat(v)]
    if isinstance(found, list):
        return [x for v in found for x in _flat(v)]
    return [found]


def test_a_class_that_the_model_does_not_know_is_an_error() -> None:
    truth = np.array([0, 1, 2, 3, 3, 0], np.int32)
    logits = np.eye(3)[[0, 1, 2, 0, 1, 0]] * 5.0
    j = Judged.of(Answers(logits), task_of(truth, ["a", "b", "c", "a", "b", "c"]), 1.0)
    assert figures(j)["intervals"]["accuracy"]["value"] == pytest.approx(4 / 6)
    worst = worst_confusions(j, 5, 5)
    assert {w["true"] for w in worst} == {"(unknown to the model)"}


def test_worst_confusions_and_exemplars_point_at_the_right_tiles() -> None:
    j = judged()
    worst = worst_confusions(j, 4, 3)
    assert [w["n"] for w in worst] == sorted((w["n"] for w in worst), reverse=True)
    for w in worst:
        for i in w["rows"]:
            assert CLASSES[j.task.truth[i]] == w["true"]
            assert CLASSES[int(j.posterior[i].argmax())] == w["predicted"]
    for name, rows in exemplars(j, 4).items():
        assert len({j.draws.index[i] for i in rows}) == 4
        assert all(j.correct[i] and CLASSES[j.task.truth[i]] == name for i in rows)


def test_every_plot_draws_for_one_class_and_for_many() -> None:
    for classes in (1, 9):
        rng = np.random.default_rng(1)
        n = 80
        names = tuple(f"class $ {k}" for k in range(classes))
        truth = (rng.random((n, classes)) < 0.3).astype(np.float32)
        tiles = tuple(Tile(Path(f"{i}.png"), 0, "val", f"s{i % 8}") for i in range(n))
        task = Task(TileSet("folder", names, tiles, ""), names, "sigmoid", truth)
        j = Judged.of(Answers(rng.normal(0, 2, (n, classes))), task, 1.0)
        found = figures(j)
        detail, cal = found["class_detail"], found["calibration"]
        pictures = [
            report_plots.intervals(detail),
            report_plots.curves("pr", j.posterior, j.member, detail),
            report_plots.curves("roc", j.posterior, j.member, detail),
            report_plots.reliability(cal["before"], cal["after"], 1.0),
            report_plots.thresholds(found["selective"]["thresholds"]),
            report_plots.confusion(np.eye(classes, dtype=int).tolist(), names),
        ]
        assert all(p.startswith(b"\x89PNG") for p in pictures)
