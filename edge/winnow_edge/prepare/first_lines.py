"""The beginning of a swath, looked at before any of it is given out.

What is learned from the first lines (limits of a stretch, dead samples) must not depend on how many
lines are read at a time, which follows from their width.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from winnow_edge.sources.contract import Lines, LineSource

FIRST_LINES = 256
"""Lines that are learned from; of a shorter swath all. They are held until they are given out:
10 MB of 20,048 samples with 16 bits."""


class FirstLines:
    """Another source's lines; `learn` is shown the first `FIRST_LINES` of them, once, before."""

    def __init__(self, source: LineSource, learn: Callable[[Lines], None]) -> None:
        self.name, self.samples, self.lines = source.name, source.samples, source.lines
        self.channels, self.bits = source.channels, source.bits
        self.truncated: str | None = None
        self.fingerprint = source.fingerprint
        self._source, self._learn = source, learn
        self._first: Lines | None = None
        self._held = 0
        self._learned = False

    def read(self, out: Lines) -> int | None:
        """See `LineSource.read`."""
        if not self._learned and not self._take_first(out):
            return None
        if self._first is None:
            return self._read(out)
        done = min(len(out), len(self._first))
        out[:done] = self._first[:done]
        # Nothing of them is kept once the last is given out.
        self._first = self._first[done:] if done < len(self._first) else None
        return done

    def close(self) -> None:
        """See `LineSource.close`."""
        self._source.close()
        self._first = None

    def _read(self, out: Lines) -> int | None:
        got = self._source.read(out)
        self.truncated, self.lines = self._source.truncated, self._source.lines
        return got

    def _take_first(self, like: Lines) -> bool:
        """Hold the first lines and learn from them; False if they are not there yet. They are read
        by as many as the caller reads: a source may need room in proportion."""
        if self._first is None:
            self._first = np.empty((FIRST_LINES, *like.shape[1:]), like.dtype)
        while self._held < FIRST_LINES:
            got = self._read(self._first[self._held : self._held + len(like)])
            if got is None:
                return False
            if not got:
                break
            self._held += got
        self._learned = True
        self._first = self._first[: self._held] if self._held else None
        if self._first is not None:
            self._learn(self._first)
        return True
