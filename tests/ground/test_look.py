"""`winnow look`: what flies is what is shown, and every figure says by whose word."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.running import winnow
from winnow_base.appearance import Measured, describe
from winnow_edge.bundle import find_bundle, open_bundle, write_bundle
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import parse_mission
from winnow_ground.scene import render_scene
from winnow_ground.scene.files import write_scene

FEWEST = "0.3"


@pytest.fixture(scope="module")
def strip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered strip; its truth lies elsewhere."""
    folder = tmp_path_factory.mktemp("strip")
    (folder / "truth").mkdir()
    scene = render_scene(lines=512, samples=512, seed=1)
    write_scene(scene, folder / "strip.png", folder / "truth" / "strip.truth.json")
    return folder / "strip.png"


def looked(out: Path, *arguments: object) -> dict[str, Any]:
    done = winnow("look", *arguments, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Page(HTMLParser):
    """What a page fetches and says."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.text = ""
        self.tags: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [v or "" for k, v in attrs if k in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_shows_what_the_loop_that_flies_finds(strip: Path, tmp_path: Path) -> None:
    found = looked(tmp_path / "look", strip, "--scales", "1,2", "--threshold", FEWEST)
    (picture,) = found["pictures"]
    classes = "crater", "dark dune", "bright dune", "slope streak", "spider"
    rules = "".join(
        f"[class.{name!r}]\nthreshold = {FEWEST}\n"
        for name in (*classes, "impact ejecta", "swiss cheese")
    )
    text = (
        "name = 'm'\n[instrument.camera]\nbundle = 'hirise-windows'\nnodata = 0\n"
        f"[tiling]\nscales = [1, 2]\n{rules}"
    )
    with Flight(parse_mission(text), tmp_path / "store") as flight:
        flown = flight.run(strip)
    assert picture["by_class"] == flown.tally.by_class
    assert len(picture["detections"]) == flown.tally.detections > 0
    posteriors = [d["posterior"] for d in picture["detections"]]
    assert posteriors == sorted(posteriors, reverse=True)
    page = Page(tmp_path / "look" / "look.html")
    assert all(url.startswith("data:") for url in page.urls) and "script" not in page.tags
    assert f"{flown.tally.detections}detections" in page.text.replace(" ", "")
    assert "by the model's word" in page.text and "calibrated on" in page.text
    assert found["cautions"]
    with Image.open(picture["png"]) as image:
        assert image.width > 500


def test_with_truth_features_are_found_missed_or_false(strip: Path, tmp_path: Path) -> None:
    (tmp_path / "strip.png").write_bytes(strip.read_bytes())
    truth = json.loads((strip.parent / "truth" / "strip.truth.json").read_text())
    (tmp_path / "strip.truth.json").write_text(json.dumps(truth))
    done = winnow("look", tmp_path / "strip.png", "--out", tmp_path / "o", "--threshold", FEWEST)
    assert done.returncode == 0, done.stderr
    there = len(truth["features"])
    assert f"of {there} features found" in done.stdout
    assert "model's word" not in done.stdout
    (picture,) = looked(tmp_path / "o", tmp_path / "strip.png")["pictures"]
    assert sum(t["there"] for t in picture["truth"].values()) == there
    false = sum(t["false"] for t in picture["truth"].values())
    assert false == sum(d["true"] is False for d in picture["detections"])
    # truth of another class alone has no say about these
    (tmp_path / "strip.truth.json").write_text(
        '{"features": [{"class": "lake", "line": 1, "sample": 1, "lines": 90, "samples": 90}]}'
    )
    (picture,) = looked(tmp_path / "o", tmp_path / "strip.png")["pictures"]
    assert picture["truth"] == {"lake": {"there": 1, "found": 0, "false": 0}}
    assert all(d["true"] is None for d in picture["detections"])


def test_thresholds_and_scales_are_options(strip: Path, tmp_path: Path) -> None:
    def tiles(*more: object) -> tuple[int, int]:
        (picture,) = looked(tmp_path / "o", strip, *more)["pictures"]
        return picture["tiles"], len(picture["detections"])

    few = tiles("--scales", "1")
    assert tiles("--scales", "1,2")[0] > few[0]
    assert tiles("--scales", "1", "--threshold", "1")[1] == 0
    # every tile of a class, of one class alone
    (picture,) = looked(tmp_path / "o", strip, "--threshold", "1", "--threshold", "crater=0")[
        "pictures"
    ]
    assert set(picture["by_class"]) == {"crater"}


def test_pictures_unlike_the_training_tiles_are_told_of(strip: Path, tmp_path: Path) -> None:
    shipped = open_bundle(find_bundle("hirise-landmarks"))
    assert "appearance" not in shipped.manifest.training
    said = looked(tmp_path / "o", strip, "--threshold", "1", "--bundle", shipped.path)
    (said,) = said["cautions"]
    assert "does not say what its training tiles look like" in said
    bright = np.full((9, 64, 64), 230, np.uint8)
    training = {"appearance": describe(Measured.of(bright))}
    manifest = dataclasses.replace(shipped.manifest, training=training)
    write_bundle(
        tmp_path / "own.winnow",
        manifest,
        model=shipped.model,
        golden=shipped.golden,
        card=shipped.card,
    )
    (light, contrast) = looked(
        tmp_path / "o", strip, "--threshold", "1", "--bundle", tmp_path / "own.winnow"
    )["cautions"]
    assert "brightness" in light and "contrast" in contrast
    assert "Like what it was trained on?" in Page(tmp_path / "o" / "look.html").text


def test_a_folder_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b & <i>.png", "small.png"):
        side = 40 if name == "small.png" else 200
        Image.fromarray(rng.integers(0, 255, (side, side), np.uint8)).save(folder / name)
    (folder / "c.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "notes.txt").write_text("no picture")
    done = winnow("look", folder, "--out", folder, "--scales", "1")
    # one is bad: the others are looked at, and it is said
    assert done.returncode == 3 and "c.jpg" in done.stderr
    assert done.stdout.count("tiles in") == 3
    assert "nothing was shown to the net" in done.stdout
    page = Page(folder / "look.html")
    assert "<i>" in page.text and "Not looked at" in page.text
    made = {p.name for p in folder.glob("*.look.png")}
    assert len(made) == 3
    # its own maps are no pictures of the folder
    again = looked(folder, folder / "a.png", folder / "b & <i>.png", "--scales", "1")
    assert len(again["pictures"]) == 2


def test_two_pictures_of_one_name_have_a_map_each(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        Image.new("L", (150, 150), 90).save(tmp_path / name / "same.png")
    found = looked(tmp_path / "o", tmp_path / "x", tmp_path / "y", "--scales", "1")
    assert len({p["png"] for p in found["pictures"]}) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["none.png"], 3, "no such swath"),
        (["empty"], 3, "holds no picture"),
        (["a.png", "--threshold", "volcano=0.5"], 3, "no class of the bundle"),
        (["a.png", "--threshold", "crater=2"], 2, "CLASS"),
        (["a.png", "--scales", "0"], 3, "out of range"),
        (["a.png", "--scales", "one"], 2, "whole numbers"),
        (["a.png", "--bundle", "nobody"], 3, "no such bundle"),
        (["a.png", "--mission", "a.png"], 3, "a.png"),
    ],
)
def test_what_cannot_be_looked_at_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    Image.new("L", (150, 150), 90).save(tmp_path / "a.png")
    done = winnow("look", *arguments)
    assert done.returncode == code
    assert says in done.stderr and "Traceback" not in done.stderr
