"""A sketch: what a tile looks like in 8 octets, whatever lies where in it.

Brightness, contrast, and the energy in each octave of a Laplacian pyramid (Burt and Adelson, IEEE
Trans. Communications 31, 1983). It stays on board, where `diversity` compares pictures by it.
docs/ranking.md describes it, docs/notebook/ranking.md has measurements.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

SKETCH_BYTES: Final = 8
STEP: Final = 32  # one unit of the octave scale, log2(grey levels + 1), in steps of a byte
BRIGHTNESS_UNIT: Final = 64.0  # grey levels that weigh as much as one octave of contrast

Doubles = npt.NDArray[np.float64]


def sketch(pixels: npt.NDArray[np.uint8]) -> bytes:
    """What a tile looks like, 8 octets. `pixels` uint8, shape (tile, tile) or (tile, tile, 3)."""
    level: Doubles
    if pixels.ndim == 2:
        level, unit = pixels.astype(np.float64), 1.0
    else:
        blue = pixels[..., 2].astype(np.float64)
        level, unit = (
            np.add(pixels[..., 0], np.add(pixels[..., 1], blue, out=blue), out=blue),
            1 / 3,
        )
    # Levels hold sums of pixels, whole numbers, exact in any order; `unit` makes them means.
    brightness = float(level.sum()) * unit / level.size
    power = _power(level, unit, brightness)
    terms = [brightness / BRIGHTNESS_UNIT, _octave(power)]
    while len(terms) < SKETCH_BYTES:
        rows, columns = level.shape[0] // 2 * 2, level.shape[1] // 2 * 2
        if rows == 0 or columns == 0:
            terms.append(0.0)
            continue
        if level.shape != (rows, columns):
            level = level[:rows, :columns]
            power = _power(level, unit, brightness)
        pairs = level[::2] + level[1::2]
        level, unit = pairs[:, ::2] + pairs[:, 1::2], unit / 4
        # What halving loses has no mean, so that powers subtract.
        half = _power(level, unit, brightness)
        terms.append(_octave(power - half))
        power = half
    return bytes(min(round(STEP * term), 255) for term in terms)


def _power(level: Doubles, unit: float, brightness: float) -> float:
    """Mean square of `level * unit - brightness`."""
    # Not a dot product: that would wake the threads of a BLAS for a few thousand numbers.
    squares = float(np.einsum("ij,ij->", level, level)) * unit * unit
    return (squares - 2 * brightness * unit * float(level.sum())) / level.size + brightness**2


def _octave(power: float) -> float:
    """The scale of sketches: log2 of a deviation in grey levels, 0 for none."""
    return math.log2(math.sqrt(max(power, 0.0)) + 1)
