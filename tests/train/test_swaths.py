"""Judging whole swaths: what a hit is, the figures, the flight, the page, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.running import winnow
from winnow_base.errors import DataError, ModelError
from winnow_base.progress import Progress
from winnow_cli.app import app
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.mission import parse_mission
from winnow_edge.products.kinds import Box
from winnow_edge.testing.probe import probe_bundle, write_probe
from winnow_ground.scene import render_scene
from winnow_train.swaths.evaluate import evaluate_swaths
from winnow_train.swaths.fly import FLOOR, Flown, Hit, default_mission, fly
from winnow_train.swaths.judge import (
    average_precision,
    choose_thresholds,
    figures,
    first_products,
)
from winnow_train.swaths.match import Judged, known_in, lay_over
from winnow_train.windows.pictures import Feature, Picture, read_looks, read_pictures

BUNDLE = find_bundle("hirise-landmarks")


#: Windows of 128 pixels side by side over a picture of 1,000 x 1,000, at scales 1 and 2.
GRID = np.array(
    [
        (line, sample, line + side, sample + side, side // 128)
        for side in (128, 256)
        for line in range(0, 1000 - side, side)
        for sample in range(0, 1000 - side, side)
    ]
)


def picture(
    *features: Feature,
    absent: tuple[str, ...] = ("spider",),
    name: str = "a",
    source: str = "",
) -> Picture:
    return Picture(Path(f"{name}.png"), source or name, features, absent, None)


def flown(held: Picture, *hits: Hit) -> Flown:
    order = tuple(i for i, hit in enumerate(hits) if hit.kept)
    return Flown(held, 1000, 1000, GRID[:, :4], GRID[:, 4], hits, order)


def hit(
    name: str, line: int, sample: int, posterior: float = 0.9, side: int = 128, kept: bool = True
) -> Hit:
    box = Box(line, sample, side, side)
    return Hit(line * 1000 + sample, name, box, side // 128 or 1, posterior, kept)


def whats(one: Judged) -> list[str | None]:
    return [v.what if v else None for v in one.verdicts]


def crater(line: int, sample: int, side: int) -> Feature:
    return Feature("crater", Box(line, sample, side, side))


@pytest.mark.parametrize(
    ("one", "what"),
    [
        (hit("crater", 80, 80), "true"),
        (hit("crater", 400, 400), "false"),
        (hit("crater", 170, 80), "false"),  # shows less than half of it
        (hit("crater", 0, 650, side=256), "beside"),  # too small in so large a window
        (hit("crater", 0, 500, side=512), "false"),  # 5 pixels of 128: nothing to be seen
        (hit("crater", 600, 600, side=64), "beside"),  # on the floor of a huge one
        (hit("spider", 80, 80), "false"),  # cannot be there
        (hit("dark dune", 80, 80), "unknown"),
    ],
)
def test_what_a_hit_is(one: Hit, what: str) -> None:
    held = picture(crater(100, 100, 80), crater(550, 550, 300), crater(20, 700, 20))
    assert whats(lay_over([flown(held, one)])[0]) == [what]


def test_a_hit_finds_one_feature_and_a_feature_is_found_by_one_hit() -> None:
    """The surest hit claims what fills it most; the next one what is left; the third nothing."""
    held = picture(crater(120, 120, 60), crater(130, 190, 30))
    hits = [hit("crater", 90, 100, p) for p in (0.6, 0.9, 0.8)]
    told = lay_over([flown(held, *hits)])[0]
    assert whats(told) == ["duplicate", "true", "true"]
    assert [v.finds for v in told.verdicts if v] == [None, 0, 1]
    row = figures([told], {"crater": 0.5})["classes"]["crater"]
    assert (row["found"], row["true"], row["duplicate"], row["false"]) == (2, 2, 1, 0)
    assert row["precision"]["value"] == pytest.approx(2 / 3)
    assert row["precision_shown"]["value"] == 1


def test_one_window_over_many_craters_finds_one_and_shows_all() -> None:
    held = picture(*(crater(10, 10 + 60 * n, 40) for n in range(4)))
    told = lay_over([flown(held, hit("crater", 0, 0, side=256))])
    row = figures(told, {"crater": 0.5})["classes"]["crater"]
    assert (row["features"], row["found"], row["shown"]) == (4, 1, 4)
    assert row["recall"]["value"] == 0.25
    assert average_precision(told, "crater") == 0.25
    assert row["recall_by_size"] == [
        {"from": 40, "below": 80, "features": 4, "found": 1, "shown": 4}
    ]


def test_a_threshold_cuts_hits_off_and_changes_no_verdict_of_the_others() -> None:
    held = picture(crater(120, 120, 60), crater(130, 190, 30))
    hits = [hit("crater", 90, 100 + n, 0.5 + n / 10) for n in range(4)]
    whole = whats(lay_over([flown(held, *hits)])[0])
    for first in range(4):
        assert whats(lay_over([flown(held, *hits[first:])])[0]) == whole[first:]


def test_hits_that_were_merged_away_count_for_nothing() -> None:
    """Recall, precision and average precision are of the same hits."""
    held = picture(crater(100, 100, 60), crater(600, 600, 60))
    gone = hit("crater", 580, 580, 0.8, kept=False)
    told = lay_over([flown(held, hit("crater", 80, 80), gone)])
    assert whats(told[0]) == ["true", None]
    row = figures(told, {"crater": 0.5})["classes"]["crater"]
    assert (row["found"], row["shown"], row["true"]) == (1, 1, 1)
    assert row["average_precision"] == 0.5


def test_features_out_of_the_range_judged_are_neither_missed_nor_right_nor_false() -> None:
    held = picture(crater(120, 120, 20), crater(500, 500, 60))
    hits = hit("crater", 90, 100, 0.9), hit("crater", 480, 480, 0.8), hit("crater", 800, 100, 0.7)
    told = lay_over([flown(held, *hits)], (24, 160))
    assert whats(told[0]) == ["beside", "true", "false"]
    row = figures(told, {"crater": 0.5}, (24, 160))["classes"]["crater"]
    assert (row["features"], row["found"], row["beside"]) == (1, 1, 1)
    assert row["precision"]["value"] == 0.5
    assert figures(told, {}, (24, 160))["sizes"] == [24, 160]
    assert whats(lay_over([flown(held, *hits)])[0]) == ["true", "true", "false"]


def test_precision_stands_beside_that_of_windows_everywhere() -> None:
    """Of 49 windows of scale 1 one can show the crater, of 9 of scale 2 one; two hits of three are
    of scale 2."""
    held = picture(crater(10, 10, 60))
    hits = (
        hit("crater", 0, 0, 0.9),
        hit("crater", 400, 400, 0.8, side=256),
        hit("crater", 0, 500, 0.7, side=256),
    )
    found = figures(lay_over([flown(held, *hits)]), {"crater": 0.5})
    row = found["classes"]["crater"]
    assert [(one["scale"], one["true"], one["false"]) for one in row["by_scale"]] == [
        (1, 1, 0),
        (2, 0, 2),
    ]
    assert [one["everywhere"] for one in row["by_scale"]] == pytest.approx([1 / 49, 1 / 9])
    assert [one["precision"] for one in row["by_scale"]] == [1, 0]
    assert row["everywhere"] == pytest.approx((1 / 49 + 2 / 9) / 3)
    assert found["first"]["1"]["everywhere"] == pytest.approx(1 / 49)


def test_windows_over_features_that_are_not_judged_are_left_out_of_everywhere_too() -> None:
    held = picture(crater(10, 10, 60), crater(140, 140, 20))
    row = lay_over([flown(held)], (24, 160))[0].everywhere["crater"]
    assert row == {1: (1, 48), 2: (1, 9)}


def test_a_class_is_known_only_where_something_says_so(tmp_path: Path) -> None:
    """What the looks say of one picture says nothing of another; what a truth file names is known
    wherever there is a truth file."""
    (tmp_path / "a.truth.json").write_text(
        '{"features": [{"class": "crater", "line": 1, "sample": 1, "lines": 50, "samples": 50}]}'
    )
    (tmp_path / "b.truth.json").write_text('{"features": []}')
    looks = {"a.png": {"features": [
        {"class": "impact ejecta", "line": 1, "sample": 1, "lines": 90, "samples": 90}
    ]}, "c.png": {"complete": 10}, "d.png": {"absent": ["spider"]}}  # fmt: skip
    (tmp_path / "looks.json").write_text(json.dumps({"pictures": looks}))
    for name in "abcd":
        noise(tmp_path / f"{name}.png")
    pictures = read_pictures(tmp_path, read_looks(tmp_path / "looks.json"))
    assert [set(names) for names in known_in(pictures)] == [
        {"crater", "impact ejecta"},
        {"crater"},
        {"crater"},
        {"spider"},
    ]
    told = lay_over([flown(pictures[1], hit("impact ejecta", 10, 10), hit("crater", 10, 10))])
    assert whats(told[0]) == ["unknown", "unknown"]  # b alone: no truth file names a crater


def test_a_field_is_shown_by_every_hit_whose_middle_lies_in_it() -> None:
    held = picture(Feature("spider", Box(0, 0, 500, 500), field=True), absent=())
    told = lay_over([flown(held, hit("spider", 100, 100), hit("spider", 600, 600))])[0]
    assert whats(told) == ["true", "false"]


def test_every_window_of_a_field_is_right() -> None:
    held = picture(Feature("spider", Box(0, 0, 500, 500), field=True), absent=())
    told = lay_over([flown(held, hit("spider", 100, 100), hit("spider", 300, 300))])
    row = figures(told, {"spider": 0.5})["classes"]["spider"]
    assert (row["features"], row["found"], row["true"], row["duplicate"]) == (1, 1, 2, 0)


def test_figures_of_two_swaths() -> None:
    first = flown(
        picture(crater(100, 100, 60), crater(500, 500, 30)),
        hit("crater", 80, 80, 0.95),
        hit("crater", 300, 800, 0.8),
        hit("crater", 480, 480, 0.4),
        hit("spider", 700, 100, 0.7),
    )
    second = flown(picture(crater(100, 100, 60), name="b"), hit("crater", 80, 80, 0.6))
    found = figures(lay_over([first, second]), {"crater": 0.5, "spider": 0.5, "dark dune": 0.5})
    craters = found["classes"]["crater"]
    assert (craters["features"], craters["found"]) == (3, 2)
    assert (craters["true"], craters["false"]) == (2, 1)
    assert craters["precision"]["value"] == pytest.approx(2 / 3)
    assert craters["recall"] == {"value": pytest.approx(2 / 3), "low": None, "high": None}
    assert craters["false_per_1000_windows"] == pytest.approx(1000 / (2 * len(GRID)))
    assert found["bootstrap"] == {
        "unit": "source", "sources": 2, "draws": 2000, "level": 0.95, "seed": 0,
    }  # fmt: skip
    sizes = {row["from"]: (row["features"], row["found"]) for row in craters["recall_by_size"]}
    assert sizes == {24: (1, 0), 40: (2, 2)}
    assert found["classes"]["spider"]["false_per_swath"] == 0.5
    assert found["classes"]["spider"]["recall"]["value"] is None
    assert "dark dune" not in found["classes"]
    assert found["first"]["1"] == {
        "true": 2, "duplicate": 0, "false": 0, "beside": 0, "unknown": 0, "precision": 1.0,
        "precision_shown": 1.0, "everywhere": 0.0,
    }  # fmt: skip
    assert [one["by_class"]["crater"]["found"] for one in found["swaths"]] == [1, 1]


def test_three_swaths_have_an_interval() -> None:
    several = [
        flown(picture(crater(100, 100, 60), name=name), hit("crater", 80, where))
        for name, where in (("a", 80), ("b", 80), ("c", 600), ("d", 600))
    ]
    found = figures(lay_over(several), {"crater": 0.5})["classes"]["crater"]
    for key in ("recall", "precision"):
        assert 0 <= found[key]["low"] < found[key]["value"] == 0.5 < found[key]["high"] <= 1
    assert figures(lay_over(several), {"crater": 0.5})["classes"]["crater"] == found


def test_pictures_of_one_source_are_drawn_together() -> None:
    several = [
        flown(picture(crater(100, 100, 60), name=name, source=name[0]), hit("crater", 80, where))
        for name, where in (("a1", 80), ("a2", 80), ("b1", 600), ("b2", 600))
    ]
    found = figures(lay_over(several), {"crater": 0.5})
    assert found["bootstrap"]["sources"] == 2
    assert found["classes"]["crater"]["recall"] == {"value": 0.5, "low": None, "high": None}


def test_average_precision_weighs_each_feature_at_its_rank() -> None:
    held = picture(crater(100, 100, 60), crater(500, 500, 60), crater(800, 800, 60))
    told = lay_over(
        [
            flown(
                held,
                hit("crater", 80, 80, 0.9),
                hit("crater", 300, 800, 0.8),
                hit("crater", 480, 480, 0.7),
            )
        ]
    )
    assert average_precision(told, "crater") == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(told, "spider") is None


def test_thresholds_follow_from_a_rate_of_false_alarms() -> None:
    wrong = [hit("spider", 100, 100 + i, p) for i, p in enumerate((0.55, 0.705, 0.9))]
    told = lay_over([flown(picture(), *wrong)])
    for most, threshold in ((3, 0.5), (2, 0.56), (1, 0.71), (0, 0.91)):
        chosen = choose_thresholds(told, ["spider", "crater"], most)
        assert chosen == {"spider": threshold}
        rate = figures(told, chosen)["classes"]["spider"]["false_per_swath"]
        assert rate <= most


def test_the_first_products_are_those_above_their_thresholds() -> None:
    told = lay_over([flown(picture(), hit("spider", 100, 100, 0.6), hit("spider", 300, 1, 0.9))])
    assert first_products(told, {"spider": 0.8}, 1)["false"] == 1
    assert first_products(told, {"spider": 0.95}, 1)["precision"] is None


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered strip of the scene renderer with its truth."""
    from winnow_ground.scene.files import write_scene

    folder = tmp_path_factory.mktemp("scenes")
    strip = render_scene(seed=5, lines=700, samples=512)
    write_scene(strip, folder / "scene-5.png", folder / "scene-5.truth.json")
    return folder


