"""What depends on the surroundings of tiles: what a second stage says, and the size of contexts.

Both are asked for of every tile that could be a detection, once, so that thresholds can be changed
without the nets.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_edge.bundle import Int8Array
from winnow_edge.loop.block import Row
from winnow_edge.loop.decision import Decided, Decider, SecondViews
from winnow_edge.loop.placing import Placing
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import Verified
from winnow_edge.loop.verifier import Verifier
from winnow_edge.products.context import context_product
from winnow_edge.products.kinds import NO_CLASS, Detection
from winnow_ground.simulation.scores import AROUND

FLOOR: Final = 0.25
"""Tiles of a lower posterior, and under every threshold of the mission, are no detections: the
second stage is not asked about them, and they have no context. A variant of the mission with lower
thresholds takes them as the first net says."""


def floor_of(settings: Settings) -> float:
    """The posterior from which on tiles could be detections."""
    return min([FLOOR, *settings.thresholds.values()])


@dataclass(frozen=True)
class _Open:
    """A tile that could be a detection, by its index in the swath, whose surroundings are not
    there yet."""

    index: int
    found: Detection


class Around:
    """Goes through the rows of one swath; `said` are entries of dtype `AROUND` by tile."""

    def __init__(self, settings: Settings, placing: Placing, verifier: Verifier | None) -> None:
        mission, manifest = settings.mission, settings.manifest
        self._context, self._times = mission.context, mission.context.times
        self._placing = placing
        self._verifier = verifier if settings.verifier is not None else None
        minded = settings.verifier.manifest.thresholds if settings.verifier is not None else {}
        self.minded = tuple(n for n, name in enumerate(manifest.classes) if name in minded)
        """Classes that the second stage minds; detections of others pass as they are."""
        floor = floor_of(settings)
        self._decider = Decider(manifest, dict.fromkeys(settings.thresholds, floor))
        self._open = deque[_Open]()
        self.said: dict[int, tuple[int, float, int]] = {}

    @property
    def wanted(self) -> bool:
        """Whether there is a second stage, or a context, at all."""
        return bool(self.minded) or self._times > 0

    def could_be(self, logits: Int8Array, second: SecondViews | None) -> Decided:
        """Which of the tiles that the net saw could be detections."""
        return self._decider.decide(logits, second, None)

    def take(self, row: Row, tile: int, found: Detection) -> None:
        """Remember a tile of a row until its surroundings are there."""
        found = replace(found, window=row.window(tile), context=row.context(tile))
        self._open.append(_Open(row.first + tile, found))

    def settle(self) -> None:
        """Ask about the tiles whose surroundings are there."""
        while self._open:
            found = self._open[0].found
            if any(w is not None and not w.there for w in (found.window, found.context)):
                return
            self._ask(self._open.popleft())

    def _ask(self, one: _Open) -> None:
        found, name, posterior, octets = one.found, NO_CLASS, 0.0, 0
        seen = self._placing.of(found.box)
        if self._verifier is not None:
            asked = replace(found, class_index=self.minded[0])
            answer = self._verifier(asked, Verified(), self._placing.allowed(seen))
            if answer is not None:
                name, posterior = answer.class_index, answer.posterior
        if found.context is not None:
            view = found.context.view(self._times * found.scale)
            octets = len(context_product(found, view, self._context, 1, seen).data)
        self.said[one.index] = (name, posterior, octets)

    def table(self, tiles: int) -> npt.NDArray[np.void]:
        """Everything that was said, of dtype `AROUND` (tiles,)."""
        table = np.zeros(tiles, AROUND)
        table["verified"] = NO_CLASS
        for index, entry in self.said.items():
            table[index] = (True, *entry)
        return table
