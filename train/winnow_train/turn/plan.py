"""What a turn trains: the recipe of the bundle that flies, from its weights, on a few epochs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from winnow_base.errors import DataError, ModelError
from winnow_edge.bundle import Bundle
from winnow_train.datasets import TileSet, hold_out, read_dataset
from winnow_train.recipe import Recipe, parse_recipe
from winnow_train.tasks import REST

DATASET: Final = "folder"
"""What the data set of a turn is read as."""
_RATE: Final = 3e-4
"""The most that a net which flies is bent by a step: it knows most of what it is shown."""
_ROUND: Final = re.compile(r"-r(\d{1,6})$")


@dataclass(frozen=True)
class Settings:
    """What is asked for; `rate` None: the recipe's, 3e-4 at the most; `weight` is the share of the
    flying net's own answers in the targets (None: the recipe's)."""

    epochs: int = 4
    rate: float | None = None
    weight: float | None = None
    name: str = ""


@dataclass(frozen=True)
class Flying:
    """The bundle that flies, with the recipe that made it."""

    bundle: Bundle
    recipe: Recipe

    @classmethod
    def of(cls, bundle: Bundle) -> Flying:
        """Raises ModelError for a bundle that cannot be trained on."""
        manifest = bundle.manifest
        held = manifest.training.get("recipe")
        if not isinstance(held, dict):
            raise ModelError("does not say which recipe made it", where=bundle.path)
        recipe = parse_recipe(held, where=str(bundle.path))
        if recipe.data.instrument:
            what = f"is of one camera, {recipe.data.instrument}, and labels do not tell cameras"
            raise ModelError(what, where=bundle.path, hint="train its recipe with winnow train")
        if bundle.verifier is not None:
            what = "has a second stage, which a turn would leave behind"
            raise ModelError(what, where=bundle.path, hint="train and convert both stages")
        return cls(bundle, recipe)

    @property
    def saw_everything(self) -> bool:
        """Whether it learned from every labelled tile, so that no old tile can judge it."""
        return bool(self.bundle.manifest.training.get("held") == [])

    def old_tiles(self, data: Path) -> TileSet:
        """The tiles that it learned from and was judged on, split as it was.

        Raises DataError where they are not there.
        """
        classes = self.bundle.manifest.classes
        found = read_dataset(self.recipe.data.dataset, data)
        held = self.bundle.manifest.training.get("held")
        found = found if held is None else hold_out(found, held)
        lacking = [c for c in classes if self.raw(c, found.classes) not in found.classes]
        if lacking:
            raise DataError(
                f"has no tile of {lacking[0]!r}, which {self.bundle.manifest.name} knows",
                where=data,
                hint="give the data that the bundle was trained on",
            )
        return found

    def raw(self, name: str, known: Sequence[str]) -> str:
        """The class of a data set of `known` classes whose tiles teach a class of the net."""
        olds = self.recipe.data.map.get(name, (name,))
        if olds == (REST,):
            named = {old for some in self.recipe.data.map.values() for old in some}
            olds = tuple(c for c in known if c not in named) or (name,)
        return name if name in olds else olds[0]

    def nothing(self, old: TileSet) -> str | None:
        """The class of the data set for tiles that show nothing; None where it has none."""
        background = self.recipe.convert.background
        mine = [self.raw(c, old.classes) for c in self.bundle.manifest.classes if c in background]
        return next((c for c in (*mine, *background) if c in old.classes), None)

    def recipe_of_turn(self, old: TileSet, settings: Settings, data: Path) -> Recipe:
        """The recipe that the turn trains, with the windows of pictures that `data` holds.

        Raises RecipeError for settings out of range.
        """
        table, classes = self.recipe.as_dict(), self.bundle.manifest.classes
        table["name"] = settings.name or next_name(self.bundle.manifest.name)
        mapped = self.recipe.data.map
        # In the order of the net's outputs, which a data set's own classes need not have.
        table["data"] = {
            "dataset": DATASET,
            "map": {c: list(mapped.get(c, (self.raw(c, old.classes),))) for c in classes},
        }
        table["model"]["weights"] = ""
        train = table["train"]
        train["epochs"], train["warmup_epochs"], train["patience"] = settings.epochs, 0.3, 0
        train["learning_rate"] = settings.rate or min(train["learning_rate"], _RATE)
        train["average_last"] = max(1, min(train["average_last"], settings.epochs // 2))
        distill = table["distill"]
        weight = distill["weight"] if settings.weight is None else settings.weight
        distill |= {"start": True, "average": False, "weight": weight}
        distill["teachers"], distill["views"] = [self.bundle.manifest.name], 1
        table["export"]["join"] = 0.0
        rendered = table["render"]["tiles"]
        table["render"]["tiles"] = {c: n for c, n in rendered.items() if c in old.classes}
        if not all((data / f).is_dir() for f in table["windows"]["folders"]):
            table["windows"]["folders"] = []
        return parse_recipe(table, where="the recipe of the turn")


def next_name(name: str) -> str:
    """The name of the next round of a net.

    >>> next_name("craters"), next_name("craters-r2")
    ('craters-r2', 'craters-r3')
    """
    found = _ROUND.search(name)
    return f"{name[: found.start()]}-r{int(found[1]) + 1}" if found else f"{name}-r2"


def run_name(recipe: Recipe, tiles: TileSet, more: str = "") -> str:
    """The name of a turn's run folder: another one for every other recipe, tile, label, set or
    octet of a tile's file. `more` is what else the run depends on."""
    known = hashlib.sha256(json.dumps([recipe.as_dict(), more], sort_keys=True).encode())
    for tile in tiles.tiles:
        with tile.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        known.update(f"{tile.key} {tile.split} {digest}\n".encode("utf-8", "surrogateescape"))
    return f"run-{known.hexdigest()[:12]}"


def write_recipe(recipe: Recipe, path: Path) -> dict[str, Any]:
    """Keep the recipe of a turn beside what it made, as JSON; returns it."""
    table = recipe.as_dict()
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return table


def classes_of(flying: Flying, names: Sequence[str | None], old: TileSet) -> list[str | None]:
    """Classes of the data set for labels (None: nothing); None for what the net does not know."""
    known = flying.bundle.manifest.classes
    nothing = flying.nothing(old)
    return [
        nothing if name is None else flying.raw(name, old.classes) if name in known else None
        for name in names
    ]
