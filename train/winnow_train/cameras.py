"""One model per camera, chosen by the instrument as on board, and two ways judged side by side.

A tile goes to the model whose recipe names its camera (`data.instrument`), else to the one that
names none. Every tile counts, also those of classes that its camera's model was never shown: such
a model gives them a posterior of 0 and is wrong, as it would be on board.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from winnow_base import metrics
from winnow_base.bootstrap import Draws, interval
from winnow_base.console import show_table
from winnow_base.errors import DataError, ModelError
from winnow_base.progress import Progress
from winnow_base.views import Infer
from winnow_train.datasets import TileSet, camera_of, read_dataset
from winnow_train.evaluate import answers, open_model

UNKNOWN = "(unknown to the models)"


@dataclass(frozen=True)
class _Model:
    path: Path
    infer: Infer
    card: dict[str, Any]
    camera: str


@dataclass(frozen=True)
class _Judged:
    """Answers of a set of models: posterior [n, K] of `classes`, truth [n], where the truth K is
    a class that none of the models knows; `taught` [n], whether the tile's own model knows it."""

    classes: list[str]
    posterior: np.ndarray
    truth: np.ndarray
    taught: np.ndarray
    by: dict[str, Path]

    @property
    def correct(self) -> np.ndarray:
        return np.asarray(self.posterior.argmax(axis=1) == self.truth)


def evaluate(
    paths: Sequence[Path],
    dataset: str,
    root: Path,
    split: str,
    progress: Progress,
    against: Path | None = None,
) -> dict[str, Any]:
    """Figures of models that each serve a camera, over all tiles of a set and per camera.

    The keys of `winnow_train.evaluate.evaluate` except `temperature`, and `instruments`: camera ->
    n, sources, model, accuracy, at_090, untaught (tiles of classes its model does not know). With
    `against`, another model on the same tiles: its figures and `difference`, the accuracy gained
    over it with a 95 % interval over sources, in all and per camera.

    Raises ModelError for two models of one camera, a sigmoid head or renamed classes, DataError
    for a tile whose camera no model serves.
    """
    tiles = read_dataset(dataset, root).split(split)
    cameras = np.array([camera_of(t.path.name) for t in tiles.tiles])
    draws = Draws.of([t.source for t in tiles.tiles])
    judged = _judge(_open(paths, tiles), tiles, cameras, f"{dataset} {split}", progress)
    found = {
        **_figures(judged),
        "split": split,
        "dataset": dataset,
        "model": " + ".join(str(p) for p in dict.fromkeys(judged.by.values())),
        "instruments": _per_camera(judged, cameras, tiles),
    }
    if against is not None:
        other = _judge(_open([against], tiles), tiles, cameras, str(against), progress)
        found["against"] = {
            "model": str(against),
            **{k: v for k, v in _figures(other).items() if k in ("accuracy", "macro_f1", "at_090")},
            "instruments": _per_camera(other, cameras, tiles),
            "difference": _difference(draws, judged.correct, other.correct, cameras),
        }
    return found


def _open(paths: Sequence[Path], tiles: TileSet) -> dict[str, _Model]:
    """The models by camera; "" is the one that serves the rest."""
    models: dict[str, _Model] = {}
    for path in paths:
        infer, card = open_model(path)
        camera = card.get("recipe", {}).get("data", {}).get("instrument", "")
        if card["head"] != "softmax":
            raise ModelError("has a sigmoid head", where=path, hint="judge it alone")
        if strange := [c for c in card["classes"] if c not in tiles.classes]:
            raise ModelError(f"{tiles.dataset} has no class {strange[0]!r}", where=path)
        if camera in models:
            whose = f"the camera {camera}" if camera else "no camera in particular"
            raise ModelError(
                f"is for {whose}, as {models[camera].path}", where=path, hint="give one of them"
            )
        models[camera] = _Model(path, infer, card, camera)
    return models


