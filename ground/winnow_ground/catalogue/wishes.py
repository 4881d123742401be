"""Boxes that a later uplink asks the spacecraft for: the table `request`, the file that goes up.

The file is that of `winnow request` (docs/requests.md): regions of swaths, as raw samples.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from winnow_base.errors import CatalogueError
from winnow_edge.downlink.requests import MOST_REQUESTS, load_requests
from winnow_edge.errors import WinnowEdgeError
from winnow_edge.products.kinds import Box
from winnow_ground.catalogue.schema import changes, open_catalogue
from winnow_ground.regions import REQUESTS_FILE, ask

MOST_COMMENT: Final = 500
MOST_WAITING: Final = 10_000
_LARGEST: Final = 2**31 - 1


class WishError(CatalogueError):
    """A box cannot be asked for; the message says why."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A box in pixels of its swath, who wants it, and what for."""

    box: Box
    person: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Carried:
    """A request that was written for an uplink: its number there, and its file."""

    swath: str
    box: Box
    number: int
    file: Path


def wish_of(told: Mapping[str, Any], person: str) -> Wish:
    """The box that a browser tells: line, sample, lines, samples, comment. Raises WishError."""
    numbers = [told.get(name) for name in ("line", "sample", "lines", "samples")]
    if not all(type(n) is int and 0 <= n <= _LARGEST for n in numbers):
        raise WishError("line, sample, lines and samples are whole numbers from 0")
    comment = told.get("comment", "")
    if not isinstance(comment, str) or len(comment) > MOST_COMMENT:
        raise WishError(f"a comment has at most {MOST_COMMENT} characters")
    return Wish(Box(*numbers), person, "".join(c if c.isprintable() else " " for c in comment))  # type: ignore[arg-type]


def put(db: sqlite3.Connection, swath: int, wish: Wish) -> int:
    """Put a box on the list, in a transaction; its number. One that waits already is not put
    again. Raises WishError."""
    row = db.execute("SELECT lines, samples, store FROM swath WHERE id = ?", (swath,)).fetchone()
    if row is None:
        raise WishError("no such swath")
    lines, samples, store = row
    box = wish.box
    if store is None:
        raise WishError("the swath never was on board: it was classified on the ground")
    if not box.lines or not box.samples:
        raise WishError("the box is empty")
    if (lines is not None and box.line + box.lines > lines) or (
        samples is not None and box.sample + box.samples > samples
    ):
        raise WishError(f"the box is not within the swath, {lines} lines of {samples} samples")
    place = (swath, box.line, box.sample, box.lines, box.samples)
    known = db.execute(
        "SELECT id FROM request WHERE swath = ? AND line = ? AND sample = ? AND lines = ?"
        " AND samples = ? AND sent IS NULL",
        place,
    ).fetchone()
    if known is not None:
        return int(known[0])
    (waiting,) = db.execute("SELECT count(*) FROM request WHERE sent IS NULL").fetchone()
    if waiting >= MOST_WAITING:
        raise WishError(f"{waiting:,} boxes wait already")
    made = db.execute(
        "INSERT INTO request (swath, line, sample, lines, samples, person, comment, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*place, wish.person, wish.comment, _now()),
    )
    return int(made.lastrowid or 0)


def withdraw(db: sqlite3.Connection, request: int, person: str | None) -> None:
    """Take a box that was not sent from the list; `person` alone may (None: anybody). Raises
    WishError."""
    row = db.execute("SELECT person, sent FROM request WHERE id = ?", (request,)).fetchone()
    if row is None:
        raise WishError("no such request")
    if row[1] is not None:
        raise WishError("it was sent already")
    if person is not None and row[0] != person:
        raise WishError(f"it is {row[0]}'s")
    db.execute("DELETE FROM request WHERE id = ?", (request,))


def of_swath(db: sqlite3.Connection, swath: int) -> list[dict[str, Any]]:
    """The boxes asked for of a swath, the latest first."""
    return _rows(db, "WHERE request.swath = ? ORDER BY request.id DESC LIMIT 500", (swath,))


