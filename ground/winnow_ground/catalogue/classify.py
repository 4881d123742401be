"""A picture on the ground through the code that flies: what it finds, as rows of the catalogue.

Intake, nets, decision, merging, second stage, audit and verdict are the loop's own; no store is
made, since a picture that was interrupted is classified anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from winnow_edge.clock.utc import as_text
from winnow_edge.errors import SwathError
from winnow_edge.files import printable
from winnow_edge.loop.block import Block
from winnow_edge.loop.collect import Collector
from winnow_edge.loop.intake import Intake
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.progress import Progress
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.mission import Mission
from winnow_edge.place.door import Shape, look
from winnow_edge.place.geometry import Geometry
from winnow_edge.prepare.chain import Chain, open_lines
from winnow_edge.products.encode import decode_head
from winnow_edge.products.kinds import NO_CLASS, Flag, Kind, Product, TileRecord
from winnow_edge.store.writer import SwathWriter
from winnow_ground.nets import Nets

Row = dict[str, Any]


@dataclass(frozen=True)
class Classified:
    """What the net says of a picture: rows of `swath` and `tile` without the ids of the catalogue.

    `swath` has a `bundle` and tiles a `class` by name. `said` is what was met on the way, in words
    ("": nothing).
    """

    swath: Row
    tiles: tuple[Row, ...]
    said: str = ""


class Classifier(Nets):
    """Classifies pictures as one mission flies them, with interpreters that stay.

    Kept are detections, and the tiles that the mission's audit draws and its nets ask about; with
    `every` all tiles. A context manager.
    """

    def __init__(self, mission: Mission, *, every: bool = False) -> None:
        super().__init__(mission)
        self._every = every

    def __call__(self, path: Path) -> Classified:
        """The rows of the picture at `path`. Raises what opening and running a swath raise."""
        name = printable(path.name)
        instrument, camera = self.mission.instrument_for(name)
        settings = self.settings_of(instrument)
        began = time.perf_counter()
        lines = open_lines(
            path, camera, settings.manifest.input, memory_mb=self.mission.compute.memory_mb
        )
        try:
            shape = Shape(lines.samples, lines.lines, camera.line_time_us, camera.frame)
            geometry = look(path, shape, None)
            flown = _Flown(lines, settings, self.interpreters(settings), name, geometry)
            flown.run()
            return flown.rows(time.perf_counter() - began, every=self._every)
        finally:
            lines.close()

    def load(self) -> None:
        """Load the interpreters of the first instrument. Raises what a bundle and its runtime
        raise."""
        self.interpreters(self.settings_of(next(iter(self.mission.instruments))))


class _Nowhere:
    """A swath of which nothing is kept, as `Progress` asks for it."""

    swath_id, next_tile, next_line = 1, 0, 0
    pending = summary = None


class _Flown:
    """One swath on its way through the loop."""

    def __init__(
        self, lines: Chain, settings: Settings, pool: Interpreters, name: str, geometry: Geometry
    ) -> None:
        self._lines, self._settings, self._pool = lines, settings, pool
        merge, classes = settings.mission.tiling.merge, len(settings.manifest.classes)
        writer = cast("SwathWriter", _Nowhere())
        self._progress = Progress(name, writer, merge, classes, geometry)
        verifier = pool.verifier if settings.verifier is not None else None
        self._collector = Collector(settings, self._progress, verifier, samples=lines.samples)
        self._products: list[Product] = []
        self._count = 0

    def run(self) -> None:
        """Classify all lines; a block is decided while the next one is with the interpreters."""
        intake = Intake(self._lines, self._settings, self._pool)
        running: Block | None = None
        while True:
            while not intake.fill():
                pass
            if not intake.lines:
                why = f" ({self._lines.truncated})" if self._lines.truncated else ""
                raise SwathError(f"holds no whole line{why}", where=self._progress.name)
            block = intake.submit(self._progress)
            if running is not None:
                self._collect(running)
            running = block
            if intake.ended:
                break
        self._collect(running, last=True)
        self._count = intake.lines

    def _collect(self, block: Block, *, last: bool = False) -> None:
        self._collector.take_looks(block.sections)
        self._products += self._collector.collect(block.rows, last=last)

    def rows(self, seconds: float, *, every: bool) -> Classified:
        """What was found, once all lines are through."""
        settings, summary = self._settings, self._summary(seconds)
        about = {
            **summary.as_json(),
            "bundle_sha256": settings.bundle.sha256,
            "settings": settings.digest,
            "tile": settings.tile,
            "hop": settings.hop,
            "scales": list(settings.scales),
            **self._progress.geometry.about(),
        }
        start = about.get("start")
        verdict = summary.verdict
        swath = {
            "name": summary.swath,
            "bundle": settings.manifest.name,
            "mission": printable(settings.mission.name),
            "instrument": settings.instrument,
            "lines": summary.lines,
            "samples": summary.samples,
            "tiles": summary.tally.tiles,
            "screened": summary.tally.screened,
            "verdict": verdict["verdict"] if verdict else None,
            "start": start["utc"] if isinstance(start, dict) else None,
            "about": about,
        }
        faults = self._progress.geometry.faults
        said = [f"cut short: {summary.truncated}"] if summary.truncated else []
        return Classified(swath, self._tiles(every), "; ".join([*said, *faults]))

    def _tiles(self, every: bool) -> tuple[Row, ...]:
        by_kind: dict[Kind, dict[int, Product]] = {kind: {} for kind in Kind}
        for product in self._products:
            by_kind[product.kind][product.tile_index] = product
        records = by_kind[Kind.RECORD]
        flags, relabelled = self._flags(records), self._relabelled(records)
        names, rows = self._settings.manifest.classes, []
        for tile, product in records.items():
            drawn, asked = tile in by_kind[Kind.AUDIT], tile in by_kind[Kind.QUESTION]
            feature = product.detection and not flags.get(tile)
            if not (every or feature or drawn or asked):
                continue
            record = decode_head(product.data).record
            class_index, posterior = relabelled.get(tile, (record.class_index, record.posterior))
            picture = by_kind[Kind.THUMBNAIL].get(tile)
            row = {
                "number": tile,
                "class": None if class_index == NO_CLASS else printable(names[class_index]),
                "posterior": posterior,
                "detection": feature,
                "refused": bool(flags.get(tile, Flag.NONE) & Flag.REFUSED),
                "drawn": drawn,
                "asked": asked,
                "merged": decode_head(picture.data).merged if feature and picture else 1,
            }
            rows.append({**row, **_placed(record)})
        return tuple(rows)

    def _flags(self, records: Mapping[int, Product]) -> dict[int, Flag]:
        """Of detections that do not stand for a feature: merged into another's, or refused."""
        flags: dict[int, Flag] = {}
        progress = self._progress
        marked: Sequence[tuple[Flag, Sequence[tuple[int, int]]]] = (
            (Flag.MERGED, progress.merger.take_dropped()),
            (Flag.REFUSED, progress.refused),
        )
        for flag, some in marked:
            for tile, class_index in some:
                # With a sigmoid head the tile's record may name another class.
                if records[tile].class_index == class_index:
                    flags[tile] = flags.get(tile, Flag.NONE) | flag
        return flags

    def _relabelled(self, records: Mapping[int, Product]) -> dict[int, tuple[int, float]]:
        """The second stage's class and posterior of the detections that it let pass, by tile."""
        return {
            tile: (found, posterior)
            for tile, class_index, found, posterior in self._progress.passed
            if records[tile].class_index == class_index
        }

    def _summary(self, seconds: float) -> SwathSummary:
        lines, settings, pool = self._lines, self._settings, self._pool
        return SwathSummary(
            swath=self._progress.name,
            lines=self._count,
            samples=lines.samples,
            tally=self._progress.tally,
            seconds=seconds,
            runtime=pool.actual,
            runtime_requested=pool.requested,
            threads=pool.threads,
            instrument=settings.instrument,
            bundle=settings.manifest.name,
            truncated=lines.truncated,
            stretch=None if lines.stretch is None else lines.stretch.limits,
            repaired=None if lines.repair is None else lines.repair.as_json(),
            verified=None if settings.verifier is None else self._progress.verified,
            verdict=self._collector.judge(),
        )


def _placed(record: TileRecord) -> Row:
    """Where a tile lies, in the swath and on the ground."""
    box, place = record.box, record.place
    return {
        "out_of_place": bool(record.flags & Flag.OUT_OF_PLACE),
        "line": box.line,
        "sample": box.sample,
        "lines": box.lines,
        "samples": box.samples,
        "scale": record.scale,
        "time": as_text(record.time) if record.time else None,
        "latitude": place.latitude if place else None,
        "longitude": place.longitude if place else None,
    }
