"""Judging whole swaths: what a hit is, the figures, the flight, the page, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from winnow_base.errors import DataError, ModelError
from winnow_base.progress import Progress
from winnow_cli.app import app
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.mission import parse_mission
from winnow_edge.products.kinds import Box
from winnow_ground.scene import render_scene
from winnow_train.swaths.evaluate import evaluate_swaths
from winnow_train.swaths.fly import FLOOR, Flown, Hit, default_mission, fly
from winnow_train.swaths.judge import (
    average_precision,
    choose_thresholds,
    figures,
    first_products,
    lay_over,
)
from winnow_train.windows.pictures import Feature, Picture, read_pictures

BUNDLE = find_bundle("hirise-landmarks")


def picture(*features: Feature, absent: tuple[str, ...] = ("spider",), name: str = "a") -> Picture:
    return Picture(Path(f"{name}.png"), name, features, absent, None)


def flown(held: Picture, *hits: Hit) -> Flown:
    order = tuple(i for i, hit in enumerate(hits) if hit.kept)
    return Flown(held, 1000, 1000, 200, hits, order)


def hit(name: str, line: int, sample: int, posterior: float = 0.9, side: int = 128) -> Hit:
    return Hit(line * 1000 + sample, name, Box(line, sample, side, side), posterior, kept=True)


def crater(line: int, sample: int, side: int) -> Feature:
    return Feature("crater", Box(line, sample, side, side))


@pytest.mark.parametrize(
    ("one", "what"),
    [
        (hit("crater", 80, 80), "true"),
        (hit("crater", 400, 400), "false"),
        (hit("crater", 170, 80), "false"),  # shows less than half of it
        (hit("crater", 0, 650, side=256), "beside"),  # far too small in so large a window
        (hit("crater", 600, 600, side=64), "beside"),  # on the floor of a huge one
        (hit("spider", 80, 80), "false"),  # cannot be there
        (hit("dark dune", 80, 80), "unknown"),
    ],
)
def test_what_a_hit_is(one: Hit, what: str) -> None:
    held = picture(crater(100, 100, 80), crater(550, 550, 300), crater(20, 700, 20))
    assert lay_over([flown(held, one)])[0].verdicts[0].what == what


def test_a_field_is_shown_by_every_hit_whose_middle_lies_in_it() -> None:
    held = picture(Feature("spider", Box(0, 0, 500, 500), field=True), absent=())
    told = lay_over([flown(held, hit("spider", 100, 100), hit("spider", 600, 600))])[0]
    assert [v.what for v in told.verdicts] == ["true", "false"]


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
    assert craters["false_per_1000_windows"] == pytest.approx(1000 / 400)
    sizes = {row["from"]: (row["features"], row["found"]) for row in craters["recall_by_size"]}
    assert sizes == {24: (1, 0), 40: (2, 2)}
    assert found["classes"]["spider"]["false_per_swath"] == 0.5
    assert found["classes"]["spider"]["recall"]["value"] is None
    assert "dark dune" not in found["classes"]
    assert found["first"]["1"] == {
        "true": 2, "false": 0, "beside": 0, "unknown": 0, "precision": 1.0,
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
    truth = json.loads((scenes / "scene-5.truth.json").read_text())
    craters = sum(f["class"] == "crater" for f in truth["features"])
    assert found["classes"]["crater"]["features"] == craters
    page = (tmp_path / "page" / "swaths.html").read_text()
    assert "scene-5.png" in page
    assert "chosen on these very pictures" in page
    assert json.loads((tmp_path / "page" / "swaths.json").read_text()) == found
    with Image.open(tmp_path / "page" / "windows.png") as sheet:
        assert sheet.size[0] > 1000
    table = CliRunner().invoke(app, asked)
    assert table.exit_code == 0
    assert "crater" in table.stdout


def noise(path: Path) -> None:
    pixels = np.random.default_rng(1).integers(90, 160, (160, 160), np.uint8)
    Image.fromarray(pixels).save(path)


def test_pictures_of_which_nothing_is_known_are_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.png")
    with pytest.raises(DataError, match="nothing is known of these pictures"):
        evaluate_swaths(BUNDLE, tmp_path, Progress())
    with pytest.raises(DataError, match="none of the bundle's classes"):
        evaluate_swaths(BUNDLE, tmp_path, Progress(), absent=["volcano"])


def test_the_truth_of_another_picture_is_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.png")
    (tmp_path / "a.truth.json").write_text('{"lines": 99, "samples": 160, "features": []}')
    with pytest.raises(DataError, match="truth of another picture"):
        evaluate_swaths(BUNDLE, tmp_path, Progress(), absent=["spider"])


def test_a_box_outside_the_picture_is_refused(tmp_path: Path) -> None:
    """Even where the truth file does not say how large its picture is."""
    noise(tmp_path / "a.png")
    box = {"class": "crater", "line": 160, "sample": 0, "lines": 20, "samples": 20}
    (tmp_path / "a.truth.json").write_text(json.dumps({"features": [box]}))
    with pytest.raises(DataError, match="box of crater at line 160, sample 0 lies outside"):
        evaluate_swaths(BUNDLE, tmp_path, Progress())


def test_an_absent_class_that_is_misspelt_is_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.png")
    with pytest.raises(DataError, match="--absent names 'spidr'"):
        evaluate_swaths(BUNDLE, tmp_path, Progress(), absent=["spider", "spidr"])


def test_what_cannot_be_judged_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        evaluate_swaths(BUNDLE, tmp_path, Progress())
    with pytest.raises(DataError, match="no such folder"):
        evaluate_swaths(BUNDLE, tmp_path / "gone", Progress())
    with pytest.raises(ModelError, match="only bundles fly"):
        evaluate_swaths(tmp_path, tmp_path, Progress())
    (tmp_path / "bad.png").write_bytes(b"no picture")
    told = CliRunner().invoke(
        app, ["evaluate", str(BUNDLE), "--swaths", str(tmp_path), "--absent", "spider"]
    )
    assert told.exit_code != 0


@pytest.mark.parametrize(
    "wrong",
    [
        ["evaluate", "hirise-landmarks", "--absent", "spider"],
        ["evaluate", "hirise-landmarks", "--swaths", ".", "--dataset", "hirise-v3"],
        ["evaluate", "hirise-landmarks", "--dataset", "hirise-v3"],
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(wrong: list[str]) -> None:
    assert CliRunner().invoke(app, wrong).exit_code == 2
