"""Pictures of strangers, opened by decoders that run inside this process alone."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "PPM")
"""What data sets come in. Pillow would hand PostScript to Ghostscript, whatever the file's name."""


MOST_PIXELS = 180_000_000
"""Pillow's own limit against decompression bombs may have been changed by another reader."""
TILE_PIXELS = 4096 * 4096
"""The largest input of a net."""


def open_picture(path: Path, most: int = MOST_PIXELS) -> Image.Image:
    """A picture, not yet decoded; to be closed by the caller, best by `with`.

    Raises OSError, also where it is of no known format, and ValueError for one of more than `most`
    pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    if image.width * image.height > most:
        image.close()
        raise ValueError(f"{image.width} x {image.height} pixels are a decompression bomb")
    return image