def test_the_flight_loop_that_flies_is_what_is_judged(scenes: Path) -> None:
    """At a mission's own thresholds the hits are the detections of `winnow-edge run`."""
    from winnow_edge.loop.flight import Flight

    bundle = open_bundle(BUNDLE)
    one = fly(bundle, read_pictures(scenes), default_mission(bundle, (1, 2)), Progress())[0]
    assert (one.lines, one.samples) == (700, 512)
    assert one.windows > 0
    assert all(h.posterior >= FLOOR - 1e-4 for h in one.hits)
    flies = parse_mission(
        f'name = "m"\n[instrument.i]\nbundle = "{BUNDLE}"\nnodata = 0\n[tiling]\nscales = [1, 2]\n'
        '[class.crater]\nthreshold = 0.8\n["class"."dark dune"]\nthreshold = 1.0\n'
    )
    with Flight(flies, scenes / "store") as flight:
        summary = flight.run(scenes / "scene-5.png")
    kept = sum(h.kept and h.class_name == "crater" and h.posterior >= 0.8 for h in one.hits)
    assert summary.tally.by_class.get("crater", 0) == kept


def test_the_command_judges_and_writes_a_page(scenes: Path, tmp_path: Path) -> None:
    asked = ["evaluate", "hirise-landmarks", "--swaths", str(scenes), "--absent", "spider"]
    told = CliRunner().invoke(
        app, [*asked, "--json", "--false-per-swath", "0", "--report", str(tmp_path / "page")]
    )
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["n"] == 1
    assert found["classes"]["spider"]["false"] == 0
    assert found["thresholds_chosen_here"]
    assert found["sizes"] == [11, None]  # a twelfth of the smallest window, 128 pixels
    truth = json.loads((scenes / "scene-5.truth.json").read_text())
    sides = [max(f["lines"], f["samples"]) for f in truth["features"] if f["class"] == "crater"]
    craters = sum(side >= 11 for side in sides)
    assert found["classes"]["crater"]["features"] == craters
    page = (tmp_path / "page" / "swaths.html").read_text()
    assert "scene-5.png" in page
    assert "chosen on these very pictures" in page
    assert json.loads((tmp_path / "page" / "swaths.json").read_text()) == found
    with Image.open(tmp_path / "page" / "windows.png") as sheet:
        assert sheet.size[0] > 1000
    assert "<i>Everywhere</i>" in page
    table = CliRunner().invoke(app, [*asked, "--sizes", "24", "160"])
    assert table.exit_code == 0
    assert "crater" in table.stdout
    assert "sides of 24 to 160 pixels" in table.stdout
    assert "everywhere: the share right of windows placed everywhere" in table.stdout


