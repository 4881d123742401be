"""What `winnow evaluate` is given and what it shows: models by name, many classes, sets of them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from winnow_base import metrics
from winnow_base.errors import DataError, ModelError
from winnow_edge.bundle import bundles_folder
from winnow_train.evaluate import find_model, print_table
from winnow_train.tasks import task_like

WINNOW = str(Path(sys.executable).parent / "winnow")


def tiles(root: Path, classes: list[str]) -> Path:
    """A folder per class, two tiles each, all val."""
    rng = np.random.default_rng(4)
    for name in classes:
        (root / "val" / name).mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(0, 256, (40, 40), np.uint8)
            Image.fromarray(pixels).save(root / "val" / name / f"site_{i}.png")
    return root


def test_a_shipped_bundle_goes_by_its_bare_name_and_needs_no_keras(tmp_path: Path) -> None:
    assert find_model(Path("hirise-landmarks")) == bundles_folder() / "hirise-landmarks.winnow"
    root = tiles(tmp_path, ["crater", "other"])
    command = ["evaluate", "hirise-landmarks", "--dataset", "folder", "--data", root, "--json"]
    done = subprocess.run([WINNOW, *command], capture_output=True, text=True)
    assert done.stderr == ""  # no greeting of TensorFlow's either
    assert json.loads(done.stdout)["n"] == 4


def test_a_model_that_is_nowhere_is_named_with_those_that_are() -> None:
    with pytest.raises(ModelError, match="no such model") as error:
        find_model(Path("no/such"))
    assert "hirise-landmarks" in str(error.value)


def test_every_mistake_among_many_classes_is_readable_at_eighty_columns() -> None:
    rng = np.random.default_rng(0)
    names = [f"instrument part {i:02d}" for i in range(25)]
    labels = rng.integers(0, 24, 600)
    scores = rng.random((600, 25)) + 2 * np.eye(25)[np.where(rng.random(600) < 0.1, 24, labels)]
    scores /= scores.sum(axis=1, keepdims=True)
    found = metrics.single_label(scores, labels, names)
    found |= {"model": "m", "dataset": "d", "split": "val", "classes": names}
    out = io.StringIO()
    print_table(found, Console(file=out, width=80))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    table = " ".join(text[text.index("taken for") :].replace("│", " ").split())
    for true, row in enumerate(np.array(found["confusion"])):
        for predicted in np.flatnonzero(row):
            if true != predicted:
                assert f"{names[predicted]} {row[predicted]}" in table


def test_sets_of_classes_have_one_matrix_and_every_class_its_accuracy() -> None:
    truth = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 0]])
    posterior = np.array([[0.1, 0.2], [0.9, 0.6], [0.2, 0.5], [0.8, 0.9], [0.7, 0.1]])
    found = metrics.multi_label(posterior, truth, ["crater", "dune"])
    assert found["accuracy"] == 0.6
    assert [found["per_class"][c]["accuracy"] for c in ("crater", "dune")] == [0.8, 0.8]
    assert found["label_sets"] == {
        "names": ["none", "crater", "dune", "crater + dune"],
        "confusion": [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]],
    }
    out = io.StringIO()
    found |= {"model": "m", "dataset": "d", "split": "val", "classes": ["crater", "dune"]}
    print_table(found, Console(file=out, width=100))
    assert "every class of a tile right" in out.getvalue()
    assert "crater + dune" in out.getvalue()


def test_a_map_of_classes_holds_for_other_sets_that_have_them(tmp_path: Path) -> None:
    card = {
        "name": "pair",
        "classes": ["crater", "dune"],
        "head": "sigmoid",
        "training": {"dataset": "hirise-v3"},
        "recipe": {
            "name": "pair",
            "data": {
                "dataset": "hirise-v3",
                "map": {"crater": ["crater"], "dune": ["dark dune", "bright dune"]},
            },
        },
    }
    root = tiles(tmp_path / "old", ["bright dune", "crater", "dark dune", "plain"])
    truth = task_like(card, "folder", root).truth
    assert truth.sum(axis=0).tolist() == [2, 4]
    assert (truth.sum(axis=1) == 0).sum() == 2
    named = task_like(card, "folder", tiles(tmp_path / "new", ["dune", "plain"]))
    assert named.classes == ("crater", "dune")
    assert named.truth.sum(axis=0).tolist() == [0, 2]
    with pytest.raises(DataError, match="none of the classes"):
        task_like(card, "folder", tiles(tmp_path / "odd", ["rock"]))
