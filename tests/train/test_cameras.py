"""One model per camera, judged in one go; and figures that do not depend on the files' order."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from winnow_cli.app import main
from winnow_train.datasets import camera_of
from winnow_train.recipe import parse_recipe
from winnow_train.samples import log_prior, make_sample
from winnow_train.tasks import read_task

CLASSES = ("bar", "disc", "plain")


def winnow(*arguments: object) -> int:
    """Run the command in this process; what it prints is for capsys."""
    import sys

    argv, sys.argv = sys.argv, ["winnow", *map(str, arguments)]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
    return 0


def as_msl(shapes: Path, root: Path, order: np.random.Generator | None = None) -> Path:
    """The rendered shapes as the rover set is published: label lists, sol and camera in the names.

    Sources are of the left and right Mastcam in turn; val has a sol of each.
    """
    home = root / "msl-images"
    (home / "calibrated").mkdir(parents=True)
    words = "".join(f"{i} {c}\n" for i, c in enumerate(CLASSES))
    (home / "msl_synset_words-indexed.txt").write_text(words)
    for split in ("train", "val"):
        rows = []
        for label, kind in enumerate(CLASSES):
            for k, path in enumerate(sorted((shapes / split / kind).iterdir())):
                sol = "abcdef".index(path.name[4])
                name = f"calibrated/{sol:04d}{'ML' if sol % 2 else 'MR'}{label}{k:03d}_DRCL.png"
                shutil.copy(path, home / name)
                rows.append(f"{name} {label}\n")
        if order is not None:
            rows = [rows[i] for i in order.permutation(len(rows))]
        (home / f"{split}-calibrated-shuffled.txt").write_text("".join(rows))
    return root


@pytest.fixture(scope="module")
def rover(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_msl(shapes, tmp_path_factory.mktemp("rover"))


def by_brightness(folder: Path, classes: tuple[str, ...], instrument: str) -> Path:
    """A run folder whose net tells dark, bright and plain tiles apart by their mean alone."""
    import keras

    rules = {"bar": (-1.0, 114.0), "disc": (4.0, -4 * 121.5), "plain": (0.0, 0.0)}
    tile = keras.Input((32, 32, 1))
    head = keras.layers.Dense(len(classes))
    net = keras.Model(tile, head(keras.layers.GlobalAveragePooling2D()(tile)))
    slopes, offsets = zip(*(rules[c] for c in classes), strict=True)
    head.set_weights([np.array([slopes], np.float32), np.array(offsets, np.float32)])
    folder.mkdir()
    net.save(folder / "model.keras")
    dropped = [c for c in CLASSES if c not in classes]
    data = {"dataset": "msl", "instrument": instrument, "drop": dropped}
    card = {
        "name": folder.name,
        "recipe": {"name": folder.name, "data": data},
        "classes": classes,
        "head": "softmax",
        "input": {"height": 32, "width": 32, "channels": 1},
        "temperature": 1.5,
        "training": {"dataset": "msl"},
    }
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each Mastcam, the right one never shown a bar, and one of both."""
    home = tmp_path_factory.mktemp("models")
    return {
        "left": by_brightness(home / "left", CLASSES, "ML"),
        "right": by_brightness(home / "right", ("disc", "plain"), "MR"),
        "single": by_brightness(home / "single", CLASSES, ""),
    }


