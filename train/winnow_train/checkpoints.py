"""Checkpoints: all that a killed training needs to end as if it had not been killed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from winnow_base.errors import DataError
from winnow_edge.files import write_aside
from winnow_train.recipe import Recipe, parse_recipe


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A checkpoint's description (recipe, data, history) and its arrays. Raises DataError."""
    try:
        with np.load(path) as held:
            arrays = {k: held[k] for k in held.files}
        return json.loads(str(arrays.pop("meta"))), arrays
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError("is no whole checkpoint", where=path, hint="train again") from error


def kept_weights(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The weights that a finished checkpoint stands for: the averaged or best, else the last."""
    prefix = "kept" if "kept-0" in arrays else "weight"
    count = sum(k.startswith("weight-") for k in arrays)
    return [arrays[f"{prefix}-{i}"].astype(np.float32) for i in range(count)]


def finished_weights(path: Path, recipe: Recipe, fingerprint: str) -> list[np.ndarray] | None:
    """The weights of a checkpoint that has nothing left to train, or None.

    Raises DataError for a checkpoint of another recipe or other data.
    """
    if not path.is_file():
        return None
    meta, arrays = read_checkpoint(path)
    refuse_others(meta, recipe, fingerprint, path)
    done = len(meta["history"]) >= recipe.train.epochs
    done = done or is_stale(meta["history"], recipe.train.patience)
    return kept_weights(arrays) if done else None


def refuse_others(meta: dict[str, Any], recipe: Recipe, fingerprint: str, path: Path) -> None:
    """Raise DataError if a checkpoint's description is not of this recipe and this data."""
    # Parsed anew, so that keys added since, at their defaults, make no difference.
    theirs = trained_part(parse_recipe(meta["recipe"], where=str(path)))
    wanted = trained_part(recipe)
    theirs["name"] = wanted["name"]  # a recipe may be renamed
    for what, held, mine in (
        ("recipe", theirs, wanted),
        ("data", meta["data"], fingerprint),
    ):
        if held != mine:
            raise DataError(
                f"the checkpoint is of another {what}",
                where=path,
                hint="choose another --out, or remove it to start anew",
            )


def is_stale(history: list[dict[str, Any]], patience: int) -> bool:
    """Whether the loss on val has not fallen for `patience` epochs; never with patience 0."""
    losses = [h["val_loss"] for h in history] if patience else []
    return bool(losses and len(losses) - 1 - int(np.argmin(losses)) >= patience)


def trained_part(recipe: Recipe) -> dict[str, Any]:
    """The recipe without what only matters after training, which may change between runs."""
    table = recipe.as_dict()
    for key in ("about", "export", "convert"):
        del table[key]
    return table


class State:
    """What a checkpoint holds: weights, optimizer, running mean or best weights, log, recipe."""

    def __init__(
        self,
        net: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        recipe: Recipe,
        fingerprint: str,
    ) -> None:
        self.net, self.optimizer = net, optimizer
        self.recipe, self.fingerprint = recipe, fingerprint
        self.history: list[dict[str, Any]] = []
        self.kept: list[np.ndarray] | None = None  # the mean, or the best, of weights so far

    def update(self, line: dict[str, Any]) -> None:
        self.history.append(line)
        train, done = self.recipe.train, len(self.history)
        if train.patience:
            if line["val_loss"] <= min(h["val_loss"] for h in self.history):
                self.kept = self._weights()
            return
        since = done - (train.epochs - train.average_last)
        if train.average_last > 1 and since >= 1:
            now = self._weights()
            self.kept = (
                now
                if self.kept is None
                else [k + (w - k) / since for k, w in zip(self.kept, now, strict=True)]
            )

    def finish(self) -> None:
        if self.kept is not None:
            self.net.set_weights([k.astype(np.float32) for k in self.kept])

    def _weights(self) -> list[np.ndarray]:
        return [np.asarray(w) for w in self.net.get_weights()]

    def save(self, path: Path) -> None:
        """Write aside, then rename: a kill leaves the old checkpoint or the new one."""
        arrays: dict[str, Any] = {f"weight-{i}": w for i, w in enumerate(self._weights())}
        for i, v in enumerate(self.optimizer.variables):
            arrays[f"optimizer-{i}"] = keras.ops.convert_to_numpy(v)
        for i, k in enumerate(self.kept or ()):
            arrays[f"kept-{i}"] = k
        meta = {
            "recipe": trained_part(self.recipe),
            "data": self.fingerprint,
            "history": self.history,
        }
        with write_aside(path) as stream:
            np.savez(stream, meta=np.array(json.dumps(meta)), **arrays)

    def restore(self, path: Path) -> None:
        if not path.is_file():
            return
        meta, arrays = read_checkpoint(path)
        refuse_others(meta, self.recipe, self.fingerprint, path)
        self.net.set_weights([arrays[f"weight-{i}"] for i in range(len(self.net.weights))])
        for i, variable in enumerate(self.optimizer.variables):
            variable.assign(arrays[f"optimizer-{i}"])
        self.history = meta["history"]
        kept = [arrays[f"kept-{i}"] for i in range(len(self.net.weights)) if f"kept-{i}" in arrays]
        self.kept = kept or None


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write the training log, one JSON object per epoch."""
    path.write_text("".join(json.dumps(h) + "\n" for h in history), encoding="utf-8")
