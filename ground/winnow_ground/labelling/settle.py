"""What a tile shows, once people have spoken: all agree, or one with the right to decides."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from winnow_edge.files import printable
from winnow_ground.labelling.answers import (
    LATER,
    NOTHING,
    SHOWS,
    UNSURE,
    AnswerError,
    class_id,
    now,
    person_name,
)
from winnow_ground.labelling.sets import LabelSet

DECISIONS: Final = (SHOWS, NOTHING, UNSURE)


@dataclass(frozen=True, slots=True)
class Settled:
    """What a tile shows (`class_name`; None: nothing), by so many people or by a decision.

    `sha256` is of the pictures that were looked at.
    """

    tile: int
    class_name: str | None
    people: int
    decided: bool
    sha256: frozenset[str]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of a tile, by whom and when."""

    tile: int
    person: str
    answer: str
    class_name: str | None
    comment: str
    at: str


@dataclass(frozen=True, slots=True)
class Open:
    """Tiles that are not settled: `disputed` by people, or answered `unsure` by all."""

    disputed: list[int]
    unsure: list[int]


def settled(db: sqlite3.Connection, tiles: Iterable[int] | None = None) -> dict[int, Settled]:
    """Tiles whose content is known, of these or of all.

    A decision settles a tile (`unsure`: as not known); else all answers that count must be the
    same class, or `nothing`. Who is unsure or puts a tile off does not keep others from agreeing.
    """
    known, _ = _sorted_out(db)
    if tiles is None:
        return known
    return {tile: known[tile] for tile in tiles if tile in known}


def open_tiles(db: sqlite3.Connection, one: LabelSet) -> Open:
    """Tiles of a set that are for somebody to decide; what is decided is not open."""
    return _sorted_out(db, one.id)[1]


def decide(
    db: sqlite3.Connection,
    person: str,
    tile: int,
    answer: str,
    class_name: str | None = None,
    comment: str = "",
) -> None:
    """Record a decision within the transaction that is open; the one before it stays as history.

    The same decision of the same person again changes nothing. Raises AnswerError.
    """
    if answer not in DECISIONS or (answer == SHOWS) != (class_name is not None):
        raise AnswerError("a decision is a class, `nothing` or `unsure`")
    if db.execute("SELECT 1 FROM tile WHERE id = ?", (tile,)).fetchone() is None:
        raise AnswerError(f"there is no tile {tile}")
    person = person_name(person)
    shown = None if class_name is None else class_id(db, class_name)
    row = (person, shown, answer, printable(comment))
    last = db.execute(
        "SELECT person, class, answer, comment FROM decision WHERE tile = ? AND withdrawn IS NULL",
        (tile,),
    ).fetchone()
    if last == row:
        return
    take_back(db, tile)
    db.execute(
        "INSERT INTO decision (tile, person, class, answer, comment, at) VALUES (?, ?, ?, ?, ?, ?)",
        (tile, *row, now()),
    )


def take_back(db: sqlite3.Connection, tile: int) -> None:
    """Take back the decision of a tile, if there is one; it stays as history."""
    db.execute(
        "UPDATE decision SET withdrawn = ? WHERE tile = ? AND withdrawn IS NULL", (now(), tile)
    )


def decisions(db: sqlite3.Connection, set_id: int | None = None) -> dict[int, Decision]:
    """The decisions that count, of a set or of all tiles, by tile."""
    rows = db.execute(
        "SELECT tile, person, answer, class.name, comment, at FROM decision"
        f" LEFT JOIN class ON class.id = decision.class WHERE withdrawn IS NULL{_of(set_id)}"
    )
    return {row[0]: Decision(*row) for row in rows}


def _of(set_id: int | None) -> str:
    """The condition that a tile is in the set."""
    if set_id is None:
        return ""
    return f" AND tile IN (SELECT tile FROM label_set_tile WHERE label_set = {int(set_id)})"


def _sorted_out(
    db: sqlite3.Connection, set_id: int | None = None
) -> tuple[dict[int, Settled], Open]:
    """The tiles, of a set or all, of which anything was said: what is known, and what is open."""
    said: dict[int, list[tuple[str, str | None, str]]] = {}
    for tile, *answer in db.execute(
        "SELECT tile, answer, class.name, sha256 FROM label"
        f" LEFT JOIN class ON class.id = label.class WHERE withdrawn IS NULL{_of(set_id)}"
        " ORDER BY tile, label.id"
    ):
        said.setdefault(tile, []).append((answer[0], answer[1], answer[2]))
    decided, known, left = decisions(db, set_id), dict[int, Settled](), Open([], [])
    for tile in sorted(said.keys() | decided.keys()):
        answers = [one for one in said.get(tile, []) if one[0] != LATER]
        sure = [one for one in answers if one[0] != UNSURE]
        seen = frozenset(one[2] for one in answers if one[2])
        names = {one[1] for one in sure}
        last = decided.get(tile)
        if last is not None:
            if last.answer != UNSURE:
                known[tile] = Settled(tile, last.class_name, len(answers), True, seen)
        elif len(names) == 1:
            known[tile] = Settled(tile, names.pop(), len(sure), False, seen)
        elif names:
            left.disputed.append(tile)
        elif answers:
            left.unsure.append(tile)
    return known, left
