"""A catalogue that is searched while others add to it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from winnow_ground.catalogue.columns import Columns, Found, Query
from winnow_ground.catalogue.rows import Detection, detections
from winnow_ground.catalogue.schema import open_catalogue, saying

MOST_BOXES: Final = 5000
"""Boxes of a swath that a page draws, the surest."""


class Live:
    """One connection and the columns over it; calls take turns, from any thread.

    Every call sees what was committed before it. Raises CatalogueError where the file fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        self._db = open_catalogue(path, shared=True)
        with saying(path):
            self._columns = Columns(self._db)

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    @contextmanager
    def _now(self) -> Iterator[tuple[sqlite3.Connection, Columns]]:
        with self._turn, saying(self.path):
            self._columns.follow()
            yield self._db, self._columns

    def find(self, query: Query, first: int, most: int) -> tuple[Found, list[Detection]]:
        """A page of what the query finds, and its counts."""
        with self._now() as (db, columns):
            found = columns.find(query, first=first, most=most)
            return found, list(detections(db, found.rows))

    def classes(self) -> tuple[str, ...]:
        """All classes by name, so that a class has one colour on every page."""
        with self._now() as (_, columns):
            return tuple(sorted(columns.classes))

    def everything(self, query: Query) -> list[Detection]:
        """All that the query finds."""
        with self._now() as (db, columns):
            return list(detections(db, columns.find(query, most=len(columns)).rows))

    def picture(self, tile: int) -> Path | None:
        """The file of a tile's picture; None where there is none, or it is outside its folder."""
        with self._now() as (db, _):
            row = db.execute(
                "SELECT folder, file FROM tile JOIN swath ON swath.id = tile.swath"
                " WHERE tile.id = ?",
                (tile,),
            ).fetchone()
        return _inside(row)

    def quick_look(self, swath: int) -> Path | None:
        """The file of a swath's quick look."""
        with self._now() as (db, _):
            row = db.execute(
                "SELECT folder, quick_look FROM swath WHERE id = ?", (swath,)
            ).fetchone()
        return _inside(row)

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


def _inside(row: tuple[str | None, str | None] | None) -> Path | None:
    """A file that a reception told of, if it lies in the reception's own folder."""
    if row is None or row[0] is None or row[1] is None:
        return None
    folder = Path(row[0]).resolve()
    path = (folder / row[1]).resolve()
    return path if path.is_relative_to(folder) and path.is_file() else None


_SWATH: Final = """
SELECT swath.id, swath.name, bundle.name AS bundle, mission, instrument, lines, samples, tiles,
    screened, complete, verdict, start, latitude, longitude, quick_look IS NOT NULL AS looked
FROM swath LEFT JOIN bundle ON bundle.id = swath.bundle WHERE swath.id = ?
"""
