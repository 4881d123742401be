"""A teacher that has seen a val source of the student is refused, whatever its heads."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from winnow_ground.errors import DataError
from winnow_train import fit
from winnow_train.distill import start_from
from winnow_train.progress import Progress
from winnow_train.recipe import parse_recipe
from winnow_train.tasks import read_task


@pytest.mark.parametrize("teacher_set", ["folder", "hirise-v3"])
def test_a_teacher_that_saw_a_val_source_is_refused(tmp_path: Path, teacher_set: str) -> None:
    for split, source in (("train", "siteA"), ("val", "siteB")):
        for label in ("dune", "plain"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            Image.fromarray(np.full((16, 16), 99, np.uint8)).save(folder / f"{source}_1.png")
    recipe = parse_recipe(
        {"name": "t", "data": {"dataset": "folder"}, "input": {"height": 32, "width": 32}}
    )
    tasks = {"folder": read_task(recipe.data, tmp_path / "data", "softmax")}
    run = tmp_path / "teacher"
    run.mkdir()
    card = {
        "classes": ["a", "b"], "head": "softmax", "input": {}, "temperature": 1.0,
        "training": {"dataset": teacher_set, "sources": {"train": ["siteB"], "val": []}},
    }  # fmt: skip
    (run / "model.json").write_text(json.dumps(card))
    theirs = parse_recipe({"name": "old", "data": {"dataset": teacher_set}})
    meta = {"recipe": fit.trained_part(theirs), "data": "", "history": []}
    np.savez(run / "checkpoint.npz", meta=np.array(json.dumps(meta)))
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(DataError, match="was trained on siteB, a val source"):
        start_from(net, tasks, [run], Progress())
