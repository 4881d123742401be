"""From a finished cross-validation of a first stage to the run folder of its second stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from winnow_base.errors import DataError, RecipeError
from winnow_base.files import make_folder
from winnow_base.progress import Progress
from winnow_base.tiles import LabelledTiles
from winnow_train import verifier
from winnow_train.datasets import read_dataset
from winnow_train.run import licence_of, versions
from winnow_train.second.cache import Cache
from winnow_train.second.crossfit import CrossFitted, cross_fit
from winnow_train.second.examples import Lessons, Pair, Reader, cut_pairs, gather
from winnow_train.second.first import FirstStage, read_first
from winnow_train.second.flights import fly_held_out
from winnow_train.second.judge import judge_both
from winnow_train.second.rules import Answers
from winnow_train.second.settings import Settings
from winnow_train.tasks import Task, read_task
from winnow_train.weights import find_weights
from winnow_train.windows.join import read_all
from winnow_train.windows.pictures import Picture

CACHE = "cache"
"""Folder within a run folder; it may be removed when the run is done."""


@dataclass(frozen=True)
class _Ready:
    """All that can be refused before anything is flown."""

    task: Task
    first: FirstStage
    pictures: tuple[Picture, ...]
    names: tuple[str, ...]
    weights: str | None


def make_verifier(
    settings: Settings,
    cv: Path,
    bundles: Sequence[Path],
    data: Path,
    out: Path,
    *,
    weights_dir: Path | None,
    false_per_swath: float,
    mission: Path | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Fit and cross-validate the second stage of the first stage that `cv` cross-validated, and
    write its run folder into `out`.

    Returns the figures of `judge.judge_both` with what they are of.

    A killed run goes on from what `out`/cache holds. Raises the errors of reading the recipe, the
    cross-validation, bundles, data and weights, each as one line, before anything is flown.
    """
    ready = _read(settings, cv, bundles, data, weights_dir, mission)
    cache = Cache(make_folder(out) / CACHE)
    recipe, first = settings.recipe, ready.first
    flights = fly_held_out(first, ready.pictures, cache, progress)
    learner = verifier.build(
        recipe.model, recipe.input, len(first.classes), ready.weights, recipe.seed
    )
    trunk = verifier.trunk_of(learner.halves)
    reader = Reader(trunk, first.side, first.nodata, cache)
    lessons = gather(first, flights, ready.pictures, ready.task, settings, reader, progress)
    fitted = cross_fit(lessons, settings.head, first.classes, progress)
    answers = Answers(first.classes, lessons.candidates, fitted.posterior)
    progress.note("judging one stage against two")
    found = judge_both(flights, answers, first.thresholds, ready.names, false_per_swath)
    found |= {
        "recipe": settings.as_dict(),
        "first_stage": str(cv),
        "folds": first.folds.count,
        "own_thresholds": {name: first.thresholds[name] for name in found["classes"]},
        "candidates": len(lessons.candidates),
        "examples": {
            "pairs": len(lessons.pairs),
            "tiles": int((~lessons.examples.around).sum()),
        },
        "ridge": {"by_fold": fitted.ridges, "all": fitted.ridge},
    }
    _write(out, trunk, fitted, lessons, found, settings, ready)
    return found


def _read(
    settings: Settings,
    cv: Path,
    bundles: Sequence[Path],
    data: Path,
    weights_dir: Path | None,
    mission: Path | None,
) -> _Ready:
    recipe = settings.recipe
    task = read_task(recipe.data, data, "softmax", held=())
    first = read_first(cv, bundles, task, recipe.input, recipe.windows.scales, mission)
    weights = find_weights(recipe.model.weights, weights_dir)
    barred = {t.source for t in read_dataset(recipe.data.dataset, data).tiles if t.split == "test"}
    pictures = tuple(p for p in read_all(recipe, data) if p.source not in barred)
    if not pictures:
        raise DataError("every picture is of a test source", where=data)
    names = settings.head.classes or tuple(first.thresholds)
    for name in (*names, *recipe.convert.thresholds):
        if name not in first.thresholds:
            raise RecipeError(
                f"names {name!r}, which the first stage never detects",
                where=recipe.name,
                hint=f"it detects {', '.join(first.thresholds)}",
            )
    return _Ready(task, first, pictures, names, weights)


