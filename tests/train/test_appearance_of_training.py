"""What the manifest says of training tiles is of ground, not of the black frame of a strip."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from winnow_train.appearance import appearance_of
from winnow_train.preflight import read_tasks
from winnow_train.recipe import Windows, read_recipe
from winnow_train.windows.pictures import Picture


def test_the_black_frame_of_a_strip_is_not_measured(
    shapes: Path, recipe_file: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(recipe_file)
    recipe = dataclasses.replace(recipe, windows=Windows(scales=(1,)))
    task = next(iter(read_tasks(recipe, shapes).values())).split("train")
    alone = appearance_of(task, recipe)
    side = recipe.input.height
    strip = np.zeros((20 * side, 20 * side), np.uint8)
    Image.fromarray(strip).save(tmp_path / "frame.png")
    framed = Picture(tmp_path / "frame.png", "frame", (), (), None)
    assert appearance_of(task, recipe, [framed]) == alone
    Image.fromarray(strip + np.uint8(250)).save(tmp_path / "bright.png")
    bright = Picture(tmp_path / "bright.png", "bright", (), (), None)
    found = appearance_of(task, recipe, [framed, bright])
    assert found["tiles"] == alone["tiles"] + 400
    assert found["brightness"]["p99"] == 250
