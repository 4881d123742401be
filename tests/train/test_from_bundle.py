"""A bundle as a teacher: the floats of its int8 weights answer as it does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from winnow_base.errors import ModelError
from winnow_base.progress import Progress
from winnow_edge.bundle import find_bundle
from winnow_ground.scene import render_scene
from winnow_train import distill, model
from winnow_train.evaluate import open_bundle_as_model, open_model
from winnow_train.from_bundle import unpack
from winnow_train.lineage import sources_of
from winnow_train.recipe import parse_recipe


def tiles_of_a_scene() -> np.ndarray:
    pixels = render_scene(seed=3, lines=512, samples=512).image
    places = [(i, j) for i in range(0, 385, 96) for j in range(0, 385, 96)]
    return np.stack([pixels[i : i + 128, j : j + 128, None] for i, j in places])


def test_an_unpacked_bundle_answers_as_the_bundle_and_can_be_started_from(tmp_path: Path) -> None:
    tiles = tiles_of_a_scene()
    path = find_bundle("hirise-landmarks")
    folder = unpack(path, tmp_path / "run", tiles[::2])
    ours, card = open_model(folder)
    theirs, manifest = open_bundle_as_model(path)
    answers, wanted = ours(tiles), theirs(tiles)
    assert np.corrcoef(answers.ravel(), wanted.ravel())[0, 1] > 0.99
    assert (answers.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.9
    assert card["classes"] == manifest["classes"]
    trained = json.loads((folder / "model.json").read_text())["training"]["sources"]["train"]
    assert sources_of(folder) == set(trained)
    recipe = parse_recipe(card["recipe"])
    net = model.build(recipe.model, recipe.input, {"hirise-v3": 8}, None, seed=9)
    distill.start_from(net, [folder], Progress())
    started = model.predict(net, tiles, scale=model.PIXEL_SCALE)["hirise-v3"]
    assert (started - started.mean(axis=1, keepdims=True)).std() > 0.5
    assert np.corrcoef(started[:, 1], answers[:, 1])[0, 1] > 0.999


def test_a_bundle_whose_net_branches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a plain chain"):
        unpack(find_bundle("ice-patches"), tmp_path / "run", tiles_of_a_scene())
