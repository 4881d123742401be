"""Second views of borderline tiles: what is judged is what flies.

A tile whose best posterior is under a limit is shown to the net once more, mirrored, and its
posteriors are the means of the two views. The rule is `winnow_edge.loop.decision`'s, on the
posteriors of any net.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from winnow_base import metrics
from winnow_base.errors import ModelError

Infer = Callable[[np.ndarray], np.ndarray]
"""Logits [n, K] of uint8 tiles [n, H, W, C]."""


@dataclass(frozen=True)
class Answers:
    """What a net says of n tiles: `logits` [n, K] and, where `borderline` is above 0, `mirrored`
    [n, K], the logits of all their mirror images: which are borderline hangs on the temperature."""

    logits: np.ndarray
    mirrored: np.ndarray | None = None
    borderline: float = 0.0

    def posterior(self, temperature: float | np.ndarray, head: str) -> np.ndarray:
        """Posterior float64 [n, K] as on board; `temperature` of all tiles, or [n, 1]."""
        first = metrics.posterior(self.logits / temperature, head)
        if self.mirrored is None:
            return first
        second = metrics.posterior(self.mirrored / temperature, head)
        twice = is_borderline(first, self.borderline)
        return np.where(twice[:, np.newaxis], (first + second) / 2, first)

    def net_calls(self, temperature: float, head: str) -> float:
        """How often the net is called for a tile on the average, 1.0 to 2.0."""
        if self.mirrored is None:
            return 1.0
        first = metrics.posterior(self.logits / temperature, head)
        return 1.0 + float(is_borderline(first, self.borderline).mean())


def is_borderline(posterior: np.ndarray, limit: float) -> np.ndarray:
    """Whether tiles with these posteriors [n, K] are shown twice, bool [n]."""
    return np.asarray(posterior.max(axis=1) < limit)


def mirror(tiles: np.ndarray) -> np.ndarray:
    """The mirror images of tiles [n, H, W, C], left and right exchanged."""
    return np.ascontiguousarray(tiles[:, :, ::-1])


def ask(infer: Infer, tiles: np.ndarray, borderline: float) -> Answers:
    """What a net says of uint8 tiles [n, H, W, C]. Raises ModelError for what is no number."""
    logits = _finite(infer(tiles))
    return Answers(logits, _finite(infer(mirror(tiles))) if borderline else None, borderline)


def _finite(logits: np.ndarray) -> np.ndarray:
    """Logits as they are. Raises ModelError where some are NaN or infinite."""
    if bad := int(np.size(logits) - np.isfinite(logits).sum()):
        raise ModelError(
            f"the net gives {bad:,} logits that are NaN or infinite",
            hint="train it again with a lower learning rate",
        )
    return logits


def join(parts: Sequence[Answers]) -> Answers:
    """Answers of one net to batches of tiles, one after the other."""
    seconds = [p.mirrored for p in parts if p.mirrored is not None]
    return Answers(
        np.concatenate([p.logits for p in parts]),
        np.concatenate(seconds) if seconds else None,
        parts[0].borderline,
    )
