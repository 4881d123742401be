"""A swath reduced to the size of a page, in bounded memory, or a mosaic of what came down of it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_base.appearance import Measured
from winnow_base.errors import DataError
from winnow_base.pictures import TILE_PIXELS, open_picture
from winnow_edge.errors import SwathError
from winnow_edge.mission import Instrument, Mission
from winnow_edge.products.kinds import Box
from winnow_edge.sources.contract import LineSource, fill
from winnow_edge.sources.open import open_source
from winnow_ground.swath_plot import panels

PAPER = 214
"""Grey of what did not come down."""
_BLOCK_BYTES = 16 << 20
_LAYERS = ("quick_looks", "contexts", "audits", "questions", "thumbnails", "images")
"""Folders of pictures, the coarsest first."""


def reduced_swath(
    path: Path, lines: int, samples: int, info: Mapping[str, Any], mission: Mission | None
) -> npt.NDArray[np.uint8]:
    """The swath of `path` averaged down to what a page shows: uint8, shape (rows, columns).

    `lines`, `samples` are the swath's, `info` what the spacecraft said about it. 16-bit samples
    are stretched between their 1st and 99th percentile. Raises SwathError as the edge does,
    DataError if the file has another shape.
    """
    name = str(info.get("instrument", ""))
    instrument = mission.instruments.get(name) if mission else None
    source = open_source(path, instrument=instrument or Instrument(bundle=""), samples=samples)
    factor = max(1, int(1 / panels(lines, samples)[1]))
    starts = np.arange(0, samples, factor)
    widths = np.diff(np.append(starts, samples)).astype(np.float32)
    rows: list[npt.NDArray[np.floating[Any]]] = []
    seen = 0
    for block in blocks(source, factor):
        seen += len(block)
        edges = np.arange(0, len(block), factor)
        heights = np.diff(np.append(edges, len(block))).astype(np.float32)
        sums = np.add.reduceat(block.astype(np.float32), edges, axis=0)
        sums = np.add.reduceat(sums, starts, axis=1)
        rows.append(sums / heights[:, None] / widths[None, :])
    if seen != lines and info.get("lines"):
        raise DataError(
            f"has {seen} lines, the swath that came down has {lines}",
            where=path,
            hint="give the file that was flown over",
        )
    whole = np.concatenate(rows) if rows else np.zeros((1, len(starts)))
    if source.bits == 16:
        low, high = np.percentile(whole, [1, 99])
        whole = (whole - low) * (255 / max(high - low, 1e-6))
    return np.clip(np.rint(whole), 0, 255).astype(np.uint8)


def blocks(source: LineSource, multiple: int = 1) -> Iterator[npt.NDArray[Any]]:
    """The lines of a source in blocks of a multiple of `multiple` lines but for the last, grey,
    shape (lines, samples); the source is closed behind them."""
    dtype = np.uint8 if source.bits == 8 else np.uint16
    step = multiple * max(1, _BLOCK_BYTES // (source.samples * multiple * (source.bits // 8)))
    channels = () if source.channels == 1 else (source.channels,)
    block = np.empty((step, source.samples, *channels), dtype)
    try:
        while count := fill(source, block):
            yield block[:count] if block.ndim == 2 else block[:count].mean(axis=2)
            if count < step:
                return
    finally:
        source.close()


def measure(
    path: Path, samples: int, tile: int, scales: Sequence[int], camera: Instrument | None = None
) -> Measured | None:
    """Brightness and contrast of the tiles of a swath, side by side at every scale.

    Tiles with nodata (zeros, if `camera` does not say) are left out. None for 16 bits, whose
    stretch is decided on board, and for swaths that are no tile wide. Raises SwathError.
    """
    source = open_source(path, instrument=camera or Instrument(bundle=""), samples=samples)
    nodata = 0 if camera is None or camera.nodata is None else camera.nodata
    if source.bits != 8 or samples < tile:
        source.close()
        return None
    parts = []
    for block in blocks(source, tile * max(scales)):
        for scale in scales:
            side = tile * scale
            rows, columns = len(block) // side, samples // side
            if not rows or not columns:
                continue
            whole = block[: rows * side, : columns * side]
            shape = (rows, tile, scale, columns, tile, scale)
            tiles = whole.reshape(shape).mean(axis=(2, 5)).swapaxes(1, 2).reshape(-1, tile, tile)
            empty = (whole == nodata).reshape(rows, side, columns, side).mean(axis=(1, 3)) > 0.01
            parts.append(Measured.of(np.rint(tiles[~empty.ravel()]).astype(np.uint8)))
    return Measured.joined(parts)


def cut(path: Path, boxes: Sequence[Box], side: int = 256) -> dict[Box, bytes]:
    """What lies under each box in the picture file `path`, as JPEGs of at most `side` pixels, in
    one pass; nothing for files of raw lines, nor for 16 bits."""
    if not boxes:
        return {}
    try:
        source = open_source(path, instrument=Instrument(bundle=""))
    except SwathError:
        return {}
    if source.bits != 8:
        source.close()
        return {}
    parts: dict[Box, list[npt.NDArray[Any]]] = {box: [] for box in boxes}
    first = 0
    for block in blocks(source):
        for box, mine in parts.items():
            top, end = max(box.line, first), min(box.line + box.lines, first + len(block))
            if top < end:
                part = block[top - first : end - first, box.sample : box.sample + box.samples]
                mine.append(part.astype(np.uint8))
        first += len(block)
    return {box: _jpeg(np.concatenate(mine), side) for box, mine in parts.items() if mine}


def _jpeg(pixels: npt.NDArray[np.uint8], side: int) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def mosaic(
    lines: int, samples: int, pictures: Sequence[tuple[Box, Path]]
) -> tuple[npt.NDArray[np.uint8], list[Path]]:
    """Received pictures in their places on plain grey, uint8, shape (rows, columns); and the files
    of those that cannot be decoded, which are left out: they were damaged on board.

    Quick looks are laid down first, then thumbnails: the best picture of a place covers the others.
    """
    scale = min(1.0, panels(lines, samples)[1])
    canvas = Image.new("L", (max(1, round(samples * scale)), max(1, round(lines * scale))), PAPER)
    damaged = []
    for box, path in sorted(pictures, key=lambda bp: _LAYERS.index(bp[1].parent.name)):
        place = round(box.sample * scale), round(box.line * scale)
        size = max(1, round(box.samples * scale)), max(1, round(box.lines * scale))
        picture = received_picture(path)
        if picture is None:
            damaged.append(path)
        else:
            canvas.paste(picture.convert("L").resize(size, Image.Resampling.BOX), place)
    return np.asarray(canvas), damaged


def received_picture(path: Path) -> Image.Image | None:
    """A picture that came down, decoded; None where it is damaged, or none that a net can see.

    Raises DataError where the file is not there.
    """
    try:
        with open_picture(path, TILE_PIXELS) as picture:
            picture.load()
            return picture
    except FileNotFoundError as error:
        raise DataError(
            "is not there, though products name it",
            where=path,
            hint="receive the packet files anew into an empty folder",
        ) from error
    except (OSError, ValueError, SyntaxError):
        return None
