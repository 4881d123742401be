"""One stage against two: what comes through, which thresholds a rate asks for, and the verdict."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from winnow_edge.bundle import InputSpec
from winnow_edge.loop.summary import Verified
from winnow_edge.loop.verifier import Verifier
from winnow_edge.products.kinds import Box, Detection
from winnow_edge.testing.probe import probe_bundle, probe_manifest
from winnow_train.second.flights import Flights, candidates, lesson
from winnow_train.second.judge import BETTER, NOISE, TRADE, WORSE, judge_both
from winnow_train.second.rules import Answers, Rule, apply, choose
from winnow_train.swaths.fly import Flown, Hit
from winnow_train.swaths.match import lay_over
from winnow_train.windows.pictures import Feature, Picture

CLASSES = ("dark", "middle", "bright")
GRID = np.array([(n, n, n + 128, n + 128) for n in range(0, 800, 128)])


def flights(number: int = 12, folds: int = 3) -> Flights:
    """Pictures of a bright feature, found at 0.85 or 0.6; two of three have a false one at 0.8."""
    found = []
    for n in range(number):
        feature = Feature("bright", Box(100, 100, 90, 90))
        held = Picture(Path(f"strips/{n}.png"), f"s{n}", (feature,), (), None)
        right = Hit(1, "bright", Box(80, 80, 128, 128), 1, 0.6 if n % 4 else 0.85, True)
        wrong = Hit(2, "bright", Box(500, 500, 128, 128), 1, 0.8, True)
        merged = Hit(3, "bright", Box(90, 90, 128, 128), 1, 0.5, False)
        hits = (right, *([wrong] if n % 3 != 1 else []), merged)
        found.append(Flown(held, 1000, 1000, GRID, np.ones(len(GRID), np.int64), hits, ()))
    return Flights(tuple(lay_over(found)), tuple(n % folds + 1 for n in range(number)), (0, np.inf))


def answers(held: Flights, right: float, wrong: float) -> Answers:
    """A second stage that gives right and wrong detections such posteriors of bright."""
    mine = candidates(held)
    bright = np.array([right if c.verdict.what == "true" else wrong for c in mine])
    rest = (1 - bright) / 2
    return Answers(CLASSES, tuple(mine), np.stack([rest, rest, bright], axis=1))


def test_hits_that_are_kept_are_candidates_and_teach_what_is_known() -> None:
    held = flights(1)
    right, wrong = candidates(held)
    picture = Picture(Path("a.png"), "a", (), ("dark",), None)
    assert (right.place, wrong.place) == (0, 1)
    assert lesson(right, picture, CLASSES).tolist() == [0, 0, 1]
    assert lesson(wrong, picture, CLASSES).tolist() == [-1, 0, -1]


def test_both_stages_find_what_one_must_give_up_at_a_rate_of_false_alarms() -> None:
    held = flights()
    good = answers(held, 0.9, 0.2)
    alone = choose(held, good, ["bright"], [1, 2], 0.0, asks=False)
    both = choose(held, good, ["bright"], [1, 2], 0.0, asks=True)
    assert alone.first == {"bright": 0.81}
    assert not alone.second
    assert both.first["bright"] <= 0.6
    assert 0.2 < both.second["bright"] <= 0.9
    free = choose(held, good, ["bright"], [1, 2], 1.0, asks=False)
    assert free.first["bright"] <= 0.6
    own = choose(held, good, ["bright"], [1, 2], 1.0, asks=True, own={"bright": 0.7})
    assert own.first == {"bright": 0.7}


@pytest.mark.parametrize(
    ("wrong", "rate", "says"),
    [
        (0.2, 0.1, BETTER),  # tells what is false
        (0.9, 1.0, NOISE),  # tells nothing apart, and nothing need be refused
        (0.9, 0.1, TRADE),  # tells nothing apart: what is right goes too
    ],
)
def test_it_pays_only_where_a_class_gets_better_at_no_loss(
    wrong: float, rate: float, says: str
) -> None:
    held = flights()
    found = judge_both(held, answers(held, 0.9, wrong), {"bright": 0.3}, ["bright"], rate)
    behind = found["behind_own"]
    assert behind["gain"]["bright"]["verdict"] == says
    row = behind["first"]["bright"]
    assert (row["features"], row["found"], row["false"]) == (12, 12, 8)
    assert row["by_folder"]["strips"]["swaths"] == 12
    assert behind["pays"] == (says == BETTER)
    assert found["pays"] == (says == BETTER)
    assert ("it pays" in found["verdict"]) == found["pays"]


def test_one_that_was_right_on_the_other_folds_and_refuses_what_is_right_is_worse() -> None:
    """In fold 1 it gives nothing right its class; thresholds of the others refuse all of it."""
    held = flights(60)
    mine = answers(held, 0.9, 0.9)
    poor = np.array([held.fold[c.picture] == 1 for c in mine.candidates])
    posterior = np.where(poor[:, None], [[0.5, 0.48, 0.02]], mine.posterior)
    both = Answers(CLASSES, mine.candidates, posterior)
    found = judge_both(held, both, {"bright": 0.82}, ["bright"], 2.0)["behind_own"]
    assert found["both"]["bright"]["found"] < found["first"]["bright"]["found"] == 15
    assert found["gain"]["bright"]["found"]["high"] < 0
    assert found["gain"]["bright"]["verdict"] == WORSE
    assert not found["pays"]


def test_classes_that_are_known_nowhere_are_named_and_left_aside() -> None:
    held = flights()
    found = judge_both(held, answers(held, 0.9, 0.2), {"bright": 0.5}, ["bright", "dark"], 0.1)
    assert found["classes"] == ["bright"]
    assert found["unknown"] == ["dark"]


class _Says:
    """A classifier that gives the logits it is told."""

    def __init__(self) -> None:
        self.logits = np.zeros(3, np.int8)

    def infer(self, tile: np.ndarray, logits: np.ndarray) -> None:
        logits[:] = self.logits


def test_what_comes_through_is_what_a_board_lets_through(tmp_path: Path) -> None:
    """Confirmed, relabelled and refused as `winnow_edge.loop.verifier` does it, for any answer."""
    limits = {"dark": 0.5, "bright": 0.4}
    manifest = probe_manifest(8, input=InputSpec(16, 8, 1, 1.0, -128), thresholds=limits)
    bundle = dataclasses.replace(probe_bundle(tmp_path, 8), manifest=manifest)
    says = _Says()
    board = Verifier(bundle, says)  # type: ignore[arg-type]
    held = flights(1, 1)
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(60):
        says.logits = rng.integers(-40, 40, 3).astype(np.int8)
        spread = np.exp(0.05 * says.logits.astype(float))
        posterior = np.tile(spread / spread.sum(), (2, 1))
        mine = Answers(CLASSES, tuple(candidates(held)), posterior)
        hits = apply(held, mine, {1: Rule({"bright": 0.3}, limits)})[0].hits
        flown = board(_detection(), Verified())
        seen.add(None if flown is None else CLASSES[flown.class_index])
        assert len(hits) == (0 if flown is None else 2)
        for hit in hits:
            assert flown is not None
            assert hit.class_name == CLASSES[flown.class_index]
            assert hit.posterior == pytest.approx(flown.posterior, abs=1e-6)
    assert seen == {None, "dark", "bright"}


def _detection() -> Detection:
    from winnow_edge.loop.surroundings import Window

    around = Window(0, 0)
    around.fill(np.zeros((8, 8), np.uint8), Box(0, 0, 16, 16))
    pixels = np.zeros((8, 8), np.uint8)
    return Detection(0, Box(0, 0, 8, 8), 1, 2, 0.9, pixels, window=around)
