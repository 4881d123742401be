"""Pictures of framing cameras: shown to the net whole, as nets for rover cameras are trained.

A pushbroom swath is cut into tiles; a frame is one picture, and its class is that of the whole.
It is resized to the net's input, aspect ratio not kept, by the antialiased bilinear filter that
training uses (`winnow_train.tiles.to_input`). Products show it, and boxes count, at that size.
What is missing of a frame that is cut short is black, not stretched over.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from winnow_edge.errors import SwathError
from winnow_edge.sources import Lines, LineSource
from winnow_edge.sources.picture import PictureSource

LARGEST = 64_000_000
"""Most bytes of a frame: it is held whole."""
_READ_LINES = 256


class FrameSource:
    """The frame that `source` holds as a swath of `height` lines by `width` samples.

    Raises SwathError for samples of 16 bits and for frames over `LARGEST` bytes.
    """

    def __init__(self, source: LineSource, height: int, width: int) -> None:
        if source.bits != 8:
            raise SwathError(
                f"has {source.bits}-bit samples",
                where=source.name,
                hint="frames are read with 8 bits",
            )
        self.name, self.fingerprint = source.name, source.fingerprint
        self.samples, self.channels, self.bits = width, source.channels, 8
        self.lines: int | None = height
        self.truncated: str | None = None
        self.idle: Callable[[], bool] | None = None
        self._source, self._height, self._at = source, height, 0
        lines = source.declared_lines if isinstance(source, PictureSource) else source.lines
        self._declared = lines or 0
        self._pixels: Lines | None = None

    def read(self, out: Lines) -> int:
        """See `LineSource.read`; the first call reads the whole frame."""
        if self._pixels is None:
            pixels = self._whole()
            if pixels is None:
                return 0
            image = Image.fromarray(pixels).resize(
                (self.samples, self._height), Image.Resampling.BILINEAR
            )
            self._pixels = np.asarray(image)
        count = min(len(out), self._height - self._at)
        out[:count] = self._pixels[self._at : self._at + count]
        self._at += count
        return count

    def close(self) -> None:
        """See `LineSource.close`."""
        self._source.close()
        self._pixels = None

    def _whole(self) -> Lines | None:
        """All lines of the frame, uint8; None if there is none."""
        source = self._source
        source.idle = self.idle
        shape = (source.samples,) if source.channels == 1 else (source.samples, source.channels)
        parts: list[Lines] = []
        held = 0
        while True:
            part = np.empty((_READ_LINES, *shape), np.uint8)
            count = source.read(part)
            parts.append(part[:count])
            held += part[:count].nbytes
            if held > LARGEST:
                raise SwathError(
                    f"has more than {LARGEST // 10**6} MB",
                    where=self.name,
                    hint="a frame is held whole: reduce it, or set `frame = false` to tile it",
                )
            if count < _READ_LINES:
                break
        self.truncated = source.truncated
        if not held:
            return None
        missing = max(self._declared - sum(map(len, parts)), 0)
        return np.concatenate([*parts, np.zeros((missing, *shape), np.uint8)])
