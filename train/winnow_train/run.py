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
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from winnow_base import metrics, views
from winnow_base.calibrate import fit_temperature
from winnow_base.files import make_folder
from winnow_base.progress import Progress
from winnow_edge.bundle import SUFFIX, open_bundle
from winnow_edge.errors import OutputError
from winnow_train import checkpoints, distill, fit, frozen, lineage, model, samples
from winnow_train.appearance import appearance_of
from winnow_train.chosen import Chosen
from winnow_train.datasets import read_dataset
from winnow_train.from_bundle import unpack
from winnow_train.preflight import read_tasks, refuse_unlearnable
from winnow_train.recipe import Recipe
from winnow_train.rendered import add_rendered
from winnow_train.runs import CARD, CHECKPOINT, MODEL, read_card
from winnow_train.tasks import Task
from winnow_train.tiles import decode_all, to_input
from winnow_train.weights import find_weights, public_weights
from winnow_train.windows.join import add_windows, fingerprint_of, read_all
from winnow_train.windows.pictures import Picture, credits_of

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
    held: Collection[str] | None = None,
    chosen: Chosen | None = None,
    suspects: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Train `recipe` on the data sets under `data` into the run folder `out`; returns model.json.

    With `held` the net learns from all labelled tiles of train and val but those of the `held`
    sources, and is judged on none: its temperature is 1, or `chosen`'s, as are prior and second
    views; `suspects` are weights of tiles, by `Tile.key`, that look mislabelled (`crossval.noise`).
    Pictures of held-out, val or test sources give no windows.
    Raises the errors of reading the recipe, data, weights and teachers, each as one line.
    """
    tasks = read_tasks(recipe, data, held)
    teachers = _as_runs(teachers, recipe, tasks, out)
    lineage.refuse_wrong_teachers(recipe, teachers, progress)
    weights = find_weights(recipe.model.weights, weights_dir)
    for warning in refuse_unlearnable(recipe, tasks, held):
        progress.warn(warning)
    lineage.refuse_leaks(teachers, tasks)
    make_folder(out)
    training = {h: t.split("train") for h, t in tasks.items()}
    val: dict[str, samples.Validation] = {}
    if held is None:
        judged = {h: t.split("val") for h, t in tasks.items()}
        val = {
            h: samples.validation_of(recipe, t, _pixels(t, recipe, progress))
            for h, t in judged.items()
        }
    pictures = _pictures(recipe, data, tasks, held or ())
    digest = fingerprint(tasks, suspects or {}) + fingerprint_of(pictures)
    heads = {h: len(t.classes) for h, t in tasks.items()}
    done = checkpoints.finished_weights(out / CHECKPOINT, recipe, digest)
    net = model.build(recipe.model, recipe.input, heads, None if done else weights, recipe.seed)
    if done:
        net.set_weights(done)
        progress.note(f"{out} is trained; exporting again")
    else:
        judge = val.get(recipe.data.dataset)
        learned = _Learned(training, pictures, suspects or {})
        _learn(net, recipe, tasks, learned, judge, teachers, out, digest, progress)
    if recipe.export.join > 0:
        classes = {h: t.classes for h, t in tasks.items()}
        model.join_heads(net, recipe.data.dataset, classes, recipe.export.join)
    came_from = {
        "lineage": lineage.describe(training, teachers),
        "origin": _origin(recipe, teachers),
        "held": None if held is None else sorted(held),
        "pictures": pictures,
    }
    cards = {}
    for head, task in tasks.items():
        own = head == recipe.data.dataset
        folder = out if own else out / f"along-{head}"
        mine = chosen if own else None
        cards[head] = _finish(
            net, recipe, task, training[head], val.get(head), folder, came_from, mine
        )
    return cards[recipe.data.dataset]


def _pictures(
    recipe: Recipe, data: Path, tasks: dict[str, Task], held: Collection[str]
) -> list[Picture]:
    """The pictures that may give windows: none of a source that is held out, in val or in test."""
    found = read_all(recipe, data)
    if not found:
        return []
    barred = {t.source for task in tasks.values() for t in task.tiles.tiles if t.split != "train"}
    for name in tasks:  # a task that is split anew has lost its test tiles
        barred |= {t.source for t in read_dataset(name, data).tiles if t.split == "test"}
    return [p for p in found if p.source not in barred | set(held)]


def _as_runs(
    teachers: tuple[Path, ...], recipe: Recipe, tasks: dict[str, Task], out: Path
) -> tuple[Path, ...]:
    """Teachers that are bundles as run folders within `out`, of the statistics of every sixth
    training tile."""
    found = []
    for path in teachers:
        if path.suffix != SUFFIX:
            found.append(path)
            continue
        folder = out / "teachers" / path.stem
        if not (folder / CHECKPOINT).is_file():
            spec = open_bundle(path).manifest.input
            some = tasks[recipe.data.dataset].split("train").tiles.tiles[::6]
            tiles = decode_all([t.path for t in some], spec.channels)
            unpack(path, folder, to_input(tiles, spec.height, spec.width))
        found.append(folder)
    return tuple(found)


@dataclass(frozen=True)
class _Learned:
    """What a net learns from: tiles, windows of pictures, and weights of tiles under 1."""

    training: dict[str, Task]
    pictures: Sequence[Picture]
    suspects: Mapping[str, float]


def _learn(
    net: keras.Model,
    recipe: Recipe,
    tasks: dict[str, Task],
    learned: _Learned,
    judge: samples.Validation | None,
    teachers: tuple[Path, ...],
    out: Path,
    digest: str,
    progress: Progress,
) -> None:
    """Fit the net on the training tiles of all tasks and the windows of the pictures, judged on the
    val set of the recipe's own where there is one."""
    training = learned.training
    pixels = {h: _pixels(t, recipe, progress, reduce=True) for h, t in training.items()}
    posteriors = distill.posteriors(recipe, tasks, pixels, teachers, progress)
    if recipe.distill.start:
        first = teachers if recipe.distill.average else teachers[:1]
        distill.start_from(net, first, progress)
    sample = samples.make_sample(recipe, training, pixels, posteriors)
    own = recipe.data.dataset
    sample = samples.weigh_down(sample, own, training[own], learned.suspects)
    sample = add_rendered(sample, recipe, training[own], pixels[own], progress)
    sample = add_windows(sample, recipe, training[own], learned.pictures, progress)
    steps = fit.steps_per_epoch(sample.drawn, recipe.train.batch)
    learner = net
    if frozen.has_fixed_features(recipe):
        sample, judge = frozen.with_features(net, recipe, sample, judge, progress)
        learner = frozen.heads_of(net)
    with progress.training(recipe.name, recipe.train.epochs, steps) as bar:
        fit.fit(learner, recipe, training, sample, judge, out, digest, bar.epoch, bar.step, net)


