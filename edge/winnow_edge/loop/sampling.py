"""Pictures of tiles that are no detections: of those that the audit draws, and of those that the
net abstains on and the ground is asked about. Each has a quota of bytes in every swath."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from winnow_edge.loop.block import Row
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import Sampled, Tally
from winnow_edge.products.audit import drawn
from winnow_edge.products.encode import thumbnail_of
from winnow_edge.products.kinds import Kind, Product


class Sampler:
    """Picks tiles of the swath of that `name`, and counts them in `tally`."""

    def __init__(self, settings: Settings, name: str, tally: Tally) -> None:
        self._audit, self._ask = settings.mission.audit, settings.mission.ask
        self._products, self._name, self._tally = settings.mission.products, name, tally
        self._limits = [
            settings.thresholds.get(name, -math.inf) for name in settings.manifest.classes
        ]
        """By class, below which posterior the net abstains."""

    def pick(self, row: Row, records: Sequence[Product]) -> list[Product]:
        """Pictures of tiles of a `row`; `records` are of all its tiles."""
        found = []
        if self._audit.share and self._tally.audit.until is None:
            here = drawn(self._audit.seed, self._name, row.first, len(records), self._audit.share)
            for tile in np.flatnonzero(here).tolist():
                if self._tally.audit.until is None:
                    found += self._picture(
                        Kind.AUDIT, row, tile, records[tile], self._tally.audit, self._audit.bytes
                    )
        if self._ask.bytes:
            for tile, record in enumerate(records):
                if self._tally.asked.until is not None:
                    break
                if not row.skipped[tile] and self._abstained(record):
                    found += self._picture(
                        Kind.QUESTION, row, tile, record, self._tally.asked, self._ask.bytes
                    )
        return found

    def _abstained(self, record: Product) -> bool:
        likely = self._ask.posterior <= record.posterior < self._limits[record.class_index]
        return likely and not record.detection

    def _picture(
        self, kind: Kind, row: Row, tile: int, record: Product, sampled: Sampled, most: int
    ) -> list[Product]:
        """The picture of a tile behind the head of its record, if the quota holds it; else the
        sampling ends with the tile before."""
        data = record.data + thumbnail_of(row.pixels(tile), self._products, len(record.data))
        if sampled.bytes + len(data) > most:
            sampled.until = record.tile_index
            return []
        sampled.tiles += 1
        sampled.bytes += len(data)
        return [record._replace(kind=kind, detection=False, data=data)]
