"""Products as bytes that stand alone: tile records, pictures of detections, swaths.

Record, thumbnail and image begin with the same 26-octet head (big-endian, `HEAD`), so that each
says where it lies without the others; time and place follow it where they are known (`tail`).
Then a record ends, and thumbnail and image go on with a JPEG. A swath product is
JSON. The layouts are documented in docs/downlink-format.md.
"""

from __future__ import annotations

import itertools
import json
import struct
import sys
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_edge.errors import PacketError
from winnow_edge.mission import Products
from winnow_edge.products.fit import fitted, reduced
from winnow_edge.products.kinds import (
    NO_CLASS,
    Box,
    Detection,
    Flag,
    Kind,
    Product,
    TileRecord,
)
from winnow_edge.products.sketch import sketch
from winnow_edge.products.tail import Seen, read_tail, seen_at
from winnow_edge.tables import Reader, setting

HEAD: Final = struct.Struct(">IIIIHHBBHBB")
"""swath u32, tile index u32, line u32, sample u32, lines - 1 u16, samples - 1 u16, scale u8,
class u8, posterior u16 (65535 = 1), flags u8, merged u8."""

_FLAGS_AT: Final = HEAD.size - 2
_CLASS: Final = struct.Struct(">BH")
_CLASS_AT: Final = _FLAGS_AT - _CLASS.size
_OUTLINE: Final = struct.Struct(">2shhHH")
"""The comment of a JPEG whose feature is told by several tiles: "WN", then from the tile's first
corner to the outline's, lines and samples i16, and its lines - 1 and samples - 1 u16; all in pixels
of the tile, rounded outwards."""
_OUTLINE_MARK: Final = b"WN"
_COMMENT, _SCAN = 0xFE, 0xDA  # markers (ITU-T T.81, table B.1)
POSTERIOR_MAX: Final = 65_535
MERGED_MAX: Final = 255
SWATH_TILE: Final = -1
"""Tile index of a product that is about its whole swath."""


@dataclass(frozen=True, slots=True)
class Head:
    """What every product but the swath's says about itself.

    `swath_id` numbers the swaths of a store, `merged` counts the detections that it stands for
    (1 for a record; counts over 255 are sent as 255).
    """

    swath_id: int
    record: TileRecord
    merged: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded thumbnail or image: its head and its JPEG file as it came down; `outline` is where
    its feature lies, if several tiles told (None: its tile alone does)."""

    head: Head
    jpeg: bytes
    outline: Box | None = None


def encode_head(head: Head) -> bytes:
    """The 26 octets of `HEAD`. Raises ValueError if a field does not fit its place.

    Time and place follow them, where the record has them.
    """
    record, box = head.record, head.record.box
    if not 0.0 <= record.posterior <= 1.0:
        raise ValueError(f"posterior {record.posterior} is not in 0..1")
    seen = seen_at(record.time, record.place)
    told = Flag(int(seen.flags()[0]))
    try:
        return HEAD.pack(
            head.swath_id,
            record.index,
            box.line,
            box.sample,
            box.lines - 1,
            box.samples - 1,
            record.scale,
            record.class_index,
            round(record.posterior * POSTERIOR_MAX),
            int(record.flags & ~(Flag.TIMED | Flag.PLACED) | told),
            min(head.merged, MERGED_MAX),
        ) + b"".join(seen.tails())
    except struct.error as error:
        raise ValueError(f"{head} does not fit its 26 octets: {error}") from error


def decode_head(data: bytes) -> Head:
    """The head of a record, thumbnail or image, with its time and place. Raises PacketError if it
    is cut short."""
    return _decode_head(data)[0]


def _decode_head(data: bytes) -> tuple[Head, int]:
    """The head and what follows it, and where both end."""
    if len(data) < HEAD.size:
        raise PacketError(f"a product of {len(data)} octets has no head of {HEAD.size}")
    swath, index, line, sample, lines, samples, scale, cls, posterior, flags, merged = (
        HEAD.unpack_from(data)
    )
    box = Box(line, sample, lines + 1, samples + 1)
    time, place, end = read_tail(data, Flag(flags), HEAD.size)
    record = TileRecord(index, box, scale, cls, posterior / POSTERIOR_MAX, Flag(flags), time, place)
    return Head(swath, record, merged), end


def with_flag(data: bytes, flag: Flag) -> bytes:
    """An encoded record, thumbnail or image with one more flag set."""
    return data[:_FLAGS_AT] + bytes([data[_FLAGS_AT] | flag]) + data[_FLAGS_AT + 1 :]


def with_class(data: bytes, class_index: int, posterior: float) -> bytes:
    """An encoded record, thumbnail or image of another class."""
    changed = bytearray(data)
    _CLASS.pack_into(changed, _CLASS_AT, class_index, round(posterior * POSTERIOR_MAX))
    return bytes(changed)


def decode_record(data: bytes) -> Head:
    """A record's head; the posterior comes back to within 1/131070.

    Raises PacketError if `data` ends before or goes on after it.
    """
    head, end = _decode_head(data)
    if len(data) != end:
        raise PacketError(f"a record of {end} octets has {len(data)}")
    return head


def decode_picture(data: bytes) -> Picture:
    """A thumbnail or image; its JPEG is not decoded.

    Raises PacketError if there is no head or nothing after it.
    """
    head, end = _decode_head(data)
    if len(data) == end:
        raise PacketError("a picture ends after its head")
    jpeg = bytes(data[end:])
    return Picture(head, jpeg, _outline_of(head.record, jpeg))


def _outline_of(record: TileRecord, jpeg: bytes) -> Box | None:
    """The outline in the comment of a JPEG, whatever the sender wrote there."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != _SCAN:
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        said = jpeg[at + 4 : at + 2 + length]
        if jpeg[at + 1] == _COMMENT and len(said) == _OUTLINE.size and said[:2] == _OUTLINE_MARK:
            _, line, sample, lines, samples = _OUTLINE.unpack(said)
            box, scale = record.box, record.scale
            line, sample = box.line + line * scale, box.sample + sample * scale
            # Rounded outwards it may begin before the swath.
            lines = (lines + 1) * scale + min(line, 0)
            samples = (samples + 1) * scale + min(sample, 0)
            good = lines > 0 and samples > 0
            return Box(max(line, 0), max(sample, 0), lines, samples) if good else None
        at += 2 + length
    return None


