"""Quick looks: a whole swath as a small picture of at most so many bytes."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from winnow_edge.errors import PacketError
from winnow_edge.products.fit import best_quality, fitted
from winnow_edge.products.kinds import Box, Kind
from winnow_edge.products.quick_look import (
    PIXELS,
    WIDTH,
    Section,
    Sketcher,
    decode_quick_look,
    quick_look_product,
)

UInt8Array = npt.NDArray[np.uint8]


def terrain(lines: int, samples: int, channels: int = 0) -> UInt8Array:
    """Waves with some noise."""
    y, x = np.mgrid[0:lines, 0:samples]
    noise = np.random.default_rng(lines).normal(0, 6, (lines, samples))
    grey = np.clip(120 + 60 * np.sin(x / 40 + y / 70) + noise, 0, 255).astype(np.uint8)
    return np.stack([grey, grey // 2, 255 - grey], axis=-1) if channels else grey


def sections_of(swath: UInt8Array, step: int) -> list[Section]:
    """The sections of a swath that comes `step` lines at a time."""
    sketcher = Sketcher(swath.shape[1], 3 if swath.ndim == 3 else 1)
    found = []
    for first in range(0, len(swath), step):
        found += sketcher.add(swath[first : first + step])
    return found + sketcher.end()


def opened(jpeg: bytes) -> Image.Image:
    """A JPEG, decoded."""
    image = Image.open(io.BytesIO(jpeg))
    image.load()
    return image


@pytest.mark.parametrize("channels", [0, 3])
def test_a_quick_look_shows_the_whole_swath_in_its_bytes(channels: int) -> None:
    swath = terrain(1500, 700, channels)
    (section,) = sections_of(swath, 256)
    product = quick_look_product(section, 0, 4000, 0x0A0B)
    assert (product.kind, product.detection, len(product.data) <= 4000) == (4, False, True)
    look = decode_quick_look(product.data)
    assert (look.swath_id, look.box) == (0x0A0B, Box(0, 0, 1500, 700))
    image = opened(look.jpeg)
    assert image.info["progressive"]
    whole = Image.fromarray(swath).resize(image.size, Image.Resampling.BOX)
    error = np.asarray(image, np.float64) - np.asarray(whole, np.float64)
    assert np.sqrt((error**2).mean()) < 8


def test_head_has_its_documented_octets() -> None:
    pixels = np.full((4, 8), 99, np.uint8)
    section = Section(0x01020304, 0x1000, 0x0800, pixels, last=True)
    product = quick_look_product(section, 3, 4000, 0x0A0B)
    assert product.tile_index == 3
    assert product.data[:18] == bytes.fromhex(
        "00000a0b"  # swath 2571
        "01020304"  # first line
        "00001000"  # 4096 lines
        "00000800"  # 2048 samples
        "ffd8"  # JPEG
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 600), st.integers(1, 400))
def test_a_picture_does_not_depend_on_how_the_lines_come(
    lines: int, samples: int, step: int
) -> None:
    swath = terrain(lines, samples)
    at_once, piece_by_piece = sections_of(swath, lines), sections_of(swath, step)
    assert [s.line for s in at_once] == [s.line for s in piece_by_piece]
    for one, other in zip(at_once, piece_by_piece, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_long_swath_leaves_sections_that_follow_each_other() -> None:
    rng = np.random.default_rng(1)
    block = rng.integers(0, 255, (512, 300), np.uint8)
    sketcher = Sketcher(300, 1)
    found = [section for _ in range(80) for section in sketcher.add(block)]
    found += sketcher.end()
    assert len(found) > 1
    ends = [section.end for section in found]
    assert [section.line for section in found] == [0, *ends[:-1]]
    assert ends[-1] == 80 * 512
    assert [section.last for section in found] == [False] * (len(found) - 1) + [True]
    for section in found:
        assert section.pixels.size <= PIXELS
        assert section.pixels.shape[1] <= WIDTH
        # Noise has one mean wherever it is averaged.
        assert abs(float(section.pixels.mean()) - 127) < 3


def test_a_swath_that_ends_with_a_section_leaves_no_empty_one() -> None:
    sketcher = Sketcher(100, 1)
    found: list[Section] = []
    lines = 0
    while not found:
        found += sketcher.add(np.zeros((1, 100), np.uint8))
        lines += 1
    assert found[0].end == lines
    assert sketcher.end() == []


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([0, 3]), st.integers(984, 6000))
def test_any_picture_fits(lines: int, samples: int, channels: int, most: int) -> None:
    shape = (lines, samples, channels) if channels else (lines, samples)
    noise = np.random.default_rng(lines).integers(0, 255, shape, np.uint8)
    data = fitted(Image.fromarray(noise), most)
    assert len(data) <= most
    opened(data)


def test_what_cannot_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="fits 20 bytes"):
        fitted(Image.new("L", (100, 100)), 20)
    assert best_quality(lambda quality: bytes(100), 20) is None


@given(st.binary(max_size=40))
def test_garbage_is_a_packet_error_or_a_quick_look(data: bytes) -> None:
    with suppress(PacketError):
        look = decode_quick_look(data)
        assert look.box.lines
        assert look.jpeg


def test_a_quick_look_is_a_kind_of_its_own() -> None:
    assert Kind.QUICK_LOOK == 4
