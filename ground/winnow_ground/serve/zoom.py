"""Pyramids of strips, made when they are first looked at and kept for a while."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from winnow_edge.files import printable

MOST_KEPT: Final = 12
"""Strips whose tiles are on the disk."""
MOST_REFUSED: Final = 1000
REFUSED_S: Final = 60.0
"""A picture that was refused is tried again after; memory or room on the disk may be there then."""
PATIENCE_S: Final = 300.0
_SAID: Final = 300
_PREFIX, _LOCK = "winnow-zoom-", "lock"


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The tiles of a strip: their folder, its size, its levels."""

    folder: Path
    lines: int
    samples: int
    levels: int

    def tile(self, level: int, row: int, column: int) -> Path | None:
        """The file of a tile; None where there is none."""
        path = self.folder / str(level) / f"{row}-{column}.jpg"
        return path if path.is_file() else None


class NoPyramidError(Exception):
    """A picture cannot be shown; the message says why."""


class Pyramids:
    """Pyramids by picture; one is made at a time, and those that are there wait for none. What is
    refused is so for `refused_s` seconds."""

    def __init__(self, refused_s: float = REFUSED_S) -> None:
        self._refused_s = refused_s
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._lock: int | None = None
        self._one = anyio.CapacityLimiter(1)
        self._made: OrderedDict[str, Pyramid] = OrderedDict()
        self._refused: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """Why, and when."""

    def close(self) -> None:
        """Take the tiles off the disk; the end of the process does so too."""
        if self._home is not None:
            self._home.cleanup()

    async def of(self, path: Path) -> Pyramid:
        """The pyramid of a picture. Raises NoPyramidError."""
        try:
            found = path.stat()
        except OSError as error:
            raise NoPyramidError("the picture is not there") from error
        key = hashlib.sha256(f"{path}\0{found.st_mtime_ns}\0{found.st_size}".encode()).hexdigest()
        if (known := self._known(key)) is not None:
            return known
        async with self._one:
            if (known := self._known(key)) is not None:  # made while this one waited
                return known
            # Whoever has left, what is made now is kept in mind, or nobody would remove it.
            with anyio.CancelScope(shield=True):
                made = await to_thread.run_sync(self._make, key, path)
            if isinstance(made, str):
                self._refused[key] = made, time.monotonic()
                while len(self._refused) > MOST_REFUSED:
                    self._refused.popitem(last=False)
                raise NoPyramidError(made)
            self._made[key] = made
            while len(self._made) > MOST_KEPT:
                _, old = self._made.popitem(last=False)
                await to_thread.run_sync(shutil.rmtree, old.folder, True)
            return made

    def _known(self, key: str) -> Pyramid | None:
        """The pyramid, if it is there. Raises NoPyramidError where it was refused lately."""
        why, at = self._refused.get(key, ("", 0.0))
        if why and time.monotonic() - at < self._refused_s:
            raise NoPyramidError(why)
        if key in self._made:
            self._made.move_to_end(key)
        return self._made.get(key)

    def _make(self, key: str, path: Path) -> Pyramid | str:
        """The pyramid, or why there is none."""
        if self._home is None:
            _sweep()
            self._home = tempfile.TemporaryDirectory(prefix=_PREFIX)
            self._lock = _lock(Path(self._home.name))
        folder = Path(self._home.name) / key
        maker = (sys.executable, "-P", "-m", "winnow_ground.serve.pyramid")
        try:
            done = subprocess.run(
                (*maker, path, folder), capture_output=True, text=True, timeout=PATIENCE_S
            )
        except subprocess.TimeoutExpired:
            why = "it took too long"
        else:
            if done.returncode == 0:
                return Pyramid(folder, **json.loads(done.stdout))
            last = (done.stderr.strip().splitlines() or ["the disk is full"])[-1]
            why = printable(last)[:_SAID].replace(str(path), path.name)
        shutil.rmtree(folder, ignore_errors=True)
        return why


def _lock(folder: Path) -> int:
    """A descriptor that says, while it is open, that the folder is in use."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _sweep() -> None:
    """Remove what servers that were killed have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # A folder without a lock has just been made; one that is somebody else's cannot be opened.
        with contextlib.suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
