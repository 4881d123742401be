"""The draw of the audit: any machine repeats it from seed, swath and tile."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.products.audit import drawn


def splitmix64(state: int) -> int:
    """The next number of SplitMix64 whose state was advanced to `state`, as its paper has it."""
    mask = 2**64 - 1
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ state >> 27) * 0x94D049BB133111EB & mask
    return state ^ state >> 31


@given(st.integers(0, 2**32 - 1), st.text(max_size=20), st.integers(0, 2**32), st.floats(0, 1))
def test_the_draw_is_the_documented_one(seed: int, swath: str, first: int, share: float) -> None:
    digest = hashlib.sha256(f"{seed} {swath}".encode(errors="replace")).digest()
    key = int.from_bytes(digest[:8], "big")
    gamma, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    wanted = [
        splitmix64(key + (n + 1) * gamma & mask) < int(share * 2**64)
        for n in range(first, first + 20)
    ]
    assert drawn(seed, swath, first, 20, share).tolist() == wanted


def test_splitmix64_gives_its_published_numbers() -> None:
    gamma, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    numbers = [splitmix64(1234567 + n * gamma & mask) for n in (1, 2, 3)]
    assert numbers == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_rows_draw_what_the_whole_swath_draws() -> None:
    whole = drawn(7, "strip", 0, 1000, 0.1)
    rows = [drawn(7, "strip", first, 125, 0.1) for first in range(0, 1000, 125)]
    np.testing.assert_array_equal(np.concatenate(rows), whole)


def test_shares_seeds_and_swaths_differ() -> None:
    assert drawn(0, "a", 0, 50, 1.0).all()
    assert not drawn(0, "a", 0, 50, 0.0).any()
    assert abs(drawn(0, "a", 0, 100_000, 0.01).sum() - 1000) < 150
    less, more = drawn(0, "a", 0, 1000, 0.1), drawn(0, "a", 0, 1000, 0.2)
    assert (more | ~less).all()
    assert (drawn(0, "a", 0, 100, 0.5) != drawn(1, "a", 0, 100, 0.5)).any()
    assert (drawn(0, "a", 0, 100, 0.5) != drawn(0, "b", 0, 100, 0.5)).any()
