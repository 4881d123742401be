"""What a person is shown of a tile: its picture, and what lies around it.

A picture that came down is shown as it is, if it is one: a catalogue of a stranger names any file.
A tile that was classified on the ground is cut out of its swath's picture. Nothing outside of a
reception's or an archive's own folder is opened.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_base.pictures import TILE_PIXELS, open_picture
from winnow_edge.files import read_small
from winnow_edge.products.kinds import Box
from winnow_edge.sources.contract import PICTURE_ERRORS

CONTEXTS: Final = (1, 3, 9)
"""How many tiles wide each view is."""
SIDE: Final = 384
"""The most pixels of a view's side."""
_HELD_BYTES: Final = 64_000_000
"""Pictures of swaths that are kept decoded."""
_MOST_VIEWS: Final = 1000
"""Parts of swaths that are kept, some 10 to 30 kB each."""
_MOST_PIXELS: Final = 120_000_000
_MOST_COLOUR: Final = 20_000_000
"""Pixels of a colour JPEG that is decoded as grey beyond them."""
_DECODED_BYTES: Final = 500_000_000
"""The most memory that decoding a swath's picture may take."""
_WIDEST: Final = 65_536
"""Lines or samples of a view; a box that came down damaged may tell any."""
_FARTHEST: Final = 2**31
"""No line or sample of a swath is beyond."""
_KINDS: Final = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
"""How pictures that browsers are given begin, and what they are."""
_QUALITY: Final = 90
_CHUNK: Final = 500
_STRETCHED: Final = 4_000_000
"""Samples that percentiles are taken of, about; of more, every so many lines."""
_LINES: Final = 64
"""Lines that are stretched at once."""
_COST: Final = {
    "1": 4,
    "L": 4,
    "LA": 4,
    "P": 11,
    "RGB": 11,
    "I;16": 8,
    "I;16B": 8,
    "I": 14,
    "F": 14,
}
"""Bytes of memory that a pixel takes at the most while it is decoded, by Pillow's mode."""
_MOST_COST: Final = 16
"""Of any other mode."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the picture of a tile is: its own `file`, the picture of its `swath`, its quick
    `look`; `box` is where it lies in a swath of `lines` x `samples` (None: not told), and `sha256`
    is of the swath's picture, where the catalogue has it."""

    tile: int
    box: Box
    lines: int | None
    samples: int | None
    file: Path | None
    swath: Path | None
    look: Path | None
    sha256: str | None

    @property
    def pictured(self) -> bool:
        return self.file is not None or self.swath is not None


def seen(db: sqlite3.Connection, tiles: Iterable[int]) -> dict[int, Seen]:
    """Where the pictures of these tiles are, of those that the catalogue has."""
    wanted, found = list(tiles), dict[int, Seen]()
    for first in range(0, len(wanted), _CHUNK):
        part = wanted[first : first + _CHUNK]
        for row in db.execute(_ROWS.format(",".join("?" * len(part))), part):
            tile, line, sample, high, wide, lines, samples, sha256, folder, *names = row
            own, swath, look = (inside(folder, name) for name in names)
            box = Box(line, sample, high, wide)
            found[tile] = Seen(tile, box, lines, samples, own, swath, look, sha256)
    return found


def inside(folder: str | None, name: str | None) -> Path | None:
    """A file, if it is there and lies in the folder."""
    if not folder or not name:
        return None
    try:
        home = Path(folder).resolve()
        path = (home / name).resolve()
        return path if path.is_relative_to(home) and path.is_file() else None
    except (OSError, ValueError):
        return None


def kind_of(data: bytes) -> str | None:
    """What a browser calls a picture that begins so; None: it is neither JPEG nor PNG."""
    return next((kind for mark, kind in _KINDS.items() if data.startswith(mark)), None)


