"""What browsers send of labels: everything in it is checked here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException

from winnow_ground.labelling.answers import LATER, Answer, AnswerError, answer, withdraw
from winnow_ground.labelling.sets import LabelSet, set_of

MOST_TEXT = 10_000


class _ElsewhereError(HTTPException):
    """The set that an answer was asked in is not in this catalogue."""


def keep_all(db: sqlite3.Connection, person: str, sent: Sequence[Any]) -> dict[str, Any]:
    """Keep answers within the transaction that is open, each by itself.

    Returns the names of those that are `kept`, those that are `refused` with the reason (and
    whether they belong `elsewhere`, to another catalogue), and what the `net` says of tiles that
    have an answer now.
    """
    kept, refused, answered = list[Any](), list[dict[str, Any]](), set[int]()
    known: dict[int, LabelSet | None] = {}
    for one in sent:
        client = one.get("client") if isinstance(one, dict) else None
        try:
            tile = _keep(db, person, one, known)
        except (AnswerError, HTTPException) as error:
            said = error.detail if isinstance(error, HTTPException) else str(error)
            elsewhere = isinstance(error, _ElsewhereError)
            refused.append({"client": client, "error": said, "elsewhere": elsewhere})
            continue
        kept.append(client)
        if tile is not None:
            answered.add(tile)
    return {"kept": kept, "refused": refused, "net": net_of(db, answered)}


def net_of(db: sqlite3.Connection, tiles: Iterable[int]) -> dict[int, dict[str, Any]]:
    """What the net said of tiles."""
    wanted, found = list(tiles), {}
    for first in range(0, len(wanted), 500):
        part = wanted[first : first + 500]
        rows = db.execute(
            "SELECT tile.id, class.name, posterior, detection FROM tile LEFT JOIN class"
            f" ON class.id = tile.class WHERE tile.id IN ({','.join('?' * len(part))})",
            part,
        )
        for tile, name, posterior, detection in rows:
            found[tile] = {"class": name, "posterior": posterior, "detection": bool(detection)}
    return found


def text(told: Mapping[str, Any], name: str) -> str:
    """A text, empty where there is none. Raises HTTPException (400)."""
    value = told.get(name)
    if value is None:
        return ""
    # Half a character is taken by no database.
    if (
        not isinstance(value, str)
        or len(value) > MOST_TEXT
        or any("\ud800" <= c <= "\udfff" for c in value)
    ):
        raise HTTPException(400, f"{name}: no text, or too much of it")
    return value


def whole(told: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """A whole number. Raises HTTPException (400)."""
    value = told.get(name)
    if type(value) is not int or not least <= value <= most:
        raise HTTPException(400, f"{name}: a whole number from {least:,} to {most:,}")
    return value


def _keep(
    db: sqlite3.Connection, person: str, one: Any, known: dict[int, LabelSet | None]
) -> int | None:
    """Keep or take back one answer; its tile, where it says what the tile shows.

    Raises AnswerError, HTTPException.
    """
    if not isinstance(one, dict):
        raise HTTPException(400, "an answer is no object")
    tile, set_id = whole(one, "tile", 0, 2**62), whole(one, "set", 0, 2**62)
    if set_id not in known:
        known[set_id] = set_of(db, set_id)
    asked = known[set_id]
    # Answers that a browser has kept from another catalogue at this address wait for that one.
    if asked is None or asked.at != one.get("made"):
        raise _ElsewhereError(400, "the set that it was asked in is not in this catalogue")
    client = text(one, "client")
    if not client:
        raise HTTPException(400, "the answer has no name of its own")
    if taken := text(one, "withdraws"):
        withdraw(db, person, tile, taken)
        return None
    told = not asked.hidden or _answered(db, person, tile)
    given = Answer(
        tile, text(one, "answer"), text(one, "class") or None, client, text(one, "comment"),
        text(one, "sha256"), asked.id, told,
    )  # fmt: skip
    answer(db, person, given)
    return None if given.answer == LATER else tile


def _answered(db: sqlite3.Connection, person: str, tile: int) -> bool:
    """Whether the person has said what the tile shows before, and so has seen the net's answer."""
    found = db.execute(
        "SELECT 1 FROM label WHERE tile = ? AND person = ? AND answer <> ?", (tile, person, LATER)
    ).fetchone()
    return found is not None
