"""`winnow verifier`: from the folder of a cross-validation to a run folder and its page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.running import winnow
from winnow_base.errors import RecipeError
from winnow_edge.bundle import open_bundle
from winnow_edge.testing.probe import BRIGHT, DARK, MIDDLE, probe_bundle
from winnow_train import verifier
from winnow_train.crossval.outcome import OutOfFold
from winnow_train.crossval.splits import Folds
from winnow_train.runs import load_run
from winnow_train.second.settings import is_verifier, read_settings

CLASSES = ("a-dark", "b-middle", "c-bright")
SIDE = 32
RECIPE = """
about = "what a probe detects"
[data]
dataset = "folder"
[input]
height = 32
width = 32
[model]
backbone = "MobileNet"
alpha = 0.25
weights = ""
last = "conv_pw_3_relu"
frozen = true
[windows]
folders = ["strips"]
looks = "LOOKS"
scales = [1]
hop = 32
[windows.draw]
c-bright = 10
none = 10
[verifier]
classes = ["c-bright"]
ridge = [1e-2, 1e-1]
iterations = 30
"""
MISSION = """
name = "probe"
[instrument.camera]
bundle = "probe.winnow"
nodata = 0
[tiling]
scales = [1]
[compute]
runtime = "fake"
"""
SOURCES = tuple("abcdef")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of painted tiles, and strips with bright squares: the large ones have a box."""
    root, rng = tmp_path_factory.mktemp("root"), np.random.default_rng(2)
    for name, grey in zip(CLASSES, (DARK, MIDDLE, BRIGHT), strict=True):
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for source in SOURCES:
            tile = np.clip(grey + rng.normal(0, 9, (SIDE, SIDE)), 1, 255).astype(np.uint8)
            Image.fromarray(tile).save(folder / f"tile-{source}_{name}.png")
    strips = root / "strips"
    strips.mkdir()
    for source in SOURCES:
        pixels = (MIDDLE + rng.integers(0, 9, (160, 160))).astype(np.uint8)
        pixels[34:62, 34:62] = BRIGHT
        pixels[98:126, 98:126] = rng.integers(240, 256, (28, 28))
        Image.fromarray(pixels).save(strips / f"{source}.png")
        box = {"class": "c-bright", "line": 34, "sample": 34, "lines": 28, "samples": 28}
        truth = {"lines": 160, "samples": 160, "features": [box]}
        (strips / f"{source}.truth.json").write_text(json.dumps(truth))
    (root / "looks.json").write_text('{"pictures": {"*.png": {"absent": ["a-dark"]}}}')
    return root


