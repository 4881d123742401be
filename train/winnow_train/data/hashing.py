"""Perceptual hashes that see through turning and mirroring.

The hash is that of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions"
(2010): the signs of the 8x8 lowest coefficients of the cosine transform of a 32x32 reduction, here
with the constant term left out, so that it is blind to brightness and contrast. Mirroring an image
flips the sign of its odd coefficients and turning it also transposes them, so the hashes of all
eight views of the square follow from one transform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE, LOW = 32, 8
#: Hashes that differ in at most this many of 63 bits are candidates; see docs/data.md for the
#: measurement behind it.
HAMMING = 10
#: Candidates are duplicates if their pixels correlate at least so well.
CORRELATION = 0.95
#: Pixels up to this value are taken for nodata: a black border is not quite black in a JPEG.
DARK = 8

Hashes = npt.NDArray[np.uint64]
Reduced = npt.NDArray[np.float32]

_COSINES = np.cos(
    np.pi * np.arange(LOW)[:, None] * (2 * np.arange(SIDE)[None, :] + 1) / (2 * SIDE)
).astype(np.float32)
_ODD = np.where(np.arange(LOW) % 2, -1.0, 1.0).astype(np.float32)


def reduced(image: Image.Image) -> Reduced:
    """A picture as grey float32 [32, 32], each pixel the mean of what it covers."""
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def hashes(tiles: Reduced) -> Hashes:
    """Hashes of float32 [n, 32, 32] as seen in eight views, uint64 [8, n]; view 0 is as it is."""
    low = np.einsum("ui,nij,vj->nuv", _COSINES, tiles, _COSINES, optimize=True)
    found = []
    for transposed in (False, True):
        turned = low.transpose(0, 2, 1) if transposed else low
        for rows in (np.ones(LOW, np.float32), _ODD):
            for columns in (np.ones(LOW, np.float32), _ODD):
                signs = turned * rows[:, None] * columns > 0
                signs[:, 0, 0] = False
                packed = np.packbits(signs.reshape(len(tiles), LOW * LOW), axis=1)
                found.append(packed.view(">u8")[:, 0].astype(np.uint64))
    return np.stack(found) if len(tiles) else np.zeros((8, 0), np.uint64)


def distance(one: Hashes, others: Hashes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
    """Bits in which a hash differs from each of `others` [8, n], and the view that is nearest."""
    apart = np.bitwise_count(one ^ others)
    nearest = apart.argmin(axis=0)
    return apart[nearest, np.arange(others.shape[1])], nearest


def correlation(a: Reduced, b: Reduced, view: int) -> float:
    """Correlation of `a` with a view of `b`, over pixels that have data in both.

    Without that mask two tiles cut by the border of a map-projected strip would look alike for
    their black triangles alone. 0 if under a quarter of the pixels has data in both.
    """
    turned = b.T if view & 4 else b
    turned = turned[::-1] if view & 2 else turned
    turned = turned[:, ::-1] if view & 1 else turned
    both = _inside(a) & _inside(turned)
    if both.sum() < SIDE * SIDE // 4:
        return 0.0
    x, y = a[both] - a[both].mean(), turned[both] - turned[both].mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else 0.0


def look_alikes(
    some: Reduced,
    others: Reduced,
    threshold: int = HAMMING,
    step: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, int, int, float]]:
    """Pairs of two sets of tiles, float32 [n, 32, 32] and [m, 32, 32], that look alike in one of
    the eight views: both places, the bits in which the hashes differ, the correlation."""
    mine, views = hashes(some)[0], hashes(others)
    for i in range(len(some)):
        apart, view = distance(mine[i], views)
        for j in np.flatnonzero(apart <= threshold).tolist():
            alike = correlation(some[i], others[j], int(view[j]))
            if alike >= CORRELATION:
                yield i, j, int(apart[j]), alike
        step()


def _inside(pixels: Reduced) -> npt.NDArray[np.bool_]:
    """Where a pixel and its neighbours have data; those at a border are half black."""
    data = np.pad(pixels > DARK, 1, constant_values=True)
    inside = data[1:-1, 1:-1].copy()
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inside &= data[down : down + SIDE, right : right + SIDE]
    return inside
