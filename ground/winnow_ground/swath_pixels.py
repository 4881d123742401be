"""A swath reduced to the size of a page, in bounded memory, or a mosaic of what came down of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.pictures import open_picture
from winnow_edge.mission import Instrument, Mission
from winnow_edge.products.kinds import Box
from winnow_edge.sources.contract import fill
from winnow_edge.sources.open import open_source
from winnow_ground.swath_plot import panels

PAPER = 214
"""Grey of what did not come down."""
_BLOCK_BYTES = 16 << 20


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
    try:
        factor = max(1, int(1 / panels(lines, samples)[1]))
        starts = np.arange(0, samples, factor)
        widths = np.diff(np.append(starts, samples)).astype(np.float32)
        step = factor * max(1, _BLOCK_BYTES // (samples * factor * (source.bits // 8)))
        dtype = np.uint8 if source.bits == 8 else np.uint16
        shape = (step, samples) if source.channels == 1 else (step, samples, source.channels)
        block = np.empty(shape, dtype)
        rows: list[npt.NDArray[np.floating[Any]]] = []
        seen = 0
        while count := fill(source, block):
            seen += count
            edges = np.arange(0, count, factor)
            heights = np.diff(np.append(edges, count)).astype(np.float32)
            part = block[:count] if block.ndim == 2 else block[:count].mean(axis=2)
            sums = np.add.reduceat(part.astype(np.float32), edges, axis=0)
            sums = np.add.reduceat(sums, starts, axis=1)
            rows.append(sums / heights[:, None] / widths[None, :])
            if count < step:
                break
    finally:
        source.close()
    if seen != lines and info.get("lines"):
        raise DataError(
            f"has {seen} lines, the swath that came down has {lines}",
            where=path,
            hint="give the file that was flown over",
        )
    whole = np.concatenate(rows) if rows else np.zeros((1, len(starts)))
    if dtype is np.uint16:
        low, high = np.percentile(whole, [1, 99])
        whole = (whole - low) * (255 / max(high - low, 1e-6))
    return np.clip(np.rint(whole), 0, 255).astype(np.uint8)


def mosaic(lines: int, samples: int, pictures: Sequence[tuple[Box, Path]]) -> npt.NDArray[np.uint8]:
    """Received pictures in their places on plain grey: uint8, shape (rows, columns).

    Thumbnails are laid down first, so that an image of the same place covers them. Raises
    DataError for a picture that cannot be read.
    """
    scale = min(1.0, panels(lines, samples)[1])
    canvas = Image.new("L", (max(1, round(samples * scale)), max(1, round(lines * scale))), PAPER)
    for box, path in sorted(pictures, key=lambda bp: bp[1].parent.name, reverse=True):
        place = round(box.sample * scale), round(box.line * scale)
        size = max(1, round(box.samples * scale)), max(1, round(box.lines * scale))
        try:
            with open_picture(path) as picture:
                canvas.paste(picture.convert("L").resize(size, Image.Resampling.BOX), place)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                "is no picture", where=path, hint="receive the packet files anew"
            ) from error
    return np.asarray(canvas)
