"""Swaths: PNG, JPEG, PGM and raw lines, damaged as octets and in their own structure."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz import mutate
from tests.fuzz.door import Door
from winnow_edge.mission import Instrument
from winnow_edge.sources.open import open_source

_MOST_LINES = 4096
"""A header may promise a vast picture, which is only slow to read."""


def _read(path: Path, data: bytes, camera: Instrument, samples: int | None, *, grey: bool) -> None:
    """Open and read the first lines of a swath that holds `data`."""
    path.write_bytes(data)
    source = open_source(path, instrument=camera, samples=samples, grey=grey, memory_mb=1.0)
    with contextlib.closing(source):
        shape: tuple[int, ...] = (64, source.samples)
        if source.channels == 3:
            shape = (*shape, 3)
        out = np.zeros(shape, np.uint16 if source.bits == 16 else np.uint8)
        for _ in range(_MOST_LINES // len(out)):
            if source.read(out) < len(out):
                break


def picture(kind: str, mode: str = "L", **options: Any) -> bytes:
    """A small picture with a gradient."""
    line, sample = np.mgrid[:40, :24]
    image = Image.fromarray((100 + 3 * line + sample).astype(np.uint8))
    out = io.BytesIO()
    image.convert(mode).save(out, kind, **options)
    return out.getvalue()


def _png(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Chunks changed, doubled, dropped and moved, each with the right CRC."""
    data, chunks, at = rng.choice(seeds), [], 8
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + size]])
        at += 12 + size
    for _ in range(rng.choice((1, 1, 2))):
        chunk = rng.choice(chunks)
        match rng.randrange(6):
            case 0:
                sizes = (0, 1, 24, 4097, 65_536, 2_000_000, 2**31 - 1, 2**32 - 1)
                kind = bytes(
                    [rng.choice((1, 2, 4, 8, 16)), rng.randrange(8), 0, 0, rng.randrange(2)]
                )
                chunks[0][1] = struct.pack(">II", rng.choice(sizes), rng.choice(sizes)) + kind
            case 1:
                chunk[1] = mutate.octets(rng, [chunk[1]], (b"\0",))
            case 2:
                chunks.remove(chunk)
            case 3:
                chunks.insert(rng.randrange(len(chunks) + 1), list(chunk))
            case 4:
                names = (b"tRNS", b"PLTE", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"eXIf", b"pHYs")
                chunks.insert(1, [rng.choice(names), rng.randbytes(rng.choice((0, 3, 13, 300)))])
            case _:
                chunk[1] = zlib.compress(bytes(rng.choice((0, 100, 1 << 22))))
        if not chunks:
            break
    parts = [data[:8]]
    for name, body in chunks:
        check = zlib.crc32(bytes(name) + bytes(body))
        parts += [struct.pack(">I", len(body)), name, body, struct.pack(">I", check)]
    return b"".join(parts)


def _jpeg(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Segments of the header changed, doubled, dropped and moved, with lengths that fit."""
    data, segments, at = rng.choice(seeds), [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append([data[at + 1], data[at + 4 : at + 2 + size]])
        at += 2 + size
        if segments[-1][0] == 0xDA:
            break
    for _ in range(rng.choice((1, 1, 2))):
        segment = rng.choice(segments)
        match rng.randrange(5):
            case 0:
                segment[1] = mutate.octets(rng, [segment[1]], (b"\xff", b"\0\0"))
            case 1:
                segments.insert(rng.randrange(len(segments) + 1), list(segment))
            case 2 if len(segments) > 1:
                segments.remove(segment)
            case 3:
                rng.shuffle(segments)
            case _:
                segment[0] = rng.choice(
                    (0xC0, 0xC1, 0xC2, 0xC4, 0xC9, 0xDB, 0xDD, 0xE0, 0xE1, 0xEE)
                )
    parts = [b"\xff\xd8"]
    for marker, body in segments:
        parts.append(bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + bytes(body))
    return b"".join([*parts, data[at:]])


def picture_door(folder: Path) -> Door:
    jpegs = [
        picture("JPEG", quality=80),
        picture("JPEG", quality=60, progressive=True),
        picture("JPEG", "RGB", restart_marker_rows=1),
        picture("JPEG", "CMYK"),
    ]
    pngs = [picture("PNG", mode) for mode in ("L", "RGB", "RGBA", "P", "1", "I;16")]
    words = [b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xdd", b"\xff"]
    words += [b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"\x89PNG\r\n\x1a\n"]
    path = folder / "swath"

    def damaged(rng: random.Random) -> tuple[bytes, bool]:
        flips = (2, lambda rng: mutate.octets(rng, [*jpegs, *pngs], words))
        chunks = (1, lambda rng: _png(rng, pngs))
        segments = (1, lambda rng: _jpeg(rng, jpegs))
        return mutate.some(rng, flips, chunks, segments), rng.random() < 0.5

    def enter(content: tuple[bytes, bool]) -> None:
        data, grey = content
        _read(path, data, Instrument(bundle="x"), None, grey=grey)

    return Door(
        enter, [(data, grey) for data in (*jpegs, *pngs) for grey in (True, False)], damaged
    )


def pgm_door(folder: Path) -> Door:
    raster = bytes(range(200)) * 2
    seeds = [b"P5 20 20 255\n" + raster, b"P5\n# made by hand\n10 20\n65535\n" + raster]
    words = [b"P5", b"#", b"\n", b" 0 ", b"-1", b"4294967296", b"65536", b"1e3", b"999999", b" "]
    path = folder / "swath.pgm"

    def enter(data: bytes) -> None:
        _read(path, data, Instrument(bundle="x"), None, grey=True)

    return Door(enter, seeds, lambda rng: mutate.octets(rng, seeds, words))


def raw_door(folder: Path) -> Door:
    """Any octets, as lines of any width."""
    path = folder / "swath.raw"
    seeds = [(bytes(range(100)), 10, 8), (b"\x13" * 400, 20, 16)]

    def damaged(rng: random.Random) -> tuple[bytes, int, int]:
        data, samples, bits = rng.choice(seeds)
        data = mutate.octets(rng, [data], (b"P4", b"BM", b"II*\0"))
        return data, rng.choice((samples, 1, 7, 100, 1_000_000, 2**31)), rng.choice((bits, 8, 16))

    def enter(content: tuple[bytes, int, int]) -> None:
        data, samples, bits = content
        camera = Instrument(bundle="x", bits=bits, byte_order="big")
        _read(path, data, camera, samples, grey=True)

    return Door(enter, seeds, damaged)
