"""Recipes: what is refused, and that every shipped one is sound."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow_base.errors import RecipeError, WeightsError
from winnow_edge.bundle import open_bundle, shipped_bundles
from winnow_edge.tables import keys_of
from winnow_train.recipe import Recipe, find_recipe, parse_recipe, read_recipe
from winnow_train.second.settings import is_verifier, read_settings
from winnow_train.weights import find_weights

SHIPPED = sorted((Path(__file__).parents[2] / "train" / "recipes").glob("*.toml"))
RECIPES = [path for path in SHIPPED if not is_verifier(path)]
SMALL: dict[str, Any] = {"name": "small", "data": {"dataset": "hirise-v3"}}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_read_and_name_no_path(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.about
    assert "/" not in recipe.model.weights
    assert parse_recipe(recipe.as_dict()) == recipe
    assert find_recipe(path.stem) == path
    uses = recipe.distill.weight > 0 or recipe.distill.start
    assert bool(recipe.distill.teachers) == uses
    for teacher in recipe.distill.teachers:
        taught = read_recipe(find_recipe(teacher))
        assert taught.input.channels == recipe.input.channels


@pytest.mark.parametrize(
    "path", [path for path in SHIPPED if is_verifier(path)], ids=lambda p: p.stem
)
def test_shipped_recipes_of_verifiers_read_and_name_no_path(path: Path) -> None:
    settings = read_settings(path)
    assert settings.recipe.name == path.stem
    assert settings.recipe.about
    assert "/" not in settings.recipe.model.weights
    assert find_recipe(path.stem) == path
    with pytest.raises(RecipeError, match="unknown key `verifier`"):
        read_recipe(path)


def test_every_recipe_can_be_run_as_the_documentation_says() -> None:
    """Its first table names every recipe with its data and its teachers, in their order."""
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    table = text[text.index("| recipe | data | `--teacher` | note |") :].split("\n\n")[0]
    rows = [[c.strip() for c in r.strip("|").split("|")] for r in table.splitlines()[2:]]
    found = {row[0].strip("`"): row for row in rows}
    assert len(found) == len(rows)
    assert sorted(found) == sorted(path.stem for path in RECIPES)
    for name, (_, data, teachers, _) in found.items():
        recipe = read_recipe(find_recipe(name))
        assert re.findall("`(.+?)`", data) == [recipe.data.dataset, *recipe.data.along]
        assert tuple(re.findall("`(.+?)`", teachers)) == recipe.distill.teachers


@pytest.mark.parametrize("path", shipped_bundles(), ids=lambda p: p.stem)
def test_a_shipped_bundle_was_made_by_the_recipe_of_its_name(path: Path) -> None:
    held = open_bundle(path).manifest.training["recipe"]
    assert parse_recipe(held) == read_recipe(find_recipe(path.stem))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sede": 1}, "unknown key `sede`; did you mean `seed`"),
        ({"train": {"epoch": 3}}, r"unknown key `train\.epoch`; did you mean `epochs`"),
        ({"train": {"epochs": -1}}, r"`train\.epochs` is -1, legal is 0 to 1000"),
        ({"train": {"epochs": 0}}, r"`train\.epochs` is 0, but no weights are started from"),
        ({"distill": {"average": True}}, r"`distill\.average` is true, but distill\.start is not"),
        (
            {"train": {"learning_rate": "fast"}},
            r"`train\.learning_rate` is 'fast', must be a number",
        ),
        (
            {"train": {"learning_rate": float("nan")}},
            "is nan, legal is 1e-07 to 1",
        ),
        ({"model": {"frozen": 1}}, r"`model\.frozen` is 1, must be true or false"),
        (
            {"model": {"head": "tanh"}},
            "is 'tanh', legal is one of: softmax, sigmoid",
        ),
        ({"augment": {"zoom": [1.0]}}, r"`augment\.zoom` is \[1\.0\], legal is a list of 2 values"),
        ({"augment": {"zoom": [2.0, 1.0]}}, r"smaller magnification first"),
        ({"input": {"channels": 2}}, r"`input\.channels` is 2, legal is one of: 1, 3"),
        ({"input": {"width": 96}}, "not square"),
        ({"export": {"borderline": 1.1}}, r"`export\.borderline` is 1\.1, legal is 0 to 1"),
        (
            {"export": {"borderline": 0.9}, "model": {"head": "sigmoid"}},
            r"`export\.borderline` is 0\.9, but the head is sigmoid",
        ),
        ({"data": {}}, r"`data\.dataset` is missing"),
        (
            {"data": {"dataset": "imagenet"}},
            "is 'imagenet', legal is one of: hirise-v1",
        ),
    ],
)
def test_refusals_name_the_key_and_what_is_legal(change: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse_recipe({**SMALL, **change})


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_any_value_anywhere_is_accepted_or_refused_cleanly(value: Any) -> None:
    for table in (
        {**SMALL, "train": value},
        {**SMALL, "data": {"dataset": value}},
        {**SMALL, "augment": {"zoom": value}},
        {**SMALL, "data": {"dataset": "msl", "map": value}},
    ):
        try:
            parse_recipe(table)
        except RecipeError as error:
            assert "\n" not in str(error)


def test_set_changes_what_the_file_says_and_nothing_else() -> None:
    path = find_recipe("hirise-landmarks")
    changes = [
        "seed=3",
        "train.balance = 0",
        'model.last="conv_pw_11_relu"',
        "augment.zoom=[1.0, 1.0]",
        'data.map.hole=["crater"]',
        "seed=4",
    ]
    plain, changed = read_recipe(path).as_dict(), read_recipe(path, changes).as_dict()
    assert changed["seed"] == 4
    plain["seed"] = 4
    plain["train"]["balance"] = 0.0
    plain["model"]["last"] = "conv_pw_11_relu"
    plain["augment"]["zoom"] = [1.0, 1.0]
    plain["data"]["map"] = {"hole": ["crater"]}
    assert changed == plain


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train.epoch=3", r"with --set: unknown key `train\.epoch`; did you mean `epochs`"),
        ("train.epochs=-1", r"`train\.epochs` is -1, legal is 0 to 1000"),
        ("train=3", "`train` must be a table"),
        ("seed.x=3", r"`seed` is \{'x': 3\}, must be a whole number"),
        ("model.last=conv_pw_11_relu", r"no KEY=VALUE of TOML; e\.g\. train\.balance=0"),
        ("seed", "no KEY=VALUE of TOML"),
    ],
)
def test_a_bad_set_is_refused_as_in_the_file(change: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        read_recipe(find_recipe("hirise-landmarks"), [change])


def test_a_refusal_points_at_the_line(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    for text, says in (
        ("[data]\ndataset = 'msl'\n[train]\nepochs = -1\n", ":4: `train.epochs` is -1"),
        ("[data]\ndataset = 'msl'\n[augment]\n\nzoom = [2.0, 1.0]\n", ":5: `augment.zoom` is"),
        ("seed = 1\n", ": `data` is missing"),
        ("seed =\n", ": is not TOML"),
        ("seed = 1" + "0" * 5000 + "\n", ": is not TOML that can be read"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(RecipeError, match=re.escape(f"{path}{says}")):
            read_recipe(path)


def test_every_key_of_a_recipe_has_a_meaning() -> None:
    tables: list[Any] = [Recipe]
    while tables:
        for name, key in keys_of(tables.pop()).items():
            if dataclasses.is_dataclass(key.kind):
                tables.append(key.kind)
            else:
                assert key.meaning, name


def test_unknown_recipe_names_those_that_exist() -> None:
    with pytest.raises(RecipeError, match="hirise-landmarks"):
        find_recipe("no-such-recipe")


def test_weights_are_found_beside_and_missed_clearly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.weights.h5").touch()
    assert find_weights("net.weights.h5", tmp_path) == str(tmp_path / "net.weights.h5")
    monkeypatch.setenv("WINNOW_WEIGHTS", str(tmp_path))
    assert find_weights("net.weights.h5", None) == str(tmp_path / "net.weights.h5")
    assert find_weights("", None) is None
    assert find_weights("imagenet", None) == "imagenet"
    with pytest.raises(WeightsError, match="--weights-dir"):
        find_weights("other.weights.h5", tmp_path)
