"""Tiles with their truth, as training hands them to conversion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LabelledTiles:
    """`tiles` uint8 (n, height, width, channels); `labels` int64 (n,) class indices, or
    (n, classes) of 0 and 1 for a sigmoid head; `sources` the source of each tile."""

    tiles: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    sources: tuple[str, ...]
