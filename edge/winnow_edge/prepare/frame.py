"""Pictures of framing cameras: shown to the net whole, as nets for rover cameras are trained.

A pushbroom swath is cut into tiles; a frame is one picture, and its class is that of the whole.
It is resized to the net's input, aspect ratio not kept, by the antialiased bilinear filter that
training uses (`winnow_train.tiles.to_input`). Products show it, and boxes count, at that size.
What is missing of a frame that is cut short is black, not stretched over.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from winnow_edge.errors import SwathError
from winnow_edge.sources.contract import Lines, LineSource
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
        self._source, self._height, self._at = source, height, 0
        lines = source.declared_lines if isinstance(source, PictureSource) else source.lines
        self._declared = lines or 0
        self._parts: list[Lines] = []
        self._held = 0
        self._pixels: Lines | None = None

    def read(self, out: Lines) -> int | None:
        """See `LineSource.read`; the whole frame is read before its first line is given out."""
        if self._pixels is None:
            if not self._take():
                return None
            if not self._held:
                return 0
            image = Image.fromarray(self._whole()).resize(
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

    def _shape(self, lines: int) -> tuple[int, ...]:
        samples, channels = self._source.samples, self._source.channels
        return (lines, samples) if channels == 1 else (lines, samples, channels)

    def _take(self) -> bool:
        """Read on, to the end of the frame; False if it is not there yet."""
        part = np.empty(self._shape(_READ_LINES), np.uint8)
        while (count := self._source.read(part)) != 0:
            if count is None:
                return False
            self._parts.append(part[:count].copy())
            self._held += self._parts[-1].nbytes
            if self._held > LARGEST:
                raise SwathError(
                    f"has more than {LARGEST // 10**6} MB",
                    where=self.name,
                    hint="a frame is held whole: reduce it, or set `frame = false` to tile it",
                )
        self.truncated = self._source.truncated
        return True

    def _whole(self) -> Lines:
        """The lines of the frame, uint8, with black ones for those that are missing."""
        missing = max(self._declared - sum(map(len, self._parts)), 0)
        whole = np.concatenate([*self._parts, np.zeros(self._shape(missing), np.uint8)])
        self._parts = []
        return whole
