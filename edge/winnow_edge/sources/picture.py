"""PNG and JPEG through Pillow.

A sequential JPEG is decoded only as far as lines are asked for, so that decoding overlaps with
inference; PNG and progressive JPEG are decoded at once when they are opened. Either way Pillow
holds the whole picture, one byte per pixel where grey is asked for.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from winnow_edge.errors import SwathError
from winnow_edge.sources.contract import PICTURE_ERRORS, Lines
from winnow_edge.sources.jpeg import Recount, Rows, Taller, any_size, damage, lines_there, rows_of

_CHUNK = 1 << 16
_WINDOW = 1024
"""Rows looked at for new ones after each chunk. A chunk of mostly black may decode more of them;
then they are found later, at the end of the file at the latest."""
_EOI = b"\xff\xd9"
_STRAY_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""In the entropy-coded data of a sequential JPEG, FF is followed by 00, fill or a restart marker
(ITU-T T.81, B.1.1.2 and F.1.2.3); anything else ends the scan."""

_HEADS = frozenset({0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
"""Markers of the segments around scans: frame, tables, scan, restart interval, comment, APPn."""
_COEFFICIENTS = 3
"""Bytes a pixel that libjpeg holds of a progressive JPEG beside the picture
(docs/notebook/flight-loop.md)."""
_ANOTHER = (b"\xff\xd9\xff\xd8\xff", b"IEND\xae\x42\x60\x82\x89PNG\r\n\x1a\n")
"""The end of a picture and the beginning of the next, JPEG and PNG: within one neither may be."""
_SCANS_GIVEN_UP = 4
"""Scans that are left out at most until a damaged progressive JPEG draws."""


class PictureSource:
    """Lines of a Pillow image that is complete, or completed as lines are asked for.

    `more` decodes a further piece of `file` and returns False at the end; None if all is there.
    `lines` is the number of lines where the image was decoded with more or not all hold data.
    `declared` is what the header says. `cut` says why decoding ended; the lines that are there are
    counted. `truncated` says what is missing where that is known, `check` is asked for it after the
    last line.
    """

    def __init__(
        self,
        path: Path,
        image: Image.Image,
        *,
        grey: bool,
        cut: str | None = None,
        truncated: str | None = None,
        more: Callable[[], bool] | None = None,
        file: BinaryIO | None = None,
        lines: int | None = None,
        declared: int | None = None,
        check: Callable[[], str | None] | None = None,
    ) -> None:
        self.name = path.name
        self.samples, height = image.size
        height = lines or height
        self.lines: int | None = height
        self.declared_lines = declared or height
        wide = image.mode.startswith("I")
        self.bits = 16 if wide else 8
        self.channels = 1 if grey or wide or image.mode in ("1", "L", "LA") else 3
        self.truncated = truncated
        self.behind: str | None = None
        """What is said after the last line of the file's content behind the picture."""
        self.fingerprint: str | None = None
        self._image, self._height, self._more, self._file = image, height, more, file
        self._mode = image.mode if wide else "L" if self.channels == 1 else "RGB"
        self._at, self._check = 0, check
        # How far rows are known to be decoded: one with anything in it means all before are done.
        self._ready = 0 if more is not None else height
        if cut is not None:
            self._cut(cut)

    def read(self, out: Lines) -> int:
        """See `LineSource.read`."""
        stop = min(self._at + len(out), self._height)
        while self._ready < stop and self._more is not None:
            if not self._more():
                self._more = None
                self._ready = self._height
                break
            self._ready = _last_drawn(self._image, self._ready, self._ready + _WINDOW)
        stop = min(stop, self._height)
        count = max(stop - self._at, 0)
        if count:
            with any_size():
                rows = self._image.crop((0, self._at, self.samples, stop))
            if rows.mode != self._mode:
                rows = rows.convert(self._mode)
            out[:count] = np.asarray(rows)
            self._at = stop
            if stop == self._height:
                self._look_back()
        return count

    def close(self) -> None:
        """See `LineSource.close`."""
        self._image = Image.new("L", (1, 1))
        self._more = None
        if self._file is not None:
            self._file.close()

    def _look_back(self) -> None:
        """After the last line: what is left of the file is decoded, and the whole judged."""
        while self._more is not None and self._more():
            pass
        self._more = None
        # A check may decode the file once more, so this picture must not be held beside it.
        self._image = Image.new("L", (1, 1))
        check, self._check = self._check, None
        if check is not None and self.truncated is None:
            self.truncated = check()
        self.truncated = self.truncated or self.behind

    def stop_at_what_is_there(self, why: str) -> None:
        """The rest cannot be decoded: the swath ends with the last row that was."""
        self._more = None
        self._cut(why)

    def _cut(self, why: str) -> None:
        decoded = _last_drawn(self._image, 0, self._height)
        if decoded == self._height:
            return  # only its end marker is missing
        self.truncated = f"{why}: {self._height - decoded} of {self._height} lines are missing"
        self._height = self._ready = decoded
        self.lines = decoded
        if not decoded:
            raise SwathError(f"holds no line that can be decoded ({why})", where=self.name)


def open_picture(path: Path, *, grey: bool, memory_mb: float) -> PictureSource:
    """Open a PNG or JPEG. Raises SwathError if it is no picture, or if decoding it takes more than
    `memory_mb` (1e6 bytes), which its header tells before anything is allocated."""
    file = path.open("rb")
    try:
        image = _identify(file, path)
        jpeg = isinstance(image, JpegImageFile)  # a file of several pictures too (MPO)
        if jpeg and grey:
            # libjpeg then drops the chroma planes: a quarter of the memory of RGB.
            image.draft("L", None)
        sequential = jpeg and not image.info.get("progressive")
        octets = 1 if image.mode in ("L", "P", "1") else 4
        if jpeg and not sequential:
            octets += _COEFFICIENTS
        size = image.width * image.height * octets
        if size > memory_mb * 1e6:
            raise SwathError(
                f"is {image.width} x {image.height}: decoding it takes {size / 1e6:,.1f} MB, and "
                f"`compute.memory_mb` is {memory_mb:g}",
                where=path,
                hint="allow more, or send raw lines: winnow-edge run MISSION - --samples N",
            )
        behind = None if image.format == "MPO" else _behind(file)
        opened = _open_sequential if sequential else _open_whole
        source = opened(path, image, file, grey=grey)
        source.behind = behind
        return source
    except BaseException:
        file.close()
        raise


def _identify(file: BinaryIO, path: Path) -> ImageFile.ImageFile:
    try:
        with any_size():
            return Image.open(file, formats=("JPEG", "PNG"))
    except PICTURE_ERRORS:
        raise SwathError(
            "begins like a picture but cannot be read as one", where=path, hint="send it again"
        ) from None


def _open_whole(
    path: Path, image: ImageFile.ImageFile, file: BinaryIO, *, grey: bool
) -> PictureSource:
    if image.mode in ("I", "F"):
        raise SwathError(
            f"has {image.mode!r} samples", where=path, hint="store it with 8 or 16 bits"
        )
    jpeg = isinstance(image, JpegImageFile)
    rows = _rows(file, path) if jpeg else None
    height, said, cut = image.height, None, None
    lines, check = height, None
    if rows is not None:
        if image.mode == "L":
            image = _identify(cast(BinaryIO, Taller(file, rows)), path)
            image.draft("L", None)
        check = _counting(file, image, rows)
    try:
        image.load()
        if rows is not None and image.mode == "L" and (there := lines_there(image, rows)) < height:
            lines, check = there, None
            said = f"the data end early: {height - there} of {height} lines are missing"
    except PICTURE_ERRORS as error:
        cut, check = str(error).split("(")[0].strip() or "damaged", None
        image = _what_is_there(path, file, jpeg=jpeg, grey=grey)
        # What is left of a progressive JPEG is whole, but coarse.
        if rows is not None and _anything(image):
            lines, said = lines_there(image, rows, cut=True), f"{cut}: finer scans are missing"
            if lines < height:
                said += f", and {height - lines} of {height} lines"
            cut = None
    try:
        source = PictureSource(
            path,
            image,
            grey=grey,
            cut=cut,
            truncated=said,
            file=file if isinstance(check, Recount) else None,
            lines=lines,
            declared=height,
            check=check,
        )
    except PICTURE_ERRORS:  # Pillow made no picture at all of it
        raise SwathError(
            f"holds no line that can be decoded ({cut or said})", where=path, hint="send it again"
        ) from None
    if not isinstance(check, Recount):
        file.close()
    return source


def _what_is_there(path: Path, file: BinaryIO, *, jpeg: bool, grey: bool) -> ImageFile.ImageFile:
    """As much of a damaged picture as can be decoded."""
    file.seek(0)
    data = file.read()
    # An end marker makes libjpeg draw the scans before it; one damaged scan spoils all, so the
    # last ones are left out until it draws.
    ends = _scan_ends(data)[: -_SCANS_GIVEN_UP - 1 : -1] if jpeg else [len(data)]
    image = _identify(file, path)
    for end in ends:
        image = _identify(io.BytesIO(data[:end] + _EOI) if jpeg else file, path)
        if jpeg and grey:
            image.draft("L", None)
        with _tolerant(), contextlib.suppress(*PICTURE_ERRORS):
            image.load()
            break
    return image


def _open_sequential(
    path: Path, image: ImageFile.ImageFile, file: BinaryIO, *, grey: bool
) -> PictureSource:
    # As ImageFile.Parser does, which refuses JPEG since it learned to read past a cut.
    if not image.tile:
        raise SwathError("is a JPEG without a scan", where=path, hint="send it again")
    lines, check = image.height, None
    file.seek(0)
    chunks = _scan(file)
    data = next(chunks)
    if (rows := rows_of(data, path)) is not None:
        if image.mode == "L":
            data = rows.patched(data)
            image = _identify(io.BytesIO(data), path)
            image.draft("L", None)
        check = _counting(file, image, rows)
    image.load_prepare()
    name, extents, _, arguments = image.tile[0]
    image.tile = []
    decoder = Image._getdecoder(image.mode, name, arguments, image.decoderconfig)
    decoder.setimage(image.im, extents)
    whole = False

    def more() -> bool:
        nonlocal data, whole
        if (chunk := next(chunks, None)) is None:
            source.stop_at_what_is_there("the file is cut short or damaged")
            return False
        data += chunk
        used, error = decoder.decode(data)
        if used < 0 and error < 0:
            source.stop_at_what_is_there("the file is damaged")
            return False
        data = data[used:] if used > 0 else data
        whole = used < 0
        return not whole

    source = PictureSource(
        path,
        image,
        grey=grey,
        more=more,
        file=file,
        lines=lines,
        check=lambda: check() if whole and check is not None else None,
    )
    return source


def _rows(file: BinaryIO, path: Path) -> Rows | None:
    """The rows of blocks of a JPEG whose frame header is near its beginning."""
    file.seek(0)
    return rows_of(file.read(_CHUNK), path)


def _behind(file: BinaryIO) -> str | None:
    """What is to be said of a second picture behind the first; None where there is none."""
    file.seek(0)
    tail = b""
    while piece := file.read(1 << 20):
        if any(ending in tail + piece for ending in _ANOTHER):
            return "another picture follows in the file; it was left out"
        tail = piece[-16:]
    return None


def _anything(image: Image.Image) -> bool:
    """Whether anything of an image was decoded; False too where Pillow made none at all."""
    with contextlib.suppress(*PICTURE_ERRORS):
        return image.getbbox() is not None
    return False


def _counting(file: BinaryIO, image: Image.Image, rows: Rows) -> Callable[[], str | None]:
    """Counts the blocks of an image, once it is decoded."""
    # A grey one was decoded with the row in which they are counted, others are decoded once more.
    return (lambda: damage(image, rows)) if image.mode == "L" else Recount(file, rows)


def _scan(file: BinaryIO) -> Iterator[bytes]:
    """Pieces of a sequential JPEG, ending before a marker that has no place in the scan."""
    head = file.read(_CHUNK)
    start = _scan_start(head)
    while start is None and (piece := file.read(_CHUNK)):
        head += piece
        start = _scan_start(head)
    yield head[: start or len(head)]
    data = head[start:] if start is not None else b""
    while data:
        # A marker may lie across two pieces: hold back a last FF.
        held = data[-1:] if data.endswith(b"\xff") else b""
        body = data[: len(data) - len(held)]
        if stray := _STRAY_MARKER.search(body):
            end = stray.end() if stray[0] == _EOI else stray.start()
            yield body[:end]
            return
        yield body
        piece = file.read(_CHUNK)
        data = held + piece if piece else b""


def _scan_start(head: bytes) -> int | None:
    """Where the entropy-coded data begins: after the start-of-scan segment (T.81, B.2.3)."""
    at = 2
    while at + 4 <= len(head):
        if head[at] != 0xFF:
            return None
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker == 0xFF:  # fill
            at += 1
            continue
        at += 2 + length
        if marker == 0xDA:
            return at if at <= len(head) else None
    return None


def _scan_ends(data: bytes) -> list[int]:
    """Where the scans of a progressive JPEG end, as far as its markers make sense (T.81, B.2)."""
    at, ends = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker not in _HEADS and marker != 0xFF:
            break
        if marker == 0xFF:  # fill
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            stray = _STRAY_MARKER.search(data, at)
            at = stray.start() if stray else len(data)
            ends.append(at)
    return ends


def _last_drawn(image: Image.Image, known: int, until: int) -> int:
    """Rows up to the last one before `until` that is not all zero, as undecoded rows are."""
    with any_size():
        rest = image.crop((0, known, image.width, min(until, image.height)))
    if rest.mode.startswith("I"):
        drawn = np.flatnonzero(np.asarray(rest).any(axis=1))
        return known + int(drawn[-1]) + 1 if len(drawn) else known
    box = rest.getbbox()
    return known + box[3] if box else known


@contextlib.contextmanager
def _tolerant() -> Iterator[None]:
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
