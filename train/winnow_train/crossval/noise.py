"""Labels that look wrong, found by confident learning on out-of-fold posteriors.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 70: a tile counts as of another class than its label where its posterior of that class reaches
the mean posterior that tiles labelled so have of it (their threshold t_j). The tiles off the
diagonal of this confident joint are the suspects, but for those whose best class is their label (as
in cleanlab): a class that no net recognizes has a threshold near 0. Posteriors must come from nets
that never saw the tile. Suspects are weighed down in training, not deleted: some are merely hard.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from winnow_base.errors import DataError

LEAST_WEIGHT = 0.2
"""What a suspect weighs at least: its label may be right after all."""
COLUMNS = ("tile", "label", "looks_like", "posterior_of_label", "posterior", "weight")


@dataclass(frozen=True)
class Suspect:
    """A tile whose label the nets doubt: its row, the class it looks like, and both posteriors."""

    row: int
    label: int
    looks_like: int
    posterior_of_label: float
    posterior: float

    @property
    def weight(self) -> float:
        """What it weighs in training: the odds of its label, at least LEAST_WEIGHT, at most 1."""
        odds = self.posterior_of_label / max(self.posterior, 1e-12)
        return round(min(1.0, max(LEAST_WEIGHT, odds)), 4)


def suspects(posterior: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> list[Suspect]:
    """The suspects among tiles with out-of-fold posteriors [n, K] and labels [n], the surest first
    (by the posterior of what they look like over that of their label)."""
    classes = posterior.shape[1]
    own = posterior[np.arange(len(labels)), labels]
    means = [own[labels == k].mean() if (labels == k).any() else np.inf for k in range(classes)]
    confident = np.where(posterior >= np.array(means), posterior, -1.0)
    looks = confident.argmax(axis=1)
    doubted = (confident.max(axis=1) >= 0) & (looks != labels)
    doubted &= posterior.argmax(axis=1) != labels
    found = [
        Suspect(int(i), int(labels[i]), int(looks[i]), float(own[i]), float(posterior[i, looks[i]]))
        for i in np.flatnonzero(doubted)
    ]
    return sorted(found, key=lambda s: (s.posterior_of_label - s.posterior, s.row))


def as_csv(found: Sequence[Suspect], names: Sequence[str], classes: Sequence[str]) -> str:
    """Rows of COLUMNS, as `read_weights` takes them."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for s in found:
        shown = (f"{s.posterior_of_label:.4f}", f"{s.posterior:.4f}", f"{s.weight:g}")
        rows.writerow((names[s.row], classes[s.label], classes[s.looks_like], *shown))
    return text.getvalue()


def read_weights(path: Path) -> dict[str, float]:
    """Weight by tile from a file with at least the columns `tile` and `weight`.

    Raises DataError for a file that has not, a weight that is none of 0 to 1, and a tile that is
    named twice.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read: {error}", where=path) from error
    weights: dict[str, float] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}:{number}"
        tile, text = row.get("tile"), row.get("weight")
        try:
            weight = float(text or "")
        except ValueError:
            weight = -1.0
        if not tile or not 0 <= weight <= 1:
            raise DataError(
                f"names no tile with a weight of 0 to 1: {text!r}", where=where, hint="tile,weight"
            )
        if tile in weights:
            raise DataError(f"{tile} is weighed twice", where=where)
        weights[tile] = weight
    return weights
