"""One training from recipe to run folder: what `winnow train` does.

A run folder holds `model.keras` (float32 [B, H, W, C] of pixels 0..255 -> logits), `model.json`
(everything needed to trust it), `training.jsonl` (the log), `checkpoint.npz`, and the same two
files in `along-NAME/` for every data set trained along.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import keras
import numpy as np

from winnow_ground.errors import DataError, ModelError, OutputError, RecipeError, WeightsError
from winnow_train import fit, metrics, model
from winnow_train.calibrate import fit_temperature
from winnow_train.datasets import LICENCE, read_dataset, refuse_leakage
from winnow_train.progress import Progress
from winnow_train.recipe import Data, Recipe, find_weights, parse_recipe
from winnow_train.tasks import Task, make_task, read_task, refuse_empty_classes
from winnow_train.tiles import decode_all, to_input

MODEL, CARD = "model.keras", "model.json"
#: Training tiles are kept with their longer side at most this, and at most 1.8 x the input.
LONGEST = 256


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    weights_dir: Path | None = None,
    teachers: tuple[Path, ...] = (),
    progress: Progress,
) -> dict[str, Any]:
    """Train `recipe` on the data sets under `data` into the run folder `out`; returns model.json.

    Raises the errors of reading the recipe, data, weights and teachers, each as one line.
    """
    if recipe.distill.weight > 0 and not teachers:
        names = " and ".join(recipe.distill.teachers) or "the teacher's recipe"
        raise RecipeError(
            "distillation needs a teacher",
            where=recipe.name,
            hint=f"train {names} first and give its run folder with --teacher",
        )
    weights = find_weights(recipe.model.weights, weights_dir)
    tasks = _tasks(recipe, data, progress)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be made: {error.strerror}", where=out) from error
    training = {h: t.split("train") for h, t in tasks.items()}
    held = {h: t.split("val") for h, t in tasks.items()}
    val = {h: fit.validation_of(recipe, t, _pixels(t, recipe, progress)) for h, t in held.items()}
    heads = {h: len(t.classes) for h, t in tasks.items()}
    fingerprint = _fingerprint(tasks)
    done = fit.finished_weights(out / fit.CHECKPOINT, recipe, fingerprint)
    net = model.build(recipe.model, recipe.input, heads, None if done else weights, recipe.seed)
    if done:
        net.set_weights(done)
        progress.note(f"{out} is trained; exporting again")
    else:
        pixels = {h: _pixels(t, recipe, progress, reduce=True) for h, t in training.items()}
        posteriors = _posteriors(recipe, tasks, pixels, teachers, progress)
        if recipe.distill.start:
            _start_from(net, recipe, tasks, teachers[0], progress)
        sample = fit.make_sample(recipe, training, pixels, posteriors)
        steps = fit.steps_per_epoch(len(sample.pixels), recipe.train.batch)
        own = val[recipe.data.dataset]
        with progress.training(recipe.name, recipe.train.epochs, steps) as bar:
            fit.fit(net, recipe, training, sample, own, out, fingerprint, bar.epoch, bar.step)
    cards = {}
    for head, task in tasks.items():
        folder = out if head == recipe.data.dataset else out / f"along-{head}"
        cards[head] = _finish(net, recipe, head, task, training[head], val[head], folder)
    return cards[recipe.data.dataset]


def _start_from(
    net: keras.Model, recipe: Recipe, tasks: dict[str, Task], teacher: Path, progress: Progress
) -> None:
    meta, arrays = fit.read_checkpoint(teacher / fit.CHECKPOINT)
    theirs = parse_recipe(meta["recipe"], where=str(teacher))
    heads = {
        h: len(tasks[h].classes) if h in tasks else 0
        for h in (theirs.data.dataset, *theirs.data.along)
    }
    other = model.build(theirs.model, theirs.input, heads, None, theirs.seed)
    try:
        other.set_weights(fit.kept_weights(arrays))
    except ValueError as error:
        raise WeightsError(
            "the teacher has other heads than this recipe",
            where=teacher,
            hint="set distill.start = false",
        ) from error
    copied = model.start_from(net, other)
    progress.note(f"{copied} layers start from {theirs.name}")


def _tasks(recipe: Recipe, data: Path, progress: Progress) -> dict[str, Task]:
    own = recipe.data.dataset
    tasks = {own: read_task(recipe.data, data, recipe.model.head)}
    for name in recipe.data.along:
        if name in tasks:
            raise RecipeError(f"data.along names {name} again", where=recipe.name)
        tasks[name] = read_task(Data(dataset=name), data, "softmax")
    refuse_leakage([t.tiles for t in tasks.values()])
    for head, task in tasks.items():
        for missing in refuse_empty_classes(task):
            progress.warn(f"{head}: no val tile of {missing}; macro-F1 leaves it out")
    return tasks


def _pixels(
    task: Task, recipe: Recipe, progress: Progress, *, reduce: bool = False
) -> list[np.ndarray]:
    """Decoded tiles; reduced to what augmentation needs if asked, since all stay in memory."""
    side = max(recipe.input.height, recipe.input.width)
    longest = min(max(LONGEST, side), round(1.8 * side)) if reduce else None
    paths = [t.path for t in task.tiles.tiles]
    with progress.counting(f"reading {task.tiles.dataset}", len(paths)) as advance:
        return decode_all(paths, recipe.input.channels, longest=longest, progress=advance)


def _posteriors(
    recipe: Recipe,
    tasks: dict[str, Task],
    pixels: dict[str, list[np.ndarray]],
    teachers: tuple[Path, ...],
    progress: Progress,
) -> dict[str, np.ndarray]:
    """Posteriors of the teachers on all training tiles, mean of the eight views: head -> [n, K].

    A teacher serves the heads whose classes it (or a head trained along with it) has.
    """
    if recipe.distill.weight == 0:
        return {}
    tiles = [t for p in pixels.values() for t in p]
    found: dict[str, list[np.ndarray]] = {}
    for folder in teachers:
        for run in (folder, *sorted(folder.glob("along-*"))):
            net, card = load_run(run)
            head = card["training"]["dataset"]
            if head not in tasks or tuple(card["classes"]) != tasks[head].classes:
                continue
            _same_split(card, tasks[head], run)
            size = card["input"]
            if size["channels"] != recipe.input.channels:
                raise ModelError("the teacher has another channel count", where=run)
            inputs = to_input(tiles, size["height"], size["width"])
            with progress.counting(f"asking {card['name']} ({head})", len(inputs)) as advance:
                parts = []
                for start in range(0, len(inputs), 64):
                    part = inputs[start : start + 64]
                    parts.append(model.predict(net, part, views=range(8)))
                    advance(len(part))
            heat = card["temperature"] * recipe.distill.temperature
            posterior = metrics.posterior(np.concatenate(parts) / heat, card["head"])
            found.setdefault(head, []).append(posterior)
    if recipe.data.dataset not in found:
        raise ModelError(
            f"no teacher knows the classes of {recipe.data.dataset}",
            where=", ".join(str(t) for t in teachers),
        )
    return {h: np.mean(p, axis=0).astype(np.float32) for h, p in found.items()}


def _same_split(card: dict[str, Any], task: Task, run: Path) -> None:
    val = set(task.split("val").tiles.sources)
    if leaked := sorted(val & set(card["training"]["sources"]["train"])):
        raise DataError(f"the teacher was trained on {leaked[0]}, a val source", where=run)


def _fingerprint(tasks: dict[str, Task]) -> str:
    digest = hashlib.sha256()
    for head, task in tasks.items():
        for tile in task.tiles.tiles:
            digest.update(f"{head} {tile.path.name} {tile.label} {tile.split}\n".encode())
    return digest.hexdigest()


def _finish(
    net: keras.Model,
    recipe: Recipe,
    head: str,
    task: Task,
    training: Task,
    val: fit.Validation,
    folder: Path,
) -> dict[str, Any]:
    bias = recipe.export.prior * recipe.train.logit_adjustment * fit.log_prior(training)
    exported = model.export(net, head, bias if bias.any() else None)
    logits = model.predict(exported, val.pixels)
    temperature = fit_temperature(logits, val.truth, task.head)
    classes = list(task.classes)

    def scores(heat: float) -> dict[str, Any]:
        posterior = metrics.posterior(logits / heat, task.head)
        return metrics.score(posterior, val.truth, classes, task.head)

    card = {
        "recipe": recipe.as_dict(),
        "name": recipe.name if head == recipe.data.dataset else f"{recipe.name}-along-{head}",
        "classes": classes,
        "head": task.head,
        "input": {
            "height": recipe.input.height,
            "width": recipe.input.width,
            "channels": recipe.input.channels,
        },
        "temperature": temperature,
        "training": {
            "dataset": head,
            "split": "by source; temperature fitted on val",
            "counts": task.counts(),
            "sources": {
                s: list(task.split(s).tiles.sources)
                for s in dict.fromkeys(t.split for t in task.tiles.tiles)
            },
        },
        "metrics": {
            "split": "val",
            "ece_before_temperature": scores(1.0)["ece"],
            **scores(temperature),
        },
        "seed": recipe.seed,
        "versions": _versions(),
        "licence": "Apache-2.0 (weights); training data CC BY 4.0",
        "attribution": f"{task.tiles.attribution} ({LICENCE}). "
        f"Backbone {recipe.model.backbone}: keras.applications ImageNet weights (Apache-2.0).",
    }
    folder.mkdir(parents=True, exist_ok=True)
    try:
        exported.save(folder / "aside.keras")
        (folder / "aside.keras").replace(folder / MODEL)
        (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror}", where=folder) from error
    return card


def _versions() -> dict[str, str]:
    backend = keras.backend.backend()
    found = {"python": platform.python_version(), "keras": keras.__version__, "backend": backend}
    for package in ("tensorflow-cpu", "tensorflow", "torch", "jax", "numpy", "winnow-ground"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load_run(folder: Path) -> tuple[keras.Model, dict[str, Any]]:
    """Load a run folder's model and its model.json. Raises ModelError if either is unusable."""
    folder = folder.parent if folder.suffix in (".keras", ".json") else folder
    card_path, model_path = folder / CARD, folder / MODEL
    for path in (card_path, model_path):
        if not path.is_file():
            raise ModelError(
                f"holds no {path.name}", where=folder, hint="give a run folder of winnow train"
            )
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        net = keras.models.load_model(model_path, compile=False)
        for key in ("classes", "head", "input", "temperature", "training"):
            card[key]
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ModelError(f"cannot be read: {error}", where=folder) from error
    return net, card


def task_like(card: dict[str, Any], dataset: str, root: Path) -> Task:
    """The data set as the model of `card` sees it; classes it does not know get the label K."""
    data = Data(dataset=dataset)
    if dataset == card["training"].get("dataset") and "recipe" in card:
        own = parse_recipe(card["recipe"]).data
        data = own if own.dataset == dataset else data
    found = read_dataset(dataset, root)
    if data.map or data.instrument:
        return make_task(found, data, card["head"])
    known = {c: i for i, c in enumerate(card["classes"])}
    if not any(c in known for c in found.classes):
        raise DataError(
            f"none of the classes of {dataset} is known to {card['name']}",
            hint=f"it knows {', '.join(known)}",
        )
    places = np.array([known.get(c, len(known)) for c in found.classes], np.int32)
    return Task(found, tuple(card["classes"]), "softmax", places[found.labels])
