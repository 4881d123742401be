"""A linear head on frozen features: softmax regression with a loss on classes that cannot be there.

An example teaches its class (cross-entropy), or only which classes are *not* there: then the loss
is -log of what these leave. The sum of squares of the weights, in standardised features, is added
`ridge` times; L-BFGS finds the least (Liu and Nocedal 1989; SciPy's).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SPREAD = 0.05
"""Added to the spread of a feature: one that hardly ever varies must not be blown up."""
_TINY = 1e-12


@dataclass(frozen=True)
class Examples:
    """n examples: `features` float32 [n, 2, F] of tile and surroundings, `around` bool [n] whether
    surroundings are there (else they count as the mean), `targets` float32 [n, K] with IMPOSSIBLE
    for classes that are not there, `weights` float64 [n], `fold` int [n]."""

    features: npt.NDArray[np.float32]
    around: npt.NDArray[np.bool_]
    targets: npt.NDArray[np.float32]
    weights: Floats
    fold: npt.NDArray[np.int64]

    def rows(self, keep: npt.NDArray[np.bool_]) -> Examples:
        """Some of them."""
        return Examples(
            self.features[keep],
            self.around[keep],
            self.targets[keep],
            self.weights[keep],
            self.fold[keep],
        )


@dataclass(frozen=True)
class Head:
    """`kernel` float64 [2 F, K] and `bias` float64 [K] on features as they are."""

    kernel: Floats
    bias: Floats

    def logits(self, features: npt.NDArray[np.float32]) -> Floats:
        """Logits [n, K] of features [n, 2, F]."""
        return np.asarray(features.reshape(len(features), -1) @ self.kernel + self.bias)

    def posterior(self, features: npt.NDArray[np.float32]) -> Floats:
        """Posteriors [n, K] of features [n, 2, F]."""
        return _softmax(self.logits(features))


class Design:
    """Examples made ready to be fitted, several times with different ridges."""

    def __init__(self, examples: Examples) -> None:
        seen = examples.features[examples.around]
        if not len(seen):
            seen = examples.features
        self._mean = seen.mean(axis=0, dtype=np.float64)
        spread = seen.std(axis=0, dtype=np.float64) + SPREAD
        self._unit = spread * np.sqrt(seen.shape[2])
        rows = (examples.features - self._mean.astype(np.float32)) / self._unit.astype(np.float32)
        rows[~examples.around, 1] = 0
        self._rows: npt.NDArray[np.float32] = rows.reshape(len(rows), -1)
        self._targets = np.maximum(examples.targets, 0).astype(np.float64)
        self._open = np.where(examples.targets < 0, 0.0, 1.0)
        self._shown = self._targets.max(axis=1) > 0
        self._weights = examples.weights / examples.weights.sum()
        self._start = np.zeros((self._rows.shape[1] + 1, examples.targets.shape[1]))

    def fit(self, ridge: float, iterations: int) -> Head:
        """The head with the least loss; it starts from the one that was fitted before."""
        from scipy.optimize import minimize

        shape = self._start.shape
        found = minimize(
            lambda flat: self._loss(flat.reshape(shape), ridge),
            self._start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": iterations},
        ).x.reshape(shape)
        self._start = found
        kernel = found[:-1] / self._unit.reshape(-1, 1)
        return Head(kernel, found[-1] - self._mean.reshape(-1) @ kernel)

    def _loss(self, head: Floats, ridge: float) -> tuple[float, Floats]:
        """The loss of a head [2 F + 1, K] and its slope, flat."""
        kernel, bias = head[:-1], head[-1]
        posterior = _softmax(self._rows @ kernel.astype(np.float32) + bias)
        loss, slope = _losses(posterior, self._targets, self._open, self._shown)
        slope *= self._weights[:, None]
        down = (self._rows.T @ slope.astype(np.float32)).astype(np.float64) + 2 * ridge * kernel
        total = float(self._weights @ loss) + ridge * float((kernel**2).sum())
        return total, np.concatenate([down, slope.sum(axis=0)[None]]).ravel()


def loss_of(posterior: Floats, targets: npt.NDArray[np.float32]) -> Floats:
    """The loss [n] of posteriors [n, K] on targets [n, K] with IMPOSSIBLE in them."""
    ones, opened = np.maximum(targets, 0), np.where(targets < 0, 0.0, 1.0)
    return _losses(posterior, ones, opened, ones.max(axis=1) > 0)[0]


def _losses(
    posterior: Floats, ones: npt.NDArray[np.floating], opened: Floats, shown: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Losses [n] and their slopes by logit [n, K]."""
    left = posterior * opened
    rest = left.sum(axis=1) + _TINY
    right = (posterior * ones).sum(axis=1) + _TINY
    loss = -np.log(np.where(shown, right, rest))
    slope = posterior - np.where(shown[:, None], ones, left / rest[:, None])
    return np.asarray(loss), np.asarray(slope, np.float64)


def _softmax(logits: npt.NDArray[np.floating]) -> Floats:
    terms = np.exp(np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(terms / terms.sum(axis=1, keepdims=True))
