"""Rendered training tiles: what they show, where they weigh, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from winnow_base.errors import RecipeError
from winnow_base.progress import Progress
from winnow_train import samples
from winnow_train.datasets import Tile, TileSet
from winnow_train.recipe import parse_recipe
from winnow_train.rendered import RENDERERS, add_rendered, render
from winnow_train.tasks import Task, make_task

CLASSES = ("other", "impact ejecta", "spider")


def ground() -> np.ndarray:
    """A gently rough tile uint8 [64, 64, 1] with a corner of nodata."""
    rng = np.random.default_rng(2)
    tile = np.clip(rng.normal(120, 6, (64, 64, 1)), 1, 255).astype(np.uint8)
    tile[:10, :10] = 0
    return tile


@pytest.mark.parametrize("name", RENDERERS)
def test_a_rendering_is_seeded_and_leaves_nodata_alone(name: str) -> None:
    below = ground()
    made = [render(name, below, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    for tile in made:
        assert (tile.shape, tile.dtype) == (below.shape, np.uint8)
        np.testing.assert_array_equal(tile == 0, below == 0)


def test_a_blast_zone_stands_out_from_its_ground() -> None:
    below = ground()
    for seed in range(12):
        tile = render("impact ejecta", below, np.random.default_rng(seed))
        change = np.abs(tile.astype(int) - below)[below > 0]
        assert np.percentile(change, 99.5) >= 19
        assert np.median(change) < np.percentile(change, 99.5) / 2  # a feature, not a veil


def sample_and_task() -> tuple[samples.Sample, Task, list[np.ndarray]]:
    labels = [0, 0, 0, 1, 2]
    tiles = tuple(Tile(Path(f"t{i}"), k, "train", f"s{i}") for i, k in enumerate(labels))
    task = Task(TileSet("hirise-v3", CLASSES, tiles, ""), CLASSES, "softmax", np.array(labels))
    pixels = [ground() for _ in labels]
    sample = samples.Sample(
        [*pixels, ground()],
        {"hirise-v3": np.eye(3, dtype=np.float32)[[*labels, 0]], "b": np.ones((6, 2), "f4")},
        {"hirise-v3": np.ones(6, np.float32), "b": np.ones(6, np.float32)},
        np.array([0.1, 0.1, 0.1, 0.2, 0.3, 0.2]),
    )
    return sample, task, pixels


def recipe(tiles: dict[str, int], channels: int = 1) -> dict[str, object]:
    return {
        "name": "r",
        "data": {"dataset": "hirise-v3", "along": ["hirise-v1"]},
        "train": {"label_smoothing": 0.3},
        "input": {"channels": channels},
        "render": {"tiles": tiles},
    }


def test_rendered_tiles_weigh_in_their_own_head_only_and_come_once_per_epoch() -> None:
    sample, task, pixels = sample_and_task()
    more = add_rendered(
        sample, parse_recipe(recipe({"spider": 2, "other": 1})), task, pixels, Progress()
    )
    assert len(more.pixels) == 9
    np.testing.assert_allclose(more.targets["hirise-v3"][6:, 2], [0.8, 0.8, 0.1], atol=1e-6)
    np.testing.assert_allclose(more.targets["hirise-v3"].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(more.weights["hirise-v3"], 1)
    np.testing.assert_array_equal(more.weights["b"], [1] * 6 + [0] * 3)
    np.testing.assert_allclose(more.draw[6:] * 9, 1)
    assert more.draw.sum() == pytest.approx(1)
    again = add_rendered(
        sample, parse_recipe(recipe({"spider": 2, "other": 1})), task, pixels, Progress()
    )
    for one, two in zip(more.pixels, again.pixels, strict=True):
        np.testing.assert_array_equal(one, two)
    assert add_rendered(sample, parse_recipe(recipe({})), task, pixels, Progress()) is sample


def test_a_rendered_tile_has_the_class_that_the_map_gives_it() -> None:
    sample, task, pixels = sample_and_task()
    table = recipe({"spider": 2, "other": 1})
    table["data"] = {"dataset": "hirise-v3", "map": {"ice": ["spider"], "no ice": ["*"]}}
    asked = parse_recipe(table)
    mapped = make_task(task.tiles, asked.data, "softmax")
    targets = {"hirise-v3": np.eye(2, dtype=np.float32)[[*mapped.truth, 1]]}
    sample = dataclasses.replace(sample, targets=targets, weights={"hirise-v3": np.ones(6)})
    more = add_rendered(sample, asked, mapped, pixels, Progress())
    np.testing.assert_allclose(more.targets["hirise-v3"][6:, 0], [0.85, 0.85, 0.15], atol=1e-6)


def test_what_cannot_be_rendered_is_refused() -> None:
    sample, task, pixels = sample_and_task()
    with pytest.raises(RecipeError, match=r"render.tiles names 'crater'"):
        add_rendered(sample, parse_recipe(recipe({"crater": 5})), task, pixels, Progress())
    with pytest.raises(RecipeError, match="needs grey tiles"):
        add_rendered(
            sample, parse_recipe(recipe({"spider": 5}, channels=3)), task, pixels, Progress()
        )
    with pytest.raises(RecipeError, match="no tile of the class other"):
        black = [np.zeros_like(p) for p in pixels]
        add_rendered(sample, parse_recipe(recipe({"spider": 5})), task, black, Progress())
    with pytest.raises(RecipeError, match=r"`render\.tiles\.spider` is -1"):
        parse_recipe(recipe({"spider": -1}))
