"""Tuning: what is found delivers more on other seeds, and is written with the comments kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.running import winnow
from winnow_base.errors import DataError
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.mission import load_mission
from winnow_ground.simulation.tune import played, tune
from winnow_ground.simulation.variants import World, key_of, key_text, selected

from .worlds import FLIES, noise

MISSION = (
    FLIES
    + """\
[class.crater]         # plain ones
threshold = 0.0        # far too low: everything is one
utility = 1.0
[class."impact ejecta"]
utility = 30.0
[ranking]
policy = "fifo"
[simulation]
plan = "plan.csv"
[simulation.schedule]
every_s = 400
[simulation.replay]
tiles = "tiles"
columns = 10
rows = 12
share = {crater = 0.2, "impact ejecta" = 0.02}
"""
)


@pytest.fixture
def mission(tmp_path: Path) -> Path:
    """A mission that replays tiles of three classes, of which one is mistaken for another."""
    rng = np.random.default_rng(1)
    classes = open_bundle(find_bundle("hirise-landmarks-96")).manifest.classes
    # The fake net tells classes by brightness alone; half of the background is nearly a crater's.
    bright = {name: (2 * n + 1) * 128 // len(classes) for n, name in enumerate(classes)}
    for name, looks in (("other", "crater"), ("crater", "crater"), ("impact ejecta",) * 2):
        folder = tmp_path / "tiles" / "val" / name
        folder.mkdir(parents=True)
        for n in range(8):
            level = bright[looks if n % 2 else name] + (14 if name == "other" else 0)
            pixels = np.clip(rng.integers(level - 4, level + 5, (96, 96)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{n}.png")
    (tmp_path / "plan.csv").write_text("start,end,bits_per_s\n500,520,16000\n900,930,16000\n")
    (tmp_path / "m.toml").write_text(MISSION)
    return tmp_path / "m.toml"


def test_what_is_found_brings_more_on_seeds_that_it_was_not_chosen_on(mission: Path) -> None:
    found = tune(mission, most=120, judges=3)
    was, now, gain = found.value
    assert not set(found.chosen_on) & set(found.judged_on)
    assert now.mean >= was.mean and gain.mean == pytest.approx(now.mean - was.mean)
    world = World.of(mission, None, lambda *_: None)
    for changes, mean in (({}, was), (found.changes, now)):
        again = [one["worthwhile"] for one in played(world, changes, found.judged_on)]
        assert np.mean(again) == pytest.approx(mean.mean)
    assert bool(found.changes) == (gain.mean > 0)
    # Rare impacts wait behind everything that was seen before them.
    assert gain.low > 0
    tried = {one.key: one for one in found.tried}
    crater = tried["class", "crater", "threshold"]
    assert ("ranking", "policy") in tried and len(crater.figures) == len(crater.values)
    # Finding none of a class brings none of it.
    none = crater.figures[crater.values.index(1.0)]
    assert none["worthwhile.crater"] == 0 < crater.now["worthwhile.crater"]
    quota = tried["store", "quota_mb"]
    assert quota.best is None and ("store", "quota_mb") not in found.changes


def test_another_utility_to_rank_by_does_not_change_what_a_feature_is_worth(mission: Path) -> None:
    world = World.of(mission, None, lambda *_: None)
    (base,) = played(world, {}, (1,))
    # All utilities ten times as high: the same ranking, the same products, the same worth.
    tenfold = {
        ("class", n, "utility"): 10 * u for n, u in (("crater", 1.0), ("impact ejecta", 30.0))
    }
    (other,) = played(world, tenfold, (1,))
    assert base["value"] > 0
    assert base["worthwhile"] == pytest.approx(base["value"])
    crater = base["worthwhile.crater"], other["worthwhile.crater"]
    assert other["value.crater"] == pytest.approx(10 * crater[1])


def test_the_file_that_is_written_is_the_mission_with_its_comments(mission: Path) -> None:
    out = mission.with_name("tuned.toml")
    page = mission.with_name("tuned.html")
    asked = ("--out", out, "--page", page, "--plays", 60, "--judges", 2, "--json")
    done = winnow("tune", mission, *asked)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    shown = page.read_text()
    assert "What a threshold costs" in shown and "store.quota_mb" in shown
    assert all(
        key_text(tuple(change["key"])).split(".")[-1] in shown for change in found["changes"]
    )
    assert not re.search(r"(src|href|srcset)=\"(?!data:|#)", shown)
    text = out.read_text()
    assert "# plain ones" in text
    tuned = load_mission(out)
    for change in found["changes"]:
        if change["key"][0] == "class":
            value = getattr(tuned.classes[change["key"][1]], change["key"][2])
            assert value == change["value"]
    again = winnow("tune", mission, "--out", out, "--plays", 1)
    assert again.returncode == 3 and "is there already" in again.stderr
    elsewhere = winnow("tune", mission, "--out", mission.parent / "sub" / "x.toml")
    assert elsewhere.returncode == 3 and "must lie beside the mission" in elsewhere.stderr


def test_several_processes_find_the_same(mission: Path) -> None:
    one = tune(mission, most=12, judges=2)
    two = tune(mission, most=12, judges=2, workers=2)
    assert (one.changes, one.tried, one.after) == (two.changes, two.tried, two.after)


def test_without_truth_nothing_is_tuned(mission: Path) -> None:
    noise(mission.parent, "a.png")
    text = MISSION[: MISSION.index("[simulation.replay]")]
    mission.write_text(text.replace("[simulation]\n", '[simulation]\nswaths = ["a.png"]\n'))
    with pytest.raises(DataError, match="no truth is known of its swaths"):
        tune(mission)


def test_a_larger_hop_and_fewer_scales_leave_tiles_out(mission: Path) -> None:
    text = MISSION[: MISSION.index("[simulation.replay]")].replace(
        "[compute]", "[tiling]\nhop = 24\nscales = [1, 2]\n[compute]"
    )
    scenes = "[simulation.scenes]\ncount = 1\nlines = 400\nsamples = 420\n"
    mission.write_text(text + scenes)
    (fine,) = World.of(mission, None, lambda *_: None).sources.kept.values()
    mission.write_text(text.replace("24", "48").replace("[1, 2]", "[2]") + scenes)
    (coarse,) = World.of(mission, None, lambda *_: None).sources.kept.values()
    left = selected(fine, (2,), 48)
    places = ["line", "sample", "lines", "samples", "scale"]
    assert left.tiles[places].tolist() == coarse.tiles[places].tolist()
    assert (left.logits == coarse.logits).all()
    assert left.shows.tolist() == coarse.shows.tolist()
    assert left.features == coarse.features
    assert selected(fine, (1, 2), 24) is fine


@pytest.mark.parametrize(
    "text", ["link.loss", 'class."dark dune".utility', "class.'a.b'.threshold"]
)
def test_keys_are_written_as_they_are_read(text: str) -> None:
    assert key_of(key_text(key_of(text))) == key_of(text)
