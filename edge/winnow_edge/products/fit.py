"""Pictures of at most so many bytes: the best quality that fits, and the size that goes with it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Final

from PIL import Image

QUALITY_MAX: Final = 95
"""Above it a JPEG grows and hardly gets better (libjpeg's documentation)."""
QUALITY_FEW: Final = 20
"""Below it blocks show: fewer pixels of a better quality say more."""
_SHARES: Final = (1.0, 0.75)
"""Sizes that are tried, as shares of the whole one and of its halves."""


def best_quality(encode: Callable[[int], bytes], most: int) -> tuple[int, bytes] | None:
    """The highest quality, 1 to `QUALITY_MAX`, whose bytes are at most `most`, and these bytes;
    None: the lowest does not fit. `encode` makes the bytes of a quality.

    >>> best_quality(lambda quality: bytes(10 * quality), 333)[0]
    33
    """
    low, high, best = 1, QUALITY_MAX, None
    while low <= high:
        quality = (low + high) // 2
        data = encode(quality)
        if len(data) <= most:
            best, low = (quality, data), quality + 1
        else:
            high = quality - 1
    return best


def fitted(image: Image.Image, most: int) -> bytes:
    """A progressive JPEG of at most `most` bytes: of the largest size that is not too coarse.

    The image is box-averaged to 3/4, 1/2, 3/8, ... of its sides until it fits with a quality of
    `QUALITY_FEW`. Raises ValueError where not even a single pixel fits.
    """
    for size in _sizes(image):
        smaller = image if size == image.size else image.resize(size, Image.Resampling.BOX)
        found = best_quality(lambda quality, of=smaller: _progressive(of, quality), most)  # type: ignore[misc]
        if found is not None and (found[0] >= QUALITY_FEW or size == (1, 1)):
            return found[1]
    raise ValueError(f"no picture fits {most} bytes")


def _sizes(image: Image.Image) -> Iterator[tuple[int, int]]:
    width, height = image.size
    whole = 1.0
    while True:
        for share in _SHARES:
            size = tuple(max(1, round(side * whole * share)) for side in (width, height))
            yield (size[0], size[1])
            if size == (1, 1):
                return
        whole /= 2


def _progressive(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, optimize=True, progressive=True)
    return out.getvalue()
