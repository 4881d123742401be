"""Temperature scaling: one number that makes posteriors mean what they say (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np

from winnow_base.errors import DataError
from winnow_base.metrics import posterior

LOWEST, HIGHEST = 0.05, 20.0


def negative_log_likelihood(
    logits: np.ndarray, truth: np.ndarray, temperature: float, head: str
) -> float:
    """Mean negative log-likelihood in nats; truth is labels [n], or 0/1 [n, K] of sigmoid heads."""
    return surprise(posterior(logits / temperature, head), truth, head)


def surprise(posterior: np.ndarray, truth: np.ndarray, head: str) -> float:
    """Mean negative log-likelihood in nats of posteriors [n, K]."""
    if head == "sigmoid":
        posterior = np.clip(posterior, 1e-12, 1 - 1e-12)
        return float(-np.mean(np.where(truth > 0, np.log(posterior), np.log1p(-posterior))))
    said = posterior[np.arange(len(truth)), truth] / posterior.sum(axis=1)
    return float(-np.mean(np.log(np.maximum(said, np.finfo(np.float64).eps))))


def fit_temperature(logits: np.ndarray, truth: np.ndarray, head: str = "softmax") -> float:
    """The temperature of least negative log-likelihood, by golden-section search in its logarithm.

    The likelihood is unimodal in the temperature. Raises DataError if there is nothing to fit on.
    """
    if len(logits) == 0:
        raise DataError("no tile to fit the temperature on")
    ratio = (np.sqrt(5) - 1) / 2
    low, high = np.log(LOWEST), np.log(HIGHEST)
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        cost = [
            negative_log_likelihood(logits, truth, float(np.exp(t)), head) for t in (left, right)
        ]
        low, high = (low, right) if cost[0] < cost[1] else (left, high)
    return float(np.exp((low + high) / 2))
