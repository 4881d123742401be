"""Regions and events as octets: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import io
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from winnow_edge.errors import PacketError
from winnow_edge.products.event import decode_events, event_product
from winnow_edge.products.kinds import Box, Kind
from winnow_edge.products.region import (
    HEAD,
    Region,
    decode_region,
    encode_region,
    png,
    region_product,
)


def region(pixels: npt.NDArray[np.uint16] | npt.NDArray[np.uint8], line: int = 7) -> Region:
    box = Box(line, 3, *pixels.shape[:2])
    return Region(2, 9, box, Box(5, 3, line - 5 + pixels.shape[0] + 4, pixels.shape[1]), pixels)


@given(
    st.sampled_from([np.uint8, np.uint16]).flatmap(
        lambda kind: npst.arrays(
            kind,
            st.tuples(st.integers(1, 9), st.integers(1, 12))
            | st.tuples(st.integers(1, 5), st.integers(1, 6), st.just(3)),
        )
    )
)
def test_samples_come_back_as_they_were(pixels: npt.NDArray[np.uint16]) -> None:
    found = decode_region(encode_region(region(pixels)))
    assert found.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(found.pixels, pixels)
    assert (found.swath_id, found.request) == (2, 9)
    assert (found.box, found.whole) == (region(pixels).box, region(pixels).whole)


def test_the_octets_are_those_of_the_documentation() -> None:
    pixels = np.array([[1000, 1001, 999], [1000, 1001, 65_535]], np.uint16)
    data = encode_region(Region(1, 3, Box(10, 4, 2, 3), Box(10, 4, 2, 3), pixels))
    assert data[: HEAD.size].hex(" ", -4) == (
        "00000001 00000003 0000000a 00000002 00000004 00000003 0000000a 00000002 1001"
    )
    # Line 0 from the left: 1000, 1, -2. Line 1 from above: 0, 0, and 999 to 65535 is -1000.
    # Folded: 2000, 2, 3; 0, 0, 1999. First the filters, then the upper octets.
    assert zlib.decompress(data[HEAD.size :]).hex(" ") == (
        "00 01 07 00 00 00 00 07 d0 02 03 00 00 cf"
    )


def test_a_region_takes_fewer_octets_than_a_png() -> None:
    rng = np.random.default_rng(0)
    line, sample = np.mgrid[0:64, 0:96]
    smooth = 2000 + 400 * np.sin(line / 9) + 300 * np.cos(sample / 13) + rng.normal(0, 6, (64, 96))
    pixels = smooth.astype(np.uint16)
    assert len(encode_region(region(pixels))) < 0.9 * len(png(pixels))
    with Image.open(io.BytesIO(png(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    product = region_product(region(pixels), 4)
    assert (product.kind, product.tile_index, product.detection) == (Kind.REGION, 4, False)


def changed(data: bytes, at: int, octets: bytes) -> bytes:
    return data[:at] + octets + data[at + len(octets) :]


GOOD = encode_region(region(np.arange(60, dtype=np.uint16).reshape(5, 12)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[: HEAD.size],
        GOOD[:-1],
        GOOD + b"\0",
        changed(GOOD, 12, bytes(4)),  # no lines
        changed(GOOD, 12, b"\0\0\0\6"),  # a line more
        changed(GOOD, 12, b"\xff" * 4),
        changed(GOOD, 20, b"\xff" * 4),
        changed(GOOD, 24, b"\0\0\0\x08"),  # begins before the region
        changed(GOOD, 32, b"\x0c"),  # bits
        changed(GOOD, 33, b"\x02"),  # channels
        GOOD[: HEAD.size] + zlib.compress(b"\3" * 5 + bytes(120)),  # a filter that nobody knows
        GOOD[: HEAD.size] + zlib.compress(bytes(10_000_000)),
    ],
)
def test_what_is_no_region_is_refused(data: bytes) -> None:
    with pytest.raises(PacketError):
        decode_region(data)


@given(st.binary(max_size=200), st.integers(0, len(GOOD)))
def test_any_octets_are_a_region_or_refused(octets: bytes, at: int) -> None:
    for data in (octets, changed(GOOD, at, octets), GOOD[:at] + octets):
        try:
            found = decode_region(data)
        except PacketError:
            continue
        assert found.pixels.shape[:2] == (found.box.lines, found.box.samples)


def test_events_come_back_as_they_were() -> None:
    events = [{"about": "clock", "event": "leap", "by_s": -3.5}, {"about": "x", "why": None}]
    product = event_product(events, 3, 7)
    assert (product.kind, product.tile_index) == (Kind.EVENT, 3)
    assert decode_events(product.data) == (7, events)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"events": [{"about": "x"}]}',
        b'{"swath": 0, "events": [{"about": "x"}]}',
        b"{}",
        b'{"swath": 1, "events": []}',
        b'{"swath": 1, "events": [1]}',
        b'{"swath": 1, "events": [{}]}',
        b"\xff",
        b'{"swath": 1, "events": [{"about": 1}]}',
        b'{"swath": 1, "events": [{"what": "x"}]}',
        b'{"swath": 1, "events": [{"about": "x", "more": [1]}]}',
        b'{"swath": 1, "events": [{"about": "x", "n": NaN}]}',
        b'{"swath": 1, "events": [{"about": "%s"}]}' % (b"x" * 1000),
        b'{"swath": 1, "events": [%s]}' % b",".join([b'{"about": "x"}'] * 65),
        b" " * 20_000,
    ],
)
def test_what_are_no_events_is_refused(data: bytes) -> None:
    with pytest.raises(PacketError):
        decode_events(data)
