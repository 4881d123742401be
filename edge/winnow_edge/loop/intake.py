"""The first half of the flight loop: a block of lines is read, binned and quantized, its tiles are
screened and handed to the interpreters, row by row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from winnow_edge.loop.band import SLOTS, Band
from winnow_edge.loop.block import Block, Row
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.progress import Progress
from winnow_edge.loop.schedule import TileRow, TileRows
from winnow_edge.loop.screening import Screen
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.surroundings import Surroundings
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.quick_look import Section, Sketcher

BLOCK_LINES = 256
"""Lines read at a time: enough tiles to keep interpreters busy, few enough to commit often."""
BLOCK_BYTES = 2 << 20
"""Most bytes of a block of lines; wider swaths get fewer lines, as a row has more tiles there. Two
bands and the block itself are held, so this is most of what a wide swath's memory grows by."""


class Intake:
    """Makes blocks of the lines of one swath."""

    def __init__(self, lines: Chain, settings: Settings, pool: Interpreters) -> None:
        self.ended = False
        """Whether the last line is there."""
        self._lines, self._pool, self._borderline = lines, pool, settings.borderline
        scales, quantizer, spec = settings.scales, settings.quantizer, settings.manifest.input
        tiling, nodata = settings.mission.tiling, lines.nodata
        verified = settings.verifier is not None
        times = settings.mission.context.times
        # The surroundings of tiles are binned by twice their scale, their contexts as asked.
        wider = [*([2] if verified else []), *([times] if times else [])]
        binnings = sorted({*scales, *(n * s for s in scales for n in wider)})
        self._block_lines = block_lines(lines, binnings)
        self._bands = [
            Band(
                lines.samples,
                self._block_lines,
                tile=settings.tile,
                hop=settings.hop,
                scale=scale,
                channels=spec.channels,
                nodata=nodata,
                quantizer=quantizer,
            )
            for scale in scales
        ]
        around = partial(
            Surroundings,
            lines.samples,
            self._block_lines,
            tile=settings.tile,
            channels=spec.channels,
            nodata=nodata,
        )
        self._surroundings = [around(scale=scale) for scale in scales if verified]
        self._contexts = [around(scale=scale, times=times) for scale in scales if times]
        self._schedules = [TileRows(settings.tile, settings.hop, scale) for scale in scales]
        self._screen = Screen(
            settings.mission.screening,
            nodata=None if nodata is None else quantizer.value(nodata),
            white=quantizer.value(255),
            step=spec.scale,
            share=tiling.salient_share if tiling.proposals == "salient" else 1.0,
        )
        # Lines that wait for the rest of their bin are carried over in front of a block.
        whole = self._block_lines % math.lcm(*binnings) == 0
        self._carry = 0 if whole else binnings[-1] - 1
        colour = () if lines.channels == 1 else (3,)
        height = self._carry + self._block_lines
        self._buffer = np.empty((height, lines.samples, *colour), np.uint8)
        self._before = self._count = 0  # lines of earlier blocks, lines of this one
        wanted = settings.mission.quick_look.bytes
        self._sketcher = Sketcher(lines.samples, lines.channels) if wanted else None
        self._slot = 0
        self._next_tile = 0
        self._last_origin = dict.fromkeys(scales, -1)

    @property
    def lines(self) -> int:
        """Lines read so far."""
        return self._before + self._count

    def fill(self) -> bool:
        """Read until a block is full or the swath has ended; False where nothing is there yet."""
        while self._count < self._block_lines and not self.ended:
            got = self._lines.read(self._buffer[self._carry + self._count :])
            if got is None:
                return False
            self._count += got
            self.ended = not got or self.lines == self._lines.lines
        return True

    def submit(self, progress: Progress) -> Block:
        """Hand the tiles of a block that is filled to the interpreters."""
        carry, count, buffer = self._carry, self._count, self._buffer
        check = progress.check(buffer[carry] if count else None, self.lines, ended=self.ended)
        found: list[tuple[TileRow, Band]] = []
        for band, schedule in zip(self._bands, self._schedules, strict=True):
            band.start(self._slot)
            found += [(row, band) for row in self._rows(band, schedule)]
        for held in (*self._surroundings, *self._contexts):
            self._feed(held)
            if self.ended:
                self._feed(held, rest=True)
                held.end()
        found.sort(key=lambda pair: pair[0].order)
        rows = [self._row(*pair, progress) for pair in found]
        block = Block(rows, self.lines, check, self._sections())
        buffer[:carry] = buffer[count : carry + count]
        self._before, self._count = self.lines, 0
        self._slot = (self._slot + 1) % SLOTS
        return block

    def _sections(self) -> list[Section]:
        """The sections of the quick look that end with the block."""
        if self._sketcher is None:
            return []
        fresh = self._sketcher.add(self._buffer[self._carry : self._carry + self._count])
        return fresh + self._sketcher.end() if self.ended else fresh

    def _rows(self, band: Band, schedule: TileRows) -> list[TileRow]:
        """Bin the block into a band; the rows of tiles that are complete with it."""
        self._feed(band)
        rows = list(schedule.complete(band.rows))
        if self.ended:
            self._feed(band, rest=True)
            band.pad()
            rows += schedule.flush(band.rows, self.lines)
        return rows

    def _feed(self, held: Band | Surroundings, *, rest: bool = False) -> None:
        """Append the lines, of this block and from before it, that make whole bins; or the `rest`,
        which make a partial one."""
        first, end = self._carry - self._before % held.scale, self._carry + self._count
        whole = end - self.lines % held.scale
        lines = self._buffer[whole:end] if rest else self._buffer[first:whole]
        if len(lines):
            held.append(lines)

    def _row(self, row: TileRow, band: Band, progress: Progress) -> Row:
        """Hand a row of tiles to the interpreters, as a job of its own; of a row that an earlier
        run committed nothing is asked."""
        view, first = band.row(row.origin), self._next_tile
        skipped = self._screen(view, band.columns)
        job = None
        if first >= progress.next_tile:
            shown = list(itertools.compress(band.columns, ~skipped))
            job = self._pool.submit(band.tiles(view, shown), self._borderline)
        self._next_tile += len(band.columns)
        number = self._bands.index(band)
        around = self._surroundings[number] if self._surroundings else None
        context = self._contexts[number] if self._contexts else None
        return Row(row, band, view, first, skipped, self._horizon(row), job, around, context)

    def _horizon(self, row: TileRow) -> float:
        """The first line that a tile after this row can have."""
        # The next row of a scale begins after this one, if only by a pixel at the swath's end.
        self._last_origin[row.scale] = row.origin
        return float(min((origin + 1) * scale for scale, origin in self._last_origin.items()))


def block_lines(lines: Chain, scales: Sequence[int]) -> int:
    """Lines to read at a time: whole bins at every scale where that is possible."""
    most = max(min(BLOCK_LINES, BLOCK_BYTES // lines.line_bytes), 16)
    whole = math.lcm(*scales)
    return most - most % whole if whole <= most else most
