"""Products: the octets of records and pictures, and what products are worth."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from winnow_edge.errors import PacketError
from winnow_edge.mission import Products
from winnow_edge.products.encode import (
    Head,
    Picture,
    decode_head,
    decode_picture,
    decode_record,
    decode_swath,
    detection_products,
    encode_head,
    encode_image,
    encode_swath,
    encode_thumbnail,
    record_products,
)
from winnow_edge.products.kinds import NO_CLASS, Box, Detection, Flag, Kind, Product, TileRecord
from winnow_edge.products.worth import utility
from winnow_edge.testing import landmark_mission, record_product

RECORD = TileRecord(0x01020304, Box(0x1000, 0x0200, 256, 200), 2, 5, 0.75, Flag.DETECTION)
GOLDEN = bytes.fromhex(
    "00000a0b"  # swath 2571
    "01020304"  # tile index
    "00001000"  # line 4096
    "00000200"  # sample 512
    "00ff"  # 256 lines, less one
    "00c7"  # 200 samples, less one
    "02"  # scale
    "05"  # class index
    "bfff"  # posterior 0.75 x 65535, rounded: 49151
    "02"  # flags: detection
    "01"  # stands for one detection
)

heads = st.builds(
    Head,
    st.integers(0, 2**32 - 1),
    st.builds(
        TileRecord,
        st.integers(0, 2**32 - 1),
        st.builds(
            Box,
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(1, 65_536),
            st.integers(1, 65_536),
        ),
        st.integers(1, 255),
        st.integers(0, 255),
        st.floats(0, 1),
        st.sampled_from([Flag.NONE, Flag.SCREENED, Flag.DETECTION]),
    ),
    st.integers(1, 255),
)


def pixels_of(picture: Picture) -> npt.NDArray[np.uint8]:
    """A thumbnail or image, decoded."""
    with Image.open(io.BytesIO(picture.jpeg)) as image:
        return np.asarray(image)


def detection(side: int = 128, channels: int = 0, merged: int = 1) -> Detection:
    """A smooth picture with some noise, as terrain has."""
    y, x = np.mgrid[0:side, 0:side] / side
    grey = 120 + 60 * np.sin(5 * x + 3 * y) + np.random.default_rng(0).normal(0, 6, (side, side))
    pixels = np.clip(grey, 0, 255).astype(np.uint8)
    if channels:
        pixels = np.stack([pixels, pixels // 2, 255 - pixels], axis=-1)
    return Detection(7, Box(100, 200, side, side), 1, 1, 0.875, pixels, merged)


def test_record_has_its_documented_octets() -> None:
    assert encode_head(Head(0x0A0B, RECORD)) == GOLDEN
    decoded = decode_record(GOLDEN)
    assert decoded == Head(0x0A0B, decoded.record, 1)
    assert decoded.record.box == RECORD.box
    assert decoded.record.flags is Flag.DETECTION
    assert decoded.record.posterior == pytest.approx(0.75, abs=1 / 131_070)


@given(heads)
def test_heads_come_back(head: Head) -> None:
    decoded = decode_head(encode_head(head))
    assert abs(decoded.record.posterior - head.record.posterior) <= 1 / 131_070 + 1e-12
    assert encode_head(decoded) == encode_head(head)
    assert (decoded.swath_id, decoded.merged) == (head.swath_id, head.merged)
    for name in ("index", "box", "scale", "class_index", "flags"):
        assert getattr(decoded.record, name) == getattr(head.record, name)


@pytest.mark.parametrize(
    ("swath", "record"),
    [
        (2**32, RECORD),
        (1, TileRecord(0, Box(0, 0, 65_537, 1), 1, 0, 0.5, Flag.NONE)),
        (1, TileRecord(0, Box(0, 0, 0, 1), 1, 0, 0.5, Flag.NONE)),
        (1, TileRecord(0, Box(0, 0, 1, 1), 1, 0, 1.5, Flag.NONE)),
        (1, TileRecord(0, Box(0, 0, 1, 1), 1, 0, float("nan"), Flag.NONE)),
        (1, TileRecord(-1, Box(0, 0, 1, 1), 1, 0, 0.5, Flag.NONE)),
    ],
)
def test_what_does_not_fit_is_refused(swath: int, record: TileRecord) -> None:
    with pytest.raises(ValueError, match=r"fit|0\.\.1"):
        encode_head(Head(swath, record))


@given(st.binary(max_size=100))
def test_garbage_is_a_packet_error_or_a_product(data: bytes) -> None:
    for decode in (decode_head, decode_record, decode_swath):
        with suppress(PacketError):
            decode(data)
    with suppress(PacketError):
        decode_picture(data)


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(PacketError):
        decode_swath(b"[" * 100_000)
    with pytest.raises(PacketError):
        decode_swath(b"[1]")


@pytest.mark.parametrize("channels", [0, 3])
def test_pictures_stand_alone(channels: int) -> None:
    found, products = detection(128, channels, merged=300), landmark_mission().products
    image = decode_picture(encode_image(found, products, 3))
    thumbnail = decode_picture(encode_thumbnail(found, products, 3))
    for picture in (image, thumbnail):
        assert picture.head.swath_id == 3
        assert picture.head.merged == 255  # all that the octet holds
        assert picture.head.record.box == found.box
        assert picture.head.record.class_index == found.class_index
        assert picture.head.record.posterior == pytest.approx(found.posterior, abs=1e-5)
    assert pixels_of(image).shape == found.pixels.shape
    assert pixels_of(thumbnail).shape == (32, 32, 3)[: found.pixels.ndim]
    error = np.abs(pixels_of(image).astype(int) - found.pixels)
    # JPEG keeps colour at half the resolution, so grey is held to more.
    assert error.mean() < (3 if channels == 0 else 6)
    means = (
        found.pixels.reshape(32, 4, 32, 4, -1).mean(axis=(1, 3)).reshape(pixels_of(thumbnail).shape)
    )
    assert np.abs(pixels_of(thumbnail) - means).mean() < 6


COMMENT = bytes.fromhex(
    "fffe000c"  # a comment of 10 octets
    "574e"  # "WN"
    "fff6"  # begins 10 pixels before the tile
    "0006"  # and 6 to its right
    "0063"  # 100 lines
    "00c7"  # 200 samples
)


@pytest.mark.parametrize(
    ("scale", "outline", "comes_back"),
    [
        (1, Box(246, 518, 100, 200), Box(246, 518, 100, 200)),
        (2, Box(237, 525, 199, 400), Box(236, 524, 200, 402)),  # rounded outwards
        (2, Box(0, 0, 256, 512), Box(0, 0, 256, 512)),
    ],
)
def test_the_outline_of_a_feature_comes_down_with_its_pictures(
    scale: int, outline: Box, comes_back: Box
) -> None:
    one = detection(128)
    box = Box(256, 512, 128 * scale, 128 * scale)
    found = replace(one, box=box, scale=scale, merged=3, outline=outline)
    products = landmark_mission().products
    for data in (encode_thumbnail(found, products, 1), encode_image(found, products, 1)):
        picture = decode_picture(data)
        assert picture.outline == comes_back
        assert (COMMENT in picture.jpeg) == (scale == 1)
        assert pixels_of(picture).ndim == 2
    alone = encode_image(replace(found, merged=1), products, 1)
    assert decode_picture(alone).outline is None
    assert len(data) == len(alone) + len(COMMENT)


@pytest.mark.parametrize("said", [b"", b"WN", b"WN" + b"\x80\0" * 2 + b"\0\0" * 2, b"hello, you"])
def test_a_comment_of_another_kind_is_no_outline(said: bytes) -> None:
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "JPEG", comment=said or b"x")
    assert decode_picture(GOLDEN + out.getvalue()).outline is None


def test_thumbnails_keep_to_about_a_kilobyte() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (128, 128), np.uint8)
    worst = Detection(0, Box(0, 0, 128, 128), 1, 1, 0.9, noise)
    assert len(encode_thumbnail(worst, landmark_mission().products, 1)) < 1200
    assert len(encode_thumbnail(detection(), landmark_mission().products, 1)) < 600


def test_a_tile_smaller_than_a_thumbnail_is_sent_as_it_is() -> None:
    data = encode_thumbnail(detection(16), landmark_mission().products, 1)
    assert pixels_of(decode_picture(data)).shape == (16, 16)


def test_swath_products_are_compact_json() -> None:
    data = encode_swath({"id": 1, "swath": "dünen", "classes": ("a", "b")})
    assert data == '{"id":1,"swath":"dünen","classes":["a","b"]}'.encode()
    assert decode_swath(data) == json.loads(data)


def test_a_detections_value_is_shared_out() -> None:
    mission = landmark_mission(
        "[products]\nrecord_share = 0.1\nthumbnail_share = 0.3\nimage_share = 0.6"
    )
    classes = ("other", "crater", "unheard of")
    record = record_product(TileRecord(7, Box(0, 0, 9, 9), 1, 1, 0.5, Flag.DETECTION), 1)
    thumbnail, image = detection_products(detection(), mission.products, 1)
    assert (thumbnail.kind, image.kind) == (Kind.THUMBNAIL, Kind.IMAGE)
    assert utility(record, mission, classes) == pytest.approx(10 * 0.5 * 0.1)
    assert utility(thumbnail, mission, classes) == pytest.approx(10 * 0.875 * 0.3)
    assert utility(image, mission, classes) == pytest.approx(10 * 0.875 * 0.6)
    # A class that the mission does not name has the default utility of 1.
    other = Product(Kind.IMAGE, 0, 2, 0.5, True, b"")
    assert utility(other, mission, classes) == pytest.approx(0.5 * 0.6)


def test_a_tile_without_detection_is_worth_the_background() -> None:
    mission = landmark_mission("[products]\nbackground_utility = 0.25")
    screened = TileRecord(0, Box(0, 0, 9, 9), 1, NO_CLASS, 0.0, Flag.SCREENED)
    seen = TileRecord(1, Box(0, 0, 9, 9), 1, 1, 0.99, Flag.NONE)
    for record in (screened, seen):
        assert utility(record_product(record, 1), mission, ("other", "crater")) == 0.25


@given(st.lists(st.tuples(st.integers(0, 254), st.floats(0, 1), st.booleans()), max_size=9))
def test_a_row_of_records_is_its_records_one_by_one(tiles: list[tuple[int, float, bool]]) -> None:
    count = len(tiles)
    sample = np.arange(count, dtype=np.int64) * 128
    made = record_products(
        3,
        100,
        line=640,
        lines=250,
        sample=sample,
        samples=np.full(count, 256, np.int64),
        scale=2,
        class_index=np.array([t[0] for t in tiles], np.uint8),
        posterior=np.array([t[1] for t in tiles], np.float64),
        flags=np.array([Flag.DETECTION if t[2] else Flag.NONE for t in tiles], np.uint8),
    )
    assert made == [
        record_product(
            TileRecord(
                100 + n,
                Box(640, n * 128, 250, 256),
                2,
                cls,
                posterior,
                Flag.DETECTION if hit else Flag.NONE,
            ),
            3,
        )
        for n, (cls, posterior, hit) in enumerate(tiles)
    ]


@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("merged", [1, 4])
def test_a_byte_target_is_kept_with_the_best_quality_that_fits(channels: int, merged: int) -> None:
    noise = np.random.default_rng(5).integers(0, 255, (128, 128, 3), np.uint8)
    shown = detection(128, channels, merged)
    hard = replace(
        shown, pixels=noise if channels else noise[..., 0], outline=Box(90, 190, 150, 160)
    )
    for found in (shown, hard):
        sizes = []
        for most in (600, 1500, 4000, 12_000):
            limits = replace(Products(), image_bytes=most, thumbnail_bytes=most)
            image = encode_image(found, limits, 1)
            assert max(len(image), len(encode_thumbnail(found, limits, 1))) <= most
            with Image.open(io.BytesIO(decode_picture(image).jpeg)) as opened:
                sizes.append((opened.width, len(image)))
        assert sizes == sorted(sizes)
    # What fits anyway is what it was, and an outline is there however small the picture.
    wide = replace(Products(), image_bytes=1_000_000, thumbnail_bytes=1_000_000)
    assert encode_image(shown, wide, 1) == encode_image(shown, Products(), 1)
    assert encode_thumbnail(shown, wide, 1) == encode_thumbnail(shown, Products(), 1)
    if merged > 1:
        few = replace(Products(), image_bytes=600)
        assert decode_picture(encode_image(hard, few, 1)).outline == hard.outline
