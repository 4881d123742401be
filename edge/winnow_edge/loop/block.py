"""A block on its way through the flight loop: lines that are read and committed at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow_edge.loop.band import Band, Int8Array
from winnow_edge.loop.interpreters import Job
from winnow_edge.loop.schedule import TileRow
from winnow_edge.loop.surroundings import Surroundings, Window
from winnow_edge.products.quick_look import Section


@dataclass
class Row:
    """A row of tiles on its way: `view` int8 (tile, samples[, 3]), `first` its first tile's index,
    `skipped` the tiles that were screened, `horizon` the first line that a tile after this row can
    have. Rows without a `job` were committed by an earlier run. `surroundings` are held where there
    is a second stage, `contexts` where the mission asks for them."""

    row: TileRow
    band: Band
    view: Int8Array
    first: int
    skipped: npt.NDArray[np.bool_]
    horizon: float
    job: Job | None
    surroundings: Surroundings | None = None
    contexts: Surroundings | None = None

    @property
    def end(self) -> int:
        """Index of the first tile after the row."""
        return self.first + len(self.skipped)

    def pixels(self, tile: int) -> npt.NDArray[np.uint8]:
        """A copy of the row's tile of that number: the band will be overwritten."""
        return self.band.pixels(self.view, self.band.columns[tile])

    def window(self, tile: int) -> Window | None:
        """What lies around the row's tile of that number."""
        if self.surroundings is None:
            return None
        return self.surroundings.around(self.row.origin, self.band.columns[tile])

    def context(self, tile: int) -> Window | None:
        """What comes down of the surroundings of the row's tile of that number."""
        if self.contexts is None:
            return None
        return self.contexts.around(self.row.origin, self.band.columns[tile])


@dataclass
class Block:
    """A block of lines: its rows of tiles, the lines so far, the check on them, and the sections of
    the quick look that end in it."""

    rows: list[Row]
    lines: int
    check: int
    sections: list[Section]
