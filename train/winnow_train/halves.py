"""Tiles made of two halves, so that a net with sigmoid heads sees tiles that hold two classes.

The landmark sets give every tile one label and were cut around one feature each. A share of the
own head's tiles becomes the middle halves of two tiles side by side, with the classes of both;
the sets of classes (none of them included) are drawn alike, so that neither the seam nor one
class tells of the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from winnow_train.recipe import Recipe
from winnow_train.tiles import dihedral

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Halves:
    """Replaces a share of a batch's own tiles (`augment.halves`) by joined halves."""

    def __init__(
        self, pixels: list[np.ndarray], targets: np.ndarray, weights: np.ndarray, recipe: Recipe
    ) -> None:
        """All training tiles, with the own head's targets [n, K] and weights [n]."""
        self._pixels, self._targets, self._share = pixels, targets, recipe.augment.halves
        self._own = recipe.data.dataset
        self._turned = recipe.augment.symmetry == "dihedral"
        held = np.flatnonzero(weights > 0)
        sets = targets[held] > 0.5
        _, kind = np.unique(sets, axis=0, return_inverse=True)
        self._groups = [held[kind.ravel() == k] for k in range(int(kind.max()) + 1)]

    def __call__(
        self,
        inputs: np.ndarray,
        targets: dict[str, np.ndarray],
        weights: dict[str, np.ndarray],
        augment: Augment,
        rng: np.random.Generator,
    ) -> None:
        """Change pixels 0..255 [B, H, W, C], targets and weights of one batch in place."""
        for i in np.flatnonzero(weights[self._own] > 0):
            if rng.random() >= self._share:
                continue
            pair = [self._draw(rng) for _ in range(2)]
            inputs[i] = join([augment(self._pixels[n], rng) for n in pair])
            if self._turned:
                inputs[i] = dihedral(inputs[i : i + 1], int(rng.integers(8)))[0]
            targets[self._own][i] = self._targets[pair].max(axis=0)
            for head, values in weights.items():
                values[i] = head == self._own

    def _draw(self, rng: np.random.Generator) -> int:
        group = self._groups[int(rng.integers(len(self._groups)))]
        return int(group[int(rng.integers(len(group)))])


def join(pair: list[np.ndarray]) -> np.ndarray:
    """The middle halves of two tiles [H, W, C] side by side, the left one first: [H, W, C]."""
    wide = pair[0].shape[1]
    left, start = wide // 2, wide // 4
    return np.concatenate(
        [pair[0][:, start : start + left], pair[1][:, start : start + wide - left]], axis=1
    )
