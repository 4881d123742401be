"""The quick parts of a turn: what is refused, what is learned, how two bundles are compared."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.running import winnow
from winnow_base.progress import Progress
from winnow_edge.bundle import find_bundle, open_bundle, write_bundle
from winnow_ground.catalogue.schema import create, open_catalogue
from winnow_ground.labelling.learnable import learnable
from winnow_ground.scene import render_scene
from winnow_ground.scene.files import write_scene
from winnow_train.datasets import read_dataset
from winnow_train.recipe import Data
from winnow_train.tasks import Task, make_task
from winnow_train.turn.compare import Gain, mcnemar, on_strips, on_tiles
from winnow_train.turn.plan import Flying, Settings, classes_of, next_name

QUIET = Progress(quiet=True)
FLIES, OTHER = find_bundle("hirise-landmarks"), find_bundle("hirise-landmarks-96")


@functools.cache
def strip(seed: int, side: int) -> np.ndarray:
    return render_scene(seed=seed, lines=side, samples=side).image


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Tiles of a rendered strip as a data set of all classes that the bundle knows."""
    pixels = strip(3, 640)
    classes = open_bundle(FLIES).manifest.classes
    for number, name in enumerate(classes):
        for split, source in (("train", "a"), ("val", "b"), ("val", "c"), ("val", "d")):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True, exist_ok=True)
            at = 60 * number
            part = pixels[at : at + 128, 100 * "abcd".index(source) :][:, :128]
            Image.fromarray(part).save(folder / f"{source}-00000{number}.png")
    return tmp_path / "data"


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Tiles of an archive's strip: two that are agreed on, one in dispute, one put off."""
    Image.fromarray(strip(1, 512)).save(tmp_path / "s.png")
    sha256 = hashlib.sha256((tmp_path / "s.png").read_bytes()).hexdigest()
    path = tmp_path / "mars.db"
    with closing(create(path)) as db:
        db.executemany("INSERT INTO class (name) VALUES (?)", [("crater",), ("dragon",)])
        db.execute(
            "INSERT INTO swath (name, sha256, folder, picture) VALUES ('s.png', ?, ?, 's.png')",
            (sha256, str(tmp_path)),
        )
        db.executemany(
            "INSERT INTO tile (swath, number, class, posterior, detection, line, sample, lines,"
            " samples, have, changed) VALUES (1, ?, 1, .9, 1, ?, 0, 128, 128, ?, 1)",
            [(n, 64 * n, have) for n, have in enumerate((2, 2, 2, 2, 1))],
        )
        said = [
            (1, "ann", "shows", 1), (2, "ann", "nothing", None), (3, "ann", "shows", 1),
            (3, "bob", "nothing", None), (4, "ann", "later", None), (5, "ann", "shows", 2),
        ]  # fmt: skip
        db.executemany(
            "INSERT INTO label (tile, person, at, answer, class) VALUES (?, ?, '', ?, ?)", said
        )
    return path


def test_labels_that_can_be_learned_from(catalogue: Path, tmp_path: Path) -> None:
    with closing(open_catalogue(catalogue)) as db:
        found = learnable(db)
        assert [(t.tile, t.class_name, t.swath) for t in found.tiles] == [
            (1, "crater", "s.png"), (2, None, "s.png"), (5, "dragon", "s.png"),
        ]  # fmt: skip
        assert found.left_out == {"people disagree, are unsure or put it off": 2}
        assert {t.picture for t in found.tiles} == {tmp_path / "s.png"}
        (tmp_path / "s.png").unlink()
        gone = learnable(db)
    assert gone.tiles == () and gone.left_out["no image of it is here"] == 3


@pytest.mark.parametrize("how", ["picture", "label"])
def test_a_picture_that_nobody_labelled_is_not_learned(
    how: str, catalogue: Path, tmp_path: Path
) -> None:
    if how == "picture":
        Image.fromarray(strip(2, 512)).save(tmp_path / "s.png")
    with closing(open_catalogue(catalogue, write=True)) as db:
        if how == "label":
            db.execute("UPDATE label SET sha256 = ? WHERE tile = 1", ("ab" * 32,))
        found = learnable(db)
    gone = {"picture": {1, 2, 5}, "label": {1}}[how]
    assert {t.tile for t in found.tiles} == {1, 2, 5} - gone
    assert found.left_out["its picture is another one than was labelled"] == len(gone)