def _judge(
    models: dict[str, _Model], tiles: TileSet, cameras: np.ndarray, what: str, progress: Progress
) -> _Judged:
    known = {c for m in models.values() for c in m.card["classes"]}
    classes = [c for c in tiles.classes if c in known]
    place = {c: i for i, c in enumerate(classes)}
    names = np.array(tiles.classes)[tiles.labels]
    truth = np.array([place.get(c, len(classes)) for c in names], np.int32)
    posterior = np.zeros((len(names), len(classes)))
    taught = np.zeros(len(names), bool)
    by = {}
    for camera in dict.fromkeys(cameras.tolist()):
        model = models.get(camera) or models.get("")
        rows = np.flatnonzero(cameras == camera)
        if model is None:
            raise DataError(
                f"no model is for the camera {camera or 'of this name'}",
                where=tiles.tiles[rows[0]].path.name,
                hint=f"the models given are for {', '.join(models)}",
            )
        shown = [tiles.tiles[i].path for i in rows]
        said = answers(model.infer, model.card, shown, f"{what} {camera}".strip(), progress)
        columns = [place[c] for c in model.card["classes"]]
        posterior[np.ix_(rows, columns)] = said.posterior(model.card["temperature"], "softmax")
        taught[rows] = np.isin(truth[rows], columns)
        by[camera] = model.path
    return _Judged(classes, posterior, truth, taught, by)


def _figures(judged: _Judged) -> dict[str, Any]:
    names = judged.classes
    if judged.truth.max() >= len(names):
        names = [*names, UNKNOWN]
    return {**metrics.score(judged.posterior, judged.truth, names, "softmax"), "classes": names}


def _per_camera(judged: _Judged, cameras: np.ndarray, tiles: TileSet) -> dict[str, Any]:
    found = {}
    for camera, path in judged.by.items():
        rows = np.flatnonzero(cameras == camera)
        scores = metrics.score(
            judged.posterior[rows], judged.truth[rows], [*judged.classes, UNKNOWN], "softmax"
        )
        found[camera or "other"] = {
            "model": str(path),
            "n": len(rows),
            "sources": len({tiles.tiles[i].source for i in rows}),
            "accuracy": scores["accuracy"],
            "at_090": scores["at_090"],
            "untaught": int((~judged.taught[rows]).sum()),
        }
    return found


def _difference(
    draws: Draws, ours: np.ndarray, theirs: np.ndarray, cameras: np.ndarray
) -> dict[str, Any]:
    """Accuracy of ours minus theirs on the same tiles, paired, sources drawn together."""
    gain = ours.astype(float) - theirs.astype(float)
    found = {}
    for camera in ("all", *dict.fromkeys(cameras.tolist())):
        mine = np.ones(len(gain), bool) if camera == "all" else cameras == camera
        with np.errstate(invalid="ignore"):  # draws without a tile of the camera
            found[camera or "other"] = interval(draws.sums(gain * mine) / draws.sums(mine))
    return found


def print_cameras(found: dict[str, Any], console: Console | None = None) -> None:
    """Print the figures per camera, and against the other model, for people, on stdout."""
    console = console or Console()
    other = found.get("against")
    table = Table("camera", "tiles", "sources", "untaught", "accuracy", padding=0)
    if other:
        table.add_column("against")
        table.add_column("gained [95 %]", no_wrap=True)
    for camera, row in found["instruments"].items():
        cells = [str(row[k]) for k in ("n", "sources", "untaught")] + [f"{row['accuracy']:.4f}"]
        if other:
            theirs = other["instruments"][camera]["accuracy"]
            cells += [f"{theirs:.4f}", _gain(other["difference"][camera])]
        table.add_row(camera, *cells)
    show_table(console, table)
    if other:
        console.print(
            f"against {other['model']}: accuracy {other['accuracy']:.4f}   macro-F1 "
            f"{other['macro_f1']:.4f}   at posterior >= 0.9: {_at(other['at_090'])}\n"
            f"accuracy gained {_gain(other['difference']['all'])}, intervals over sources",
            highlight=False,
        )


def _at(sure: dict[str, Any]) -> str:
    accuracy = "-" if sure["accuracy"] is None else f"{sure['accuracy']:.4f}"
    return f"accuracy {accuracy}, abstaining on {100 * sure['abstention']:.1f} %"


def _gain(difference: dict[str, Any]) -> str:
    if difference["low"] is None:
        return f"{difference['value']:+.4f}"
    return f"{difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
