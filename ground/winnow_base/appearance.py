"""What tiles look like in numbers, so that a swath can be told from what a net was trained on.

`describe` goes into a manifest (`training.appearance`) with the training; `notices` lays a swath's
tiles beside it. Brightness and contrast are the mean and the standard deviation of a tile's pixels
(0 to 255), grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MEASURES = ("brightness", "contrast")
PERCENTILES = (1, 50, 99)
_WITHIN = 0.98
"""The share of training tiles between the outer percentiles."""
_MOST_OUTSIDE = 0.2
"""A swath with more tiles outside than this is not what the net was trained on: ten times as many
as training tiles."""
_FEWEST = 4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Brightness and contrast of n tiles, float64 (n,) each."""

    brightness: Floats
    contrast: Floats

    @classmethod
    def of(cls, tiles: npt.NDArray[np.uint8]) -> Measured:
        """Of tiles uint8 [n, H, W] or [n, H, W, C]."""
        grey = tiles if tiles.ndim == 3 else tiles.mean(axis=3)
        flat = grey.reshape(len(grey), grey.shape[1] * grey.shape[2]).astype(np.float64)
        return cls(flat.mean(axis=1), flat.std(axis=1))

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """Several, one after the other."""
        none = np.empty(0)
        return cls(
            np.concatenate([none, *(p.brightness for p in parts)]),
            np.concatenate([none, *(p.contrast for p in parts)]),
        )


def describe(measured: Measured) -> dict[str, Any]:
    """The table of a manifest: how many tiles, and the percentiles of each measure."""
    table: dict[str, Any] = {"tiles": len(measured.brightness)}
    for name in MEASURES:
        values = np.percentile(getattr(measured, name), PERCENTILES)
        table[name] = {
            f"p{p}": round(float(v), 1) for p, v in zip(PERCENTILES, values, strict=True)
        }
    return table


def notices(training: Mapping[str, Any], measured: Measured | None, name: str) -> list[str]:
    """How a swath's tiles differ from those of a bundle's training, a sentence each.

    `training` is the manifest's; `measured` None: the swath's pixels are not at hand. Empty where
    nothing stands out.
    """
    table = training.get("appearance")
    if not isinstance(table, Mapping):
        return [
            f"Bundle {name} does not say what its training tiles look like, so whether these "
            "pictures are like them is not known."
        ]
    if measured is None or len(measured.brightness) < _FEWEST:
        return []
    said = []
    for measure in MEASURES:
        low, middle, high = (_number(table.get(measure), f"p{p}") for p in PERCENTILES)
        if low is None or middle is None or high is None:
            continue
        values = getattr(measured, measure)
        outside = float(np.mean((values < low) | (values > high)))
        if outside > _MOST_OUTSIDE:
            here = float(np.median(values))
            way = "lower" if here < middle else "higher"
            said.append(
                f"The {measure} of {outside:.0%} of the tiles lies outside of what {name} was "
                f"trained on (here {here:.0f} in the middle, {way} than {middle:.0f} there; "
                f"{_WITHIN:.0%} of its training tiles lie from {low:.0f} to {high:.0f}): its "
                "posteriors are not calibrated for it."
            )
    return said


def _number(table: Any, key: str) -> float | None:
    value = table.get(key) if isinstance(table, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