def noise(path: Path) -> None:
    pixels = np.random.default_rng(1).integers(90, 160, (160, 160), np.uint8)
    Image.fromarray(pixels).save(path)


def test_pictures_of_which_nothing_is_known_are_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.png")
    with pytest.raises(DataError, match="nothing is known of these pictures"):
        evaluate_swaths([BUNDLE], tmp_path, Progress())
    with pytest.raises(DataError, match="none of the bundle's classes"):
        evaluate_swaths([BUNDLE], tmp_path, Progress(), absent=["volcano"])


def test_the_truth_of_another_picture_is_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.png")
    (tmp_path / "a.truth.json").write_text('{"lines": 99, "samples": 160, "features": []}')
    with pytest.raises(DataError, match="truth of another picture"):
        evaluate_swaths([BUNDLE], tmp_path, Progress(), absent=["spider"])


def test_a_box_outside_the_picture_is_refused(tmp_path: Path) -> None:
    """Even where the truth file does not say how large its picture is."""
    noise(tmp_path / "a.png")
    box = {"class": "crater", "line": 160, "sample": 0, "lines": 20, "samples": 20}
    (tmp_path / "a.truth.json").write_text(json.dumps({"features": [box]}))
    with pytest.raises(DataError, match="box of crater at line 160, sample 0 lies outside"):
        evaluate_swaths([BUNDLE], tmp_path, Progress())


