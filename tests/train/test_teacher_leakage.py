"""What a run learned from is known through all generations of teachers, and val stays unseen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from winnow_base.errors import DataError, ModelError, RecipeError
from winnow_base.progress import Progress
from winnow_train.recipe import parse_recipe
from winnow_train.run import train

TINY: dict[str, Any] = {
    "data": {"dataset": "folder"},
    "input": {"height": 32, "width": 32},
    "model": {"backbone": "MobileNet", "alpha": 0.25, "weights": "", "last": "conv_pw_1_relu"},
}


def data_of(home: Path, **sites: str) -> Path:
    """A folder data set: two classes, one tile of every site per split."""
    rng = np.random.default_rng(3)
    for split, names in sites.items():
        for label in ("dune", "plain"):
            folder = home / split / label
            folder.mkdir(parents=True)
            for site in names:
                tile = rng.integers(1, 255, (32, 32), np.uint8)
                Image.fromarray(tile).save(folder / f"site{site}_1.png")
    return home


def taught(out: Path, data: Path, *teachers: Path, epochs: int = 1, **distill: Any) -> Path:
    """A run named like its folder, by `winnow train`'s own function."""
    table = {**TINY, "name": out.name, "train": {"epochs": epochs, "batch": 2}, "distill": distill}
    train(parse_recipe(table), data, out, teachers=teachers, progress=Progress())
    return out


def card_of(run: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((run / "model.json").read_text())
    return card


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data `b`, `c` and `a`, trained on sites B, C and A; site B is val of `a`. Runs `seer` of `b`,
    `clean` of `c`."""
    home = tmp_path_factory.mktemp("generations")
    taught(home / "seer", data_of(home / "b", train="B", val="X"))
    taught(home / "clean", data_of(home / "c", train="C", val="X"))
    data_of(home / "a", train="A", val="B")
    return home


def test_a_leak_is_found_three_generations_back(home: Path, tmp_path: Path) -> None:
    child = taught(tmp_path / "child", home / "c", home / "seer", weight=0.5)
    lineage = card_of(child)["lineage"]
    assert lineage["sources"] == ["siteB", "siteC"]
    (teacher,) = lineage["teachers"]
    assert teacher["name"] == "seer"
    digest = hashlib.sha256((home / "seer" / "model.keras").read_bytes()).hexdigest()
    assert teacher["sha256"]["model.keras"] == digest
    assert card_of(child)["training"]["sources"]["train"] == ["siteC"]
    grandchild = taught(tmp_path / "grandchild", home / "c", child, start=True)
    for run in (home / "seer", child, grandchild):
        for how in ({"weight": 0.5}, {"start": True}):
            with pytest.raises(DataError, match="was trained on siteB, a val source"):
                taught(tmp_path / "no", home / "a", run, **how)
    assert not (tmp_path / "no").exists()
    taught(tmp_path / "fine", home / "a", home / "clean", start=True)
    assert card_of(tmp_path / "fine")["lineage"]["sources"] == ["siteA", "siteC"]


def test_a_leak_is_found_through_the_second_of_several_teachers_and_their_mean(
    home: Path, tmp_path: Path
) -> None:
    mean = taught(
        *(tmp_path / "mean", home / "c", home / "clean", home / "seer"),
        epochs=0, start=True, average=True,
    )  # fmt: skip
    assert [t["name"] for t in card_of(mean)["lineage"]["teachers"]] == ["clean", "seer"]
    for teachers in ((mean,), (home / "clean", home / "seer"), (home / "clean", mean)):
        for how in ({"weight": 0.5}, {"start": True, "average": True, "epochs": 0}):
            with pytest.raises(DataError, match="was trained on siteB, a val source"):
                taught(tmp_path / "no", home / "a", *teachers, **how)


def test_older_runs_say_what_they_can(home: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    (old / "along-hirise-v1").mkdir(parents=True)
    for folder, sites in ((old, ["siteC"]), (old / "along-hirise-v1", ["siteB"])):
        card = card_of(home / "clean")
        del card["lineage"]
        card["training"]["sources"]["train"] = sites
        (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match="was trained on siteB, a val source"):
        taught(tmp_path / "no", home / "a", old, start=True)
    del card["training"]["sources"]
    (old / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="does not name its training sources"):
        taught(tmp_path / "no", home / "a", old, start=True)


def test_teachers_are_as_many_as_the_recipe_names(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, no = home / "clean", tmp_path / "no"
    pair = {"start": True, "average": True, "teachers": ["clean", "seer"]}
    with pytest.raises(RecipeError, match="names 2 teachers, given are 1"):
        taught(no, home / "c", clean, **pair)
    with pytest.raises(RecipeError, match="names 1 teacher, given are 2"):
        taught(no, home / "c", clean, home / "seer", weight=0.5, teachers=["clean"])
    with pytest.raises(RecipeError, match="takes no teacher, but one is given"):
        taught(no, home / "c", clean)
    assert not no.exists()
    capsys.readouterr()
    taught(tmp_path / "swapped", home / "c", home / "seer", clean, epochs=0, **pair)
    said = " ".join(capsys.readouterr().err.split())
    assert "is a run of seer; swapped names clean here" in said
    taught(tmp_path / "right", home / "c", clean, home / "seer", epochs=0, **pair)
    assert "names" not in capsys.readouterr().err