@pytest.fixture(scope="module")
def cv(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished cross-validation of probes in three folds."""
    out = tmp_path_factory.mktemp("cv")
    from winnow_train.datasets import read_dataset

    numbers = {source: number % 3 + 1 for number, source in enumerate(SOURCES)}
    named = {t.source: t.path.name for t in read_dataset("folder", root).tiles}
    fold_of = {source: numbers[name[len("tile-")]] for source, name in named.items()} | numbers
    folds = Folds(3, fold_of, {source: source for source in fold_of})
    (out / "folds.csv").write_text(folds.as_csv())
    none = np.zeros((0, 3), np.float32)
    words = np.zeros(0, np.str_)
    OutOfFold(
        "folder", CLASSES, "softmax", words, words, words, np.zeros(0, np.int64),
        np.zeros(0, np.int64), none, none, none, {},
    ).save(out / "out-of-fold.npz")  # fmt: skip
    for fold in folds.numbers:
        made = probe_bundle(
            out,
            SIDE,
            classes=CLASSES,
            thresholds={"a-dark": 0.9, "c-bright": 0.5},
            training={"held": sorted(folds.held(fold))},
        )
        made.path.rename(out / f"fold-{fold}.winnow")
    return out


@pytest.fixture(scope="module")
def recipe(root: Path) -> Path:
    path = root / "probe-verifier.toml"
    path.write_text(RECIPE.replace("LOOKS", str(root / "looks.json")))
    return path


@pytest.fixture(scope="module")
def asks(root: Path, recipe: Path) -> Callable[..., tuple[object, ...]]:
    """Arguments of the command: `asks(cv, out, more ...)`."""
    (root / "mission.toml").write_text(MISSION)

    def arguments(cv: Path, out: Path, *more: object) -> tuple[object, ...]:
        shared = ("--data", root, "--mission", root / "mission.toml", "--out", out)
        return ("verifier", recipe, *more, "--cv", cv, *shared)

    return arguments


@pytest.fixture(scope="module")
def run(
    cv: Path, asks: Callable[..., tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("run") / "verifier"
    done = winnow(*asks(cv, out))
    assert done.returncode == 0, done.stderr
    assert "6 pictures of 6 sources, 3 folds" in done.stdout
    assert "chosen on all folds: c-bright from" in done.stdout
    assert f"winnow convert FIRST_RUN --verifier {out}" in done.stdout.replace("\n", " ")
    return out


def test_the_run_folder_is_a_verifier_of_the_first_stage(run: Path) -> None:
    net, card = load_run(run)
    assert card["classes"] == list(CLASSES)
    assert net.input.shape[1:] == (2 * SIDE, SIDE, 1)
    found = json.loads((run / "verifier.json").read_text())
    limit = found["chosen"]["c-bright"]["second"]
    table = card["recipe"]["convert"]
    assert table["thresholds"] == {"c-bright": limit}
    assert table["background"] == ["a-dark", "b-middle"]
    assert not table["refit"]
    train, val = (verifier.read_pairs(run, split) for split in ("train", "val"))
    assert set(train.sources) == set("abde")
    assert set(val.sources) == set("cf")
    assert {CLASSES[k] for k in train.labels} == {"c-bright"}
    # What was fitted on features is what the net says of pixels.
    pairs = np.concatenate([train.tiles, val.tiles])
    said = np.asarray(net(pairs.astype(np.float32), training=False))
    assert (said.argmax(axis=1) == 2).mean() > 0.8


def test_every_bright_square_was_flown_and_judged(run: Path) -> None:
    found = json.loads((run / "verifier.json").read_text())
    row = found["behind_own"]["first"]["c-bright"]
    assert (row["features"], row["found"], row["pictures_found"]) == (6, 6, 6)
    assert row["false"] >= 6
    assert row["by_folder"] == {
        "strips": {"swaths": 6, "pictures_with": 6, "pictures_found": 6, "features": 6, "found": 6,
                   "true": 6, "false": row["false"]},
    }  # fmt: skip
    assert set(found["ridge"]["by_fold"]) == {"1", "2", "3"}
    page = (run / "verifier.html").read_text()
    assert "one stage against two" in page
    with Image.open(run / "rates.png") as plot:
        assert plot.size[0] > 200


def test_a_killed_run_goes_on_from_what_it_had_and_makes_the_same(
    run: Path, cv: Path, asks: Callable[..., tuple[object, ...]], tmp_path: Path
) -> None:
    """Half of the cache is gone, one file of the rest is cut short; nothing else is made anew."""
    out = tmp_path / "again"
    shutil.copytree(run / "cache", out / "cache")
    held = sorted((out / "cache").iterdir())
    gone, cut, kept = held[:4], held[4], held[5:]
    for path in gone:
        path.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    done = winnow(*asks(cv, out, "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((run / "verifier.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps
    assert sorted(path.name for path in (out / "cache").iterdir()) == [p.name for p in held]


def refused(done: object, code: int, says: str) -> None:
    assert done.returncode == code  # type: ignore[attr-defined]
    shown = done.stderr.replace("\n", " ")  # type: ignore[attr-defined]
    assert says in shown
    assert "Traceback" not in shown


def test_what_cannot_be_is_one_line(
    cv: Path, asks: Callable[..., tuple[object, ...]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    begun = tmp_path / "begun"
    shutil.copytree(cv, begun)
    (begun / "out-of-fold.npz").unlink()
    refused(winnow(*asks(begun, out)), 3, "holds no finished cross-validation")
    lacks = tmp_path / "lacks"
    shutil.copytree(cv, lacks)
    (lacks / "fold-2.winnow").unlink()
    refused(winnow(*asks(lacks, out)), 3, "fold-2.winnow: no such bundle of a fold; make it with")
    one, two = cv / "fold-1.winnow", cv / "fold-2.winnow"
    refused(winnow(*asks(cv, out, one, two)), 3, "fold 3 has no bundle")
    refused(winnow(*asks(cv, out, one, one)), 3, "is of fold 1, as fold-1.winnow is")
    held = open_bundle(one).manifest.training
    other = probe_bundle(tmp_path, SIDE, classes=("a", "b", "c"), thresholds={}, training=held)
    refused(winnow(*asks(cv, out, other.path)), 3, "has other classes than the verifier")
    stranger = probe_bundle(tmp_path, SIDE, classes=CLASSES, thresholds={}, training={})
    refused(winnow(*asks(cv, out, stranger.path)), 3, "is the net of no fold")
    small = probe_bundle(tmp_path, 16, classes=CLASSES, thresholds={}, training=held)
    refused(winnow(*asks(cv, out, small.path)), 3, "has tiles of 16 x 16 x 1")
    names = asks(cv, out, "--set", 'verifier.classes=["b-middle"]')
    refused(winnow(*names), 3, "'b-middle', which the first stage never detects")
    assert not out.exists()


def test_recipes_of_verifiers_and_of_trainings_are_told_apart(recipe: Path, tmp_path: Path) -> None:
    assert is_verifier(recipe)
    with pytest.raises(RecipeError, match="a verifier is fitted, not trained"):
        read_settings(recipe, ["train.epochs = 3"])
    with pytest.raises(RecipeError, match="backbone is frozen"):
        read_settings(recipe, ["model.frozen = false"])
    with pytest.raises(RecipeError, match="no folder of pictures"):
        read_settings(recipe, ["windows.folders = []"])
    with pytest.raises(RecipeError, match=r"unknown key `verifier\.ridges`"):
        read_settings(recipe, ["verifier.ridges = [1]"])
    plain = tmp_path / "plain.toml"
    plain.write_text('[data]\ndataset = "folder"\n')
    with pytest.raises(RecipeError, match="is no recipe of a verifier"):
        read_settings(plain)
