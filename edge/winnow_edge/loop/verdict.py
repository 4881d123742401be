"""A verdict on a whole swath, from the posteriors that one class has in its tiles.

The rule is that of ice-patch surveys of HiRISE images: a small net looks at every chunk of an
image, and the image is good, hard to identify or bad by the mean of the posteriors and the number
of chunks that show ice. Its numbers are the mission's, [verdict].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.mission import Verdict
from winnow_edge.products.encode import POSTERIOR_MAX
from winnow_edge.tables import setting

MOST = 2**53
"""The most that is counted in a swath."""
GOOD, HARD, BAD = "good", "hard to identify", "bad"
_PARTS = 1_000_000
"""Limits are counted in millionths, so that sums and comparisons are exact on every machine."""


@dataclass
class Votes:
    """What the tiles of a swath say so far: `tiles` that the net has seen, `showing` of them the
    class, and the `total` of its posteriors in steps of 1/65535, as records carry them."""

    tiles: int = setting(0, 0, MOST)
    showing: int = setting(0, 0, MOST)
    total: int = setting(0, 0, MOST)

    def add(self, posteriors: npt.NDArray[np.float64], rule: Verdict) -> None:
        """Count n tiles in, from the class's posterior in each, float64 (n,)."""
        steps = np.rint(posteriors * POSTERIOR_MAX).astype(np.int64)
        self.tiles += len(steps)
        self.showing += int(np.count_nonzero(steps * _PARTS >= _limit(rule.posterior)))
        self.total += int(steps.sum())

    @property
    def mean(self) -> float:
        """Mean posterior of the class; 0 where no tile was seen."""
        return self.total / POSTERIOR_MAX / self.tiles if self.tiles else 0.0


def judge(votes: Votes, rule: Verdict) -> str:
    """GOOD, HARD or BAD.

    With more than `good_share` of the tiles showing the class a swath is good if the mean is above
    `good_mean`; with fewer, but at least `few_tiles`, if it is above `few_mean`. Else it is hard to
    identify if the mean lies within `hard_means`, bounds included, or is above `hard_mean` while
    more than `hard_tiles` tiles show the class. Else, and where no tile was seen, it is bad.
    """
    sum_of_parts = votes.total * _PARTS

    def over(limit: float) -> bool:
        return sum_of_parts > _limit(limit) * votes.tiles

    if votes.showing * _PARTS > round(rule.good_share * _PARTS) * votes.tiles:
        good = over(rule.good_mean)
    else:
        good = votes.showing >= rule.few_tiles and over(rule.few_mean)
    if good:
        return GOOD
    low, high = rule.hard_means
    between = sum_of_parts >= _limit(low) * votes.tiles and not over(high)
    if votes.tiles and (between or (over(rule.hard_mean) and votes.showing > rule.hard_tiles)):
        return HARD
    return BAD


def as_json(votes: Votes, rule: Verdict) -> dict[str, Any]:
    """What a run and its swath product say: verdict, class, mean posterior, tiles, showing."""
    return {
        "verdict": judge(votes, rule),
        "class": rule.class_name,
        "mean": round(votes.mean, 5),
        "tiles": votes.tiles,
        "showing": votes.showing,
    }


def as_words(found: dict[str, Any]) -> str:
    """`as_json` for people."""
    return (
        f"{found['verdict']} for {found['class']}: mean posterior {found['mean']:.3f}, "
        f"{found['showing']:,} of {found['tiles']:,} tiles show it"
    )


def _limit(value: float) -> int:
    """A posterior in millionths of a step of 1/65535."""
    return round(value * _PARTS) * POSTERIOR_MAX
