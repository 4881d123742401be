"""The flight loop: lines in, records and detections out, a band at a time.

The main thread reads a block of lines, bins and quantizes it, screens its tiles and hands them to
the interpreters, row by row; while they work it collects the rows before: decides, merges, encodes
and commits (`collect`). What is committed, and in which order, depends on the swath and the mission
alone: not on threads, nor on whether the lines come from a file or a pipe, nor on how often the run
was interrupted.
"""

from __future__ import annotations

import itertools
import math
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge import verdict
from winnow_edge.band import SLOTS, Band, Quantizer
from winnow_edge.bundle import Bundle
from winnow_edge.collect import Block, Collector, Row
from winnow_edge.decision import borderline_of, thresholds_of
from winnow_edge.errors import MissionError, SwathError, SwathKnownError
from winnow_edge.interpreters import Interpreters
from winnow_edge.mission import Mission
from winnow_edge.screening import Screen
from winnow_edge.sources import LineSource
from winnow_edge.sources.first_lines import FirstLines
from winnow_edge.sources.repair import RepairedSource
from winnow_edge.sources.stretch import Stretch
from winnow_edge.store import Store, SwathWriter
from winnow_edge.summary import SwathSummary, Tally
from winnow_edge.tiler import TileRow, TileRows

BLOCK_LINES = 256
"""Lines read at a time: enough tiles to keep interpreters busy, few enough to commit often."""
BLOCK_BYTES = 2 << 20
"""Most bytes of a block of lines; wider swaths get fewer lines, as a row has more tiles there. Two
bands and the block itself are held, so this is most of what a wide swath's memory grows by."""

Progress = Callable[["Tally", int, "int | None"], None]
"""Called after every band with the counts so far, the lines done and the lines in all if known."""


