"""The verdict on a swath: its rule at every boundary, and what a run says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from winnow_edge.board.bench import MemorySource
from winnow_edge.errors import MissionError
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import run_swath
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.loop.verdict import BAD, GOOD, HARD, Votes, as_json, as_words, judge
from winnow_edge.mission import Verdict, parse_mission
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.encode import decode_swath
from winnow_edge.products.kinds import Kind
from winnow_edge.store.store import Store
from winnow_edge.testing import SIDE, probe_bundle, probe_mission

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
        (
            [0.6, 0.6, 0.6, 0.0, 0.0],
            HARD,
        ),  # 0.36: over half, too little; three
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


def test_words_and_values() -> None:
    found = as_json(votes(0.9, 0.9, 0.3), RULE)
    assert found == {"verdict": GOOD, "class": "ice", "mean": 0.7, "tiles": 3, "showing": 2}
    assert as_words(found) == "good for ice: mean posterior 0.700, 2 of 3 tiles show it"


def test_a_mission_says_the_rule_and_mistakes_are_named() -> None:
    text = 'name = "m"\n[instrument.c]\nbundle = "b"\n[verdict]\nclass_name = "ice"\n'
    assert parse_mission(text).verdict == RULE
    assert parse_mission(f"{text}hard_means = [0.3, 0.5]").verdict.hard_means == (0.3, 0.5)
    for line, says in (
        ("hard_means = [0.6, 0.4]", "the lower first"),
        ("good_mean = 1.5", "legal is 0 to 1"),
        ("good_men = 0.5", "unknown key `verdict.good_men`"),
    ):
        with pytest.raises(MissionError, match=says) as error:
            parse_mission(f"{text}{line}\n")
        assert str(error.value.where).endswith(":6")


STRIP = np.full((10 * SIDE, 6 * SIDE), 128, np.uint8)
STRIP[:SIDE, : 3 * SIDE] = 250  # three bright tiles
STRIP[SIDE : 2 * SIDE, :SIDE] = 250
STRIP[SIDE + 7, 7] = 0  # a nodata centre in a bright tile: the middle square is a pixel wide
STRIP[3 * SIDE + 4, 4] = 0  # nodata elsewhere drops nothing


def fly(folder: Path, more: str = "", of: str = "bright") -> SwathSummary:
    bundle = probe_bundle(folder, thresholds={})
    mission = probe_mission(
        f"[tiling]\nhop = {SIDE}\n[screening]\nnodata_centre = true\n"
        f'[verdict]\nclass_name = "{of}"\n{more}',
        camera="nodata = 0",
    )
    with Interpreters(bundle, "fake", 1) as pool, Store.open(folder, mission=mission) as store:
        settings = Settings.of(mission, "camera", bundle)
        lines = Chain(MemorySource(STRIP, "strip"), settings.camera)
        summary = run_swath(lines, settings, store, pool)
        (row,) = store.swaths()
        (number,) = (p.id for p in store.products(kinds=[Kind.SWATH]))
        assert decode_swath(store.data(number))["verdict"] == summary.verdict
        assert row.summary is not None and row.summary["verdict"] == summary.verdict
    return summary


def test_a_run_gives_the_verdict_and_the_swath_product_carries_it(tmp_path: Path) -> None:
    summary = fly(tmp_path)
    assert summary.tally.screened == 1
    found = summary.verdict
    assert found is not None
    assert (found["class"], found["tiles"], found["showing"]) == ("bright", 59, 3)
    assert found["verdict"] == HARD  # over 0.01 with more than one
    assert summary.as_json()["verdict"] == found
    assert "verdict: hard to identify for bright" in summary.as_text()
    # Complete already: the store says it again.
    assert fly(tmp_path).verdict == found


def test_other_limits_are_another_verdict(tmp_path: Path) -> None:
    summary = fly(tmp_path, "hard_tiles = 3")
    assert summary.verdict is not None and summary.verdict["verdict"] == BAD


def test_a_class_that_no_bundle_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissionError, match="no class of bundle 'probe'"):
        fly(tmp_path, of="ice")
