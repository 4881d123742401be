"""All that can be refused before Keras is loaded, which takes ten times as long as finding it."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from winnow_base.errors import DataError, RecipeError
from winnow_train.datasets import refuse_leakage
from winnow_train.recipe import Data, Recipe
from winnow_train.tasks import Task, read_task, refuse_empty_classes
from winnow_train.tiles import refuse_no_picture
from winnow_train.weights import find_weights


def refuse_unready(
    recipe: Recipe,
    data: Path,
    *,
    weights_dir: Path | None = None,
    teachers: tuple[Path, ...] = (),
    held: Collection[str] | None = None,
) -> None:
    """Raise what a training would be refused for later: a missing or unusable data set, a tile
    whose header is no picture's, missing weights, missing teachers. Pixels are not decoded."""
    tasks = read_tasks(recipe, data, held)
    refuse_unlearnable(recipe, tasks, held)
    find_weights(recipe.model.weights, weights_dir)
    refuse_wrong_number(recipe, teachers)
    paths = [t.path for task in tasks.values() for t in task.tiles.tiles]
    with ThreadPoolExecutor() as pool:
        list(pool.map(refuse_no_picture, paths))


def read_tasks(recipe: Recipe, data: Path, held: Collection[str] | None = None) -> dict[str, Task]:
    """The recipe's own task first, then those trained along; with `held`, all split anew."""
    own = recipe.data.dataset
    tasks = {own: read_task(recipe.data, data, recipe.model.head, held)}
    for name in recipe.data.along:
        if name in tasks:
            raise RecipeError(f"data.along names {name} again", where=recipe.name)
        tasks[name] = read_task(Data(dataset=name), data, "softmax", held)
    refuse_leakage([t.tiles for t in tasks.values()])
    return tasks


def refuse_unlearnable(
    recipe: Recipe, tasks: dict[str, Task], held: Collection[str] | None
) -> list[str]:
    """Raise RecipeError or DataError for tasks that cannot be learned; returns warnings."""
    if held is not None and recipe.train.patience:
        raise RecipeError(
            f"train.patience is {recipe.train.patience}, but no val is judged",
            where=recipe.name,
            hint="set train.epochs and train.patience=0",
        )
    warnings = []
    for head, task in tasks.items():
        if task.head == "softmax" and len(task.classes) < 2:
            raise DataError(
                f"{head} has one class alone, {task.classes[0]}",
                hint="a net tells classes apart: add tiles without it as a class of their own, "
                'e.g. "none"',
            )
        if held:  # `winnow cv` says which classes the net of a fold never saw
            continue
        if copies := task.tiles.left_out:
            warnings.append(f"{head}: {len(copies)} tiles hold version 1's picture; left out")
        warnings += [
            f"{head}: no val tile of {missing}; macro-F1 leaves it out"
            for missing in refuse_empty_classes(task, judged=held is None)
        ]
    return warnings


def refuse_wrong_number(recipe: Recipe, teachers: tuple[Path, ...]) -> None:
    """Raise RecipeError for another number of teachers than the recipe names, and for any where it
    takes none."""
    wanted = recipe.distill.teachers
    if not (recipe.distill.weight > 0 or recipe.distill.start):
        if teachers:
            raise RecipeError(
                "takes no teacher, but one is given",
                where=recipe.name,
                hint="leave --teacher out, or set distill.weight or distill.start",
            )
        return
    if not teachers:
        names = " and ".join(wanted) or "the teacher's recipe"
        raise RecipeError(
            "distillation needs a teacher"
            if recipe.distill.weight > 0
            else "distill.start needs a run to start from",
            where=recipe.name,
            hint=f"train {names} first and give its run folder with --teacher",
        )
    if wanted and len(teachers) != len(wanted):
        raise RecipeError(
            f"names {len(wanted)} teacher{'s' * (len(wanted) > 1)}, given are {len(teachers)}",
            where=recipe.name,
            hint=f"give a --teacher for each of {', '.join(wanted)}, in this order",
        )
