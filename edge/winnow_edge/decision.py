"""Decision: int8 logits to posteriors, thresholds to detections.

Posteriors come from a table of the 256 values that an int8 logit can take, in fixed-point
integers, so that their sums are exact and every machine decides alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow_edge.bundle import Bundle, Manifest, find_bundle, open_bundle
from winnow_edge.errors import BundleError, MissionError
from winnow_edge.mission import Mission, place_of

_ONE = 1 << 32
"""Fixed-point 1.0: 255 classes of it stay far below 2**53, so quotients are exact to rounding."""


@dataclass(frozen=True)
class Decided:
    """What became of n tiles: best class and its posterior, and which (tile, class) are detected.

    `class_index` uint8 (n,), `posterior` float64 (n,); `tiles` and `classes` int (m,) name the
    detections in order, with `posteriors` float64 (m,).
    """

    class_index: npt.NDArray[np.uint8]
    posterior: npt.NDArray[np.float64]
    tiles: npt.NDArray[np.intp]
    classes: npt.NDArray[np.intp]
    posteriors: npt.NDArray[np.float64]


class Decider:
    """Turns logits into decisions.

    With a softmax head a tile is a detection of at most one class: of those that reach their
    threshold, the one with the highest posterior. With a sigmoid head every class stands alone.
    """

    def __init__(self, manifest: Manifest, thresholds: dict[str, float]) -> None:
        scale = manifest.output.scale / manifest.temperature
        self.softmax = manifest.head == "softmax"
        if self.softmax:
            # exp(logit - highest logit) for differences 0, -1, ... -255 of the quantized logits
            real = [math.exp(-scale * step) for step in range(256)]
        else:
            zero = manifest.output.zero_point
            real = [_sigmoid(scale * (q - zero)) for q in range(-128, 128)]
        self._table = np.array([round(value * _ONE) for value in real], np.int64)
        self._thresholds = np.array(
            [thresholds.get(name, math.inf) for name in manifest.classes], np.float64
        )

    def posteriors(self, logits: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
        """Posteriors float64 (n, classes) of quantized logits int8 (n, classes)."""
        wide = logits.astype(np.int16)
        if not self.softmax:
            return self._table[wide + 128] / _ONE
        terms = self._table[wide.max(axis=1, keepdims=True) - wide]
        result: npt.NDArray[np.float64] = terms / terms.sum(axis=1, keepdims=True)
        return result

    def decide(self, logits: npt.NDArray[np.int8]) -> Decided:
        """Decide n tiles from their logits, int8 (n, classes)."""
        posterior = self.posteriors(logits)
        reached = posterior >= self._thresholds
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
        )


def thresholds_of(mission: Mission, bundle: Bundle) -> dict[str, float]:
    """The threshold of every class that has one: the mission's, else the bundle's.

    Raises MissionError if the mission names a class that no bundle of its instruments knows.
    """
    manifest = bundle.manifest
    thresholds = dict(manifest.thresholds)
    for name, rule in mission.classes.items():
        if name in manifest.classes:
            if rule.threshold is not None:
                thresholds[name] = rule.threshold
        elif not known_elsewhere(name, mission):
            raise MissionError(
                f"[class.{name!r}] is not a class of bundle {manifest.name!r}",
                where=place_of(mission.path, "class", name),
                hint=f"its classes: {', '.join(manifest.classes)}",
            )
    return thresholds


def known_elsewhere(name: str, mission: Mission) -> bool:
    """Whether the bundle of an instrument of the mission has the class."""
    for other in {instrument.bundle for instrument in mission.instruments.values()}:
        try:
            classes = open_bundle(find_bundle(other, beside=mission.path)).manifest.classes
        except BundleError:
            continue  # of no concern to this swath
        if name in classes:
            return True
    return False


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
