"""Pictures of at most so many bytes: the best quality that fits, and the size that goes with it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from PIL import Image

QUALITY_MAX: Final = 95
"""Above it a JPEG grows and hardly gets better (libjpeg's documentation)."""
QUALITY_FEW: Final = 20
"""Below it blocks show: fewer pixels of a better quality say more."""
_SHARES: Final = (1.0, 0.75)
"""Sizes that are tried, as shares of the whole one and of its halves."""


def best_quality(
    encode: Callable[[int], bytes], most: int, top: int = QUALITY_MAX
) -> tuple[int, bytes] | None:
    """The highest quality, 1 to `top`, whose bytes are at most `most`, and these bytes; None: the
    lowest does not fit. `encode` makes the bytes of a quality.

    >>> best_quality(lambda quality: bytes(10 * quality), 333)[0]
    33
    """
    data = encode(top)
    if len(data) <= most:
        return top, data
    low, high, best = 1, top - 1, None
    while low <= high:
        quality = (low + high) // 2
        data = encode(quality)
        if len(data) <= most:
            best, low = (quality, data), quality + 1
        else:
            high = quality - 1
    return best


def fitted(image: Image.Image, most: int, top: int = QUALITY_MAX, **options: Any) -> bytes:
    """A JPEG of at most `most` bytes and quality `top`: of the largest size that is not too coarse.

    The image is box-averaged to 3/4, 1/2, 3/8, ... of its sides until it fits with a quality of
    `QUALITY_FEW`, or `top` if that is lower. `options` are Pillow's for a JPEG. Raises ValueError
    where not even a single pixel fits.
    """
    few = min(QUALITY_FEW, top)
    for size in _sizes(image):
        smaller = image if size == image.size else image.resize(size, Image.Resampling.BOX)
        found = best_quality(partial(_jpeg, smaller, options), most, top)
        if found is not None and (found[0] >= few or size == (1, 1)):
            return found[1]
    raise ValueError(f"no picture fits {most} bytes")


def reduced(image: Image.Image, most: int) -> Image.Image:
    """The picture, box-averaged to `most` pixels on its longer side where it has more."""
    longer = max(image.size)
    if longer <= most:
        return image
    size = [max(1, round(side * most / longer)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BOX)


def _sizes(image: Image.Image) -> Iterator[tuple[int, int]]:
    width, height = image.size
    whole = 1.0
    while True:
        for share in _SHARES:
            across, down = (max(1, round(side * whole * share)) for side in (width, height))
            yield across, down
            if (across, down) == (1, 1):
                return
        whole /= 2


def _jpeg(image: Image.Image, options: dict[str, Any], quality: int) -> bytes:
    """With Huffman tables of the picture's own: over a third less for a thumbnail."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, optimize=True, **options)
    return out.getvalue()
