"""`winnow data chunk`: any swath cut into a folder of tiles with an index."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.files import make_folder
from winnow_base.progress import Step
from winnow_edge.files import printable, write_file
from winnow_edge.loop.band import bin_lines
from winnow_edge.loop.schedule import TileRows, box_of, origins
from winnow_edge.loop.screening import CENTRE
from winnow_edge.mission import Instrument
from winnow_edge.prepare.chain import Chain
from winnow_edge.sources.contract import fill
from winnow_edge.sources.open import open_source

INDEX = "index.csv"
COLUMNS = ("file", "swath", "line", "sample", "lines", "samples", "scale", "nodata", "dropped")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cut:
    """How to cut: `tile` and `hop` in pixels of the swath box-binned by `scale`.

    A pixel is nodata if no channel is above `nodata` (None: every pixel has data); of 16-bit
    swaths it is the instrument's nodata value, which the stretch to 8 bits maps to 0. Tiles with a
    share of nodata above `nodata_max` are dropped; with `black_centre` also those whose middle
    square, a sixteenth of the tile wide, is all nodata.
    """

    tile: int
    hop: int
    scale: int = 1
    nodata: int | None = 0
    nodata_max: float = 1.0
    black_centre: bool = False

    def dropped(self, tile: Pixels) -> tuple[float, str]:
        """Share of nodata, and why the tile is dropped ("" if it is not)."""
        if self.nodata is None:
            return 0.0, ""
        brightest = tile.max(axis=2) if tile.ndim == 3 else tile
        empty = brightest <= self.nodata
        share = float(empty.mean())
        if share > self.nodata_max:
            return share, "nodata"
        if self.black_centre:
            side = max(1, round(self.tile * CENTRE))
            top, left = ((n - side) // 2 for n in empty.shape)
            if empty[max(top, 0) : top + side, max(left, 0) : left + side].all():
                return share, "black centre"
        return share, ""


@dataclass
class Chunked:
    """What was cut of one swath."""

    swath: str
    lines: int = 0
    samples: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    truncated: str | None = None
    #: Isolated bright pixels that were repaired; None: not asked for.
    repaired: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Counts, for `--json`."""
        return dict(vars(self))


def chunk(
    swaths: Sequence[Path],
    out: Path,
    cut: Cut,
    instrument: Instrument,
    *,
    progress: Step = lambda name, done, total: None,
) -> list[Chunked]:
    """Cut `swaths` into `out`: NAME-000000.png, ... and index.csv, which has dropped tiles too.

    Tiles come in the order in which the flight loop decides them, at the origins that it uses, and
    memory is bounded by a few rows of tiles. NAME is the swath's file name without its suffix, with
    escapes for what is not UTF-8 or does not print;
    `winnow_train.datasets.source_of` finds it again, so that tiles of a swath stay in one set.
    Raises SwathError for an unusable swath, DataError for two swaths of one name.
    """
    names = [printable(p.stem) for p in swaths]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise DataError(
            f"two swaths are called {twice[0]}", hint="rename one, or cut them into two folders"
        )
    make_folder(out)
    rows: list[tuple[object, ...]] = []
    found = []
    for name, path in zip(names, swaths, strict=True):
        lines = Chain(open_source(path, instrument=instrument, grey=False), instrument)
        try:
            summary = Chunked(name)
            own = cut
            if lines.stretch is not None and cut.nodata is not None:
                own = replace(cut, nodata=0)  # what the stretch makes of the instrument's nodata
            for row, tile in _tiles(lines, own, summary, progress):
                file = ""
                if tile is not None:
                    file = f"{name}-{summary.kept:06d}.png"
                    data = io.BytesIO()
                    Image.fromarray(tile).save(data, "PNG", compress_level=1)
                    write_file(out / file, data.getvalue(), durable=False)
                    summary.kept += 1
                rows.append((file, name, *row))
            summary.truncated = lines.truncated
            summary.repaired = lines.repair.pixels if lines.repair else None
        finally:
            lines.close()
        found.append(summary)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_file(out / INDEX, text.getvalue())
    return found


def _tiles(
    source: Chain,
    cut: Cut,
    summary: Chunked,
    progress: Step,
) -> Iterator[tuple[tuple[object, ...], Pixels | None]]:
    """Index rows of a swath's tiles, with the tile unless it is dropped."""
    summary.samples = source.samples
    for origin, band, last in _rows(source, cut, summary, progress):
        for column in origins(band.shape[1], cut.tile, cut.hop):
            tile = band[:, column : column + cut.tile]
            share, why = cut.dropped(tile)
            if why:
                summary.dropped[why] = summary.dropped.get(why, 0) + 1
            lines = summary.lines if last else (origin + cut.tile) * cut.scale
            box = box_of(
                origin,
                column,
                tile=cut.tile,
                scale=cut.scale,
                lines=lines,
                samples=source.samples,
            )
            place = (box.line, box.sample, box.lines, box.samples)
            row = (*place, cut.scale, f"{share:.4f}", why)
            yield row, None if why else tile


def _rows(
    source: Chain,
    cut: Cut,
    summary: Chunked,
    progress: Step,
) -> Iterator[tuple[int, Pixels, bool]]:
    """Rows of tiles: their first binned row, uint8 [tile, samples[, 3]], and if lines ended."""
    where = TileRows(cut.tile, cut.hop, cut.scale)
    held, first, rows = _blank(source, 0, cut), 0, 0
    for lines in _blocks(source, cut):
        summary.lines += len(lines)
        progress(source.name, summary.lines, source.lines)
        held = np.concatenate([held, bin_lines(lines, cut.scale)])
        # A last partial bin counts as a row only for the tile that lies flush with the end.
        rows += len(lines) // cut.scale
        for row in where.complete(rows):
            yield row.origin, held[row.origin - first :][: cut.tile], False
        keep = max(rows - cut.tile, 0)
        held, first = held[keep - first :], keep
    total = first + len(held)
    for row in where.flush(total, summary.lines):
        yield row.origin, held[row.origin - first :][: cut.tile], True


def _blank(source: Chain, rows: int, cut: Cut) -> Pixels:
    width = -(-source.samples // cut.scale)
    shape = (rows, width, 3) if source.channels == 3 else (rows, width)
    return np.zeros(shape, np.uint8)


def _blocks(source: Chain, cut: Cut) -> Iterator[Pixels]:
    """Blocks of lines as uint8, each but the last a whole number of bins high."""
    height = max(cut.hop, 64) * cut.scale
    colour = (3,) if source.channels == 3 else ()
    count = height
    while count == height:
        block = np.empty((height, source.samples, *colour), np.uint8)
        count = fill(source, block)
        if count:
            yield block[:count]
