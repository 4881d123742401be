"""The verdict on a swath: its rule at every boundary, and what a run says."""

from __future__ import annotations

import numpy as np
import pytest

from winnow_edge.errors import MissionError
from winnow_edge.mission import Verdict, parse_mission
from winnow_edge.verdict import BAD, GOOD, HARD, Votes, as_json, as_words, judge

RULE = Verdict(class_name="ice")


def votes(*posteriors: float) -> Votes:
    found = Votes()
    found.add(np.array(posteriors), RULE)
    return found


@pytest.mark.parametrize(
    ("posteriors", "expected"),
    [
        ([0.9, 0.9, 0.1], GOOD),  # mean 0.633, two of three
        ([0.6, 0.6, 0.6], HARD),  # mean exactly 0.6 is not above 0.6, but within 0.4 to 0.6
        ([0.6, 0.6, 0.61], GOOD),
        ([0.65, 0.65, 0.0], HARD),  # two of three, mean 0.433
        ([0.6, 0.6, 0.0], HARD),  # exactly 0.4: the bound is in
        ([0.6, 0.6, 0.6, 0.0, 0.0], HARD),  # 0.36: over half of them and too little; 3 tiles show it
        ([0.8, 0.0], GOOD),  # exactly half is not over half: 0.4 is above 0.2
        ([0.8, 0.0, 0.0, 0.0], BAD),  # mean exactly 0.2, one tile
        ([0.81, 0.0, 0.0, 0.0], GOOD),
        ([0.59, 0.59, 0.59], HARD),  # no tile shows it: not good by the few, but 0.4 to 0.6
        ([0.3, 0.3, 0.3], BAD),  # above 0.2, but no tile shows it
        ([0.7] + [0.0] * 9, BAD),  # 0.07 with one tile
        ([0.7] * 2 + [0.0] * 18, HARD),  # 0.07 with two
        ([0.6] * 2 + [0.0] * 118, BAD),  # exactly 0.01 is not above
        ([0.6] * 2 + [0.0] * 117, HARD),
        ([0.0], BAD),
        ([], BAD),
    ],
)
def test_the_rule_at_its_boundaries(posteriors: list[float], expected: str) -> None:
    assert judge(votes(*posteriors), RULE) == expected


def test_limits_are_the_missions() -> None:
    few = votes(0.3, 0.3, 0.3)
    assert judge(few, Verdict(class_name="ice", few_tiles=0)) == GOOD
    assert judge(few, Verdict(class_name="ice", hard_means=(0.25, 0.3))) == HARD