def _write(
    out: Path,
    trunk: keras.Model,
    fitted: CrossFitted,
    lessons: Lessons,
    found: dict[str, Any],
    settings: Settings,
    ready: _Ready,
) -> None:
    """The run folder. Thresholds of the recipe's [convert] stay, others are those chosen here, at
    the temperature of the heads that were judged: the head has seen the pairs of val. Of the other
    classes it is not asked, so conversion must find them no threshold."""
    first, recipe = ready.first, settings.recipe
    net = verifier.assemble(trunk, fitted.head.kernel, fitted.head.bias)
    chosen = {name: row["second"] for name, row in found["chosen"].items()}
    table = settings.as_dict()
    limits = {**chosen, **recipe.convert.thresholds}
    rest = [name for name in first.classes if name not in limits]
    table["convert"] |= {"thresholds": limits, "background": rest, "refit": False}
    train, val = _shown(lessons, ready)
    sources = {t.source for t in ready.task.tiles.tiles} | {p.source for p in ready.pictures}
    counts = {
        split: np.bincount(tiles.labels, minlength=len(first.classes)).tolist()
        for split, tiles in (("train", train), ("val", val))
    }
    card = {
        "name": recipe.name,
        "about": recipe.about,
        "recipe": table,
        "classes": list(first.classes),
        "head": "softmax",
        "input": {"height": 2 * first.side, "width": first.side, "channels": 1},
        "temperature": 1.0,
        "borderline": 0.0,
        "training": {
            "dataset": recipe.data.dataset,
            "split": "fitted on the pairs of all folds, val's too: val judges the quantization "
            "alone, what the verifier is worth say its cross-validated figures",
            "counts": {
                split: dict(zip(first.classes, row, strict=True)) for split, row in counts.items()
            },
            "sources": {"train": sorted(sources)},
        },
        "metrics": {"split": f"cross-validated, {first.folds.count} folds", "swaths": found},
        "seed": recipe.seed,
        "versions": versions(),
        "licence": licence_of(recipe.export.licence, ready.task.tiles.licence),
        "attribution": f"{ready.task.tiles.attribution} "
        f"({ready.task.tiles.licence or 'licence not stated'}). Backbone {recipe.model.backbone}.",
    }
    verifier.write_run(out, net, card, train, val)


def _shown(lessons: Lessons, ready: _Ready) -> tuple[LabelledTiles, LabelledTiles]:
    """The pairs that show a class, for conversion: val are those of the last fold."""
    first = ready.first
    last = max(first.bundles)
    labelled = [pair for pair in lessons.pairs if pair.target.max() > 0]
    held = [first.fold_of(ready.pictures[p.picture].source) == last for p in labelled]
    parts = []
    for wanted in (False, True):
        some = [pair for pair, there in zip(labelled, held, strict=True) if there == wanted]
        parts.append(_cut(some, ready))
    return parts[0], parts[1]


def _cut(pairs: Sequence[Pair], ready: _Ready) -> LabelledTiles:
    side, nodata = ready.first.side, ready.first.nodata
    tiles, labels, sources = [np.zeros((0, 2 * side, side, 1), np.uint8)], list[int](), list[str]()
    for number, picture in enumerate(ready.pictures):
        mine = [pair for pair in pairs if pair.picture == number]
        if mine:
            tiles.append(cut_pairs(picture.path, [pair.place for pair in mine], side, nodata))
            labels += [int(pair.target.argmax()) for pair in mine]
            sources += [picture.source] * len(mine)
    return LabelledTiles(np.concatenate(tiles), np.array(labels, np.int64), tuple(sources))
