"""Answers: what a person says of a tile. One counts per person and tile; earlier ones are kept.

A browser, or an import, names each answer (`client`). The same name for the same tile and person
counts once, however often it is sent, so that whoever does not know whether an answer arrived
sends it again.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from winnow_base.errors import CatalogueError
from winnow_edge.files import printable

SHOWS: Final = "shows"
NOTHING: Final = "nothing"
UNSURE: Final = "unsure"
LATER: Final = "later"
ANSWERS: Final = (SHOWS, NOTHING, UNSURE, LATER)
MOST_COMMENT: Final = 2000
MOST_NAME: Final = 100
"""Characters of a person's, a class's or a set's name."""
_CLIENT: Final = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_DIGEST: Final = re.compile(r"(?:[0-9a-f]{64})?", re.ASCII)


class AnswerError(CatalogueError):
    """An answer makes no sense, or is of a tile or class that the catalogue does not have."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says of a tile.

    `answer` is one of ANSWERS, `class_name` the class for `shows`, else None. `client` names the
    answer for its sender, "" not at all. `sha256` is of the picture that was looked at ("": none).
    `set_id` is the set in which it was asked, `told` whether the net's answer was shown before.
    `at` is UTC in ISO 8601 (None: now).
    """

    tile: int
    answer: str
    class_name: str | None = None
    client: str = ""
    comment: str = ""
    sha256: str = ""
    set_id: int | None = None
    told: bool = True
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A label as the catalogue keeps it."""

    id: int
    tile: int
    person: str
    answer: str
    class_name: str | None
    comment: str
    at: str
    withdrawn: str | None
    sha256: str
    client: str
    told: bool

    @property
    def says(self) -> str:
        """The class, or the answer where it is none."""
        return self.class_name or self.answer


def now() -> str:
    """This moment in UTC, to the millisecond.

    >>> len(now())
    24
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def person_name(text: str) -> str:
    """A person's name as it is kept. Raises AnswerError for none and for one that is too long."""
    name = printable(text.strip())
    if not 0 < len(name) <= MOST_NAME:
        raise AnswerError(
            f"{name[:40]!r} is no name of a person", hint=f"1 to {MOST_NAME} characters"
        )
    return name


def answer(db: sqlite3.Connection, person: str, given: Answer) -> bool:
    """Keep an answer within the transaction that is open; False if it was there already.

    The person's earlier answer for the tile is withdrawn and stays as history. An answer with an
    `at` before that of the one that counts becomes history itself. Raises AnswerError.
    """
    person, class_id = person_name(person), _checked(db, given)
    if given.client and _has(db, person, given):
        return False
    at = given.at or now()
    last = db.execute(
        "SELECT id, at FROM label WHERE tile = ? AND person = ? AND withdrawn IS NULL",
        (given.tile, person),
    ).fetchone()
    old = given.at is not None and last is not None and at < last[1]
    if last is not None and not old:
        db.execute("UPDATE label SET withdrawn = ? WHERE id = ?", (at, last[0]))
    db.execute(
        "INSERT INTO label (tile, person, class, answer, comment, at, withdrawn, sha256, client,"
        " label_set, told) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (given.tile, person, class_id, given.answer, printable(given.comment), at,
         last[1] if old else None, given.sha256, given.client, given.set_id, given.told),
    )  # fmt: skip
    return True


def withdraw(db: sqlite3.Connection, person: str, tile: int, client: str) -> bool:
    """Take back the answer of that name, if it is the one that counts; False if it is not.

    Taking back twice changes nothing: an answer that was given since then stays.
    """
    cursor = db.execute(
        "UPDATE label SET withdrawn = ? WHERE tile = ? AND person = ? AND client = ?"
        " AND withdrawn IS NULL",
        (now(), tile, person_name(person), client),
    )
    return cursor.rowcount == 1


def history(db: sqlite3.Connection, tile: int) -> list[Kept]:
    """All that anyone ever said of a tile, in order."""
    return _kept(db, "tile = ? ORDER BY label.id", (tile,))


def answers_of(db: sqlite3.Connection, person: str, tiles: Iterable[int]) -> dict[int, Kept]:
    """The answers of a person that count, of these tiles."""
    wanted, found = list(tiles), dict[int, Kept]()
    for first in range(0, len(wanted), 500):
        part = wanted[first : first + 500]
        marks = ",".join("?" * len(part))
        told = f"withdrawn IS NULL AND person = ? AND tile IN ({marks})"
        found.update((one.tile, one) for one in _kept(db, told, (person, *part)))
    return found


def answers_in(db: sqlite3.Connection, set_id: int) -> list[Kept]:
    """All answers that count, of the tiles of a set, whoever gave them and wherever."""
    told = (
        "withdrawn IS NULL AND tile IN (SELECT tile FROM label_set_tile WHERE label_set = ?)"
        " ORDER BY tile, person"
    )
    return _kept(db, told, (set_id,))


def _kept(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[Kept]:
    rows = db.execute(
        "SELECT label.id, tile, person, answer, class.name, comment, at, withdrawn, sha256,"
        " client, told"
        f" FROM label LEFT JOIN class ON class.id = label.class WHERE {where}",
        values,
    )
    return [
        Kept(id, tile, person, said, name, comment, at, withdrawn, sha256, client, bool(told))
        for (id, tile, person, said, name, comment, at, withdrawn, sha256, client, told) in rows
    ]


def _has(db: sqlite3.Connection, person: str, given: Answer) -> bool:
    found = db.execute(
        "SELECT 1 FROM label WHERE tile = ? AND person = ? AND client = ?",
        (given.tile, person, given.client),
    ).fetchone()
    return found is not None


def _checked(db: sqlite3.Connection, given: Answer) -> int | None:
    """The class's id; everything else about the answer is legal."""
    if given.answer not in ANSWERS:
        raise AnswerError(
            f"{given.answer[:40]!r} is no answer", hint=f"one of {', '.join(ANSWERS)}"
        )
    if len(given.comment) > MOST_COMMENT:
        raise AnswerError("the comment is too long", hint=f"{MOST_COMMENT:,} characters at most")
    if given.client and not _CLIENT.fullmatch(given.client):
        raise AnswerError("the answer's own name is none", hint="1 to 100 of A-Z a-z 0-9 _ . : -")
    if not _DIGEST.fullmatch(given.sha256):
        raise AnswerError("the picture's digest is none", hint="64 hexadecimal digits, or nothing")
    if db.execute("SELECT 1 FROM tile WHERE id = ?", (given.tile,)).fetchone() is None:
        raise AnswerError(f"there is no tile {given.tile}")
    if (given.answer == SHOWS) != (given.class_name is not None):
        raise AnswerError("a class goes with `shows`, and with it alone")
    return None if given.class_name is None else class_id(db, given.class_name)


def storable(text: str) -> bool:
    """Whether a database takes the text: it takes no half of a surrogate pair, as JSON may have.

    >>> storable("crater"), storable("\\ud800")
    (True, False)
    """
    return not any("\ud800" <= c <= "\udfff" for c in text)


def class_id(db: sqlite3.Connection, name: str) -> int:
    """The id of a class. Raises AnswerError for one that the catalogue does not have."""
    row = None
    if storable(name):
        row = db.execute("SELECT id FROM class WHERE name = ?", (name,)).fetchone()
    if row is None:
        known = [name for (name,) in db.execute("SELECT name FROM class ORDER BY name LIMIT 20")]
        raise AnswerError(
            f"no class is called {name[:40]!r}", hint=f"known: {', '.join(known) or 'none'}"
        )
    return int(row[0])