def test_misfits_are_refused_before_anything_is_flown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of the pictures is wrong: no store is ever made for the others."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for name in "ab":
        noise(tmp_path / f"{name}.png")
    (tmp_path / "b.truth.json").write_text('{"lines": 99, "samples": 160, "features": []}')
    stamp = temporary.stat().st_mtime_ns
    with pytest.raises(DataError, match="truth of another picture"):
        evaluate_swaths([BUNDLE], tmp_path, Progress(), absent=["spider"])
    assert temporary.stat().st_mtime_ns == stamp


def test_a_bundle_of_other_classes_is_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.png")
    box = {"class": "volcano", "line": 1, "sample": 1, "lines": 20, "samples": 20}
    (tmp_path / "a.truth.json").write_text(json.dumps({"features": [box]}))
    with pytest.raises(DataError, match="truth is of volcano, none of the bundle's classes"):
        evaluate_swaths([BUNDLE], tmp_path, Progress())
    (tmp_path / "a.truth.json").write_text('{"features": []}')
    with pytest.raises(DataError, match="nothing is known of these pictures"):
        evaluate_swaths([BUNDLE], tmp_path, Progress())


def test_an_absent_class_that_is_misspelt_is_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.png")
    with pytest.raises(DataError, match="--absent names 'spidr'"):
        evaluate_swaths([BUNDLE], tmp_path, Progress(), absent=["spider", "spidr"])


