"""The first half of the flight loop: a block of lines is read, binned and quantized, its tiles are
screened and handed to the interpreters, row by row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from winnow_edge.loop.band import SLOTS, Band
from winnow_edge.loop.block import Block, Row
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.progress import Progress
from winnow_edge.loop.schedule import TileRow, TileRows
from winnow_edge.loop.screening import Screen
from winnow_edge.loop.settings import Settings
from winnow_edge.prepare.chain import Chain

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
        self._block_lines = block_lines(lines, scales)
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
        self._schedules = [TileRows(settings.tile, settings.hop, scale) for scale in scales]
        self._screen = Screen(
            settings.mission.screening,
            nodata=None if nodata is None else quantizer.value(nodata),
            white=quantizer.value(255),
            step=spec.scale,
            share=tiling.salient_share if tiling.proposals == "salient" else 1.0,
        )
        # Lines that wait for the rest of their bin are carried over in front of a block.
        self._carry = 0 if self._block_lines % math.lcm(*scales) == 0 else scales[-1] - 1
        colour = () if lines.channels == 1 else (3,)
        height = self._carry + self._block_lines
        self._buffer = np.empty((height, lines.samples, *colour), np.uint8)
        self._before = self._count = 0  # lines of earlier blocks, lines of this one
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
        found.sort(key=lambda pair: pair[0].order)
        block = Block([self._row(*pair, progress) for pair in found], self.lines, check)
        buffer[:carry] = buffer[count : carry + count]
        self._before, self._count = self.lines, 0
        self._slot = (self._slot + 1) % SLOTS
        return block

    def _rows(self, band: Band, schedule: TileRows) -> list[TileRow]:
        """Bin the block into a band; the rows of tiles that are complete with it."""
        carry, count = self._carry, self._count
        end, waiting = carry + count, self._before % band.scale
        whole = (waiting + count) // band.scale * band.scale
        if whole:
            band.append(self._buffer[carry - waiting : carry - waiting + whole])
        rows = list(schedule.complete(band.rows))
        if self.ended:
            if rest := self.lines % band.scale:
                band.append(self._buffer[end - rest : end])
            band.pad()
            rows += schedule.flush(band.rows, self.lines)
        return rows

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
        return Row(row, band, view, first, skipped, self._horizon(row), job)

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
