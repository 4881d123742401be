"""Time and place behind the head of records and pictures: golden octets, round trips, damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.clock.cuc import MOST_NS, Instant
from winnow_edge.clock.utc import parse_utc
from winnow_edge.errors import PacketError
from winnow_edge.mission import Products
from winnow_edge.place.place import Place
from winnow_edge.products.encode import (
    HEAD,
    Head,
    decode_picture,
    decode_record,
    detection_products,
    encode_head,
    record_products,
    with_flag,
)
from winnow_edge.products.kinds import Box, Detection, Flag, TileRecord
from winnow_edge.products.tail import Seen, seen_at

TIME = parse_utc("2022-01-30T14:43:59.5Z")
PLACE = Place(-71.0, -113.6)
TIME_OCTETS = "1e"  # P-field: 1958 TAI, four octets of seconds, two of their fraction
TIME_OCTETS += "788902d4 8000"  # 2,022,245,076 s and a half
PLACE_OCTETS = "9b05b1"  # -71 in 90/(2**23 - 1) degrees: -6,617,679
PLACE_OCTETS += "af37c1"  # -113.6 in 180/(2**23 - 1) degrees: -5,294,143


def record(time: Instant | None, place: Place | None) -> TileRecord:
    return TileRecord(7, Box(10, 20, 128, 64), 2, 5, 1.0, Flag.DETECTION, time, place)


@pytest.mark.parametrize(
    ("time", "place", "flags", "tail"),
    [
        (None, None, 0x02, ""),
        (TIME, None, 0x22, TIME_OCTETS),
        (None, PLACE, 0x42, PLACE_OCTETS),
        (TIME, PLACE, 0x62, TIME_OCTETS + PLACE_OCTETS),
        (Instant(90 * 10**9, tai=False), None, 0x22, "2e 0000005a 0000"),
    ],
)
def test_time_and_place_follow_the_head(
    time: Instant | None, place: Place | None, flags: int, tail: str
) -> None:
    data = encode_head(Head(3, record(time, place)))
    assert data[HEAD.size :] == bytes.fromhex(tail)
    assert data[HEAD.size - 2] == flags
    found = decode_record(data).record
    assert (found.time, found.place) == (time, place)
    assert found.flags & Flag.DETECTION
    assert decode_record(with_flag(data, Flag.MERGED)).record.time == time


times = st.none() | st.builds(Instant, st.integers(0, MOST_NS - 10**9), st.booleans())
places = st.none() | st.builds(
    Place, st.floats(-90, 90), st.none() | st.floats(-180, 180, exclude_min=True)
)


@given(times, places)
def test_pictures_carry_what_records_carry(time: Instant | None, place: Place | None) -> None:
    detection = Detection(7, Box(0, 0, 8, 8), 1, 5, 1.0, np.zeros((8, 8), np.uint8))
    head = encode_head(Head(3, record(time, place)))
    for product in detection_products(detection, Products(), 3, seen_at(time, place)):
        picture = decode_picture(product.data)
        assert picture.jpeg.startswith(b"\xff\xd8\xff")
        found = picture.head.record
        same = decode_record(head).record
        assert (found.time, found.place) == (same.time, same.place)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20), st.booleans())
def test_records_made_together_are_those_made_one_by_one(
    known: list[tuple[bool, bool]], tai: bool
) -> None:
    count = len(known)
    numbers = np.arange(count)
    timed = np.array([t for t, _ in known], bool)
    placed = np.array([p for _, p in known], bool)
    seen = Seen(
        np.where(timed, 10**18 + numbers * 870_000, -1).astype(np.int64),
        tai,
        np.where(placed, -70.0 - numbers, np.nan),
        np.where(placed, 10.0 * numbers, np.nan),
    )
    made = record_products(
        3, 0, line=numbers, lines=np.full(count, 128), sample=numbers, samples=np.full(count, 64),
        scale=1, class_index=np.zeros(count, np.uint8), posterior=np.zeros(count),
        flags=np.zeros(count, np.uint8), seen=seen,
    )  # fmt: skip
    for index, product in enumerate(made):
        box = Box(index, index, 128, 64)
        alone = TileRecord(index, box, 1, 0, 0.0, Flag.NONE, seen.time(index), seen.place(index))
        assert product.data == encode_head(Head(3, alone))


@pytest.mark.parametrize("cut", range(1, 13))
def test_a_tail_that_is_cut_short_is_refused(cut: int) -> None:
    data = encode_head(Head(3, record(TIME, PLACE)))
    with pytest.raises(PacketError):
        decode_record(data[:-cut])
    with pytest.raises(PacketError):
        decode_record(data + b"\0" * cut)


def test_a_time_of_another_width_is_refused() -> None:
    data = bytearray(encode_head(Head(3, record(TIME, None))))
    data[HEAD.size] = 0x1D  # one octet of fraction
    with pytest.raises(PacketError, match="a product's time has 6 octets"):
        decode_record(bytes(data))