def test_what_cannot_be_judged_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        evaluate_swaths([BUNDLE], tmp_path, Progress())
    with pytest.raises(DataError, match="no such folder"):
        evaluate_swaths([BUNDLE], tmp_path / "gone", Progress())
    with pytest.raises(ModelError, match="only bundles fly"):
        evaluate_swaths([tmp_path], tmp_path, Progress())
    (tmp_path / "bad.png").write_bytes(b"no picture")
    told = winnow("evaluate", BUNDLE, "--swaths", tmp_path, "--absent", "spider")
    assert told.returncode == 3
    assert len(told.stderr.strip().splitlines()) == 1
    assert "bad.png" in told.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["evaluate", "hirise-landmarks", "--absent", "spider"],
        ["evaluate", "hirise-landmarks", "--swaths", ".", "--dataset", "hirise-v3"],
        ["evaluate", "hirise-landmarks", "--dataset", "hirise-v3"],
        ["evaluate", "hirise-landmarks", "--sizes", "24", "160"],
        ["evaluate", "hirise-landmarks", "--swaths", ".", "--sizes", "160", "24"],
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(wrong: list[str]) -> None:
    assert CliRunner().invoke(app, wrong).exit_code == 2


def held_out(folder: Path, *sources: str) -> Path:
    """A bundle that says of its training only which sources it held out."""
    folder.mkdir()
    return probe_bundle(folder, training={"held": list(sources)}).path


def test_each_picture_is_flown_by_the_bundle_that_held_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for name in "abc":
        noise(scenes / f"{name}.png")
    first, second = held_out(tmp_path / "1", "a"), held_out(tmp_path / "2", "b", "x")
    said: list[str] = []
    monkeypatch.setattr(Progress, "warn", lambda self, text: said.append(text))
    absent = list(open_bundle(first).manifest.thresholds)[:1]
    mission = write_probe(tmp_path)
    found = evaluate_swaths([first, second], scenes, Progress(), absent=absent, mission=mission)
    assert [row["swath"] for row in found["swaths"]] == ["a.png", "b.png"]
    assert said == ["1 pictures were held out by none, e.g. c.png"]


def test_bundles_that_are_no_folds_of_one_cross_validation_are_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.png")
    first, again = held_out(tmp_path / "1", "a"), held_out(tmp_path / "2", "a", "b")
    elsewhere, whole = held_out(tmp_path / "3", "b"), held_out(tmp_path / "4")
    absent = list(open_bundle(first).manifest.thresholds)[:1]
    for others, wrong in (
        ([first, whole], "held out no source"),
        ([first, again], "a is held out by"),
        ([BUNDLE, first], "has other classes|held out no source"),
    ):
        with pytest.raises(ModelError, match=wrong):
            evaluate_swaths(others, tmp_path, Progress(), absent=absent)
    far = held_out(tmp_path / "5", "c")
    with pytest.raises(DataError, match="seen in training, or is of no fold"):
        evaluate_swaths([elsewhere, far], tmp_path, Progress(), absent=absent)
