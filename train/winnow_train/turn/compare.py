"""Two bundles on the same tiles and strips: what the new one gains, and whether it may fly.

Differences are paired: sources are drawn with replacement, both nets on all that a source brings
(Efron and Tibshirani 1993, chapters 8 and 13). For tiles McNemar's test stands beside it, exact
(McNemar, Psychometrika 12, 1947), which takes tiles as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from winnow_base.bootstrap import Draws, Floats, interval, ratio
from winnow_base.progress import Progress
from winnow_train.evaluate import answers, open_bundle_as_model
from winnow_train.report_data import FEWEST_SOURCES
from winnow_train.report_stats import per_class
from winnow_train.swaths.evaluate import evaluate_swaths
from winnow_train.tasks import Task
from winnow_train.turn.origins import learned_strips

DRAWS: Final = 2000
MOST_LOSS: Final = 0.02
"""A loss over this is one, whether its interval says so or not."""
_COUNTS: Final = ("features", "found", "false")


@dataclass(frozen=True)
class Gain:
    """What the new net gains in one figure: `new` minus `flying`, with the interval of 95 % (None:
    too few sources tell). `p` is McNemar's (None: the figure is of no tiles)."""

    on: str
    figure: str
    n: int
    sources: int
    flying: float
    new: float
    low: float | None
    high: float | None
    p: float | None = None
    decides: bool = True
    """Whether a loss over `MOST_LOSS` alone, which the interval does not settle, refuses."""

    @property
    def value(self) -> float:
        return self.new - self.flying

    def is_worse(self, most_loss: float = MOST_LOSS) -> bool:
        """Whether this refuses the new net."""
        surely = self.high is not None and self.high < 0
        return surely or (self.decides and self.value < -most_loss)

    @property
    def said(self) -> str:
        """In words: 'accuracy on old val 0.912 -> 0.881, -0.031 [-0.050, -0.012]'."""
        span = "" if self.low is None else f" [{self.low:+.3f}, {self.high:+.3f}]"
        return (
            f"{self.figure} on {self.on} {self.flying:.3f} -> {self.new:.3f}, {self.value:+.3f}"
            + span
        )

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "gain": self.value}


def on_tiles(
    task: Task, flying: Path, new: Path, parts: Mapping[str, npt.NDArray[np.bool_]], bar: Progress
) -> list[Gain]:
    """Accuracy and mean recall of the classes on `parts` of the tiles of a task, by name."""
    paths = [tile.path for tile in task.tiles.tiles]
    posteriors = []
    for bundle in (flying, new):
        infer, card = open_bundle_as_model(bundle)
        found = answers(infer, card, paths, f"asking {card['name']}", bar)
        posteriors.append(found.posterior(card["temperature"], task.head))
    sources = np.array([tile.source for tile in task.tiles.tiles])
    gains = []
    for name, rows in parts.items():
        if rows.any():
            both = [_members(p[rows], task, rows) for p in posteriors]
            gains += _tile_gains(name, sources[rows].tolist(), *both)
    return gains


Members = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]


def _members(posterior: Floats, task: Task, rows: npt.NDArray[np.bool_]) -> Members:
    """Predicted and true membership, bool [n, K]."""
    truth = task.truth[rows]
    if task.head == "sigmoid":
        return posterior >= 0.5, truth > 0
    known = np.arange(len(task.classes))
    return posterior.argmax(axis=1)[:, None] == known, truth[:, None] == known


def _tile_gains(on: str, sources: Sequence[str], flying: Members, new: Members) -> list[Gain]:
    draws = Draws.of(sources, draws=DRAWS)
    tiles, right, recall = draws.sums(np.ones(len(sources))), [], []
    hits = [(predicted == true).all(axis=1) for predicted, true in (flying, new)]
    for members, correct in zip((flying, new), hits, strict=True):
        right.append(draws.sums(correct.astype(float)) / tiles)
        each = per_class(draws, *members)["recall"]
        there = np.isfinite(each)
        recall.append(np.where(there, each, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1))
    p = mcnemar(int((hits[0] & ~hits[1]).sum()), int((~hits[0] & hits[1]).sum()))
    n = len(sources)
    return [
        _gain(on, "accuracy", n, draws, right, p=p),
        # A class of three tiles moves it by a tenth: only its interval decides.
        _gain(on, "mean recall", n, draws, recall, decides=False),
    ]


def _gain(on: str, figure: str, n: int, draws: Draws, both: Sequence[Floats], **more: Any) -> Gain:
    found = interval(both[1] - both[0])
    few = len(draws.names) < FEWEST_SOURCES
    low, high = (None, None) if few else (found["low"], found["high"])
    flying, new = (float(one[0]) for one in both)
    return Gain(on, figure, n, len(draws.names), flying, new, low, high, **more)


def mcnemar(lost: int, won: int) -> float:
    """The exact two-sided p of `lost` tiles that only the one net had right and `won` that only
    the other had: how often a fair coin is as uneven.

    >>> mcnemar(0, 0), mcnemar(1, 8)
    (1.0, 0.0390625)
    """
    n, least = lost + won, min(lost, won)
    tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
    return min(1.0, 2 * tail)


def on_strips(
    folder: Path,
    flying: Path,
    new: Path,
    learned: frozenset[str],
    bar: Progress,
    *,
    mission: Path | None = None,
    looks: str = "",
    data: Path | None = None,
) -> tuple[list[Gain], int]:
    """F1 of detections on the whole pictures of a folder, each bundle at its own thresholds; and
    how many pictures are left out, as their source is among the `learned`, or tiles of train of the
    data set in `data` were cut from them.

    F1 is 2 found / (features + found + false), one to one (`swaths.match`).
    """
    rows = []
    cut = frozenset[str]() if data is None else learned_strips(data, folder)
    for bundle in (flying, new):
        found = evaluate_swaths([bundle], folder, bar, mission=mission, looks=looks)
        kept = [
            row
            for row in found["swaths"]
            if row["source"] not in learned and row["swath"] not in cut
        ]
        rows.append(([row["source"] for row in kept], _counted(kept)))
        left_out = len(found["swaths"]) - len(kept)
    sources, first = rows[0]
    if not sources:
        return [], left_out
    draws = Draws.of(sources, draws=DRAWS)
    f1 = []
    for counts in (first, rows[1][1]):
        features, hit, false = (draws.sums(counts[:, k]) for k in range(len(_COUNTS)))
        f1.append(np.nan_to_num(ratio(2 * hit, features + hit + false)))
    return [_gain("whole strips", "F1", len(sources), draws, f1)], left_out


def _counted(rows: Sequence[Mapping[str, Any]]) -> Floats:
    """Features, those found, and false hits of all classes, float64 [strips, 3]."""
    return np.array(
        [[sum(one[key] for one in row["by_class"].values()) for key in _COUNTS] for row in rows],
        np.float64,
    ).reshape(len(rows), len(_COUNTS))