def waiting(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """The boxes that wait for an uplink, the longest waiting first."""
    return _rows(db, "WHERE sent IS NULL ORDER BY request.id", ())


def _rows(db: sqlite3.Connection, which: str, values: tuple[int, ...]) -> list[dict[str, Any]]:
    cursor = db.execute(
        "SELECT request.id, request.swath, swath.name, line, sample, request.lines,"
        " request.samples, person, comment, at, sent"
        f" FROM request JOIN swath ON swath.id = request.swath {which}",
        values,
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


@dataclass(frozen=True, slots=True)
class Kept:
    """A box that cannot be written, and waits on; the error says why."""

    swath: str
    box: Box
    error: WinnowEdgeError


def carry(catalogue: Path, to: Path | None = None) -> Iterator[Carried | Kept]:
    """Write all boxes that wait into files for the next uplink, and mark them as sent.

    A box goes into `requests.json` of its reception's folder, or into `to`, which takes boxes of
    one store alone. The numbers are those that neither the file nor the reception has. One that
    cannot be written holds up no other. Raises CatalogueError where the catalogue fails; boxes that
    were yielded before are marked.
    """
    db = open_catalogue(catalogue, write=True)
    try:
        for listed in waiting(db):
            with changes(db, catalogue):
                # Meanwhile it may have been withdrawn, or sent by another run.
                still = _rows(db, "WHERE request.id = ? AND sent IS NULL", (listed["id"],))
                told = [_carried_or_kept(db, wish, to) for wish in still]
            yield from told
    finally:
        db.close()


def _carried_or_kept(
    db: sqlite3.Connection, wish: Mapping[str, Any], to: Path | None
) -> Carried | Kept:
    box = Box(wish["line"], wish["sample"], wish["lines"], wish["samples"])
    try:
        return _carry(db, wish, box, to)
    except WinnowEdgeError as error:
        return Kept(wish["name"], box, error)


def _carry(db: sqlite3.Connection, wish: Mapping[str, Any], box: Box, to: Path | None) -> Carried:
    folder, about = db.execute(
        "SELECT folder, about FROM swath WHERE id = ?", (wish["swath"],)
    ).fetchone()
    if folder is None:
        raise WishError(f"{wish['name']} is of no reception: its store is not known")
    name = _own_name(about) or wish["name"]
    path = to or Path(folder) / REQUESTS_FILE
    # One that was sent before and is asked for again gets a number of its own.
    before = db.execute(
        "SELECT 1 FROM request WHERE swath = ? AND line = ? AND sample = ? AND lines = ?"
        " AND samples = ? AND sent IS NOT NULL AND id <> ?",
        (wish["swath"], box.line, box.sample, box.lines, box.samples, wish["id"]),
    ).fetchone()
    number = None if before else _written(path, name, box)
    if number is None:
        number = ask(Path(folder), name, box, path).id
    db.execute("UPDATE request SET sent = ? WHERE id = ?", (_now(), wish["id"]))
    return Carried(wish["name"], box, number, path)


def _own_name(about: str) -> str | None:
    """A swath's name as the board told it, which may not print; None where rows were damaged."""
    try:
        told = json.loads(about)
    except (ValueError, RecursionError):
        return None
    name = told.get("swath") if isinstance(told, dict) else None
    return name if isinstance(name, str) else None


def _written(path: Path, name: str, box: Box) -> int | None:
    """The number of a box that the file has already: a run was killed before it was marked."""
    if not path.exists():
        return None
    requests = load_requests(path).requests
    if len(requests) >= MOST_REQUESTS:
        what = f"has {MOST_REQUESTS:,} requests: the first would be driven out"
        raise CatalogueError(what, where=path, hint="name another file with --to")
    place = (name, box.line, box.sample, box.lines, box.samples)
    found = (r.id for r in requests if (r.swath, r.line, r.sample, r.lines, r.samples) == place)
    return next(found, None)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