def judged(capsys: pytest.CaptureFixture[str], root: Path, *arguments: object) -> dict[str, object]:
    capsys.readouterr()
    assert winnow("evaluate", *arguments, "--dataset", "msl", "--data", root, "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_each_tile_goes_to_the_model_of_its_camera_and_every_tile_counts(
    models: dict[str, Path], rover: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = judged(capsys, rover, models["left"], models["right"], "--by-instrument")
    assert (both["n"], both["split"], both["classes"]) == (30, "val", list(CLASSES))
    left, right = both["instruments"]["ML"], both["instruments"]["MR"]
    assert (left["n"], right["n"]) == (15, 15)
    assert (left["untaught"], right["untaught"]) == (0, 5)
    assert right["accuracy"] <= 10 / 15
    assert both["accuracy"] == pytest.approx((left["accuracy"] + right["accuracy"]) / 2)
    # Judged alone, a camera's model is shown only its camera's tiles of its classes.
    alone = judged(capsys, rover, models["right"])
    assert alone["n"] == 10
    assert alone["accuracy"] * 10 == pytest.approx(right["accuracy"] * 15)


def test_a_model_of_no_camera_serves_the_rest(
    models: dict[str, Path], rover: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = judged(capsys, rover, models["single"])
    single = judged(capsys, rover, models["single"], "--by-instrument")
    for key in ("accuracy", "macro_f1", "confusion", "ece", "at_090"):
        assert single[key] == alone[key]
    mixed = judged(
        capsys, rover, models["right"], models["single"], "--by-instrument",
        "--against", models["single"],
    )  # fmt: skip
    assert [Path(r["model"]).name for r in mixed["instruments"].values()] in (
        ["right", "single"], ["single", "right"],
    )  # fmt: skip
    other = mixed["against"]
    assert other["accuracy"] == alone["accuracy"]
    gained = other["difference"]
    assert gained["ML"]["value"] == 0
    assert gained["all"]["value"] == pytest.approx(mixed["accuracy"] - alone["accuracy"])


def test_a_camera_without_a_model_and_a_camera_with_two_are_refused(
    models: dict[str, Path], rover: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tail = ("--by-instrument", "--dataset", "msl", "--data", rover)
    assert winnow("evaluate", models["left"], *tail) == 3
    assert "no model is for the camera MR" in capsys.readouterr().err
    assert winnow("evaluate", models["left"], models["left"], *tail) == 3
    assert "is for the camera ML, as" in capsys.readouterr().err
    assert winnow("evaluate", models["left"], models["right"], *tail[1:]) == 2
    capsys.readouterr()
    assert winnow("evaluate", models["left"], models["right"], *tail) == 0
    assert "untaught" in capsys.readouterr().out


def test_the_order_of_the_label_file_changes_no_figure(
    models: dict[str, Path],
    rover: Path,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mixed = as_msl(shapes, tmp_path, order=np.random.default_rng(7))
    lists = [r / "msl-images" / "val-calibrated-shuffled.txt" for r in (rover, mixed)]
    rows = [path.read_text().splitlines() for path in lists]
    assert rows[0] != rows[1]
    assert sorted(rows[0]) == sorted(rows[1])
    first, second = (judged(capsys, r, models["single"]) for r in (rover, mixed))
    assert first == second
    assert first["macro_f1"] > 0.9


def test_mapped_classes_are_judged_in_the_order_of_the_models_outputs(rover: Path) -> None:
    """A manifest's keys are sorted, the model's outputs are not."""
    from winnow_train.tasks import task_like

    mapped = {"dataset": "msl", "map": {"a": ["plain"], "z": ["*"]}}
    card = {
        "name": "mapped",
        "recipe": {"name": "mapped", "data": mapped},
        "classes": ["z", "a"],
        "head": "softmax",
        "training": {"dataset": "msl"},
    }
    task = task_like(card, "msl", rover)
    assert task.classes == ("z", "a")
    plain = task.tiles.labels == task.tiles.classes.index("plain")
    np.testing.assert_array_equal(task.truth, plain.astype(int))


def test_answers_of_a_shuffled_generator_against_labels_in_file_order_are_chance(
    models: dict[str, Path], rover: Path
) -> None:
    """The mistake itself: right answers, paired with other tiles' labels."""
    from winnow_base import metrics
    from winnow_base.progress import Progress
    from winnow_train.evaluate import collect

    answers, task, _ = collect(models["single"], "msl", rover, "val", Progress())
    logits = answers.logits
    rng = np.random.default_rng(1)
    posterior, names = metrics.softmax(logits), list(task.classes)
    right = metrics.single_label(posterior, task.truth, names)
    together = rng.permutation(len(logits))
    assert metrics.single_label(posterior[together], task.truth[together], names) == {
        **right,
        "ece": pytest.approx(right["ece"]),
    }
    wrong = [
        metrics.single_label(posterior[rng.permutation(len(logits))], task.truth, names)["accuracy"]
        for _ in range(200)
    ]
    # Chance: the share of each class among the answers times that among the labels.
    said = np.bincount(logits.argmax(axis=1), minlength=3) / len(logits)
    true = np.bincount(task.truth, minlength=3) / len(logits)
    assert np.mean(wrong) == pytest.approx(float(said @ true), abs=0.03)
    assert right["accuracy"] > np.mean(wrong) + 0.2


def test_the_other_cameras_tiles_are_drawn_as_often_as_asked(rover: Path) -> None:
    """`others` brings their training tiles back, never their val tiles, and thins them out."""
    recipe = parse_recipe(
        {
            "name": "left",
            "about": "one camera, the others along",
            "data": {"dataset": "msl", "instrument": "ML", "others": 0.25},
        }
    )
    task = read_task(recipe.data, rover, "softmax")
    assert {camera_of(t.path.name) for t in task.split("val").tiles.tiles} == {"ML"}
    training = task.split("train")
    own = np.array([camera_of(t.path.name) == "ML" for t in training.tiles.tiles])
    assert 0 < own.sum() < len(own)
    pixels = [np.zeros((8, 8, 3), np.uint8)] * len(own)
    draw = make_sample(recipe, {"msl": training}, {"msl": pixels}, {}).draw
    assert np.allclose(draw[~own], 0.25 * draw[own][0]) and np.allclose(draw[own], draw[own][0])
    # The prior that adjusts logits is that of the tiles as they are drawn.
    shares = np.bincount(training.truth, draw, minlength=3)
    np.testing.assert_allclose(np.exp(log_prior(training, recipe)), shares)
    alone = read_task(replace(recipe.data, others=0.0), rover, "softmax")
    assert {camera_of(t.path.name) for t in alone.tiles.tiles} == {"ML"}
