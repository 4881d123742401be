"""What a cross-validation chose for the net that flies, and what it lets expect of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from winnow_base.errors import DataError, RecipeError
from winnow_train.recipe import Recipe, parse_recipe

FIGURES = "cv.json"
"""In the folder of a cross-validation, written when all folds are done."""


@dataclass(frozen=True)
class Settings:
    """What a bundle flies besides its weights."""

    temperature: float
    prior: float
    borderline: float

    def as_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Chosen:
    """`settings` were chosen on all out-of-fold logits; `expected` are the nested figures, as
    model.json's `metrics` hold them; `weights` under 1 by tile of what looks mislabelled."""

    settings: Settings
    expected: dict[str, Any]
    words: str
    weights: dict[str, float] = field(default_factory=dict)


def read_chosen(folder: Path, recipe: Recipe) -> Chosen:
    """What the cross-validation in `folder` chose.

    Raises DataError where it is not finished, RecipeError if it is of a recipe that trains
    otherwise.
    """
    path = folder / FIGURES
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        held = parse_recipe(found["recipe"], where=str(path))
        settings = Settings(**found["chosen"])
        nested, folds = found["nested"], found["folds"]
        expected = {
            "split": f"cross-validated, {found['folds']} folds",
            "groups": found["groups"],
            **nested["value"],
            "intervals": nested["intervals"],
        }
        weights = dict(found["weights"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "holds no finished cross-validation",
            where=folder,
            hint="run `winnow cv` with this --out until it ends",
        ) from error
    ours, theirs = trained_keys(recipe), trained_keys(held)
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise RecipeError(
                f"trains otherwise than what was cross-validated: {key} differs",
                where=recipe.name,
                hint=f"cross-validate this recipe, or train the one of {folder}",
            )
    what = "blocks of sols" if str(found["unit"]).startswith("block") else "sources"
    words = (
        f"temperature, prior and second views chosen on out-of-fold logits ({folds} folds over "
        f"{found['groups']} {what})"
    )
    return Chosen(settings, expected, words, weights)


def trained_keys(recipe: Recipe) -> dict[str, Any]:
    """The tables of a recipe that decide what its net learns, and how its heads are joined: a
    joined head was cross-validated as such, and another weight makes another net."""
    table = recipe.as_dict()
    for key in ("name", "about", "seed", "export", "convert"):
        del table[key]
    # A net of one head needs no key: plans that were begun without one go on.
    return {**table, "export.join": recipe.export.join} if recipe.export.join else table
