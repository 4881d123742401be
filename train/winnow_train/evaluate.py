"""Judging a model on a set it was not fitted to: a run folder, a Keras model or a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from winnow_base import metrics, views
from winnow_base.console import show_table
from winnow_base.errors import ModelError
from winnow_base.progress import Progress
from winnow_base.views import Answers, Infer
from winnow_edge.bundle import SUFFIX, find_bundle, open_bundle, shipped_bundles
from winnow_edge.errors import BundleError
from winnow_train.tasks import Task, task_like
from winnow_train.tiles import decode_all, to_input

#: A confusion matrix of more classes does not fit a terminal; then it is a line per class.
WHOLE_MATRIX = 8


def evaluate(
    path: Path, dataset: str, root: Path, split: str, progress: Progress
) -> dict[str, Any]:
    """Figures of the model at `path` on one set of a data set.

    Keys: accuracy, macro_f1, per_class, confusion, ece, at_090 {accuracy, abstention}, n, split,
    and model, dataset, classes, temperature, net_calls (per tile: borderline tiles are shown twice
    if they are on board). The order of the label file makes no difference.
    Raises ModelError for what is no model, DataError for unusable data.
    """
    found, task, card = collect(path, dataset, root, split, progress)
    classes = list(task.classes)
    if task.head == "softmax" and task.truth.max() >= len(classes):
        classes = [*classes, "(unknown to the model)"]
    posterior = found.posterior(card["temperature"], task.head)
    scores = metrics.score(posterior, task.truth, classes, task.head)
    return {
        **scores,
        "split": split,
        "dataset": dataset,
        "model": str(path),
        "classes": classes,
        "temperature": card["temperature"],
        "net_calls": found.net_calls(card["temperature"], task.head),
    }


def collect(
    path: Path, dataset: str, root: Path, split: str, progress: Progress
) -> tuple[Answers, Task, dict[str, Any]]:
    """Answers to a set's tiles, the task with its truth, and the model's card."""
    infer, card = open_model(path)
    task = task_like(card, dataset, root).split(split)
    paths = [t.path for t in task.tiles.tiles]
    return answers(infer, card, paths, f"{dataset} {split}", progress), task, card


def open_model(path: Path) -> tuple[Infer, dict[str, Any]]:
    """What gives logits [n, K] of uint8 tiles [n, H, W, C], and the card: name, classes, input...

    Raises ModelError for what is no model, BundleError for a bundle that is not whole.
    """
    return open_bundle_as_model(path) if path.suffix == SUFFIX else _open_run(path)


def find_model(name: Path) -> Path:
    """A run folder or bundle by its path, or a shipped bundle by its bare name, as on board.

    Raises ModelError naming the shipped bundles if there is none.
    """
    if name.exists():
        return name
    try:
        return find_bundle(name)
    except BundleError as error:
        raise ModelError(
            "no such model",
            where=name,
            hint=f"give a run folder, a {SUFFIX} file or a shipped bundle: "
            + ", ".join(path.stem for path in shipped_bundles()),
        ) from error


def answers(
    infer: Infer, card: dict[str, Any], paths: Sequence[Path], what: str, progress: Progress
) -> Answers:
    """What a model says of the pictures at `paths`, in that order."""
    size, borderline = card["input"], float(card.get("borderline", 0.0))
    parts = []
    with progress.counting(what, len(paths)) as advance:
        for start in range(0, len(paths), 64):
            tiles = decode_all(paths[start : start + 64], size["channels"])
            parts.append(
                views.ask(infer, to_input(tiles, size["height"], size["width"]), borderline)
            )
            advance(len(tiles))
    return views.join(parts)


def _open_run(path: Path) -> tuple[Infer, dict[str, Any]]:
    from winnow_train import model
    from winnow_train.runs import load_run

    net, card = load_run(path)
    return (lambda tiles: np.asarray(model.predict(net, tiles))), card


def open_bundle_as_model(path: Path) -> tuple[Infer, dict[str, Any]]:
    """A bundle through the code that flies: int8 pixels in, int8 logits out."""
    from winnow_edge.runtimes import load_classifier

    bundle = open_bundle(path)
    manifest = bundle.manifest
    classifier = load_classifier(bundle, "litert")
    squeeze = manifest.input.channels == 1
    # Real value of pixel p in the model's input is p * unit, where unit is 1 for nets that take
    # 0..255 and 1/255 for nets that take 0..1.
    unit = 1.0 if abs(manifest.input.scale - 1.0) < 1e-6 else 1.0 / 255.0

    def infer(tiles: np.ndarray) -> np.ndarray:
        real = tiles.astype(np.float32) * unit / manifest.input.scale + manifest.input.zero_point
        codes = np.clip(np.rint(real), -128, 127).astype(np.int8)
        out = np.empty((len(tiles), len(manifest.classes)), np.int8)
        for tile, row in zip(codes, out, strict=True):
            classifier.infer(tile[..., 0] if squeeze else tile, row)
        steps = out.astype(np.float32) - manifest.output.zero_point
        return np.asarray(steps * manifest.output.scale)

    card: dict[str, Any] = {
        "name": manifest.name,
        "classes": list(manifest.classes),
        "head": manifest.head,
        "input": {
            "height": manifest.input.height,
            "width": manifest.input.width,
            "channels": manifest.input.channels,
        },
        "temperature": manifest.temperature,
        "borderline": manifest.borderline,
        "training": manifest.training,
    }
    if "recipe" in manifest.training:
        card["recipe"] = manifest.training["recipe"]
    return infer, card


def print_table(found: dict[str, Any], console: Console | None = None) -> None:
    """Print an evaluation for people, on stdout."""
    console = console or Console()
    at = found["at_090"]
    sure = "-" if at["accuracy"] is None else f"{at['accuracy']:.4f}"
    every = " (every class of a tile right)" if "label_sets" in found else ""
    calls = found.get("net_calls", 1.0)
    twice = f"   net calls a tile {calls:.2f}" if calls > 1 else ""
    console.print(
        f"{found['model']} on {found['dataset']} {found['split']}: {found['n']} tiles\n"
        f"accuracy {found['accuracy']:.4f}{every}   macro-F1 {found['macro_f1']:.4f}   "
        f"ECE {found['ece']:.4f}   at posterior >= 0.9: accuracy {sure}, "
        f"abstaining on {100 * at['abstention']:.1f} %{twice}",
        highlight=False,
    )
    extra = ["accuracy"] if "label_sets" in found else []
    columns = [*extra, "precision", "recall", "f1"]
    table = Table("class", *extra, "precision", "recall", "F1", "tiles")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in found["per_class"].items():
        table.add_row(name, *(f"{row[k]:.3f}" for k in columns), str(row["support"]))
    show_table(console, table)
    sets = found.get("label_sets", {"names": found["classes"], "confusion": found["confusion"]})
    show_table(console, _confusion_table(sets["names"], np.array(sets["confusion"])))


def _confusion_table(classes: list[str], confusion: np.ndarray) -> Table:
    """The whole matrix where it fits a terminal, else a line per class with its mistakes."""
    if len(classes) <= WHOLE_MATRIX:
        matrix = Table("true \\ predicted", *classes, title="confusion")
        for column in matrix.columns[1:]:
            column.justify = "right"
        for name, counts in zip(classes, confusion, strict=True):
            matrix.add_row(name, *(str(n) if n else "." for n in counts))
        return matrix
    table = Table("true", "tiles", "right", "taken for", title="confusion")
    for column in table.columns[1:3]:
        column.justify = "right"
    for true, counts in enumerate(confusion):
        if not counts.sum():
            continue
        order = [p for p in np.argsort(-counts, kind="stable") if counts[p] and p != true]
        wrong = ", ".join(f"{classes[p]} {counts[p]}" for p in order)
        table.add_row(classes[true], str(counts.sum()), str(counts[true]), wrong)
    return table
