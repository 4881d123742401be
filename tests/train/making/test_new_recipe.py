"""`winnow new recipe`: what it proposes for a set, and that it is read as it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.running import winnow
from tests.train.making.test_new_data import refused, save, scene
from winnow_train.recipe import read_recipe


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """A small set of grey tiles of 100 pixels with a class no-crater."""
    for split, sources in (("train", "abc"), ("val", "d")):
        for source in sources:
            for k, kind in enumerate(("crater", "no-crater")):
                save(tmp_path / "set" / split / kind / f"{source}_{k}.png", scene(k, 100))
    return tmp_path / "set"


def test_it_proposes_background_size_and_a_start(owned: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    done = winnow("new", "recipe", owned, "--out", out, "--licence", 'CC0 "x"')
    assert done.returncode == 0, done.stderr
    recipe = read_recipe(out)
    assert recipe.name == "mine"
    assert recipe.convert.background == ("no-crater",)
    assert (recipe.input.height, recipe.input.width, recipe.input.channels) == (96, 96, 1)
    assert (recipe.distill.teachers, recipe.distill.start) == (("hirise-landmarks",), True)
    assert recipe.export.licence == 'CC0 "x"'
    assert (recipe.train.epochs, recipe.data.dataset) == (40, "folder")
    wanted = f"next: winnow train {out} --data {owned} --teacher hirise-landmarks --out runs/mine"
    assert wanted in done.stdout
    refused(winnow("new", "recipe", owned, "--out", out), "is there already", "--yes")
    assert winnow("new", "recipe", owned, "--out", out, "--yes").returncode == 0


def test_colour_asks_for_three_channels_and_another_start(owned: Path, tmp_path: Path) -> None:
    for k, path in enumerate(sorted(owned.rglob("*.png"))):
        save(path, np.stack([scene(9 * k + c) for c in range(3)], 2))
    out = tmp_path / "c.toml"
    assert winnow("new", "recipe", owned, "--out", out).returncode == 0
    recipe = read_recipe(out)
    assert (recipe.input.channels, recipe.distill.teachers) == (3, ("msl-surface",))
    assert recipe.input.height == 64
    refused(
        winnow("new", "recipe", owned, "--start", "hirise-landmarks"),
        "hirise-landmarks takes 1 channels by MobileNet, the tiles have 3",
    )


@pytest.mark.parametrize(
    ("start", "key", "value"),
    [
        ("random", 'weights = ""', 'backbone = "SmallXception"'),
        ("mobilenet-0.25-128", 'weights = "mobilenet-0.25-128"', "alpha = 0.25"),
        ("mobilenetv3-small", 'backbone = "MobileNetV3Small"', "alpha = 1"),
    ],
)
def test_other_starts(start: str, key: str, value: str, owned: Path) -> None:
    done = winnow("new", "recipe", owned, "--start", start)
    assert done.returncode == 0, done.stderr
    assert key in done.stdout
    assert value in done.stdout
    assert "[distill]" not in done.stdout


def test_sets_that_cannot_be_trained_on(owned: Path, tmp_path: Path) -> None:
    refused(winnow("new", "recipe", owned, "--start", "nothing"), "legal: random, a name of")
    refused(winnow("new", "recipe", owned, "--dataset", "mine"), "no data set is called 'mine'")
    refused(winnow("new", "recipe", tmp_path / "none"), "no such folder")
    (tmp_path / "empty").mkdir()
    refused(winnow("new", "recipe", tmp_path / "empty"), "no image in a folder per class")
    for path in sorted(owned.glob("train/*/a_*.png")):
        path.write_bytes(b"")
    refused(winnow("new", "recipe", owned), "the image cannot be decoded", "winnow data check")
