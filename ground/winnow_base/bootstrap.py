"""Figures with honest intervals: tiles of one source are not independent, so sources are drawn.

An interval is the percentile bootstrap over sources (Efron and Tibshirani 1993, chapters 8 and 13):
sources are drawn with replacement, all tiles of a source together, and the figure is computed on
each draw. Every draw is a row of weights, so all draws are computed at once; row 0 holds ones and
gives the figure itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DRAWS, LEVEL = 1000, 0.95
_ENDS = (2.5, 97.5)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """Resampled sources: `counts` [draws + 1, sources], `index` [n] the source of every tile."""

    names: tuple[str, ...]
    index: npt.NDArray[np.intp]
    counts: Floats

    @classmethod
    def of(cls, sources: Sequence[str], seed: int = 0, draws: int = DRAWS) -> Draws:
        """Draw from the sources of n tiles."""
        names, index = np.unique(np.asarray(sources), return_inverse=True)
        rng = np.random.default_rng(seed)
        even = np.full(len(names), 1.0 / len(names))
        drawn = rng.multinomial(len(names), even, size=draws)
        counts = np.concatenate([np.ones((1, len(names))), drawn])
        return cls(tuple(names.tolist()), index.reshape(-1), counts)

    @classmethod
    def picked(cls, sources: Sequence[Any], seed: int = 0, draws: int = DRAWS) -> Draws:
        """The same by picking source after source: another stream of random numbers, which keeps
        the intervals of bundles that have flown."""
        names, index = np.unique(np.asarray(sources), return_inverse=True)
        picks = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
        drawn = np.stack([np.bincount(row, minlength=len(names)) for row in picks])
        counts = np.concatenate([np.ones((1, len(names))), drawn])
        return cls(tuple(names.tolist()), index.reshape(-1), counts)

    def sums(self, values: npt.ArrayLike) -> Floats:
        """Weighted sums over tiles of `values` [n, ...], per draw [draws + 1, ...]."""
        values = np.asarray(values, np.float64)
        per_source = np.zeros((len(self.names), *values.shape[1:]))
        np.add.at(per_source, self.index, values)
        total: Floats = np.tensordot(self.counts, per_source, axes=1)
        return total

    def weights(self, order: npt.NDArray[np.intp]) -> Floats:
        """Weights of the tiles in an order, per draw [draws + 1, n]."""
        return self.counts[:, self.index[order]]


def interval(values: Floats) -> dict[str, Any]:
    """A figure and its interval from its values per draw.

    There is none where no draw differs (zero errors in a few sources prove little).

    Draws in which the figure is not defined (a class was not drawn) are left out; with fewer than
    half of the draws defined there is no interval.
    """
    value = float(values[0])
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    drawn = values[1:][np.isfinite(values[1:])]
    if len(drawn) < len(values[1:]) / 2 or not len(drawn):
        return {"value": value, "low": None, "high": None}
    low, high = bounds(values)
    if low == high:
        return {"value": value, "low": None, "high": None}
    return {"value": value, "low": low, "high": high}


def bounds(values: Floats) -> tuple[float, float]:
    """The ends of the interval of a figure that at least one draw defines."""
    low, high = np.percentile(values[1:][np.isfinite(values[1:])], _ENDS)
    return float(low), float(high)


def ratio(above: Floats, below: Floats) -> Floats:
    """`above` / `below`, NaN where `below` is 0."""
    return np.asarray(
        np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    )
