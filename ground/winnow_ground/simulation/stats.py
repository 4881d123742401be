"""Means over seeds with 95 % intervals, and differences between policies on the same seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_T: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""The .975 quantile of Student's t with 1 to 30 degrees of freedom (any table of it)."""


@dataclass(frozen=True)
class Mean:
    """A mean over `n` seeds and the half width of its 95 % interval (None: one seed tells none)."""

    mean: float
    half: float | None
    n: int

    @property
    def low(self) -> float:
        """Lower end of the interval; the mean where there is none."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + (self.half or 0.0)


def mean_of(values: Sequence[float]) -> Mean:
    """Student's interval on the mean of independent runs.

    >>> found = mean_of([1.0, 2.0, 3.0])
    >>> found.mean, round(found.half, 3)
    (2.0, 2.484)
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Mean(mean, None, n)
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return Mean(mean, _quantile(n - 1) * math.sqrt(variance / n), n)


def paired(ones: Sequence[float], others: Sequence[float]) -> Mean:
    """The mean difference of runs with the same seeds, one minus other."""
    return mean_of([one - other for one, other in zip(ones, others, strict=True)])


def _quantile(freedom: int) -> float:
    if freedom <= len(_T):
        return _T[freedom - 1]
    # Cornish-Fisher, first two terms: right to three digits from here on.
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
