"""A catalogue that is searched while others add to it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import numpy as np
from anyio import to_thread

from winnow_base.errors import CatalogueError
from winnow_ground.catalogue.columns import Columns, Found
from winnow_ground.catalogue.facets import Query
from winnow_ground.catalogue.kept import Beside
from winnow_ground.catalogue.rows import Detection, detections
from winnow_ground.catalogue.schema import changes, open_catalogue, saying
from winnow_ground.labelling.pictures import inside, seen
from winnow_ground.serve.asked import FACETS

MOST_BOXES: Final = 5000
"""Boxes of a swath that a page draws, the surest."""
_BATCH: Final = 2000
"""Rows of an export that are read at once."""
_ANSWERS, _MOST_ANSWERED = 64, 100
"""Answers that are held, and the most detections of one."""
_LOOK_S: Final = 0.05
_QUIET_S: Final = 3.0
"""Between a change and the columns being kept for the next start."""
_SELDOM: Final = 20
"""Times as long as keeping them took, before they are kept again."""
_SETTLES_S: Final = 0.15
"""How long most file systems take to tell two writes apart."""
_WAITS_MS: Final = 200
"""How long the end of a server waits for another program that writes."""
T = TypeVar("T")


class ReadOnlyError(CatalogueError):
    """The catalogue is on a disk that cannot be written, or belongs to somebody else."""


class Live:
    """The columns over a catalogue for searches, and connections to read and change rows.

    `worth` maps classes to utilities, for the order `value`.
    The columns are read in a thread from the start on, so that pages are there before them;
    searches wait for them. Searches take turns, and so do changes; neither waits for the other.
    Every call sees what was committed before it. Raises CatalogueError where the file fails.
    """

    def __init__(self, path: Path, worth: Mapping[str, float] | None = None) -> None:
        self.path, self.worth = path, worth or {}
        self._turn, self._row_turn = threading.Lock(), threading.Lock()
        self._db = open_catalogue(path, shared=True)
        self._rows = open_catalogue(path, shared=True)
        self._writer: sqlite3.Connection | None = None
        self._one_writes = anyio.CapacityLimiter(1)
        self._beside = Beside(path)
        self._columns: Columns | None = None
        self._answers: OrderedDict[str, tuple[Found, list[Detection]]] = OrderedDict()
        self._tried, self._share = threading.Event(), 0.0
        self._changed, self._closing = threading.Event(), threading.Event()
        self._keeper = threading.Thread(target=self._load_and_keep, daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Keep the columns for the next start, and let the file go."""
        self._closing.set()
        self._changed.set()
        self._db.interrupt()  # whatever is read in the thread
        self._keeper.join()
        if self._columns is not None:
            if self._writer is not None:
                # The last to let a catalogue go writes its log into it: another state of the file.
                # While another program writes, that one is the last.
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute(f"PRAGMA busy_timeout = {_WAITS_MS}")
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if self._keep() is None:
                time.sleep(_SETTLES_S)
                self._keep()
        for db in (self._db, self._rows, self._writer):
            if db is not None:
                db.close()

    @property
    def reading(self) -> float | None:
        """The share of the catalogue that has been read, 0 to 1; None: searches are answered."""
        return None if self._tried.is_set() else self._share

    async def ready(self) -> None:
        """Wait until searches are answered; no thread waits meanwhile."""
        while not self._tried.is_set():
            await anyio.sleep(_LOOK_S)

    def _load_and_keep(self) -> None:
        """Read the columns; then keep them for the next start, whenever the catalogue has changed
        and is quiet."""
        try:
            with contextlib.suppress(CatalogueError), self._now():
                pass  # whatever fails is told to the next search, which tries again
        finally:
            self._tried.set()
        self._changed.set()
        while not self._closing.is_set():
            self._changed.wait()
            self._changed.clear()
            if self._closing.wait(_QUIET_S):
                break
            begun = time.monotonic()
            if self._keep() is None:
                self._changed.set()
            self._closing.wait(_SELDOM * (time.monotonic() - begun))

    def _keep(self) -> bool | None:
        """Keep the columns; None: not now, the catalogue has just changed."""
        found = None
        with contextlib.suppress(CatalogueError), self._now() as (_, columns):
            found = columns.keepable()
        if found is None:
            return None
        return self._beside.save(*found)

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

        try:
            return await to_thread.run_sync(changing, limiter=self._one_writes)
        finally:
            self._changed.set()

    @contextmanager
    def _now(self) -> Iterator[tuple[sqlite3.Connection, Columns]]:
        with self._turn, saying(self.path):
            if self._columns is None:
                self._columns = Columns(self._db, beside=self._beside, told=self._tell)
            elif self._columns.follow():
                self._changed.set()
            yield self._db, self._columns

    def _tell(self, share: float) -> None:
        self._share = share

    def find(self, query: Query, first: int, most: int) -> tuple[Found, list[Detection]]:
        """A page of what the query finds, and its counts by each of `asked.FACETS`."""
        with self._now() as (db, columns):
            key = repr((columns.version, query, first, most))
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
            query = replace(query, worth=self.worth)
            found = columns.find(query, first=first, most=most, facets=FACETS)
            answer = found, list(detections(db, found.rows))
            if most <= _MOST_ANSWERED:
                self._answers[key] = answer
                while len(self._answers) > _ANSWERS:
                    self._answers.popitem(last=False)
            return answer

    def classes(self) -> tuple[str, ...]:
        """All classes by name, so that a class has one colour on every page."""
        with self._row_turn, saying(self.path):
            return tuple(row[0] for row in self._rows.execute("SELECT name FROM class ORDER BY 1"))

    def everything(self, query: Query) -> Iterator[Detection]:
        """All that the query finds, read bit by bit: searches and changes go on meanwhile."""
        with self._now() as (_, columns):
            query = replace(query, worth=self.worth)
            rows = columns.find(query, most=len(columns), facets=()).rows
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
        with self._row_turn, saying(self.path):
            row = self._rows.execute(
                "SELECT folder, quick_look FROM swath WHERE id = ?", (swath,)
            ).fetchone()
        return inside(*row) if row else None

    def strip(self, swath: int) -> Path | None:
        """The file of a swath's whole picture."""
        with self._row_turn, saying(self.path):
            row = self._rows.execute(
                "SELECT folder, picture FROM swath WHERE id = ?", (swath,)
            ).fetchone()
        return inside(*row) if row else None

    def swath(self, swath: int) -> dict[str, Any] | None:
        """What is known of a swath, and its detections as rows of box, class and posterior."""
        with self._row_turn, saying(self.path):
            cursor = self._rows.execute(_SWATH, (swath,))
            row = cursor.fetchone()
            if row is None:
                return None
            told = dict(zip((column[0] for column in cursor.description), row, strict=True))
            ids = self._rows.execute(
                "SELECT id FROM tile WHERE swath = ? AND detection = 1 AND class IS NOT NULL"
                " ORDER BY posterior DESC LIMIT ?",
                (swath, MOST_BOXES),
            ).fetchall()
            told["found"] = list(detections(self._rows, np.array(ids, np.int64).reshape(-1)))
        return told


_SWATH: Final = """
SELECT swath.id, swath.name, bundle.name AS bundle, mission, instrument, lines, samples, tiles,
    screened, complete, verdict, start, latitude, longitude, quick_look IS NOT NULL AS looked,
    picture IS NOT NULL AS pictured, store IS NOT NULL AS flown
FROM swath LEFT JOIN bundle ON bundle.id = swath.bundle WHERE swath.id = ?
"""
