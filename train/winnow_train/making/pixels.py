"""Pictures of any depth and colour as the 8 bits that a net is shown.

16-bit samples are stretched as on board, between percentiles of the picture. Transparent pixels
become 0, nodata. A colour picture whose channels are alike is grey.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.pictures import open_picture
from winnow_edge.loop.band import bin_lines
from winnow_edge.mission import Instrument
from winnow_edge.prepare.stretch import Stretch
from winnow_edge.sources.contract import PICTURE_ERRORS

Pixels = npt.NDArray[np.uint8]

LARGEST = 256_000_000
"""Bytes of the largest picture that is decoded, as on board."""
LONGEST = 1024
"""Longer labelled pictures are binned: a net is shown 512 pixels at most."""
_BAND = 256
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}


def size_of(path: Path) -> tuple[int, int]:
    """Lines and samples of a picture, from its header. Raises DataError."""
    with _opened(path) as image:
        return image.height, image.width


def _opened(path: Path) -> Image.Image:
    try:
        return open_picture(path)
    except PICTURE_ERRORS as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    try:
        empty = path.stat().st_size == 0
    except OSError as gone:
        return DataError(gone.strerror or "cannot be read", where=path)
    if empty:
        return DataError("is empty", where=path)
    if "decompression bomb" in str(error):
        return DataError(f"is too large: {error}", where=path, hint="cut or bin it first")
    said = str(error) if "truncated" in str(error) else "is no picture that can be decoded"
    return DataError(said, where=path)


class Decoded:
    """A picture in memory, of which parts are taken as uint8 [lines, samples] or [.., .., 3]."""

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        """Raises DataError for what cannot be decoded in `LARGEST` bytes. With `whole`, a JPEG
        may be decoded at a fraction of its size, down to `LONGEST`."""
        self.path = path
        self._image = _opened(path)
        try:
            if whole and max(self._image.size) > 2 * LONGEST:
                self._image.draft(self._image.mode, (LONGEST, LONGEST))
            self._refuse_large()
            self._image.load()
            if "transparency" in self._image.info and self._image.mode in ("P", "L", "RGB"):
                self._image = self._image.convert("RGBA")
            self._stretch = self._learned()
        except (*PICTURE_ERRORS, MemoryError) as error:
            self._image.close()
            raise _unreadable(path, error) from error
        except DataError:
            self._image.close()
            raise

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and samples, as decoded."""
        return self._image.height, self._image.width

    def close(self) -> None:
        """Let go of the pixels."""
        self._image.close()

    def part(self, line: int, sample: int, lines: int, samples: int, scale: int = 1) -> Pixels:
        """A part inside of the picture, box-binned by `scale`."""
        box = (sample, line, min(sample + samples, self.shape[1]), min(line + lines, self.shape[0]))
        pixels = self._as_8_bits(self._image.crop(box))
        return bin_lines(np.ascontiguousarray(pixels), scale)

    def whole(self) -> Pixels:
        """The whole picture, binned until its longer side is at most LONGEST."""
        scale = -(-max(self.shape) // LONGEST)
        rows = _BAND * scale
        bands = [
            self.part(line, 0, rows, self.shape[1], scale) for line in range(0, self.shape[0], rows)
        ]
        colour = any(band.ndim == 3 for band in bands)
        bands = [np.stack([b] * 3, 2) if colour and b.ndim == 2 else b for b in bands]
        return np.concatenate(bands)

    def _refuse_large(self) -> None:
        size = self._image.width * self._image.height * _BYTES.get(self._image.mode, 4)
        if size > LARGEST:
            raise DataError(
                f"is {self._image.width} x {self._image.height}, {self._image.mode}: decoding it "
                f"takes {size // 10**6} MB, {LARGEST // 10**6} are allowed",
                where=self.path,
                hint="cut it into parts, or save it in grey",
            )

    def _learned(self) -> Stretch | None:
        """The stretch of 16-bit samples, from every line."""
        if not self._image.mode.startswith("I"):
            if self._image.mode == "F":
                raise self._deep()
            return None
        stretch = Stretch(Instrument(bundle="", bits=16, nodata=0))
        step = max(1, self._image.height // 4096)
        stretch.learn(np.concatenate([self._wide(y) for y in range(0, self._image.height, step)]))
        return stretch

    def _wide(self, line: int) -> npt.NDArray[np.uint16]:
        row = np.asarray(self._image.crop((0, line, self._image.width, line + 1)))
        return self._unsigned(row)

    def _unsigned(self, samples: npt.NDArray[np.generic]) -> npt.NDArray[np.uint16]:
        values = np.asarray(samples, np.int64)
        if values.size and (values.min() < 0 or values.max() > 65_535):
            raise self._deep()
        return values.astype(np.uint16)

    def _deep(self) -> DataError:
        what = f"has samples of another kind than 8 or 16 bits ({self._image.mode})"
        return DataError(what, where=self.path, hint="save it with 8 or 16 bits")

    def _as_8_bits(self, part: Image.Image) -> Pixels:
        if self._stretch is not None:
            wide = self._unsigned(np.asarray(part))
            out = np.empty(wide.shape, np.uint8)
            self._stretch.apply(wide, out)
            return out
        if part.mode in ("L", "1"):
            return np.asarray(part.convert("L"))
        if part.mode in ("LA", "PA", "La", "RGBa", "RGBA"):
            four = np.asarray(part.convert("RGBA"))
            pixels = np.where(four[..., 3:] < 128, np.uint8(0), four[..., :3])
        else:
            pixels = np.asarray(part.convert("RGB"))
        alike = (pixels[..., :1] == pixels[..., 1:]).all()
        return np.ascontiguousarray(pixels[..., 0] if alike else pixels)


def is_plain(path: Path) -> bool:
    """Whether a picture can be kept as it is: 8 bits, grey or RGB, PNG or JPEG, not too large."""
    with _opened(path) as image:
        plain = image.mode in ("L", "RGB") and "transparency" not in image.info
        return plain and image.format in ("PNG", "JPEG") and max(image.size) <= LONGEST
