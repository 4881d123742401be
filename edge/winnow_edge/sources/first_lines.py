"""The beginning of a swath, looked at before any of it is given out.

What is learned from the first lines (limits of a stretch, dead samples) must not depend on how many
lines are read at a time, which follows from their width.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from winnow_edge.sources import Lines, LineSource

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
        self.idle: Callable[[], bool] | None = None
        self._source, self._learn = source, learn
        self._first: Lines | None = None
        self._learned = self._ended = False

    def read(self, out: Lines) -> int:
        """See `LineSource.read`."""
        if not self._learned:
            self._first = self._read_first(out)
            self._learned = True
            if len(self._first):
                self._learn(self._first)
        done = 0
        if self._first is not None:
            done = min(len(out), len(self._first))
            out[:done] = self._first[:done]
            # Nothing of them is kept once the last is given out.
            self._first = self._first[done:] if done < len(self._first) else None
        if done < len(out) and not self._ended:
            done += self._read(out[done:])
        return done

    def close(self) -> None:
        """See `LineSource.close`."""
        self._source.close()
        self._first = None

    def _read(self, out: Lines) -> int:
        self._source.idle = self.idle
        got = self._source.read(out)
        self._ended = got < len(out)
        self.truncated, self.lines = self._source.truncated, self._source.lines
        return got

    def _read_first(self, like: Lines) -> Lines:
        """By as many lines as the caller reads: a source may need room in proportion."""
        first = np.empty((FIRST_LINES, *like.shape[1:]), like.dtype)
        got = 0
        while got < FIRST_LINES and not self._ended:
            got += self._read(first[got : got + len(like)])
        return first[:got]
