"""Second views of borderline tiles: what is judged is what flies.

A tile whose best posterior is under a limit is shown to the net once more, mirrored, and its
posteriors are the means of the two views. The rule is `winnow_edge.loop.decision`'s, on the
posteriors of any net.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """What a net says of uint8 tiles [n, H, W, C]."""
    logits = infer(tiles)
    return Answers(logits, infer(mirror(tiles)) if borderline else None, borderline)


def join(parts: Sequence[Answers]) -> Answers:
    """Answers of one net to batches of tiles, one after the other."""
    seconds = [p.mirrored for p in parts if p.mirrored is not None]
    return Answers(
        np.concatenate([p.logits for p in parts]),
        np.concatenate(seconds) if seconds else None,
        parts[0].borderline,
    )


def borderline_of(card: dict[str, Any], where: Path | str = "") -> float:
    """The limit that a run's or bundle's card names; 0 where every tile is shown once.

    Raises ModelError, naming `where`, for what is no number from 0 to 1, and for a sigmoid head.
    """
    limit = card.get("borderline", 0.0)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit <= 1:
        raise ModelError(f"`borderline` is {json.dumps(limit)}, legal is 0 to 1", where=where)
    if limit and card["head"] != "softmax":
        raise ModelError("`borderline` needs a softmax head", where=where)
    return float(limit)
