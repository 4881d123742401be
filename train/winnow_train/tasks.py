"""From a data set to what a head learns: classes renamed, merged, dropped, one camera only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base.errors import DataError, RecipeError
from winnow_base.progress import Step
from winnow_base.tiles import LabelledTiles
from winnow_train.datasets import TileSet, camera_of, hold_out, read_dataset
from winnow_train.recipe import Data, parse_recipe
from winnow_train.tiles import decode_all, to_input

REST = "*"


@dataclass(frozen=True)
class Task:
    """A head's classes and its tiles with their truth.

    `truth` is int32 labels [n] for a softmax head and 0/1 float32 [n, K] for a sigmoid head;
    a label K marks a tile of a class that the head does not know (only where asked for).
    """

    tiles: TileSet
    classes: tuple[str, ...]
    head: str
    truth: np.ndarray

    def split(self, name: str) -> Task:
        """The tiles of one set, and their truth."""
        part = self.tiles.split(name)
        keep = [i for i, t in enumerate(self.tiles.tiles) if t.split == name]
        return replace(self, tiles=part, truth=self.truth[keep])

    def targets(self) -> np.ndarray:
        """The truth as float32 [n, K]: one-hot, or the multi-label truth itself."""
        if self.head == "sigmoid":
            return self.truth.astype(np.float32)
        return np.asarray(np.eye(len(self.classes), dtype=np.float32)[self.truth])

    def counts(self) -> dict[str, dict[str, int]]:
        """Tiles per set and class."""
        sums = {}
        for split in dict.fromkeys(t.split for t in self.tiles.tiles):
            total = self.split(split).targets().sum(axis=0)
            sums[split] = {c: int(n) for c, n in zip(self.classes, total, strict=True)}
        return sums


def read_task(data: Data, root: Path, head: str, held: Collection[str] | None = None) -> Task:
    """The recipe's own task; with `held`, split anew (`datasets.hold_out`).

    Raises DataError, RecipeError for classes that do not exist.
    """
    found = read_dataset(data.dataset, root)
    return make_task(found if held is None else hold_out(found, held), data, head)


def make_task(found: TileSet, data: Data, head: str) -> Task:
    """Apply a recipe's `data` table to a data set."""
    if data.instrument:
        found = _of_instrument(found, data)
    for name in data.drop:
        if name not in found.classes:
            raise RecipeError(f"data.drop names {name!r}", hint=_known(found))
    hot = class_matrix(found, data)
    classes = tuple(_groups(found, data))
    if head == "softmax" and (hot.sum(axis=1) > 1).any():
        twice = found.classes[int(hot.sum(axis=1).argmax())]
        raise RecipeError(f"data.map has {twice!r} in two classes", hint='use head = "sigmoid"')
    kept = [t for t in found.tiles if head == "sigmoid" or hot[t.label].any()]
    if head == "sigmoid":
        kept = [t for t in kept if found.classes[t.label] not in data.drop]
    rows = hot[[t.label for t in kept]] if kept else np.zeros((0, len(classes)), np.float32)
    truth = rows if head == "sigmoid" else rows.argmax(axis=1).astype(np.int32)
    return Task(replace(found, tiles=tuple(kept)), classes, head, truth)


def class_matrix(found: TileSet, data: Data) -> np.ndarray:
    """Which class of a data set becomes which of a head's: 0/1 float32 [set's, head's]."""
    groups = _groups(found, data)
    hot = np.zeros((len(found.classes), len(groups)), np.float32)
    for column, olds in enumerate(groups.values()):
        for old in olds:
            hot[found.classes.index(old), column] = 1
    return hot


def _groups(found: TileSet, data: Data) -> dict[str, tuple[str, ...]]:
    kept = [c for c in found.classes if c not in data.drop]
    if not data.map:
        return {c: (c,) for c in kept}
    named = {old for olds in data.map.values() for old in olds if old != REST}
    for old in sorted(named):
        if old not in found.classes:
            raise RecipeError(f"data.map names {old!r}", hint=_known(found))
    rest = tuple(c for c in kept if c not in named)
    return {new: rest if olds == (REST,) else olds for new, olds in data.map.items()}


