"""How far a swath has come: the only place that knows of runs that were interrupted.

An earlier run's state is loaded with the swath. While the lines that it committed are read again
they are checked, and the pixels of detections that were still open are recalled. Behind its last
tile the state is taken up, so that the store is the same however often the run was interrupted.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.clock.host import since_boot_ns
from winnow_edge.errors import SwathError, SwathKnownError
from winnow_edge.loop.block import Block, Row
from winnow_edge.loop.merging import Merger
from winnow_edge.loop.saved import STATE, Saved, read_saved
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import Tally, Verified
from winnow_edge.loop.verdict import Votes
from winnow_edge.place.geometry import Geometry
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.kinds import Product, Window
from winnow_edge.store.clock import tick
from winnow_edge.store.store import Store
from winnow_edge.store.writer import SwathWriter, begin_swath

log = logging.getLogger(__name__)


class Progress:
    """The counts of a swath, its open detections, and what is committed of it."""

    def __init__(
        self,
        name: str,
        writer: SwathWriter,
        merge: float,
        classes: int,
        geometry: Geometry | None = None,
    ) -> None:
        self.geometry = geometry or Geometry()
        """When and where the swath was seen."""
        self.tally, self.votes, self.merger = Tally(), Votes(), Merger(merge)
        self.verified = Verified()
        self.refused: list[tuple[int, int]] = []
        """Tile and class of the detections that were refused since the last commit."""
        self.passed: list[tuple[int, int, int, float]] = []
        """Tile and class, and the class and posterior of the second stage, of those that it let
        pass since the last commit."""
        self._name, self._writer = name, writer
        self._check = 0
        """CRC-32 over the first line of every block: tells a resumed swath from another."""
        self._saved: Saved | None = None
        """State of an earlier run, until its last tile is passed."""
        self._pixels: dict[int, npt.NDArray[np.uint8]] = {}
        self._windows: dict[int, Window] = {}
        self._contexts: dict[int, Window] = {}
        if writer.pending:
            saved = read_saved(writer.pending, name, writer.next_tile, classes)
            self.tally, self.votes, self.verified = saved.tally, saved.votes, saved.verified
            self._saved = saved

    @classmethod
    def begin(
        cls,
        store: Store,
        name: str,
        lines: Chain,
        settings: Settings,
        geometry: Geometry | None = None,
    ) -> Progress:
        """Begin the swath in the store, or load what is there of it. Without a start it starts now,
        where the instrument says so.

        Raises SwathKnownError where the store knows another swath of that name, StoreError.
        """
        geometry = geometry or Geometry()
        if geometry.start is None and settings.camera.start == "clock":
            geometry = geometry.started(tick(store).instant(since_boot_ns()), "clock")
        about = geometry.about()
        writer = begin_swath(
            store,
            name,
            samples=lines.samples,
            classes=settings.manifest.classes,
            bundle=settings.manifest.name,
            digest=settings.digest,
            fingerprint=lines.fingerprint,
            info={
                "instrument": settings.instrument,
                "tile": settings.tile,
                "hop": settings.hop,
                "scales": list(settings.scales),
                **about,
            },
        )
        if writer.complete and lines.fingerprint is None:
            raise SwathKnownError(
                f"a swath {name!r} is complete already, and a pipe cannot be told from it",
                where=store.path,
                hint="give this one another --name",
            )
        if not writer.complete:
            geometry = geometry.as_begun(writer.info)
            for fault in geometry.faults:
                log.warning("%s: %s", name, fault)
        elif geometry.is_news({**writer.info, **(writer.summary or {})}):
            log.warning(
                "%s: geometry came late: the swath is complete, and its records stay as they are;"
                " `winnow place` on the ground uses the file",
                name,
            )
        return cls(
            name, writer, settings.mission.tiling.merge, len(settings.manifest.classes), geometry
        )

    @property
    def name(self) -> str:
        """The swath's in the store."""
        return self._name

    @property
    def swath_id(self) -> int:
        """The swath's number in the store."""
        return self._writer.swath_id

    @property
    def next_tile(self) -> int:
        """Tiles of a lower index are committed."""
        return self._writer.next_tile

    @property
    def next_line(self) -> int:
        """Lines before it are done with."""
        return self._writer.next_line

    @property
    def summary(self) -> dict[str, Any] | None:
        """What the store keeps of a complete swath."""
        return self._writer.summary

    def check(self, first: npt.NDArray[np.uint8] | None, lines: int, *, ended: bool) -> int:
        """The check on a swath that has come to `lines` lines with a block whose first line is
        `first` (None: the block is empty).

        Raises SwathError if they are not the lines of the earlier run; a pipe tells nothing else.
        """
        if first is not None:
            self._check = zlib.crc32(first.data, self._check)
        if self._saved is not None:
            known = self.next_line
            short, other = ended and lines < known, lines == known
            if short or (other and self._check != self._saved.check):
                raise SwathError(
                    f"is not the swath of which an earlier run committed {known:,} lines: "
                    + (f"it ends after {lines:,}" if short else "its lines differ"),
                    where=self._name,
                    hint="give it another --name",
                )
        return self._check

    def recall(self, row: Row) -> None:
        """Pass a row that an earlier run committed: keep what its open detections need of it."""
        if self._saved is None:
            return
        for entry in self._saved.merger:
            tile = entry["tile"]
            if row.first <= tile < row.end and "dropped" not in entry:
                self._pixels[tile] = row.pixels(tile - row.first)
                if (window := row.window(tile - row.first)) is not None:
                    self._windows[tile] = window
                if (context := row.context(tile - row.first)) is not None:
                    self._contexts[tile] = context

    def take_up(self) -> None:
        """Go on with the earlier run's open detections, once its last tile is passed."""
        if self._saved is not None:
            held = self._pixels, self._windows, self._contexts
            self.merger.restore(self._saved.merger, *held)
            self._saved, self._pixels, self._windows, self._contexts = None, {}, {}, {}

    def save(
        self,
        products: Sequence[Product],
        block: Block,
        next_tile: int,
        summary: dict[str, Any] | None = None,
    ) -> None:
        """Commit products and the state behind them; with a `summary` the swath is complete."""
        if summary is not None and self.geometry.late:
            summary = {**summary, **self.geometry.about()}
        state = {
            "state": STATE,
            "tally": asdict(self.tally),
            "votes": vars(self.votes),
            "merger": self.merger.save(),
            "check": block.check,
        }
        if self.verified.verified:
            state["verified"] = vars(self.verified)
        pending = json.dumps(state, separators=(",", ":")).encode()
        self._writer.commit(
            products=products,
            merged=self.merger.take_dropped(),
            refused=self.refused,
            passed=self.passed,
            next_tile=next_tile,
            next_line=block.lines,
            pending=pending if summary is None else None,
            summary=summary,
        )
        self.refused, self.passed = [], []
