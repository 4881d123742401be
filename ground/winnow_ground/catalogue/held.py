"""The rows of a catalogue's detections as arrays, and how they are read."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_CHUNK: Final = 100_000
_FIRST: Final = np.dtype([("id", "i8"), ("swath", "i8"), ("class", "i8"), ("posterior", "f4")])
_LATER: Final = np.dtype([*_FIRST.descr, ("kept", "i1"), ("changed", "i8")])
_NEW: Final = """
SELECT id, swath, coalesce(class, 0), posterior, detection = 1 AND class IS NOT NULL, changed
FROM tile WHERE changed > ?
"""
# In the order of the table: an index would look every row up by itself.
_ALL: Final = """
SELECT id, swath, class, posterior FROM tile NOT INDEXED WHERE detection = 1 AND class IS NOT NULL
"""
Told = Callable[[float], None]
"""Is given the share that has been read, 0 to 1."""


@dataclass(frozen=True)
class Held:
    """Detections in the order of their posterior."""

    seen: int
    """The last change that is among them."""
    id: npt.NDArray[np.int64]
    posterior: npt.NDArray[np.float32]
    key: npt.NDArray[np.int32]
    """Swath x classes + class, each by its place in the order of its id."""
    by_key: npt.NDArray[np.int32]
    """Numbers of the detections in the order of their key; those of one in that of here."""

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True)
class Numbered:
    """Ids of swaths and of classes, each sorted: what a key is made of."""

    swaths: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]

    @property
    def cells(self) -> int:
        """How many keys there can be."""
        return len(self.swaths) * len(self.classes)

    def key(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """The keys of rows."""
        swath = np.searchsorted(self.swaths, rows["swath"])
        key = swath * len(self.classes) + np.searchsorted(self.classes, rows["class"])
        return key.astype(np.int32)


def nothing() -> Held:
    """No detection at all."""
    number = np.zeros(0, np.int32)
    return Held(-1, np.zeros(0, np.int64), np.zeros(0, np.float32), number, number)


def read_all(db: sqlite3.Connection, numbered: Numbered, told: Told | None = None) -> Held:
    """Every detection of the catalogue."""
    seen, last = db.execute("SELECT coalesce(max(changed), -1), max(id) FROM tile").fetchone()
    parts = [nothing()]
    for read in _chunks(db.execute(_ALL), _FIRST):
        parts.append(_part(read, numbered))
        if told is not None:
            told(min(1.0, max(0.0, int(read["id"][-1]) / max(1, last))))
    return _sorted(seen, parts)


def read_new(db: sqlite3.Connection, numbered: Numbered, held: Held) -> Held:
    """The same with what has changed since `held` was read: itself where nothing has."""
    seen, parts = held.seen, [held]
    for read in _chunks(db.execute(_NEW, (held.seen,)), _LATER):
        stays = np.isin(parts[0].id, read["id"], invert=True)
        parts[0] = _taken(parts[0], stays)
        seen = max(seen, int(read["changed"].max()))
        parts.append(_part(read[read["kept"] == 1], numbered))
    return held if len(parts) == 1 else _sorted(seen, parts)


def renumbered(held: Held, before: int, classes: int) -> Held:
    """The same where there are more classes than before, added at their end."""
    swath, index = np.divmod(held.key, before)
    key = (swath * classes + index).astype(np.int32)
    return Held(held.seen, held.id, held.posterior, key, held.by_key)


def _chunks(cursor: sqlite3.Cursor, kind: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    while len(read := np.fromiter(itertools.islice(cursor, _CHUNK), kind)):
        yield read


def _part(read: npt.NDArray[Any], numbered: Numbered) -> Held:
    none = np.zeros(0, np.int32)
    return Held(-1, read["id"].copy(), read["posterior"].copy(), numbered.key(read), none)


def _taken(held: Held, rows: npt.NDArray[Any]) -> Held:
    none = np.zeros(0, np.int32)
    return Held(held.seen, held.id[rows], held.posterior[rows], held.key[rows], none)


def _sorted(seen: int, parts: list[Held]) -> Held:
    # One array at a time, so that no two copies of all are in memory at once.
    posterior = np.concatenate([part.posterior for part in parts])
    ids = np.concatenate([part.id for part in parts])
    key = np.concatenate([part.key for part in parts])
    parts.clear()
    order = np.argsort(posterior, kind="stable").astype(np.int32)
    posterior, ids, key = posterior[order], ids[order], key[order]
    del order
    return Held(seen, ids, posterior, key, np.argsort(key, kind="stable").astype(np.int32))
