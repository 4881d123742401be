"""What a student takes from its teachers: their posteriors on the training tiles, first weights.

Asking a teacher costs minutes (eight views of every tile), so its logits are kept in its run
folder, under a name made of its own digest and that of the very pixels it saw.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from winnow_base import metrics
from winnow_base.errors import ModelError, WeightsError
from winnow_base.progress import Progress
from winnow_edge.errors import OutputError
from winnow_edge.files import write_aside
from winnow_train import checkpoints, model
from winnow_train.recipe import Recipe, parse_recipe
from winnow_train.runs import CHECKPOINT, MODEL, load_run, read_card
from winnow_train.tasks import Task, class_matrix
from winnow_train.tiles import to_input

#: All symmetries of the square; `distill.views` of them, evenly spread, are looked at.
VIEWS = 8


def posteriors(
    recipe: Recipe,
    tasks: dict[str, Task],
    pixels: dict[str, list[np.ndarray]],
    teachers: tuple[Path, ...],
    progress: Progress,
) -> dict[str, np.ndarray]:
    """Posteriors of the teachers on all training tiles, mean of its views: head -> [n, K].

    A teacher serves the heads whose classes it (or a head trained along with it) has; one that
    knows all classes of the own data set also serves a head that merges them (`data.map`).
    """
    if recipe.distill.weight == 0:
        return {}
    tiles = [t for p in pixels.values() for t in p]
    found: dict[str, list[np.ndarray]] = {}
    for folder in teachers:
        for run in (folder, *sorted(folder.glob("along-*"))):
            net, card = load_run(run)
            head = card["training"]["dataset"]
            into = _into(recipe, tasks, head, card)
            if into is None:
                continue
            size = card["input"]
            if size["channels"] != recipe.input.channels:
                raise ModelError("the teacher has another channel count", where=run)
            inputs = to_input(tiles, size["height"], size["width"])
            views = range(0, VIEWS, VIEWS // recipe.distill.views)
            what = f"asking {card['name']} ({head})"
            logits = logits_of(net, run, inputs, what, progress, views)
            heat = card["temperature"] * recipe.distill.temperature
            posterior = metrics.posterior(logits / heat, card["head"]) @ into
            found.setdefault(head, []).append(posterior)
    if recipe.data.dataset not in found:
        raise ModelError(
            f"no teacher knows the classes of {recipe.data.dataset}",
            where=", ".join(str(t) for t in teachers),
        )
    return {h: np.mean(p, axis=0).astype(np.float32) for h, p in found.items()}


def _into(
    recipe: Recipe, tasks: dict[str, Task], head: str, card: dict[str, Any]
) -> np.ndarray | None:
    """What a teacher's posterior is multiplied by to be one of the head's [its, ours], or None."""
    if head not in tasks:
        return None
    if tuple(card["classes"]) == tasks[head].classes:
        return np.eye(len(card["classes"]))
    whole = tasks[head].tiles.classes
    if (
        head == recipe.data.dataset
        and tuple(card["classes"]) == tuple(whole)
        and card["head"] == recipe.model.head == "softmax"
    ):
        into = class_matrix(tasks[head].tiles, recipe.data)
        return into if (into.sum(axis=1) == 1).all() else None
    return None


def logits_of(
    net: keras.Model,
    run: Path,
    inputs: np.ndarray,
    what: str,
    progress: Progress,
    views: Sequence[int] = range(VIEWS),
) -> np.ndarray:
    """Logits [n, K] of uint8 inputs [n, H, W, C], mean of the views; kept beside the model."""
    digest = hashlib.sha256((run / MODEL).read_bytes())
    digest.update(repr((inputs.shape, list(views))).encode())
    digest.update(inputs)
    path = run / f"logits-{digest.hexdigest()[:16]}.npz"
    if path.is_file():
        try:
            with path.open("rb") as stream, np.load(stream) as held:
                logits = np.asarray(held["logits"], np.float32)
            progress.note(f"{what}: answers kept in {path}")
            return logits
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            progress.warn(f"{path} cannot be read; asking the teacher again")
    parts = []
    with progress.counting(what, len(inputs)) as advance:
        for start in range(0, len(inputs), 64):
            parts.append(model.predict(net, inputs[start : start + 64], views=views))
            advance(len(parts[-1]))
    logits = np.concatenate(parts).astype(np.float32)
    try:
        with write_aside(path) as stream:
            np.savez(stream, logits=logits)
    except OutputError as error:
        progress.warn(f"the teacher's logits are not kept: {error}")
    return logits


def start_from(net: keras.Model, teachers: Sequence[Path], progress: Progress) -> None:
    """Copy the trained weights of the teachers into the layers of `net` that fit, heads included.

    Of several teachers, which must be nets of one plan, the mean of their weights is taken. Raises
    WeightsError if none fits.
    """
    other, name = _trained_net(teachers[0])
    mean = other.get_weights()
    for number, teacher in enumerate(teachers[1:], start=2):
        more, another = _trained_net(teacher)
        added = more.get_weights()
        if [w.shape for w in added] != [w.shape for w in mean]:
            raise WeightsError(
                f"is no net of the plan of {name}, so their weights have no mean",
                where=teacher,
                hint="name runs of one recipe's [model], or set distill.average = false",
            )
        mean = [m + (w - m) / number for m, w in zip(mean, added, strict=True)]
        name += f" and {another}"
    other.set_weights(mean)
    copied = model.start_from(net, other)
    if not copied:
        raise WeightsError(
            "none of its layers has the name and shape of one of this recipe's",
            where=teachers[0],
            hint="start from the same backbone and width, or set distill.start = false",
        )
    progress.note(f"{copied} layers start from {'the mean of ' * (len(teachers) > 1)}{name}")


def _trained_net(teacher: Path) -> tuple[keras.Model, str]:
    """The net of a run folder as it was trained, with all its heads, and its recipe's name."""
    read_card(teacher)  # says plainly what is no run folder
    meta, arrays = checkpoints.read_checkpoint(teacher / CHECKPOINT)
    theirs = parse_recipe(meta["recipe"], where=str(teacher))
    runs = {theirs.data.dataset: teacher}
    runs |= {h: teacher / f"along-{h}" for h in theirs.data.along}
    cards = {h: read_card(run) for h, run in runs.items()}
    heads = {h: len(card["classes"]) for h, card in cards.items()}
    net = model.build(theirs.model, theirs.input, heads, None, theirs.seed)
    try:
        net.set_weights(checkpoints.kept_weights(arrays))
    except ValueError as error:
        raise WeightsError(
            "its checkpoint and its model.json are not of one training",
            where=teacher,
            hint="train it again",
        ) from error
    return net, theirs.name