def run_swath(
    source: LineSource,
    mission: Mission,
    instrument_name: str,
    bundle: Bundle,
    store: Store,
    *,
    interpreters: Interpreters | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> SwathSummary:
    """Classify a whole swath into the store.

    `interpreters` may be shared by several swaths; without, they are loaded as the mission's
    [compute] says. `name` is the swath's in the store (its file name by default). `stop` is asked
    between bands; once it is True the band at hand is committed and the summary is not `complete`.
    A swath that an earlier run left unfinished goes on where it was; one that is complete is not
    run again. Raises SwathError, MissionError, StoreError, BundleError, RuntimeUnavailableError.
    """
    if interpreters is None:
        compute = mission.compute
        with Interpreters(bundle, compute.runtime, compute.threads) as pool:
            run = _Run(source, mission, instrument_name, pool, store, name or source.name)
            return run.run(progress, stop)
    run = _Run(source, mission, instrument_name, interpreters, store, name or source.name)
    return run.run(progress, stop)


class _Run:
    def __init__(
        self,
        source: LineSource,
        mission: Mission,
        instrument_name: str,
        pool: Interpreters,
        store: Store,
        name: str,
    ) -> None:
        self.mission, self.pool, self.name = mission, pool, name
        self.instrument_name = instrument_name
        bundle, instrument = pool.bundle, mission.instruments[instrument_name]
        self.repair: RepairedSource | None = None
        if instrument.dead_samples or instrument.find_dead_samples or instrument.bright_pixels:
            source = self.repair = RepairedSource(source, instrument)
        self.stretch = Stretch(instrument) if source.bits == 16 else None
        if self.stretch is not None and self.stretch.limits is None:
            source = FirstLines(source, self.stretch.learn)
        self.source = source
        spec = bundle.manifest.input
        self.tile = _tile_side(mission, bundle)
        self.hop = mission.tiling.hop or max(self.tile // 2, 1)
        self.quantizer = Quantizer(spec)
        self.borderline = borderline_of(mission, bundle)
        nodata = instrument.nodata if self.stretch is None else self.stretch.nodata
        self.block_lines = block_lines(source, mission.tiling.scales)
        self.bands = [
            Band(
                source.samples,
                self.block_lines,
                tile=self.tile,
                hop=self.hop,
                scale=scale,
                channels=spec.channels,
                nodata=nodata,
                quantizer=self.quantizer,
            )
            for scale in mission.tiling.scales
        ]
        self.screen = Screen(
            mission.screening,
            nodata=None if nodata is None else self.quantizer.value(nodata),
            white=self.quantizer.value(255),
            step=spec.scale,
            share=mission.tiling.salient_share if mission.tiling.proposals == "salient" else 1.0,
        )
        self.schedules = [TileRows(self.tile, self.hop, s) for s in mission.tiling.scales]
        self.lines = 0
        self.check = 0
        """CRC-32 over the first line of every block: tells a resumed swath from another."""
        self.next_index = 0
        self.last_origin = dict.fromkeys(mission.tiling.scales, -1)
        # What the mission asks of the bundle's classes is refused before the swath has a number.
        thresholds_of(mission, bundle)
        verdict.class_of(mission, bundle.manifest.classes, bundle.manifest.name)
        self.store, self.begun = store, False
        self.writer: SwathWriter  # these two once it is begun
        self.collector: Collector
        if store.swath(name) is not None:
            self._begin()

    def run(self, progress: Progress | None, stop: Callable[[], bool] | None) -> SwathSummary:
        started = time.perf_counter()
        if self.begun and self.writer.complete:
            return SwathSummary.of_earlier_run(self.writer.summary or {}, threads=self.pool.threads)
        stop = stop or (lambda: False)
        carry, lines = self._buffers()
        running: Block | None = None

        def idle() -> bool:
            """While the line is silent, what is done is committed."""
            nonlocal running
            if running is not None:
                self.collector.collect(running)
                running = None
            return stop()

        self.source.idle = idle
        slot, ended = 0, False
        while not ended:
            count = self._read(lines[carry:]) if self.lines else self._first(lines[carry:], stop)
            if stop():
                break
            ended = count < self.block_lines or self.lines + count == self.source.lines
            block = self._fill(lines, carry, count, slot, ended=ended)
            if running is not None:
                self.collector.collect(running)
                if progress is not None:
                    progress(self.collector.tally, self.writer.next_line, self.source.lines)
            running = block
            slot = (slot + 1) % SLOTS
            lines[:carry] = lines[count : carry + count]
        if running is not None:
            self.collector.collect(running, self._lasting if ended else None)
        return self._summary(time.perf_counter() - started, complete=ended)

    def _begin(self) -> None:
        """Begin the swath in the store, or go on with it."""
        bundle, mission, store = self.pool.bundle, self.mission, self.store
        writer = store.begin_swath(
            self.name,
            samples=self.source.samples,
            classes=bundle.manifest.classes,
            bundle=bundle.manifest.name,
            digest=mission.processing_digest(self.instrument_name, bundle.sha256),
            fingerprint=self.source.fingerprint,
            info={
                "instrument": self.instrument_name,
                "tile": self.tile,
                "hop": self.hop,
                "scales": list(mission.tiling.scales),
            },
        )
        if writer.complete and self.source.fingerprint is None:
            raise SwathKnownError(
                f"a swath {self.name!r} is complete already, and a pipe cannot be told from it",
                where=store.path,
                hint="give this one another --name",
            )
        self.begun, self.writer = True, writer
        self.collector = Collector(
            mission, bundle, writer, self.quantizer, samples=self.source.samples
        )

    def _first(self, out: npt.NDArray[np.uint8], stop: Callable[[], bool]) -> int:
        """The first block of lines. A swath that is new to the store begins with its first line: it
        has few numbers, and a stream that opens and closes again should not use one."""
        count = self._read(out[:1])
        if not count:
            if stop():
                return 0
            why = f" ({self.source.truncated})" if self.source.truncated else ""
            raise SwathError(f"holds no whole line{why}", where=self.name)
        if not self.begun:
            self._begin()
        return count + self._read(out[1:]) if len(out) > 1 else count

    def _buffers(self) -> tuple[int, npt.NDArray[np.uint8]]:
        """Room for a block of lines behind those that wait for the rest of their bin."""
        scales = self.mission.tiling.scales
        carry = 0 if self.block_lines % math.lcm(*scales) == 0 else scales[-1] - 1
        shape: tuple[int, ...] = (carry + self.block_lines, self.source.samples)
        if self.source.channels == 3:
            shape = (*shape, 3)
        self.wide = np.empty(shape, np.uint16) if self.stretch is not None else None
        return carry, np.empty(shape, np.uint8)

    def _read(self, out: npt.NDArray[np.uint8]) -> int:
        if self.stretch is None or self.wide is None:
            return self.source.read(out)
        wide = self.wide[: len(out)]
        count = self.source.read(wide)
        if count:
            self.stretch.apply(wide[:count], out[:count])
        return count

    def _fill(
        self, lines: npt.NDArray[np.uint8], carry: int, count: int, slot: int, *, ended: bool
    ) -> Block:
        """Bin a block of lines into the band and hand its tiles to the interpreters."""
        before, self.lines = self.lines, self.lines + count
        if count:
            self.check = zlib.crc32(lines[carry], self.check)
        self.collector.check_resumed(self.name, self.lines, self.check, ended=ended)
        end = carry + count
        found: list[tuple[TileRow, Band]] = []
        for band, schedule in zip(self.bands, self.schedules, strict=True):
            band.start(slot)
            waiting = before % band.scale
            whole = (waiting + count) // band.scale * band.scale
            if whole:
                band.append(lines[carry - waiting : carry - waiting + whole])
            if ended and (rest := self.lines % band.scale):
                found += [(row, band) for row in schedule.complete(band.rows)]
                band.append(lines[end - rest : end])
            else:
                found += [(row, band) for row in schedule.complete(band.rows)]
            if ended:
                band.pad()
                found += [(row, band) for row in schedule.flush(band.rows, self.lines)]
        found.sort(key=lambda pair: pair[0].order)
        return self._submit(found)

    def _submit(self, found: Sequence[tuple[TileRow, Band]]) -> Block:
        """Hand rows of tiles to the interpreters, each as a job of its own."""
        rows: list[Row] = []
        for row, band in found:
            view = band.row(row.origin)
            skipped = self.screen(view, band.columns)
            job = None
            if self.next_index >= self.writer.next_tile:
                shown = list(itertools.compress(band.columns, ~skipped))
                job = self.pool.submit(band.tiles(view, shown), self.borderline)
            rows.append(Row(row, band, view, self.next_index, skipped, self._horizon(row), job))
            self.next_index += len(band.columns)
        return Block(rows, self.lines, self.check)

    def _horizon(self, row: TileRow) -> float:
        """The first line that a tile after this row can have."""
        # The next row of a scale begins after this one, if only by a pixel at the swath's end.
        self.last_origin[row.scale] = row.origin
        return float(min((origin + 1) * scale for scale, origin in self.last_origin.items()))

    def _lasting(self) -> dict[str, Any]:
        """What the store keeps of a complete swath."""
        return self._summary(0.0, complete=True).lasting()

    def _summary(self, seconds: float, *, complete: bool) -> SwathSummary:
        if self.begun:
            self.collector.take_up()
        return SwathSummary(
            swath=self.name,
            lines=self.lines if complete else self.writer.next_line if self.begun else 0,
            samples=self.source.samples,
            tally=self.collector.tally if self.begun else Tally(),
            seconds=seconds,
            runtime=self.pool.actual,
            runtime_requested=self.pool.requested,
            threads=self.pool.threads,
            instrument=self.instrument_name,
            bundle=self.pool.bundle.manifest.name,
            truncated=self.source.truncated,
            stretch=self.stretch.limits if self.stretch is not None else None,
            repaired=None if self.repair is None else self.repair.as_json(),
            verdict=self.collector.judge() if complete else None,
            complete=complete,
        )


def block_lines(source: LineSource, scales: Sequence[int]) -> int:
    """Lines to read at a time: whole bins at every scale where that is possible."""
    line_bytes = source.samples * source.channels * (source.bits // 8)
    lines = max(min(BLOCK_LINES, BLOCK_BYTES // line_bytes), 16)
    whole = math.lcm(*scales)
    return lines - lines % whole if whole <= lines else lines


def _tile_side(mission: Mission, bundle: Bundle) -> int:
    """The side of a tile, which must be what the net takes."""
    spec = bundle.manifest.input
    if spec.height != spec.width:
        raise MissionError(
            f"bundle {bundle.manifest.name!r} takes {spec.height} x {spec.width} pixels",
            where=mission.path,
            hint="tiles are square: use another bundle",
        )
    tile = mission.tiling.tile
    if tile is not None and tile != spec.height:
        raise MissionError(
            f"`tiling.tile` is {tile}, bundle {bundle.manifest.name!r} takes {spec.height}",
            where=mission.path,
            hint="leave `tiling.tile` out: it follows the bundle",
        )
    hop = mission.tiling.hop
    if hop is not None and hop > spec.height:
        raise MissionError(
            f"`tiling.hop` is {hop}, tiles of bundle {bundle.manifest.name!r} are {spec.height}",
            where=mission.path,
            hint="pixels between tiles would be seen by none",
        )
    return spec.height
