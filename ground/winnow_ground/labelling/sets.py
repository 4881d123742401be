"""Sets of tiles to label: everybody sees the same tiles, each person in an order of their own."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from winnow_base.errors import CatalogueError
from winnow_edge.files import printable
from winnow_ground.labelling.answers import LATER, MOST_NAME, class_id, now, person_name

LEAST_PAGE, MOST_PAGE, PAGE = 20, 200, 60
MOST_TILES: Final = 100_000
_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Tiles that people label together.

    `class_name` is what all are suspected to show (None: each what the net said), `page` tiles are
    shown at once, `hidden` keeps the net's answer back until a person has answered, `seed` makes
    the orders, `how` tells how the tiles were chosen, `person` made it `at` then.
    """

    id: int
    name: str
    class_name: str | None
    page: int
    hidden: bool
    seed: int
    how: Mapping[str, Any]
    person: str
    at: str
    tiles: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A set as it is asked for; fields as in LabelSet. `scores` are of the tiles, or empty."""

    name: str
    tiles: Sequence[int]
    class_name: str | None = None
    page: int = PAGE
    hidden: bool = True
    seed: int = 0
    how: Mapping[str, Any] = field(default_factory=dict)
    person: str = ""
    scores: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a person is: tiles `answered` (the ones for `later` are not), and put off."""

    tiles: int
    answered: int
    later: int

    @property
    def left(self) -> int:
        return self.tiles - self.answered


def make_set(db: sqlite3.Connection, wanted: Wanted) -> int:
    """Make a set within the transaction that is open; its id.

    Raises CatalogueError for a name that is taken or none, no tiles or too many, a page that is too
    small or too large, a class that is not known.
    """
    name = printable(wanted.name.strip())
    if not 0 < len(name) <= MOST_NAME or "/" in name or name.startswith("."):
        hint = f"1 to {MOST_NAME} characters, no `/`, no `.` at the start"
        raise CatalogueError(f"{name[:40]!r} is no name of a set", hint=hint)
    if not LEAST_PAGE <= wanted.page <= MOST_PAGE:
        hint = f"{LEAST_PAGE} to {MOST_PAGE}"
        raise CatalogueError(f"a page of {wanted.page} tiles is not possible", hint=hint)
    if not 0 < len(wanted.tiles) <= MOST_TILES:
        raise CatalogueError(
            f"a set of {len(wanted.tiles):,} tiles is not possible", hint=f"1 to {MOST_TILES:,}"
        )
    if db.execute("SELECT 1 FROM label_set WHERE name = ?", (name,)).fetchone():
        raise CatalogueError(f"a set is called {name!r} already", hint="give another name")
    shown = None if wanted.class_name is None else class_id(db, wanted.class_name)
    how = json.dumps(dict(wanted.how), sort_keys=True)
    cursor = db.execute(
        "INSERT INTO label_set (name, class, page, hidden, seed, how, person, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (name, shown, wanted.page, wanted.hidden, wanted.seed, how, person_name(wanted.person),
         now()),
    )  # fmt: skip
    made = int(cursor.lastrowid or 0)
    scores: Sequence[float | None] = wanted.scores or [None] * len(wanted.tiles)
    db.executemany(
        "INSERT INTO label_set_tile (label_set, tile, score) VALUES (?, ?, ?)",
        ((made, tile, score) for tile, score in zip(wanted.tiles, scores, strict=True)),
    )
    return made


def sets(db: sqlite3.Connection) -> list[LabelSet]:
    """All sets, the newest first."""
    return _read(db, "1 ORDER BY label_set.id DESC", ())


def find_set(db: sqlite3.Connection, name: str) -> LabelSet:
    """The set of that name. Raises CatalogueError."""
    found = _read(db, "label_set.name = ?", (name,))
    if not found:
        known = [one.name for one in sets(db)]
        raise CatalogueError(
            f"no set is called {printable(name)[:40]!r}",
            hint=f"known: {', '.join(known[:20])}" if known else "`winnow select` makes one",
        )
    return found[0]


def set_of(db: sqlite3.Connection, set_id: int) -> LabelSet | None:
    """The set of that id, if there is one."""
    found = _read(db, "label_set.id = ?", (set_id,))
    return found[0] if found else None


def order_for(db: sqlite3.Connection, one: LabelSet, person: str) -> list[int]:
    """The tiles of a set in the person's order, which the set's seed and their name alone make.

    Tiles are sorted by the numbers that SplitMix64's mixing (Steele, Lea and Flood, OOPSLA 2014)
    makes of their ids, keyed as the audit's draw is.
    """
    rows = db.execute("SELECT tile FROM label_set_tile WHERE label_set = ?", (one.id,)).fetchall()
    tiles = np.array([row[0] for row in rows], np.int64)
    order = np.argsort(_mixed(tiles, one.seed, person), kind="stable")
    return [int(tile) for tile in tiles[order]]


def _mixed(tiles: npt.NDArray[np.int64], seed: int, person: str) -> npt.NDArray[np.uint64]:
    digest = hashlib.sha256(f"{seed} {person}".encode(errors="replace")).digest()
    state = tiles.astype(np.uint64) * _GAMMA + np.uint64(int.from_bytes(digest[:8], "big"))
    for shift, factor in _MIX:
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return state ^ (state >> np.uint64(31))


def progress(db: sqlite3.Connection, one: LabelSet, person: str) -> Progress:
    """How far a person is in a set."""
    counts = dict(
        db.execute(
            "SELECT answer, count(*) FROM label_set_tile JOIN label USING (tile)"
            " WHERE label_set_tile.label_set = ? AND person = ? AND withdrawn IS NULL"
            " GROUP BY answer",
            (one.id, person),
        )
    )
    later = counts.pop(LATER, 0)
    return Progress(one.tiles, sum(counts.values()), later)


def people(db: sqlite3.Connection, one: LabelSet) -> dict[str, int]:
    """Who answered in a set, and how many of its tiles."""
    return dict(
        db.execute(
            "SELECT person, count(*) FROM label_set_tile JOIN label USING (tile)"
            " WHERE label_set_tile.label_set = ? AND withdrawn IS NULL AND answer <> ?"
            " GROUP BY person ORDER BY person",
            (one.id, LATER),
        )
    )


def _read(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[LabelSet]:
    rows = db.execute(
        "SELECT label_set.id, label_set.name, class.name, page, hidden, seed, how, person, at,"
        " (SELECT count(*) FROM label_set_tile WHERE label_set = label_set.id)"
        f" FROM label_set LEFT JOIN class ON class.id = label_set.class WHERE {where}",
        values,
    )
    return [
        LabelSet(id, name, shown, page, bool(hidden), seed, _how(how), person, at, tiles)
        for id, name, shown, page, hidden, seed, how, person, at, tiles in rows
    ]


def _how(text: str) -> Mapping[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