def _outline_comment(detection: Detection) -> bytes:
    """The JPEG comment that `_outline_of` reads; empty where the detection stands for itself."""
    box, outline, scale = detection.box, detection.outline, detection.scale
    if outline is None or detection.merged == 1:
        return b""
    line, sample = (outline.line - box.line) // scale, (outline.sample - box.sample) // scale
    last_line = -((box.line - outline.line - outline.lines) // scale)
    last_sample = -((box.sample - outline.sample - outline.samples) // scale)
    sides = last_line - line - 1, last_sample - sample - 1
    return _OUTLINE.pack(_OUTLINE_MARK, line, sample, *sides)


def encode_thumbnail(
    detection: Detection, products: Products, swath_id: int, seen: Seen | None = None
) -> bytes:
    """Head, time and place (`seen`, of one tile; None: not known) and a JPEG of the tile, its
    longer side reduced to `products.thumbnail_pixels`."""
    image = reduced(Image.fromarray(detection.pixels), products.thumbnail_pixels)
    limits = products.thumbnail_quality, products.thumbnail_bytes
    return _picture(detection, image, limits, swath_id, seen)


def thumbnail_of(pixels: npt.NDArray[np.uint8], products: Products, head: int) -> bytes:
    """A JPEG of a tile, its longer side reduced to `products.thumbnail_pixels`, that goes behind a
    head of so many bytes.

    `pixels` uint8, shape (tile, tile) or (tile, tile, 3).
    """
    image = reduced(Image.fromarray(pixels), products.thumbnail_pixels)
    return _jpeg(image, products.thumbnail_quality, products.thumbnail_bytes, head)


def encode_image(
    detection: Detection, products: Products, swath_id: int, seen: Seen | None = None
) -> bytes:
    """Head, time and place (as for a thumbnail) and a JPEG of the whole tile as the net saw it."""
    image = Image.fromarray(detection.pixels)
    limits = products.image_quality, products.image_bytes
    return _picture(detection, image, limits, swath_id, seen)


def _picture(
    detection: Detection,
    image: Image.Image,
    limits: tuple[int, int],
    swath_id: int,
    seen: Seen | None,
) -> bytes:
    record = TileRecord(
        detection.tile_index,
        detection.box,
        detection.scale,
        detection.class_index,
        detection.posterior,
        Flag.DETECTION,
        None if seen is None else seen.time(0),
        None if seen is None else seen.place(0),
    )
    head = encode_head(Head(swath_id, record, detection.merged))
    return head + _jpeg(image, *limits, len(head), _outline_comment(detection))


def _jpeg(image: Image.Image, quality: int, most: int, head: int, comment: bytes = b"") -> bytes:
    """A JPEG of this quality, or of the best with which it and a head fit `most` bytes."""
    room = most - head if most else sys.maxsize
    return fitted(image, room, quality, **({"comment": comment} if comment else {}))


def encode_swath(info: dict[str, Any]) -> bytes:
    """A swath product: compact JSON in UTF-8, keys in their given order."""
    return json.dumps(info, separators=(",", ":"), ensure_ascii=False).encode()


SWATH_BYTES: Final = 131_072
"""The most octets of a swath product."""


@dataclass(frozen=True)
class _Verdict:
    """`winnow_edge.loop.verdict.as_json`."""

    verdict: str = setting(...)
    class_name: str = setting(..., key="class")
    mean: float = setting(..., 0, 1)
    tiles: int = setting(..., 0, 2**32)
    showing: int = setting(..., 0, 2**32)


@dataclass(frozen=True)
class _Told:
    """The keys of a swath product that are read again; what else is in it is kept as it came."""

    id: int = setting(..., 0, 2**32 - 1)
    swath: str = setting(...)
    classes: tuple[str, ...] = setting((), most=NO_CLASS)
    mission: str | None = setting(None)
    bundle: str | None = setting(None)
    instrument: str | None = setting(None)
    runtime: str | None = setting(None)
    runtime_requested: str | None = setting(None)
    lines: int | None = setting(None, 0, 2**32)
    samples: int | None = setting(None, 0, 2**31)
    scales: tuple[int, ...] = setting((), 1, 64, most=64)
    tiles: int | None = setting(None, 0, 2**32)
    screened: int | None = setting(None, 0, 2**32)
    second_views: int | None = setting(None, 0, 2**32)
    hits: int | None = setting(None, 0, 2**32)
    verified: int | None = setting(None, 0, 2**32)
    refused: int | None = setting(None, 0, 2**32)
    relabelled: int | None = setting(None, 0, 2**32)
    detections: int | None = setting(None, 0, 2**32)
    products: int | None = setting(None, 0, 2**32)
    bytes: int | None = setting(None, 0, 2**53)
    by_class: dict[str, int] = setting(dict, 0, 2**32)
    truncated: str | None = setting(None)
    complete: bool = setting(False)
    verdict: _Verdict | None = setting(None)


def decode_swath(data: bytes) -> dict[str, Any]:
    """The inverse of `encode_swath`. Raises PacketError if it is no JSON object, or not one that
    `checked_swath` passes."""
    if len(data) > SWATH_BYTES:
        raise PacketError(f"a swath product of {len(data):,} octets, legal is {SWATH_BYTES:,}")
    return checked_swath(Reader("a swath product", PacketError).json(data))


def checked_swath(info: Any) -> dict[str, Any]:
    """What is told about a swath, if every value that is read again is of its type and range.
    Raises PacketError naming the key."""
    Reader("a swath product", PacketError, others=True).table(_Told, info)
    found: dict[str, Any] = info
    return found


HEADS: Final = np.dtype(
    [
        ("swath", ">u4"),
        ("tile", ">u4"),
        ("line", ">u4"),
        ("sample", ">u4"),
        ("lines", ">u2"),
        ("samples", ">u2"),
        ("scale", "u1"),
        ("class", "u1"),
        ("posterior", ">u2"),
        ("flags", "u1"),
        ("merged", "u1"),
    ]
)
"""`HEAD` as a NumPy record."""


def record_products(
    swath_id: int,
    first: int,
    *,
    line: int | npt.NDArray[np.int64],
    lines: int | npt.NDArray[np.int64],
    sample: npt.NDArray[np.int64],
    samples: npt.NDArray[np.int64],
    scale: int | npt.NDArray[np.int64],
    class_index: npt.NDArray[np.uint8],
    posterior: npt.NDArray[np.float64],
    flags: npt.NDArray[np.uint8],
    seen: Seen | None = None,
) -> list[Product]:
    """The records of n tiles from index `first`, `seen` when and where (None: not known).

    Arrays have shape (n,). The flight loop makes a record for every tile; one by one they
    cost far more.
    """
    count = len(sample)
    heads = np.zeros(count, HEADS)
    heads["swath"], heads["tile"] = swath_id, np.arange(first, first + count)
    heads["line"], heads["lines"], heads["scale"] = line, lines - 1, scale
    heads["sample"], heads["samples"] = sample, samples - 1
    heads["class"], heads["flags"], heads["merged"] = class_index, flags, 1
    if seen is not None:
        heads["flags"] |= seen.flags()
    heads["posterior"] = np.rint(posterior * POSTERIOR_MAX)
    data = heads.view(f"V{HEAD.size}").tolist()  # bytes
    if seen is not None:
        data = [head + tail for head, tail in zip(data, seen.tails(), strict=True)]
    columns = zip(
        itertools.repeat(Kind.RECORD, count),
        range(first, first + count),
        class_index.tolist(),
        posterior.tolist(),
        (flags & Flag.DETECTION != 0).tolist(),
        data,
        itertools.repeat(b"", count),
        strict=True,
    )
    return list(map(Product._make, columns))


def detection_products(
    detection: Detection, products: Products, swath_id: int, seen: Seen | None = None
) -> list[Product]:
    """The thumbnail and the image of a detection, encoded once; `seen` as for a thumbnail."""
    look = sketch(detection.pixels)
    encoders = ((Kind.THUMBNAIL, encode_thumbnail), (Kind.IMAGE, encode_image))
    return [
        Product(
            kind,
            detection.tile_index,
            detection.class_index,
            detection.posterior,
            True,
            encode(detection, products, swath_id, seen),
            look,
        )
        for kind, encode in encoders
    ]
