"""A strip as tiles of a pyramid, for the deep zoom: `python -m winnow_ground.serve.pyramid`.

It runs as a process of its own, so that a picture of many million pixels, or one that is none,
costs the server no memory and no life. Level 0 has the picture's own pixels, each further one half
as many each way; a tile is FOLDER/LEVEL/ROW-COLUMN.jpg.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from winnow_edge.sources.contract import PICTURE_ERRORS

TILE: Final = 256
MOST_PIXELS: Final = 120_000_000
MOST_COLOUR: Final = 40_000_000
"""Pixels of a colour JPEG that is decoded as grey beyond them."""
MEMORY: Final = 2 * 2**30
FORMATS: Final = ("JPEG", "PNG", "PPM")


def make(source: Path, folder: Path) -> dict[str, int]:
    """Cut the picture into tiles; its lines, samples and levels. Raises ValueError, OSError."""
    Image.MAX_IMAGE_PIXELS = None  # the limit is the one below
    with Image.open(source, formats=FORMATS) as opened:
        pixels = opened.width * opened.height
        if pixels > MOST_PIXELS:
            raise ValueError(f"it has {pixels:,} pixels, at most {MOST_PIXELS:,} are shown")
        if pixels > MOST_COLOUR and opened.format == "JPEG" and opened.mode != "L":
            opened.draft("L", opened.size)
        image = _eight_bits(opened)
    samples, lines = image.size
    level = 0
    while True:
        _cut(image, folder / str(level))
        if max(image.size) <= TILE:
            return {"lines": lines, "samples": samples, "levels": level + 1}
        image = image.reduce(2)
        level += 1


def _eight_bits(image: Any) -> Image.Image:
    """The picture as grey or RGB of 8 bits; more bits are stretched from their least to their
    largest two hundredths."""
    if image.mode in ("L", "RGB"):
        image.load()
        return image.copy()
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float32)
        low, high = np.percentile(values[:: max(1, len(values) // 500)], (0.5, 99.5))
        values = (values - low) * (255 / max(float(high - low), 1e-9))
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _cut(image: Image.Image, folder: Path) -> None:
    folder.mkdir(parents=True)
    for row in range(-(-image.height // TILE)):
        for column in range(-(-image.width // TILE)):
            left, top = column * TILE, row * TILE
            box = (left, top, min(left + TILE, image.width), min(top + TILE, image.height))
            image.crop(box).save(folder / f"{row}-{column}.jpg", "JPEG", quality=88)


def main() -> int:
    """Make the tiles of one picture; JSON on standard output, one line on standard error."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        print(json.dumps(make(Path(sys.argv[1]), Path(sys.argv[2]))))
    except (*PICTURE_ERRORS, MemoryError) as error:
        print(f"it is no picture that can be shown: {error or 'too large'}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