def _pixels(
    task: Task, recipe: Recipe, progress: Progress, *, reduce: bool = False
) -> list[np.ndarray]:
    """Decoded tiles; reduced to what augmentation needs if asked, since all stay in memory."""
    side = max(recipe.input.height, recipe.input.width)
    longest = min(max(LONGEST, side), round(1.8 * side)) if reduce else None
    paths = [t.path for t in task.tiles.tiles]
    with progress.counting(f"reading {task.tiles.dataset}", len(paths)) as advance:
        return decode_all(paths, recipe.input.channels, longest=longest, progress=advance)


def fingerprint(tasks: dict[str, Task], suspects: Mapping[str, float]) -> str:
    """Digest of the tiles, their labels, sets and weights: a checkpoint holds to it."""
    digest = hashlib.sha256()
    for head, task in tasks.items():
        for tile in task.tiles.tiles:
            digest.update(f"{head} {tile.path.name} {tile.label} {tile.split}\n".encode())
    for name, weight in sorted(suspects.items()):
        digest.update(f"{name} weighs {weight:g}\n".encode())
    return digest.hexdigest()


def _finish(
    net: keras.Model,
    recipe: Recipe,
    task: Task,
    training: Task,
    val: samples.Validation | None,
    folder: Path,
    came_from: dict[str, Any],
    chosen: Chosen | None,
) -> dict[str, Any]:
    head = task.tiles.dataset
    own = head == recipe.data.dataset
    prior = chosen.settings.prior if chosen else recipe.export.prior
    borderline = chosen.settings.borderline if chosen else recipe.export.borderline
    bias = prior * recipe.train.logit_adjustment * samples.log_prior(training, recipe)
    exported = model.export(net, head, bias if bias.any() else None)
    if task.head == "softmax":
        model.centre(exported, head)
    temperature, figures = _figures(exported, task, val, borderline, chosen)
    card = {
        "recipe": recipe.as_dict(),
        "name": recipe.name if own else f"{recipe.name}-along-{head}",
        "classes": list(task.classes),
        "head": task.head,
        "input": {
            "height": recipe.input.height,
            "width": recipe.input.width,
            "channels": recipe.input.channels,
        },
        "temperature": temperature,
        "borderline": borderline,
        "training": {
            **_described(head, task, bool(val), came_from["held"], chosen),
            "prior": prior,
            "appearance": appearance_of(training, recipe, came_from["pictures"] if own else ()),
        },
        "lineage": came_from["lineage"],
        "metrics": figures,
        "seed": recipe.seed,
        "versions": versions(),
        "licence": licence_of(recipe.export.licence, task.tiles.licence),
        "attribution": f"{task.tiles.attribution} ({task.tiles.licence or 'licence not stated'}). "
        f"{credits_of(came_from['pictures']) if own else ''}"
        f"Backbone {recipe.model.backbone}: from {came_from['origin']}.",
    }
    _write(exported, card, folder)
    return card