def test_a_thumbnail_that_was_labelled_stands_for_its_image(
    catalogue: Path, tmp_path: Path
) -> None:
    for name in ("small", "image", "other"):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    with closing(open_catalogue(catalogue, write=True)) as db:
        db.execute("UPDATE tile SET file = 'image.jpg' WHERE id IN (1, 2)")
        db.execute(
            "INSERT INTO product (store, number, swath, kind, tile, contact, container, bytes,"
            " arrival, file) VALUES (1, 1, 1, 'thumbnail', 0, 1, 1, 5, 1, 'small.jpg')"
        )
        for tile, name in ((1, b"small"), (2, b"other")):
            sha256 = hashlib.sha256(name).hexdigest()
            db.execute("UPDATE label SET sha256 = ? WHERE tile = ?", (sha256, tile))
        found = learnable(db)
    assert {t.tile for t in found.tiles} == {1, 5}


def test_labels_become_classes_of_the_data(tiles: Path) -> None:
    flying = Flying.of(open_bundle(FLIES))
    old = read_dataset("folder", tiles)
    assert classes_of(flying, ["crater", None, "dragon"], old) == ["crater", "other", None]
    dunes = Flying.of(open_bundle(find_bundle("crater-dune")))
    assert classes_of(dunes, ["dune", "crater"], old) == ["dark dune", "crater"]
    ice = Flying.of(open_bundle(find_bundle("ice-patches")))
    assert classes_of(ice, ["no ice", "ice"], old) == ["bright dune", "swiss cheese"]


def test_the_recipe_is_the_bundles_own_in_the_order_of_its_outputs(tiles: Path) -> None:
    flying = Flying.of(open_bundle(FLIES))
    old = read_dataset("folder", tiles)
    recipe = flying.recipe_of_turn(old, Settings(epochs=3), tiles)
    assert recipe.name == "hirise-landmarks-r2" and recipe.data.dataset == "folder"
    assert tuple(recipe.data.map) == flying.bundle.manifest.classes
    assert make_task(old, recipe.data, "softmax").classes == flying.bundle.manifest.classes
    assert (recipe.model, recipe.input, recipe.augment) == (
        flying.recipe.model, flying.recipe.input, flying.recipe.augment,
    )  # fmt: skip
    assert recipe.distill.start and recipe.distill.teachers == ("hirise-landmarks",)
    assert recipe.train.epochs == 3 and recipe.train.learning_rate <= 3e-4


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("labels", "no label that can be learned from"),
        ("catalogue", "is not there"),
        ("data", "no such folder"),
        ("classes", "is not here"),
        ("to", "no such folder"),
        ("same", "what flies stays"),
        ("camera", "is of one camera"),
        ("bundle", "no such bundle"),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_is_trained(
    wrong: str, words: str, catalogue: Path, tiles: Path, tmp_path: Path
) -> None:
    if wrong == "labels":
        with closing(sqlite3.connect(catalogue)) as db, db:
            db.execute("DELETE FROM label")
    bundle = {"camera": "msl-mahli", "bundle": "dragons"}.get(wrong, "hirise-landmarks")
    labels = tmp_path / "none.db" if wrong == "catalogue" else catalogue
    data = tmp_path / "none" if wrong == "data" else tiles
    to = {"to": tmp_path / "none" / "x.winnow", "same": FLIES}.get(wrong, tmp_path / "x.winnow")
    if wrong in ("labels", "catalogue"):  # the published tiles of the shipped one are not here
        bundle = str(_of_folder(tmp_path))
    done = winnow("retrain", bundle, "--labels", labels, "--data", data, "--to", to)
    assert done.returncode == 3
    (said,) = done.stderr.strip().splitlines()
    assert words in said
    assert not (tmp_path / "x.winnow").exists()


