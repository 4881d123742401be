"""What the nets of all folds said of the tiles that they never saw, in one file."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.errors import DataError
from winnow_base.views import Answers
from winnow_edge.files import write_file
from winnow_train.datasets import Tile, TileSet
from winnow_train.tasks import Task

FILE, PLAN = "out-of-fold.npz", "plan.json"
"""In the folder of a cross-validation: the answers of a finished one, and what it was begun as."""
_ARRAYS = ("names", "sources", "groups", "fold", "truth", "logits", "mirrored", "shift")


@dataclass(frozen=True)
class OutOfFold:
    """n tiles, each answered by the net of the fold that held it out.

    `names`, `sources`, `groups` str [n]; `fold` int [n]; `truth` labels [n], or 0/1 [n, K] of
    sigmoid heads; `logits` and `mirrored` float32 [n, K] of the tiles and their mirror images,
    before any prior is given back; `shift` float32 [n, K] is what `export.prior` = 1 adds: the log
    prior of the fold's training times `train.logit_adjustment`. `about` holds plain values: the
    recipe, the number of folds, notices.
    """

    dataset: str
    classes: tuple[str, ...]
    head: str
    names: npt.NDArray[np.str_]
    sources: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    fold: npt.NDArray[np.int64]
    truth: npt.NDArray[Any]
    logits: npt.NDArray[np.float32]
    mirrored: npt.NDArray[np.float32]
    shift: npt.NDArray[np.float32]
    about: dict[str, Any]

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, keep: npt.NDArray[Any]) -> OutOfFold:
        """Some of the tiles, by index or mask."""
        some: dict[str, Any] = {name: getattr(self, name)[keep] for name in _ARRAYS}
        return replace(self, **some)

    def answers(
        self, prior: float | npt.NDArray[Any], borderline: float | npt.NDArray[Any]
    ) -> Answers:
        """The answers as exported with so much of the prior; of all tiles, or per tile [n]."""
        given = np.asarray(prior, np.float64).reshape(-1, 1) * self.shift
        limits = np.asarray(borderline, np.float64)
        if not limits.any():
            return Answers(self.logits + given)
        limit: Any = float(limits) if limits.ndim == 0 else limits
        return Answers(self.logits + given, self.mirrored + given, limit)

    def task(self, unit: str = "groups") -> Task:
        """The tiles and their truth, without the data's folder; a tile's source is its group (or
        `unit` = "sources"), the unit that intervals draw."""
        labels = self.truth if self.truth.ndim == 1 else np.zeros(len(self), int)
        tiles = tuple(
            Tile(Path(str(name)), int(label), "val", str(source))
            for name, label, source in zip(self.names, labels, getattr(self, unit), strict=True)
        )
        found = TileSet(self.dataset, self.classes, tiles, "")
        return Task(found, self.classes, self.head, self.truth)

    def save(self, path: Path) -> None:
        """Write aside, then rename. Raises OutputError."""
        about = {
            "about": self.about,
            "dataset": self.dataset,
            "classes": self.classes,
            "head": self.head,
        }
        held = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        np.savez(held, meta=np.array(json.dumps(about)), **arrays)
        write_file(path, held.getvalue())


def load(path: Path) -> OutOfFold:
    """Read what `OutOfFold.save` wrote. Raises DataError."""
    path = path / FILE if path.is_dir() else path
    try:
        with path.open("rb") as stream, np.load(stream) as held:
            arrays = {name: held[name] for name in _ARRAYS}
            about = json.loads(str(held["meta"]))
        return OutOfFold(
            about["dataset"],
            tuple(about["classes"]),
            about["head"],
            about=about["about"],
            **arrays,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            "holds no finished cross-validation",
            where=path,
            hint="give the --out folder of `winnow cv`; the same command goes on where it stopped",
        ) from error


def join(parts: Sequence[OutOfFold], about: dict[str, Any]) -> OutOfFold:
    """The folds of one cross-validation together, tiles in the order of their names."""
    first = parts[0]
    together = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS}
    order = np.argsort(together["names"], kind="stable")
    ordered: dict[str, Any] = {name: a[order] for name, a in together.items()}
    return replace(first, about=about, **ordered)
