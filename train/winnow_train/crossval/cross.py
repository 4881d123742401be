"""The loop over folds: train the recipe, and its teachers, without a fold; ask the net about it.

The folder of a cross-validation holds `folds.csv`, a run folder per fold (`fold-1`, with those of
its teachers in `fold-1/teachers`), `fold-1/held.npz` with the answers to the fold's tiles, and,
when all folds are done, `out-of-fold.npz`. A killed cross-validation goes on with the fold and the
epoch it was in when the same command is given again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base import views
from winnow_base.errors import DataError, RecipeError
from winnow_base.files import make_folder
from winnow_base.progress import Progress
from winnow_edge.files import write_file
from winnow_train import lineage, model, run, samples
from winnow_train.chosen import Chosen, Settings, trained_keys
from winnow_train.crossval.outcome import FILE, PLAN, OutOfFold, join, load
from winnow_train.crossval.splits import (
    NEVER,
    SOLS_PER_BLOCK,
    Folds,
    make_eras,
    make_folds,
    notices,
    read_folds,
)
from winnow_train.preflight import read_tasks
from winnow_train.recipe import Recipe, find_recipe, read_recipe
from winnow_train.runs import load_run, read_card
from winnow_train.tiles import decode_all, to_input
from winnow_train.windows.join import fingerprint_of, read_all

FOLDS, HELD = "folds.csv", "held.npz"


def cross_validate(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    folds: int = 5,
    seed: int = 0,
    sols: int = SOLS_PER_BLOCK,
    eras: bool = False,
    fold_file: Path | None = None,
    suspects: Mapping[str, float] | None = None,
    weights_dir: Path | None = None,
    teachers: tuple[Path, ...] = (),
    recipes: Path | None = None,
    progress: Progress,
) -> OutOfFold:
    """Train `recipe` once per fold of sources and return what the nets say of what they never saw.

    `seed` assigns the sources; the nets are trained with the recipe's. `sols` is the width of a
    block of rover sols, with `eras` the folds are eras; `fold_file` takes the folds from a file
    instead. Teachers that the recipe names are trained anew in every fold, from their recipes in
    `recipes` or the shipped ones, since a teacher that had seen a fold would tell. Given
    `teachers`, run folders or bundles, serve all folds as they are; the sources they learned from
    train every net and are judged by none. Raises DataError for too few sources, and where `out`
    holds a cross-validation of another recipe, data, teachers or folds.
    """
    _refuse_unfit(recipe)
    tasks = read_tasks(recipe, data, held=())
    whole = list(tasks.values())
    pictures = read_all(recipe, data)
    taught = frozenset(s for teacher in teachers for s in lineage.sources_of(teacher))
    if fold_file:
        made = read_folds(fold_file, whole)
    elif eras:
        made = make_eras(whole, folds, sols, taught)
    else:
        made = make_folds(whole, folds, seed, sols, pictures, taught)
    _refuse_taught(made, taught, fold_file)
    own = tasks[recipe.data.dataset]
    about: dict[str, Any] = {
        "recipe": recipe.as_dict(),
        "folds": made.count,
        "unit": "source" if set(made.group_of) == set(made.group_of.values()) else "block of sols",
        "weights": dict(suspects or {}),
        "notices": notices(own, made),
    }
    make_folder(out)
    if taught:
        about["teachers"] = [teacher.name for teacher in teachers]
    known = {
        "data": run.fingerprint(tasks, about["weights"]) + fingerprint_of(pictures),
        "weights": about["weights"],
        "teachers": _teachers(recipe, teachers, recipes),
    }
    _keep_plan(out, recipe, made, known)
    for notice in about["notices"]:
        progress.warn(notice)
    parts = []
    for fold in made.numbers:
        where = out / f"fold-{fold}"
        if (where / HELD).is_file():
            parts.append(load(where / HELD))
            continue
        progress.note(f"{recipe.name}: fold {fold} of {made.count}")
        held = made.held(fold)
        trainer = _Trainer(data, held, weights_dir, recipes, progress)
        trainer.train(recipe, where, suspects or {}, teachers)
        part = _ask(recipe, data, where, made, fold, progress)
        part.save(where / HELD)
        parts.append(part)
    found = join(parts, about)
    found.save(out / FILE)
    return found


def export_chosen(
    recipe: Recipe,
    data: Path,
    out: Path,
    settings: Settings,
    *,
    weights_dir: Path | None = None,
    teachers: tuple[Path, ...] = (),
    progress: Progress,
) -> None:
    """Give the nets of all folds the temperature, prior and second views that were chosen.

    Bundles of the folds then answer as the net that flies would, on what they never saw.
    """
    nothing = {"split": "none: the net of a fold"}
    chosen = Chosen(settings, nothing, "temperature, prior and second views as chosen on all folds")
    made = read_folds(out / FOLDS, list(read_tasks(recipe, data, held=()).values()))
    for fold in made.numbers:
        where = out / f"fold-{fold}"
        card = read_card(where)
        if settings == Settings(card["temperature"], card["training"]["prior"], card["borderline"]):
            continue
        trained = tuple(where / "teachers" / name for name in recipe.distill.teachers)
        run.train(
            recipe,
            data,
            where,
            weights_dir=weights_dir,
            teachers=teachers or trained,
            progress=progress,
            held=made.held(fold),
            chosen=chosen,
            suspects=json.loads((out / PLAN).read_text(encoding="utf-8"))["weights"],
        )


def _refuse_unfit(recipe: Recipe) -> None:
    if recipe.train.patience:
        raise RecipeError(
            f"train.patience is {recipe.train.patience}: the held-out tiles would choose the epoch",
            where=recipe.name,
            hint="--set train.patience=0 and --set train.epochs=N",
        )


def _refuse_taught(folds: Folds, taught: frozenset[str], fold_file: Path | None) -> None:
    """A fold file must not judge what a given teacher learned from."""
    for source in sorted(taught & set(folds.fold_of)):
        if folds.fold_of[source] != NEVER:
            raise DataError(
                f"{source} is in fold {folds.fold_of[source]}, but a teacher learned from it",
                where=fold_file,
                hint="give it fold 0, or train the teacher anew by leaving --teacher out",
            )


def _teachers(
    recipe: Recipe, given: tuple[Path, ...], recipes: Path | None
) -> dict[str, Any] | list[str]:
    """What the teachers are: digests of those given, else how those named are trained, whole."""
    if given:
        return [lineage.digest_of(teacher) for teacher in given]
    found = {}
    for name in recipe.distill.teachers:
        theirs = read_recipe(_find(name, recipes))
        found[name] = [trained_keys(theirs), theirs.seed, _teachers(theirs, (), recipes)]
    return found


def _find(name: str, recipes: Path | None) -> Path:
    """A recipe beside the one that names it, else a shipped one."""
    beside = recipes / f"{name}.toml" if recipes else None
    return beside if beside and beside.is_file() else find_recipe(name)


def _keep_plan(out: Path, recipe: Recipe, folds: Folds, known: Mapping[str, Any]) -> None:
    """Write the plan, or refuse to go on with another one than `out` was begun with."""
    plan = {
        "recipe": {**trained_keys(recipe), "seed": recipe.seed},
        **known,
        "folds": folds.as_csv(),
    }
    path = out / PLAN
    if path.is_file():
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
            changed = [k for k, v in plan.items() if begun[k] != json.loads(json.dumps(v))]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError("holds no plan of a cross-validation", where=path) from error
        if changed:
            other = "another " if changed[0] == "recipe" else "other "
            raise DataError(
                f"was begun with {other}{changed[0]}",
                where=out,
                hint="choose another --out, or remove it to start anew",
            )
        return
    write_file(out / FOLDS, folds.as_csv())
    write_file(path, json.dumps(plan, indent=1) + "\n")


class _Trainer:
    """Trains recipes and their teachers without the held-out sources."""

    def __init__(
        self,
        data: Path,
        held: frozenset[str],
        weights_dir: Path | None,
        recipes: Path | None,
        progress: Progress,
    ) -> None:
        self._data, self._held, self._weights_dir = data, held, weights_dir
        self._recipes, self._progress = recipes, progress

    def train(
        self,
        recipe: Recipe,
        out: Path,
        suspects: Mapping[str, float],
        given: tuple[Path, ...] = (),
    ) -> None:
        """Train the teachers first, each in a folder of its own under `out`, unless given."""
        teachers = list(given)
        for name in recipe.distill.teachers if not given else ():
            where = out / "teachers" / name
            self.train(read_recipe(_find(name, self._recipes)), where, {})
            teachers.append(where)
        run.train(
            recipe,
            self._data,
            out,
            weights_dir=self._weights_dir,
            teachers=tuple(teachers),
            progress=self._progress,
            held=self._held,
            suspects=suspects,
        )


def _ask(
    recipe: Recipe, data: Path, where: Path, folds: Folds, fold: int, progress: Progress
) -> OutOfFold:
    """What the net of a fold says of the tiles that it never saw."""
    task = read_tasks(recipe, data, folds.held(fold))[recipe.data.dataset]
    held, training = task.split("val"), task.split("train")
    shift = recipe.train.logit_adjustment * samples.log_prior(training, recipe)
    net, card = load_run(where)
    size = card["input"]
    paths = [t.path for t in held.tiles.tiles]
    parts = []
    with progress.counting(f"asking the net of fold {fold}", len(paths)) as advance:
        for start in range(0, len(paths), 256):
            tiles = decode_all(paths[start : start + 256], size["channels"])
            pixels = to_input(tiles, size["height"], size["width"])
            parts.append(views.ask(lambda t: model.predict(net, t), pixels, 1.0))
            advance(len(tiles))
    said = views.join(parts)
    given = (
        card["training"]["prior"] * shift
    )  # the run folder's net has this much of it in its bias
    sources = [t.source for t in held.tiles.tiles]
    return OutOfFold(
        dataset=recipe.data.dataset,
        classes=task.classes,
        head=task.head,
        names=np.array([t.key for t in held.tiles.tiles]),
        sources=np.array(sources),
        groups=np.array([folds.group_of[s] for s in sources]),
        fold=np.full(len(paths), fold),
        truth=held.truth,
        logits=(said.logits - given).astype(np.float32),
        mirrored=(np.asarray(said.mirrored) - given).astype(np.float32),
        shift=np.tile(shift.astype(np.float32), (len(paths), 1)),
        about={},
    )
