"""The audit: tiles drawn at random, so that the ground can estimate what the net misses.

Whether a tile is drawn depends on the seed, the name of its swath and its index alone, so the
ground can repeat the draw, and knows which of the drawn tiles it has not seen.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

_GAMMA = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def drawn(seed: int, swath: str, first: int, count: int, share: float) -> npt.NDArray[np.bool_]:
    """Which of `count` tiles from index `first` on are drawn: bool, shape (count,).

    Tile n is drawn if the n-th number of SplitMix64 (Steele, Lea and Flood, "Fast Splittable
    Pseudorandom Number Generators", OOPSLA 2014) is below `share` of 2^64. Its seed is the first
    eight octets, big-endian, of the SHA-256 of "SEED SWATH" in UTF-8.

    >>> np.flatnonzero(drawn(0, "strip.png", 0, 200, 0.02))
    array([75, 93])
    """
    digest = hashlib.sha256(f"{seed} {swath}".encode(errors="replace")).digest()
    key = int.from_bytes(digest[:8], "big")
    tiles = np.arange(first + 1, first + 1 + count, dtype=np.uint64)
    state = tiles * np.uint64(_GAMMA) + np.uint64(key)
    for shift, factor in _MIX:
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    state ^= state >> np.uint64(31)
    # Whole numbers: a share of 1 draws all.
    most = min(int(share * 2**64), 2**64)
    if most == 2**64:
        return np.ones(count, np.bool_)
    return state < np.uint64(most)