def _of_instrument(found: TileSet, data: Data) -> TileSet:
    """The camera's own tiles and, where `others` asks for them, the others' training tiles."""
    own = [camera_of(t.path.name) == data.instrument for t in found.tiles]
    if not any(own):
        raise DataError(f"{found.dataset} has no tile of the instrument {data.instrument}")
    pairs = zip(found.tiles, own, strict=True)
    along = data.others > 0
    return replace(
        found, tiles=tuple(t for t, mine in pairs if mine or (along and t.split == "train"))
    )


def _known(found: TileSet) -> str:
    return f"{found.dataset} has {', '.join(found.classes)}"


def refuse_empty_classes(task: Task, *, judged: bool = True) -> list[str]:
    """Raise DataError for a class without a training tile; return the classes that val lacks.

    Where the net is judged there must be val tiles: DataError if there are none.
    """
    train = task.split("train").targets().sum(axis=0)
    empty = [c for c, n in zip(task.classes, train, strict=True) if n == 0]
    if empty:
        raise DataError(
            f"{task.tiles.dataset} has no training tile of {', '.join(empty)}",
            hint="leave the class out with data.drop",
        )
    if not judged:
        return []
    val = task.split("val").targets().sum(axis=0)
    return [c for c, n in zip(task.classes, val, strict=True) if n == 0]


def task_like(card: dict[str, Any], dataset: str, root: Path) -> Task:
    """The data set as the model of `card` sees it; classes it does not know get the label K.

    The recipe's map of classes holds for another data set too, where that has the classes that the
    map names: a crater is a crater in both versions of the landmarks.
    """
    data = Data(dataset=dataset)
    found = read_dataset(dataset, root)
    if (held := card["training"].get("held")) is not None:
        found = hold_out(found, held)
    if "recipe" in card:
        own = parse_recipe(card["recipe"]).data
        if own.dataset == card["training"].get("dataset"):
            data = own if own.dataset == dataset else _map_for(own, found)
    if data.map:
        # In the order of the model's outputs: a manifest keeps the keys of its recipe sorted.
        if set(data.map) != set(card["classes"]):
            raise DataError(f"the map in the recipe of {card['name']} makes other classes")
        data = replace(data, map={c: data.map[c] for c in card["classes"]})
    if data.map or data.instrument:
        return make_task(found, data, card["head"])
    known = {c: i for i, c in enumerate(card["classes"])}
    if not any(c in known for c in found.classes):
        raise DataError(
            f"none of the classes of {dataset} is known to {card['name']}",
            hint=f"it knows {', '.join(known)}",
        )
    if card["head"] == "sigmoid":
        same = {c: (c,) if c in found.classes else () for c in card["classes"]}
        return make_task(found, Data(dataset=dataset, map=same), "sigmoid")
    places = np.array([known.get(c, len(known)) for c in found.classes], np.int32)
    return Task(found, tuple(card["classes"]), "softmax", places[found.labels])


def _map_for(own: Data, found: TileSet) -> Data:
    """The class map of a recipe for another data set; no map if that lacks a class of it."""
    named = {old for olds in own.map.values() for old in olds} - {REST}
    if not named <= set(found.classes):
        return Data(dataset=found.dataset)
    drop = tuple(c for c in own.drop if c in found.classes)
    return Data(dataset=found.dataset, drop=drop, map=own.map)


def read_like(card: dict[str, Any], root: Path, split: str, progress: Step) -> LabelledTiles:
    """One set of the data that the model of `card` was trained on, at the model's input size.

    Raises DataError if the data are not there or are not of the model's classes.
    """
    name = card.get("training", {}).get("dataset")
    if not isinstance(name, str):
        raise DataError("model.json names no data set", where=card["name"])
    task = task_like(card, name, root).split(split)
    if task.truth.ndim == 1 and task.truth.max() >= len(card["classes"]):
        stranger = task.tiles.tiles[int(task.truth.argmax())].path.name
        raise DataError(f"{name} has tiles of classes that the model lacks, e.g. {stranger}")
    found = task.tiles.tiles
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress(f"reading {split}", done, len(found))

    size = card["input"]
    tiles = decode_all([t.path for t in found], size["channels"], progress=step)
    return LabelledTiles(
        tiles=to_input(tiles, size["height"], size["width"]),
        labels=task.truth.astype(np.int64),
        sources=tuple(t.source for t in found),
    )