def _figures(
    exported: keras.Model,
    task: Task,
    val: samples.Validation | None,
    borderline: float,
    chosen: Chosen | None,
) -> tuple[float, dict[str, Any]]:
    """Temperature, and the figures on val or those that a cross-validation lets expect."""
    if val is None:
        if chosen:
            return chosen.settings.temperature, chosen.expected
        return 1.0, {"split": "none: the net was not judged"}
    found = views.ask(lambda tiles: model.predict(exported, tiles), val.pixels, borderline)
    temperature = fit_temperature(found.logits, val.truth, task.head)
    classes = list(task.classes)

    def scores(heat: float) -> dict[str, Any]:
        return metrics.score(found.posterior(heat, task.head), val.truth, classes, task.head)

    return temperature, {
        "split": "val",
        "net_calls": found.net_calls(temperature, task.head),
        "ece_before_temperature": scores(1.0)["ece"],
        **scores(temperature),
    }


def _described(
    head: str, task: Task, on_val: bool, held: list[str] | None, chosen: Chosen | None
) -> dict[str, Any]:
    """What the net learned from, for model.json."""
    split = "by source; temperature fitted on val"
    if not on_val:
        split = "held-out sources are never judged" if held else "all labelled tiles, no val"
    found: dict[str, Any] = {
        "dataset": head,
        "split": f"{split}; {chosen.words}" if chosen else split,
        "counts": task.counts(),
        "sources": {
            s: list(task.split(s).tiles.sources)
            for s in dict.fromkeys(t.split for t in task.tiles.tiles)
        },
    }
    if held is not None:
        found["held"] = held
    return found


def licence_of(weights: str, data: str) -> str:
    """What recipe and data set state; "" where neither states anything."""
    if not weights and not data:
        return ""
    return f"{weights or 'not stated'} (weights); training data: {data or 'not stated'}"


def _origin(recipe: Recipe, teachers: tuple[Path, ...]) -> str:
    """Where the backbone's weights came from, for the attribution; of a run that it starts from,
    what that run says of its own."""
    origin, named = "random weights", recipe.model.weights
    if named == "imagenet" or named.startswith("keras_") or public_weights(named):
        origin = "keras.applications ImageNet weights (Apache-2.0)"
    elif named:
        origin = f"the weights file {named}"
    if not recipe.distill.start:
        return origin
    started = teachers if recipe.distill.average else teachers[:1]
    cards = [read_card(folder) for folder in started]
    names = recipe.distill.teachers[: len(cards)] or [str(c.get("name")) for c in cards]
    said = re.search(r"Backbone \S+: (?:from )?(.+)\.$", str(cards[0].get("attribution", "")))
    return f"{said[1] if said else origin} by way of {' and '.join(names)}"


def _write(exported: keras.Model, card: dict[str, Any], folder: Path) -> None:
    """Both files aside first, then renamed one right after the other."""
    aside = folder / "aside.keras"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        exported.save(aside)
        text = folder / "aside.json"
        text.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        aside.replace(folder / MODEL)
        text.replace(folder / CARD)
    except OSError as error:
        for name in ("aside.keras", "aside.json"):
            (folder / name).unlink(missing_ok=True)
        raise OutputError(f"cannot be written: {error.strerror}", where=folder) from error


def versions() -> dict[str, str]:
    """Of everything that a training runs on."""
    backend = keras.backend.backend()
    found = {"python": platform.python_version(), "keras": keras.__version__, "backend": backend}
    for package in ("tensorflow-cpu", "tensorflow", "torch", "jax", "numpy", "winnow-ground"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