def _of_folder(tmp_path: Path) -> Path:
    """The shipped bundle as if it had learned from a folder per class."""
    held = open_bundle(FLIES)
    recipe = {**held.manifest.training["recipe"]}
    recipe["data"] = {"dataset": "folder"}
    training = {**held.manifest.training, "recipe": recipe, "dataset": "folder"}
    manifest = dataclasses.replace(held.manifest, training=training)
    path = tmp_path / "mine.winnow"
    write_bundle(path, manifest, model=held.model, golden=held.golden, card="mine")
    return path


def task_of(tiles: Path) -> Task:
    classes = open_bundle(FLIES).manifest.classes
    data = Data(dataset="folder", map={name: (name,) for name in classes})
    return make_task(read_dataset("folder", tiles), data, "softmax").split("val")


def test_a_net_gains_nothing_on_itself(tiles: Path) -> None:
    task = task_of(tiles)
    rows = np.ones(len(task.truth), bool)
    gains = on_tiles(task, FLIES, FLIES, {"old val": rows, "new labels": ~rows}, QUIET)
    assert [gain.figure for gain in gains] == ["accuracy", "mean recall"]
    for gain in gains:
        assert (gain.on, gain.n, gain.sources, gain.value) == ("old val", 24, 3, 0.0)
        assert not gain.is_worse()
    assert gains[0].p == 1.0


def test_gains_are_differences_of_figures_that_each_net_has_alone(tiles: Path) -> None:
    task = task_of(tiles)
    every = np.ones(len(task.truth), bool)
    both = on_tiles(task, FLIES, OTHER, {"val": every}, QUIET)
    back = on_tiles(task, OTHER, FLIES, {"val": every}, QUIET)
    for there, again in zip(both, back, strict=True):
        assert (there.flying, there.new) == (again.new, again.flying)
        assert there.value == -again.value and there.p == again.p
    done = winnow("evaluate", FLIES, "--dataset", "folder", "--data", tiles, "--json")
    assert f'"accuracy": {both[0].flying}' in done.stdout


def test_strips_that_were_learned_from_do_not_judge(tmp_path: Path) -> None:
    for seed in (1, 2):
        scene = render_scene(seed=seed, lines=512, samples=512)
        path = tmp_path / f"strip-{seed}.png"
        write_scene(scene, path, path.with_suffix(".truth.json"))
    (gain,), left_out = on_strips(tmp_path, FLIES, OTHER, frozenset(["strip-1"]), QUIET)
    assert (gain.figure, gain.n, gain.sources, left_out) == ("F1", 1, 1, 1)
    assert 0 <= gain.flying <= 1 and gain.low is None
    every = frozenset(["strip-1", "strip-2"])
    assert on_strips(tmp_path, FLIES, FLIES, every, QUIET) == ([], 2)


def gain(new: float, low: float | None = None, high: float | None = None, **more: bool) -> Gain:
    return Gain("old val", "accuracy", 100, 9, 0.9, new, low, high, **more)


def test_worse_is_beyond_its_noise_or_by_more_than_is_allowed() -> None:
    assert gain(0.899, -0.002, -0.0001).is_worse()
    assert gain(0.87, -0.05, 0.01).is_worse()
    assert gain(0.87).is_worse()
    assert not gain(0.885, -0.03, 0.02).is_worse()
    assert not gain(0.87, -0.05, 0.01, decides=False).is_worse()
    assert not gain(0.92, 0.01, 0.03).is_worse()
    assert not gain(0.87).is_worse(most_loss=0.05)


def test_mcnemar_is_the_binomial_test_of_the_tiles_that_differ() -> None:
    # Both sides of a fair coin: 2 x (1 + 10) / 1024.
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert mcnemar(5, 5) == 1.0


def test_names_count_rounds() -> None:
    names = [next_name(name) for name in ("a", "a-r2", "a-r19", "a-rx")]
    assert names == ["a-r2", "a-r3", "a-r20", "a-rx-r2"]