def digest(data: bytes) -> str:
    """SHA-256 of a picture, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Pictures:
    """Reads pictures; those of swaths stay decoded for a while, `most_bytes` of them. One whose
    decoding would take more than `most_decoded` bytes is not read. Calls take turns, from any
    thread."""

    def __init__(self, most_bytes: int = _HELD_BYTES, most_decoded: int = _DECODED_BYTES) -> None:
        self._most, self._most_decoded, self._turn = most_bytes, most_decoded, threading.Lock()
        self._held: OrderedDict[tuple[Path, int], npt.NDArray[np.uint8]] = OrderedDict()
        self._views: OrderedDict[tuple[Path, int, Box, bool], bytes | None] = OrderedDict()

    def tile(self, one: Seen) -> bytes | None:
        """The picture of a tile, JPEG or PNG; None where none can be read."""
        if one.file is not None:
            try:
                data = read_small(one.file)
            except OSError:
                return None
            return data if kind_of(data) else None
        if one.swath is None or not _is_box(one.box):
            return None
        if one.box.lines * one.box.samples > TILE_PIXELS:
            return None
        return self._view(one.swath, one.box, whole=True)

    def pixels(self, one: Seen) -> npt.NDArray[np.uint8] | None:
        """The same as pixels, uint8 (lines, samples)."""
        data = self.tile(one)
        if data is None:
            return None
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                return np.asarray(image.convert("L"))
        except PICTURE_ERRORS:
            return None

    def around(self, one: Seen, wide: int) -> bytes | None:
        """What lies around a tile, `wide` tiles each way, as JPEG of at most SIDE pixels.

        Cut from the swath's picture, else from its quick look; None where neither is here.
        """
        box = one.box
        if not _is_box(box):
            return None
        down, right = box.lines * (wide - 1) // 2, box.samples * (wide - 1) // 2
        larger = Box(box.line - down, box.sample - right, box.lines * wide, box.samples * wide)
        if one.swath is not None:
            return self._view(one.swath, larger, whole=False)
        if one.look is None or not _is_size(one.lines) or not _is_size(one.samples):
            return None
        pixels = self._swath(one.look)
        if pixels is None:
            return None
        rows, columns = pixels.shape[0] / one.lines, pixels.shape[1] / one.samples
        small = Box(
            round(larger.line * rows),
            round(larger.sample * columns),
            max(1, round(larger.lines * rows)),
            max(1, round(larger.samples * columns)),
        )
        return _view(pixels, small)

    def _view(self, path: Path, box: Box, *, whole: bool) -> bytes | None:
        """A part of a swath's picture as JPEG, `whole` or shrunk; kept, since a browser asks for
        the parts of many swaths again and again."""
        try:
            key = path, path.stat().st_mtime_ns, box, whole
        except OSError:
            return None
        with self._turn:
            if key in self._views:
                self._views.move_to_end(key)
                return self._views[key]
        pixels = self._swath(path)
        if pixels is None:
            return None
        data = _jpeg(_cut(pixels, box), None) if whole else _view(pixels, box)
        with self._turn:
            self._views[key] = data
            while len(self._views) > _MOST_VIEWS:
                self._views.popitem(last=False)
        return data

    def _swath(self, path: Path) -> npt.NDArray[np.uint8] | None:
        """A swath's picture, uint8 (lines, samples), or with 3 bands; None: cannot be read."""
        try:
            key = path, path.stat().st_mtime_ns
        except OSError:
            return None
        with self._turn:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            try:
                with open_picture(path, _MOST_PIXELS) as image:
                    pixels = _decoded(image, self._most_decoded)
            except PICTURE_ERRORS:
                return None
            self._held[key] = pixels
            while len(self._held) > 1 and self._held_bytes() > self._most:
                self._held.popitem(last=False)
            return pixels

    def _held_bytes(self) -> int:
        return sum(pixels.nbytes for pixels in self._held.values())


def _decoded(image: Image.Image, most_bytes: int) -> npt.NDArray[np.uint8]:
    """Deeper samples are stretched between their 1st and 99th percentile, as on pages. Raises
    ValueError where that would take more memory."""
    if image.width * image.height > _MOST_COLOUR and image.format == "JPEG":
        image.draft("L", image.size)
    size = image.width * image.height * _COST.get(image.mode, _MOST_COST)
    if size > most_bytes:
        raise ValueError(f"it would take {size:,} bytes")
    if not image.mode.startswith(("I", "F")):
        return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    deep = np.asarray(image)
    few = deep[:: -(-deep.size // _STRETCHED)]
    low, high = np.percentile(few, (1, 99))
    levels = np.empty(deep.shape, np.uint8)
    for line in range(0, len(deep), _LINES):
        part = deep[line : line + _LINES].astype(np.float32)
        levels[line : line + _LINES] = 255 * np.clip((part - low) / max(high - low, 1e-6), 0, 1)
    return levels


def _view(pixels: npt.NDArray[np.uint8], box: Box) -> bytes | None:
    """A part of at most SIDE pixels each way; None where it lies outside of the picture."""
    if box.lines > _WIDEST or box.samples > _WIDEST:
        return None
    step = max(1, max(box.lines, box.samples) // (2 * SIDE))
    return _jpeg(_cut(pixels, box, step), SIDE)


def _cut(pixels: npt.NDArray[np.uint8], box: Box, step: int = 1) -> npt.NDArray[np.uint8]:
    """Every `step`-th line and sample of a part; what lies outside of the picture is black."""
    rows = np.arange(box.line, box.line + box.lines, step)
    columns = np.arange(box.sample, box.sample + box.samples, step)
    there = (rows >= 0) & (rows < pixels.shape[0])
    across = (columns >= 0) & (columns < pixels.shape[1])
    out = np.zeros((len(rows), len(columns), *pixels.shape[2:]), np.uint8)
    out[np.ix_(there, across)] = pixels[np.ix_(rows[there], columns[across])]
    return out


def _jpeg(pixels: npt.NDArray[np.uint8], largest: int | None) -> bytes | None:
    """None where a side is longer than JPEG has."""
    image = Image.fromarray(pixels)
    if largest is not None:
        image.thumbnail((largest, largest))
    out = io.BytesIO()
    try:
        image.save(out, "JPEG", quality=_QUALITY)
    except PICTURE_ERRORS:
        return None
    return out.getvalue()


def _is_size(number: object) -> TypeGuard[int]:
    return type(number) is int and 0 < number < _FARTHEST


def _is_box(box: Box) -> bool:
    """Whether it can lie in a swath: a damaged catalogue tells any numbers, or none."""
    near = (type(n) is int and abs(n) < _FARTHEST for n in (box.line, box.sample))
    return all(near) and _is_size(box.lines) and _is_size(box.samples)


def digests(pictures: Pictures, those: Mapping[int, Seen]) -> dict[int, str]:
    """The digest of every tile's picture that is here: of its own file, else of the swath's picture
    that it is cut from, which need not be opened for it."""
    found = {}
    for tile, one in those.items():
        if one.file is None and one.swath is not None and one.sha256:
            found[tile] = one.sha256
        elif (data := pictures.tile(one)) is not None:
            found[tile] = digest(data)
    return found


_ROWS: Final = """
SELECT tile.id, line, sample, tile.lines, tile.samples, swath.lines, swath.samples, sha256, folder,
       file, picture, quick_look
FROM tile JOIN swath ON swath.id = tile.swath WHERE tile.id IN ({})
"""
