"""HTML pages that need no other file: templates, pictures within, figures with their intervals."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jinja2


def templates(package: str) -> jinja2.Environment:
    """The templates of a package: names are escaped, and a name that is not given is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["span"] = span
    return environment


def data_url(mime: str, data: bytes) -> str:
    """The data itself as an address (RFC 2397), so that a page needs no other file."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def jpeg_url(pixels: np.ndarray, largest: int | None = None, quality: int = 85) -> str:
    """A tile, uint8 (lines, samples) or (lines, samples, 1 or 3), as the address of a JPEG.

    Sides over `largest` pixels are shrunk.
    """
    from PIL import Image

    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    image = Image.fromarray(flat)
    if largest is not None:
        image.thumbnail((largest, largest))
    held = io.BytesIO()
    image.save(held, "JPEG", quality=quality)
    return data_url("image/jpeg", held.getvalue())


def now() -> str:
    """The time at which a page is made, in UTC, for people."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def span(figure: Mapping[str, Any], digits: int = 3) -> str:
    """A figure with its interval, for people.

    >>> span({"value": 0.25, "low": 0.125, "high": 0.5}, 2)
    '0.25 [0.12, 0.50]'
    >>> span({"value": None})
    '-'
    """
    if figure["value"] is None:
        return "-"
    text = f"{figure['value']:.{digits}f}"
    if figure["low"] is None:
        return text
    return f"{text} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"
