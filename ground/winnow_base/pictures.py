"""Pictures of strangers, opened by decoders that run inside this process alone."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "PPM")
"""What data sets come in. Pillow would hand PostScript to Ghostscript, whatever the file's name."""


def open_picture(path: Path) -> Image.Image:
    """A picture, not yet decoded; to be closed by the caller, best by `with`.

    Raises OSError, also where it is of no known format; and ValueError for more pixels than any
    picture has (Pillow's limit against decompression bombs).
    """
    try:
        return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
