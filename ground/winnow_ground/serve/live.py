"""A catalogue that is searched while others add to it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import numpy as np
from anyio import to_thread

from winnow_base.errors import CatalogueError
from winnow_ground.catalogue.columns import Columns, Found, Query
from winnow_ground.catalogue.rows import Detection, detections
from winnow_ground.catalogue.schema import changes, open_catalogue, saying
from winnow_ground.labelling.pictures import inside, seen

MOST_BOXES: Final = 5000
"""Boxes of a swath that a page draws, the surest."""


_BATCH: Final = 2000
"""Rows of an export that are read at once."""
T = TypeVar("T")


class ReadOnlyError(CatalogueError):
    """The catalogue is on a disk that cannot be written, or belongs to somebody else."""


class Live:
    """The columns over a catalogue for searches, and connections to read and change rows.

    `worth` maps classes to utilities, for the order `value`.
    Searches take turns, and so do changes; neither waits for the other. Every call sees what was
    committed before it. Raises CatalogueError where the file fails.
    """

    def __init__(self, path: Path, worth: Mapping[str, float] | None = None) -> None:
        self.path, self.worth = path, worth or {}
        self._turn, self._row_turn = threading.Lock(), threading.Lock()
        self._db = open_catalogue(path, shared=True)
        self._rows = open_catalogue(path, shared=True)
        self._writer: sqlite3.Connection | None = None
        self._one_writes = anyio.CapacityLimiter(1)
        with saying(path):
            self._columns = Columns(self._db)

    def close(self) -> None:
        """Let the file go."""
        for db in (self._db, self._rows, self._writer):
            if db is not None:
                db.close()

    @property
    def writable(self) -> bool:
        """Whether the disk lets the catalogue be changed."""
        return os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What `function` reads, in a thread; it holds up other calls of this method alone."""

        def reading() -> T:
            with self._row_turn, saying(self.path):
                return function(self._rows)

        return await to_thread.run_sync(reading)

    async def change(self, function: Callable[[sqlite3.Connection, int], T]) -> T:
        """What `function` returns, run in a thread within `catalogue.schema.changes`.

        It is given a connection and the number under which tiles count as changed. All that it
        changes is there afterwards, or nothing. Changes take turns. Raises ReadOnlyError.
        """
        if not self.writable:
            raise ReadOnlyError("cannot be written", where=self.path)

        def changing() -> T:
            if self._writer is None:
                self._writer = open_catalogue(self.path, write=True, shared=True)
            with changes(self._writer, self.path) as number:
                return function(self._writer, number)

        return await to_thread.run_sync(changing, limiter=self._one_writes)

    @contextmanager
    def _now(self) -> Iterator[tuple[sqlite3.Connection, Columns]]:
        with self._turn, saying(self.path):
            self._columns.follow()
            yield self._db, self._columns

    def find(self, query: Query, first: int, most: int) -> tuple[Found, list[Detection]]:
        """A page of what the query finds, and its counts."""
        with self._now() as (db, columns):
            found = columns.find(replace(query, worth=self.worth), first=first, most=most)
            return found, list(detections(db, found.rows))

    def classes(self) -> tuple[str, ...]:
        """All classes by name, so that a class has one colour on every page."""
        with self._now() as (_, columns):
            return tuple(sorted(columns.classes))

    def everything(self, query: Query) -> Iterator[Detection]:
        """All that the query finds, read bit by bit: searches and changes go on meanwhile."""
        with self._now() as (_, columns):
            rows = columns.find(replace(query, worth=self.worth), most=len(columns)).rows
        for first in range(0, len(rows), _BATCH):
            with self._row_turn, saying(self.path):
                batch = list(detections(self._rows, rows[first : first + _BATCH]))
            yield from batch

    def pictured(self, tiles: Sequence[int]) -> set[int]:
        """Those of the tiles whose picture is here, alone or in that of their swath."""
        with self._row_turn, saying(self.path):
            return {tile for tile, one in seen(self._rows, tiles).items() if one.pictured}

    def quick_look(self, swath: int) -> Path | None:
        """The file of a swath's quick look."""
        with self._now() as (db, _):
            row = db.execute(
                "SELECT folder, quick_look FROM swath WHERE id = ?", (swath,)
            ).fetchone()
        return inside(*row) if row else None

    def strip(self, swath: int) -> Path | None:
        """The file of a swath's whole picture."""
        with self._now() as (db, _):
            row = db.execute("SELECT folder, picture FROM swath WHERE id = ?", (swath,)).fetchone()
        return inside(*row) if row else None

    def swath(self, swath: int) -> dict[str, Any] | None:
        """What is known of a swath, and its detections as rows of box, class and posterior."""
        with self._now() as (db, _):
            cursor = db.execute(_SWATH, (swath,))
            row = cursor.fetchone()
            if row is None:
                return None
            told = dict(zip((column[0] for column in cursor.description), row, strict=True))
            ids = db.execute(
                "SELECT id FROM tile WHERE swath = ? AND detection = 1 AND class IS NOT NULL"
                " ORDER BY posterior DESC LIMIT ?",
                (swath, MOST_BOXES),
            ).fetchall()
            told["found"] = list(detections(db, np.array(ids, np.int64).reshape(-1)))
        return told


_SWATH: Final = """
SELECT swath.id, swath.name, bundle.name AS bundle, mission, instrument, lines, samples, tiles,
    screened, complete, verdict, start, latitude, longitude, quick_look IS NOT NULL AS looked,
    picture IS NOT NULL AS pictured, store IS NOT NULL AS flown
FROM swath LEFT JOIN bundle ON bundle.id = swath.bundle WHERE swath.id = ?
"""
