"""The recipe of a verifier: tables that every recipe has, and `[verifier]`.

A verifier's backbone is frozen and its head is fitted, so tables of a training are refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow_base.errors import RecipeError
from winnow_edge.tables import setting
from winnow_train.recipe import Recipe, checked, open_recipe

TABLE = "verifier"
USED = ("name", "about", "seed", "data", "input", "model", "windows", "export", "convert")
"""Keys of a recipe that say something of a verifier."""


@dataclass(frozen=True)
class Head:
    """How the head of a verifier is fitted, and of which detections it is asked.

    Attributes:
        classes: Classes whose detections it is asked about; none named: all that the first stage
            detects. Of the others it only learns what they look like.
        ridge: Weights of the sum of squares in the loss that are tried; the one with the least loss
            on held-out candidates is taken.
        balance: An example counts as (examples of its class)^(-balance).
        candidates: Weight of an out-of-fold detection of the first stage, against a window's; 0
            leaves them out.
        tiles: Weight of a labelled tile, against a window's.
        iterations: Most steps of L-BFGS.
    """

    classes: tuple[str, ...] = setting(())
    ridge: tuple[float, ...] = setting((3e-4, 1e-3, 3e-3), 0.0, 100.0)
    balance: float = setting(0.5, 0.0, 1.0)
    candidates: float = setting(1.0, 0.0, 100.0)
    tiles: float = setting(1.0, 0.0, 100.0)
    iterations: int = setting(150, 1, 10_000, unit="steps")


@dataclass(frozen=True)
class Settings:
    """A verifier's recipe: `recipe` has defaults where tables of a training would stand."""

    recipe: Recipe
    head: Head

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as model.json's `recipe` holds them."""
        plain = {key: value for key, value in self.recipe.as_dict().items() if key in USED}
        return {**plain, TABLE: dataclasses.asdict(self.head)}


def is_verifier(path: Path) -> bool:
    """Whether a recipe file is that of a verifier. Raises RecipeError for what is no TOML."""
    return TABLE in open_recipe(path)[1]


def read_settings(path: Path, changes: Sequence[str] = ()) -> Settings:
    """Read the recipe of a verifier. Raises RecipeError naming the key, the file and the line."""
    reader, table = open_recipe(path, changes)
    if TABLE not in table:
        hint = "hirise-verifier is one; `winnow train` takes the others"
        raise RecipeError(f"is no recipe of a verifier: no table [{TABLE}]", where=path, hint=hint)
    head = reader.table(Head, table.pop(TABLE), (TABLE,))
    for key in table:
        if key in {f.name for f in dataclasses.fields(Recipe)} and key not in USED:
            hint = f"leave it out; [{TABLE}] says how the head is fitted"
            raise reader.refusal((key,), f"`{key}`: a verifier is fitted, not trained", hint)
    recipe = checked(reader, table)
    model = recipe.model
    if not model.frozen:
        hint = "set model.frozen = true"
        raise reader.refusal(("model", "frozen"), "a verifier's backbone is frozen", hint)
    if model.head != "softmax" or recipe.input.channels != 1:
        raise reader.refusal(("model",), "a verifier needs grey tiles and a softmax head", "")
    if recipe.input.height != recipe.input.width:
        hint = "give its tiles, as the first stage has them; surroundings come by themselves"
        raise reader.refusal(("input",), "the input is not square", hint)
    if not recipe.windows.folders:
        hint = "name folders of pictures that the first stage is to fly"
        raise reader.refusal(("windows", "folders"), "no folder of pictures is named", hint)
    if not head.ridge:
        raise reader.refusal((TABLE, "ridge"), "names no value", "give one or several")
    return Settings(recipe, head)
