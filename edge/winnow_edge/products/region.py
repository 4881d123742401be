"""Regions: raw samples of a swath that the ground asked for, without loss.

A region comes down in parts, each a product of some of its lines that fits a container. Of every
line the samples are differences from the left neighbour, from the line above, or of both, whichever
are least: the filters of PNG (ISO/IEC 15948), on whole samples instead of octets. Differences are
folded to natural numbers, the most significant octets of all come first, and deflate does the rest.
docs/requests.md has the layout, docs/notebook/codecs.md what else was measured.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_edge.errors import PacketError
from winnow_edge.products.kinds import NO_CLASS, Box, Kind, Product

HEAD: Final = struct.Struct(">IIIIIIIIBB")
"""swath, request, first line and lines of the part, sample, samples, first line and lines of the
whole region, all u32; bits u8, channels u8."""
MOST_SAMPLES: Final = 1 << 24
"""Samples of a part, channels counted, that a reader takes."""
_LEFT, _UP, _BOTH = range(3)

Samples = npt.NDArray[Any]
"""Uint8 or uint16, shape (lines, samples) or (lines, samples, 3)."""


@dataclass(frozen=True)
class Region:
    """A part of a region: `request` is the ground's number of it, `box` what the part shows of the
    swath, `whole` the region, `pixels` uint8 or uint16 (lines, samples[, 3])."""

    swath_id: int
    request: int
    box: Box
    whole: Box
    pixels: Samples


def encode_region(region: Region) -> bytes:
    """The part as octets."""
    box, whole, pixels = region.box, region.whole, region.pixels
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = pixels.dtype.itemsize * 8
    head = HEAD.pack(
        region.swath_id,
        region.request,
        box.line,
        box.lines,
        box.sample,
        box.samples,
        whole.line,
        whole.lines,
        bits,
        channels,
    )
    return head + zlib.compress(_filtered(pixels.reshape(box.lines, box.samples, channels)), 9)


def decode_region(data: bytes) -> Region:
    """The inverse of `encode_region`. Raises PacketError for anything else."""
    if len(data) <= HEAD.size:
        raise PacketError(f"a region of {len(data)} octets ends before its samples")
    swath, request, line, lines, sample, samples, first, total, bits, channels = HEAD.unpack_from(
        data
    )
    box, whole = Box(line, sample, lines, samples), Box(first, sample, total, samples)
    if bits not in (8, 16) or channels not in (1, 3):
        raise PacketError(f"a region of {channels} channels of {bits} bits")
    inside = first <= line and line + lines <= first + total <= 2**32
    count = lines * samples * channels
    if not (inside and 0 < count <= MOST_SAMPLES and sample + samples <= 2**32):
        raise PacketError(f"a region's part of {lines} lines of {samples} samples makes no sense")
    size = lines + count * (bits // 8)
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data[HEAD.size :], size + 1)
    except zlib.error as error:
        raise PacketError(f"a region is damaged: {error}") from error
    if len(plain) != size or not inflater.eof or inflater.unused_data:
        raise PacketError(f"a region's part has no {size:,} octets of samples")
    pixels = _unfiltered(plain, lines, samples, channels, bits)
    return Region(swath, request, box, whole, pixels if channels == 3 else pixels[..., 0])


def png(pixels: Samples) -> bytes:
    """Samples as a PNG file of as many bits."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def region_product(region: Region, number: int) -> Product:
    """The part as a product, the `number`-th of its swath's regions."""
    return Product(Kind.REGION, number, NO_CLASS, 0.0, False, encode_region(region))


def _filtered(pixels: Samples) -> bytes:
    """The filter of each line, then the differences; pixels (lines, samples, channels)."""
    wide = pixels.astype(np.int32)
    above = np.zeros_like(wide)
    above[1:] = wide[:-1]
    up = wide - above
    ways = np.stack([_from_left(wide), up, _from_left(up)])
    chosen = np.abs(ways).sum(axis=(2, 3)).argmin(axis=0)
    best = ways[chosen, np.arange(len(wide))]
    half = 1 << (pixels.dtype.itemsize * 8 - 1)
    # Modulo the width of a sample: the nearest of the differences that give it.
    best = (best + half) % (2 * half) - half
    folded = np.where(best < 0, -2 * best - 1, 2 * best).astype(pixels.dtype)
    planes = folded.astype(f">u{pixels.dtype.itemsize}").view(np.uint8)
    columns = planes.reshape(-1, pixels.dtype.itemsize).T
    filters: bytes = chosen.astype(np.uint8).tobytes()
    return filters + np.ascontiguousarray(columns).tobytes()


def _unfiltered(plain: bytes, lines: int, samples: int, channels: int, bits: int) -> Samples:
    octets, kind = bits // 8, np.dtype(f"u{bits // 8}")
    chosen = plain[:lines]
    if max(chosen) > _BOTH:
        raise PacketError(f"a region has a line of filter {max(chosen)}")
    planes = np.frombuffer(plain, np.uint8, offset=lines).reshape(octets, -1)
    folded = np.ascontiguousarray(planes.T).view(f">u{octets}").astype(np.int64)
    folded = folded.reshape(lines, samples, channels)
    differences = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    # Sums are modulo the width of a sample, so that they may as well overflow.
    out = differences.astype(kind)
    above = np.zeros((samples, channels), kind)
    for line, way in enumerate(chosen):
        row = out[line]
        if way != _UP:
            np.cumsum(row, axis=0, dtype=kind, out=row)
        if way != _LEFT:
            row += above
        above = row
    return out


def _from_left(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Differences from the sample before; the first is from 0."""
    result = values.copy()
    result[:, 1:] -= values[:, :-1]
    return result
