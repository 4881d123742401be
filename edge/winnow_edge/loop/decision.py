"""Decision: int8 logits to posteriors, thresholds to detections.

Posteriors come from a table of the 256 values that an int8 logit can take, in fixed-point
integers, so that their sums are exact and every machine decides alike.

Where the bundle says so, a tile whose best posterior is under a limit is *borderline*: it is shown
to the net a second time, mirrored, and its posteriors are the means of the two views.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from winnow_edge.bundle import Manifest

_ONE = 1 << 32
"""Fixed-point 1.0: 255 classes of it stay far below 2**53, so quotients are exact to rounding."""


@dataclass(frozen=True)
class Decided:
    """What became of n tiles: best class and its posterior, and which (tile, class) are detected.

    `class_index` uint8 (n,), `posterior` float64 (n,); `tiles` and `classes` int (m,) name the
    detections in order, with `posteriors` float64 (m,). `barred` bool (n,) are tiles that are no
    detection, but would be one of a class that is not at this place or in this season.
    """

    class_index: npt.NDArray[np.uint8]
    posterior: npt.NDArray[np.float64]
    tiles: npt.NDArray[np.intp]
    classes: npt.NDArray[np.intp]
    posteriors: npt.NDArray[np.float64]
    barred: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SecondViews:
    """What the net says of mirrored tiles: `tiles` int (m,) are their places among those of a row
    that it has seen, in order, and `logits` int8 (m, classes)."""

    tiles: npt.NDArray[np.intp]
    logits: npt.NDArray[np.int8]


class Borderline:
    """Tells whether a tile's best posterior is under `limit` (above 0), from its logits.

    The best posterior is 1 / sum of exp(logit - highest logit). The sum is taken in the fixed-point
    integers of which posteriors are made, so the answer is the same on every machine and whoever
    asks. It is asked tile by tile: for so few numbers plain Python is faster than NumPy.
    """

    def __init__(self, manifest: Manifest, limit: float) -> None:
        self._table = softmax_table(manifest)
        self._most = int(_ONE / Fraction(limit))
        """The largest sum with which the best posterior reaches the limit."""
        others, room = len(manifest.classes) - 1, self._most - _ONE
        self._lead = next((d for d, t in enumerate(self._table) if others * t <= room), 256)
        """So far ahead of the second class, in steps, the best one decides whatever the others."""

    def __call__(self, logits: npt.NDArray[np.int8] | memoryview) -> bool:
        """Whether a tile with these logits, int8 (classes,), is borderline."""
        row = logits.tolist()
        row.sort()
        best = row[-1]
        if len(row) == 1 or best - row[-2] >= self._lead:
            return False
        total, table = 0, self._table
        for value in row:
            total += table[best - value]
        return total > self._most


def softmax_table(manifest: Manifest) -> list[int]:
    """exp(logit - highest logit), in units of 1 / _ONE, for quantized logits that are 0, 1, ... 255
    steps below the highest."""
    scale = manifest.output.scale / manifest.temperature
    return [round(math.exp(-scale * step) * _ONE) for step in range(256)]


class Decider:
    """Turns logits into decisions.

    With a softmax head a tile is a detection of at most one class: of those that reach their
    threshold, the one with the highest posterior. With a sigmoid head every class stands alone.
    """

    def __init__(self, manifest: Manifest, thresholds: dict[str, float]) -> None:
        self.softmax = manifest.head == "softmax"
        table = softmax_table(manifest) if self.softmax else _sigmoid_table(manifest)
        self._table = np.array(table, np.int64)
        self._thresholds = np.array(
            [thresholds.get(name, math.inf) for name in manifest.classes], np.float64
        )

    def posteriors(
        self, logits: npt.NDArray[np.int8], second: SecondViews | None = None
    ) -> npt.NDArray[np.float64]:
        """Posteriors float64 (n, classes) of quantized logits int8 (n, classes); of tiles that were
        shown twice, the means over both views."""
        result = self._of_one_view(logits)
        if second is not None and len(second.tiles):
            # Sums and halves of correctly rounded quotients: alike on every machine.
            result[second.tiles] = (result[second.tiles] + self._of_one_view(second.logits)) / 2
        return result

    def _of_one_view(self, logits: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
        wide = logits.astype(np.int16)
        if not self.softmax:
            return self._table[wide + 128] / _ONE
        terms = self._table[wide.max(axis=1, keepdims=True) - wide]
        result: npt.NDArray[np.float64] = terms / terms.sum(axis=1, keepdims=True)
        return result

    def decide(
        self,
        logits: npt.NDArray[np.int8],
        second: SecondViews | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Decided:
        """Decide n tiles from their logits, int8 (n, classes), and those of second views.

        `allowed` bool (n, classes) are the classes that a tile can be a detection of (None: all).
        """
        posterior = self.posteriors(logits, second)
        passed = posterior >= self._thresholds
        reached = passed if allowed is None else passed & allowed
        best = np.where(reached, posterior, posterior - 2.0).argmax(axis=1)
        rows = np.arange(len(logits))
        if self.softmax:
            tiles = np.flatnonzero(reached[rows, best])
            classes = best[tiles]
        else:
            tiles, classes = np.nonzero(reached)
        return Decided(
            best.astype(np.uint8),
            posterior[rows, best],
            tiles,
            classes,
            posterior[tiles, classes],
            np.asarray(passed.any(axis=1) & ~reached.any(axis=1)),
        )


def _sigmoid_table(manifest: Manifest) -> list[int]:
    """Posteriors in units of 1 / _ONE of the quantized logits -128 ... 127."""
    scale, zero = manifest.output.scale / manifest.temperature, manifest.output.zero_point
    return [round(_sigmoid(scale * (q - zero)) * _ONE) for q in range(-128, 128)]


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
