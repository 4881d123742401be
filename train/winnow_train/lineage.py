"""Where a run's weights and targets come from: its teachers, and every source that had a part.

A student knows what its teachers were shown, and what theirs were; so a run's description holds
the union, and a run is judged on no source that any of them learned from.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from winnow_base.errors import DataError, ModelError
from winnow_base.progress import Progress
from winnow_edge.bundle import SUFFIX, open_bundle
from winnow_train.preflight import refuse_wrong_number
from winnow_train.recipe import Recipe
from winnow_train.runs import CHECKPOINT, MODEL, read_card
from winnow_train.tasks import Task


def refuse_wrong_teachers(recipe: Recipe, teachers: tuple[Path, ...], progress: Progress) -> None:
    """Refuse another number of teachers than the recipe names, and any where it takes none.

    Runs of other recipes than the named ones only get a warning: a recipe may have been renamed.
    """
    refuse_wrong_number(recipe, teachers)
    for name, folder in zip(recipe.distill.teachers, teachers, strict=False):
        if (theirs := read_card(folder).get("name")) != name:
            progress.warn(f"{folder} is a run of {theirs}; {recipe.name} names {name} here")


def refuse_leaks(teachers: tuple[Path, ...], tasks: dict[str, Task]) -> None:
    """Refuse teachers that have learned from a val source of any head, or whose teachers have."""
    val = {t.source for task in tasks.values() for t in task.tiles.tiles if t.split == "val"}
    for folder in teachers:
        if leaked := sorted(val & sources_of(folder)):
            raise DataError(
                f"the teacher, or one of its own, was trained on {leaked[0]}, a val source",
                where=folder,
            )


def sources_of(run: Path) -> set[str]:
    """Every source that a run learned from with all its heads, and its teachers before it.

    Of bundles, and of runs whose description has no lineage (they are older), only their own are
    known.
    """
    if run.suffix == SUFFIX:
        try:
            return set(open_bundle(run).manifest.training["sources"]["train"])
        except (KeyError, TypeError) as error:
            raise ModelError("does not name its training sources", where=run) from error
    card = read_card(run)
    cards = [card] if "lineage" in card else [card, *map(read_card, sorted(run.glob("along-*")))]
    try:
        if "lineage" in card:
            return set(card["lineage"]["sources"])
        return {s for c in cards for s in c["training"]["sources"]["train"]}
    except (KeyError, TypeError) as error:
        raise ModelError("does not name its training sources", where=run) from error


def digest_of(teacher: Path) -> str:
    """SHA-256 of a bundle, or of a run folder's model, in hexadecimal."""
    held = teacher if teacher.suffix == SUFFIX else teacher / MODEL
    try:
        return hashlib.sha256(held.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=held) from error


def describe(training: dict[str, Task], teachers: tuple[Path, ...]) -> dict[str, Any]:
    """The lineage that goes into model.json: teachers as given, and all sources learned from."""
    sources = {s for task in training.values() for s in task.tiles.sources}
    return {
        "teachers": [
            {
                "name": read_card(folder).get("name"),
                "sha256": {
                    name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
                    for name in (MODEL, CHECKPOINT)
                    if (folder / name).is_file()
                },
            }
            for folder in teachers
        ],
        "sources": sorted(sources.union(*map(sources_of, teachers))),
    }
