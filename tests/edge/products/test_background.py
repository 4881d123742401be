"""Background products: all records come back, whatever the tiles say."""

from __future__ import annotations

import random

import pytest

from winnow_edge.clock.cuc import Instant
from winnow_edge.errors import PacketError
from winnow_edge.place.place import Place
from winnow_edge.products.background import MOST_TILES, decode_background, encode_background
from winnow_edge.products.encode import Head, decode_record, encode_head
from winnow_edge.products.kinds import NO_CLASS, Box, Flag, TileRecord


def records(tiles: int, *, seed: int = 0, tails: bool = False) -> list[bytes]:
    """Of a swath of 60 tiles across."""
    rng = random.Random(seed)
    made = []
    for n in range(tiles):
        screened = rng.random() < 0.1
        record = TileRecord(
            5000 + n,
            Box(64 * (n // 60), 32 * (n % 60), 64, 64 if n % 60 < 59 else 17),
            1,
            NO_CLASS if screened else rng.randrange(4),
            0.0 if screened else rng.random(),
            Flag.SCREENED if screened else Flag.NONE,
            Instant(10**18 + n * 10**7, tai=True) if tails and rng.random() < 0.9 else None,
            Place(-85.0 + n / 1000, 120.0) if tails and rng.random() < 0.8 else None,
        )
        made.append(encode_head(Head(70_000, record)))
    return made


@pytest.mark.parametrize("tails", [False, True])
@pytest.mark.parametrize("tiles", [1, 2, 61, MOST_TILES])
def test_records_come_back(tiles: int, tails: bool) -> None:
    made = records(tiles, tails=tails)
    data = encode_background(made)
    back = decode_background(data)
    assert len(back) == tiles
    for one, two in zip(map(decode_record, made), map(decode_record, back), strict=True):
        assert abs(one.record.posterior - two.record.posterior) <= 1 / 510 + 1e-9
        assert (two.swath_id, two.record.index, two.record.box) == (
            70_000, one.record.index, one.record.box,
        )  # fmt: skip
        assert (one.record.class_index, one.record.flags) == (
            two.record.class_index, two.record.flags,
        )  # fmt: skip
        assert (one.record.time, one.record.place) == (two.record.time, two.record.place)
    if tiles == MOST_TILES:
        assert len(data) < tiles * (8 if tails else 2)


def test_damage_is_a_packet_error_or_records() -> None:
    data = encode_background(records(200, tails=True))
    rng = random.Random(1)
    for _ in range(2000):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            assert len(decode_background(bytes(changed))) == 200
        except PacketError:
            continue
    for cut in range(0, len(data), 7):
        with pytest.raises(PacketError):
            decode_background(data[:cut])
