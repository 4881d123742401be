"""Windows join the landmark tiles of a training, drawn as often as the recipe says."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from winnow_base.errors import DataError, RecipeError
from winnow_base.progress import Progress
from winnow_train import samples
from winnow_train.mining import IMPOSSIBLE
from winnow_train.recipe import Recipe
from winnow_train.tasks import Task
from winnow_train.tiles import decode
from winnow_train.windows.cut import BACKGROUND, Window, pixels_of, windows_of
from winnow_train.windows.pictures import (
    NO_LOOKS,
    Picture,
    find_looks,
    read_looks,
    read_pictures,
    refuse_misfit,
)

NONE = "none"
"""Group of the windows that show no class and teach only which classes are not there."""


def read_all(recipe: Recipe, data: Path) -> tuple[Picture, ...]:
    """The pictures of all folders that the recipe's `windows` names. Raises DataError."""
    rules = recipe.windows
    looks = read_looks(find_looks(rules.looks)) if rules.looks else NO_LOOKS
    return tuple(p for name in rules.folders for p in read_pictures(data / name, looks))


def fingerprint_of(pictures: Collection[Picture]) -> str:
    """A digest of the pictures' names and of what is known of them; "" for no pictures."""
    if not pictures:
        return ""
    text = "\n".join(
        repr((p.path.name, p.source, p.features, p.absent, p.complete)) for p in pictures
    )
    return hashlib.sha256(text.encode()).hexdigest()


def add_windows(
    sample: samples.Sample,
    recipe: Recipe,
    task: Task,
    pictures: Sequence[Picture],
    progress: Progress,
) -> samples.Sample:
    """The sample with windows of `pictures`, which weigh in the own head alone.

    A group that no picture gives (its only ones may be left out) is not drawn, with a warning.
    Raises RecipeError for classes that the head does not have, DataError for a truth file of
    another picture.
    """
    rules = recipe.windows
    wanted = {name: n for name, n in rules.draw.items() if n}
    if not wanted:
        return sample
    _refuse_wrong_head(recipe, task, wanted)
    windows, pixels = _cut(recipe, pictures, progress)
    counts = Counter(w.class_name or NONE for w in windows)
    for name in [name for name in wanted if not counts[name]]:
        there = ", ".join(f"{n} of {c}" for c, n in sorted(counts.items()))
        progress.warn(f"no picture gives a window of {name}; there are {there or 'none at all'}")
        del wanted[name]
    if not wanted:
        return sample
    kept = [i for i, w in enumerate(windows) if (w.class_name or NONE) in wanted]
    windows, pixels = [windows[i] for i in kept], [pixels[i] for i in kept]
    progress.note(
        "windows: " + ", ".join(f"{counts[c]} of {c}" for c in sorted(wanted, key=str.lower))
    )
    _refuse_nothing_left(windows, task.classes, pictures)
    target = np.stack([_target(w, task.classes, recipe.train.label_smoothing) for w in windows])
    own, held = recipe.data.dataset, len(sample.pixels)
    targets, weights = dict(sample.targets), dict(sample.weights)
    for head, before in sample.targets.items():
        mine = head == own
        more = target if mine else np.zeros((len(windows), before.shape[1]), np.float32)
        targets[head] = np.concatenate([before, more])
        full = np.full(len(windows), float(mine), np.float32)
        weights[head] = np.concatenate([sample.weights[head], full])
    groups = [w.class_name or NONE for w in windows]
    each = shares(groups, windows, pictures) * [wanted[g] for g in groups]
    minable = [g for g in (NONE, BACKGROUND) if g in wanted]
    mined = [minable.index(g) if g in minable else -1 for g in groups]
    draw = np.concatenate([sample.draw * sample.drawn, each])
    return dataclasses.replace(
        sample,
        pixels=[*sample.pixels, *pixels],
        targets=targets,
        weights=weights,
        draw=draw / draw.sum(),
        epoch=sample.drawn + sum(wanted.values()),
        first_window=held,
        mined=np.array([-1] * held + mined),
    )


def shares(
    groups: Sequence[str], windows: Sequence[Window], pictures: Sequence[Picture]
) -> np.ndarray:
    """Each window's share of its group; the folders that give windows to a group share alike."""
    homes = [pictures[w.picture].path.parent.name for w in windows]
    of_home = Counter(zip(groups, homes, strict=True))
    folders = Counter(group for group, _ in of_home)
    return np.array([1 / of_home[g, h] / folders[g] for g, h in zip(groups, homes, strict=True)])


def _cut(
    recipe: Recipe, pictures: Sequence[Picture], progress: Progress
) -> tuple[list[Window], list[np.ndarray]]:
    side, windows, pixels = recipe.input.height, list[Window](), list[np.ndarray]()
    with progress.counting("cutting windows", len(pictures)) as advance:
        for number, picture in enumerate(pictures):
            grey = decode(picture.path, 1)[..., 0]
            refuse_misfit(picture, *grey.shape)
            some = windows_of(picture, number, grey.shape, side, recipe.windows, recipe.seed)
            for window, part in pixels_of(grey, some, side):
                windows.append(window)
                pixels.append(part[..., None])
            advance(1)
    return windows, pixels


def _refuse_nothing_left(
    windows: Sequence[Window], classes: tuple[str, ...], pictures: Sequence[Picture]
) -> None:
    """Raise DataError for a window that can be of no class: its loss would have no bound."""
    for window in windows:
        if not window.class_name and set(classes) <= set(window.absent):
            raise DataError(
                "every class of the head is absent", where=pictures[window.picture].path
            )


def _target(window: Window, classes: tuple[str, ...], smoothing: float) -> np.ndarray:
    """The target float32 [K] of a window: smoothed one-hot, or -1 for classes that it excludes."""
    target = np.zeros(len(classes), np.float32)
    if window.class_name:
        target += smoothing / len(classes)
        target[classes.index(window.class_name)] += 1 - smoothing
        return target
    for name in window.absent:
        if name in classes:
            target[classes.index(name)] = IMPOSSIBLE
    return target


def _refuse_wrong_head(recipe: Recipe, task: Task, wanted: Collection[str]) -> None:
    if task.head != "softmax" or recipe.input.channels != 1:
        raise RecipeError("windows need grey tiles and a softmax head", where=recipe.name)
    if recipe.input.height != recipe.input.width:
        raise RecipeError("windows are square, the input is not", where=recipe.name)
    if unknown := [c for c in wanted if c not in (NONE, *task.classes)]:
        raise RecipeError(
            f"windows.draw names {unknown[0]!r}",
            where=recipe.name,
            hint=f"known: {', '.join((NONE, *task.classes))}",
        )
    if not recipe.windows.folders:
        raise DataError("windows.draw asks for windows, windows.folders names no folder")
