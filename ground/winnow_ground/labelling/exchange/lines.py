"""A label on its way in or out, and how one from outside finds its tile.

Whatever form a file has, its labels become `Line`s, all of them are resolved, and only then is any
of them kept: a file with one label that makes no sense brings nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from winnow_base.errors import DataError
from winnow_edge.files import printable, read_small
from winnow_edge.products.kinds import Box
from winnow_ground.labelling.answers import (
    ANSWERS,
    MOST_NAME,
    SHOWS,
    Answer,
    AnswerError,
    answer,
    class_id,
    person_name,
    storable,
)

MOST_BYTES: Final = 500_000_000
LEAST_OVERLAP: Final = 0.5
"""Intersection over union at which a box from outside is taken for a tile."""
_BOX: Final = ("line", "sample", "lines", "samples")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a label from outside lies: the swath by `name`, `store` and `number`, or the `sha256`
    of its picture (its first digits do); `bundle` where it is told; the tile by number or box."""

    name: str | None = None
    store: int | None = None
    number: int | None = None
    sha256: str | None = None
    bundle: str | None = None
    tile: int | None = None
    box: Box | None = None

    def __post_init__(self) -> None:
        box = self.box or Box(0, 0, 1, 1)
        numbers = (self.store, self.number, self.tile, *(getattr(box, name) for name in _BOX))
        if any(n is not None and (type(n) is not int or abs(n) >= 2**62) for n in numbers):
            raise ValueError("a number of swath, tile or box is no whole number")
        for text in (self.name, self.sha256, self.bundle):
            if text is not None and not isinstance(text, str):
                raise ValueError("a name of swath or bundle, or a digest, is no text")
            if text is not None and not storable(text):
                raise ValueError("a name of swath or bundle, or a digest, has half a character")


@dataclass(frozen=True, slots=True)
class Line:
    """A label as files tell it. `where` names its place in the file, for people."""

    where: str
    place: Place
    answer: str
    class_name: str | None
    person: str | None
    at: str | None = None
    comment: str = ""
    sha256: str = ""
    told: bool = True


@dataclass(frozen=True, slots=True)
class Told:
    """A label of the catalogue on its way out: what was said, and of which tile."""

    swath: str
    store: int | None
    number: int | None
    swath_sha256: str | None
    bundle: str | None
    tile: int
    box: Box
    scale: int
    answer: str
    class_name: str | None
    person: str
    at: str
    comment: str
    sha256: str
    told: int
    tile_id: int
    swath_id: int
    lines: int | None
    samples: int | None

    @property
    def says(self) -> str:
        return self.class_name or self.answer


@dataclass
class Import:
    """How labels come in: `person` says what no line says who said, `new_classes` may be added,
    `skip` leaves lines out whose tile or class is not there, and counts them. `replaced` are labels
    that another one of the same file, person and tile took the place of."""

    person: str | None = None
    new_classes: bool = False
    skip: bool = False
    added: int = 0
    known: int = 0
    skipped: int = 0
    replaced: int = 0
    classes: list[str] = field(default_factory=list)


def bring_in(db: sqlite3.Connection, lines: Sequence[Line], way: Import, path: Path) -> Import:
    """Keep all labels of a file, within the transaction that is open; the counts are in `way`.

    A label that is there already is counted as `known`. Raises DataError, which names the line,
    where one makes no sense; then the transaction is to be rolled back.
    """
    finder, said = _Finder(db), set[tuple[int, str]]()
    for line in lines:
        try:
            tile = finder.tile(line.place)
            _class(db, line, way)
        except LookupError as error:
            if way.skip:
                way.skipped += 1
                continue
            raise _bad(path, line, str(error.args[0]), error.args[1]) from error
        person = line.person or way.person
        if person is None:
            raise _bad(path, line, "nobody is said to have said it", "name them with --person")
        given = Answer(
            tile, line.answer, line.class_name, _client(line), line.comment, line.sha256,
            told=line.told, at=line.at,
        )  # fmt: skip
        try:
            key = tile, person_name(person)
            new = not _is_known(db, person, given) and answer(db, person, _renamed(db, key, given))
        except AnswerError as error:
            raise _bad(path, line, error.what, error.hint) from error
        way.replaced += new and key in said
        said.add(key)
        way.added += new
        way.known += not new
    return way


def labels_of(db: sqlite3.Connection, set_id: int | None = None) -> Iterator[Told]:
    """The labels that count, of a set or of all tiles, in the order of swaths and tiles."""
    where, values = "", list[int]()
    if set_id is not None:
        where = " AND tile.id IN (SELECT tile FROM label_set_tile WHERE label_set = ?)"
        values.append(set_id)
    for row in db.execute(_LABELS.format(where), values):
        told: tuple[Any, ...] = (*row[:6], Box(*row[6:10]), *row[10:])
        yield Told(*told)


def moment(text: str) -> str:
    """A time in ISO 8601 as the catalogue keeps it: UTC, milliseconds. Raises ValueError."""
    told = datetime.fromisoformat(text.strip())
    try:
        told = told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text[:40]!r} is no time in UTC") from error
    return told.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def answer_of(text: str) -> tuple[str, str | None]:
    """The answer and class of one word: an answer's name, or else that of a class."""
    return (text, None) if text in ANSWERS and text != SHOWS else (SHOWS, text)


def text_in(value: Any) -> str:
    """A text of a file from outside. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("a name is no text")
    return value


def number_in(value: Any) -> int:
    """A whole number of a file from outside. Raises ValueError."""
    if type(value) is not int:
        raise ValueError("an id, a size or a box is no whole number")
    return value


def text_of(path: Path) -> str:
    """The text of a file. Raises DataError."""
    try:
        return read_small(path, MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path) from error
    except UnicodeDecodeError as error:
        raise DataError("is no text in UTF-8", where=path, hint="save it as UTF-8") from error


def json_of(path: Path) -> Any:
    """The JSON in a file. Raises DataError."""
    text = text_of(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataError("is nested too deeply", where=path) from error
    except ValueError as error:
        hint = "it may have been cut short: export it again"
        raise DataError(f"is no JSON ({printable(str(error))})", where=path, hint=hint) from error


class _Finder:
    """Finds the tile that a label from outside is of."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._swaths: dict[Place, list[tuple[int, int | None, int | None]]] = {}
        self._tiles: dict[int, list[tuple[int, int, Box]]] = {}

    def tile(self, place: Place) -> int:
        """The tile's id. Raises LookupError with what is wrong and what to do."""
        swaths = self._of(place)
        called = printable(place.name or "")[:60] or "of that number"
        if not swaths:
            raise LookupError(f"no swath {called!r} is in the catalogue", "add its reception first")
        if place.tile is None and place.box is None:
            raise LookupError("names no tile", "give `tile`, or `line,sample,lines,samples`")
        if place.tile is None and place.box is not None:
            self._check(place.box, swaths[0])
        found = [tile for swath in swaths for tile in self._in(swath[0], place)]
        if not found:
            what = "tile" if place.tile is None else f"tile {place.tile}"
            what += "" if place.box is None else f" at {place.box}"
            raise LookupError(f"no {what} is in swath {called!r}", "is it of this catalogue?")
        if len(set(found)) > 1:
            raise LookupError(
                f"{len(found)} tiles of swath {called!r} may be meant", "give `bundle` too"
            )
        return found[0]

    def _of(self, place: Place) -> list[tuple[int, int | None, int | None]]:
        key = Place(place.name, place.store, place.number, place.sha256, place.bundle)
        if key not in self._swaths:
            where, values = list[str](), list[object]()
            if key.store is not None and key.number is not None:
                where, values = ["store = ?", "number = ?"], [key.store, key.number]
            elif key.sha256:
                where, values = ["substr(sha256, 1, ?) = ?"], [len(key.sha256), key.sha256]
            else:
                where, values = ["swath.name = ?"], [printable(key.name or "")]
            if key.bundle:
                where.append("bundle.name = ?")
                values.append(key.bundle)
            self._swaths[key] = self._db.execute(
                "SELECT swath.id, lines, samples FROM swath LEFT JOIN bundle"
                f" ON bundle.id = swath.bundle WHERE {' AND '.join(where)}",
                values,
            ).fetchall()
        return self._swaths[key]

    def _in(self, swath: int, place: Place) -> list[int]:
        """The tile of the number, if it lies at the box, or the one that the box lies over best."""
        if swath not in self._tiles:
            rows = self._db.execute(
                "SELECT id, number, line, sample, lines, samples FROM tile WHERE swath = ?",
                (swath,),
            )
            self._tiles[swath] = [(row[0], row[1], Box(*row[2:])) for row in rows]
        tiles = self._tiles[swath]
        if place.tile is not None:
            return [
                tile
                for tile, number, box in tiles
                if number == place.tile
                and (place.box is None or _union(place.box, box) >= LEAST_OVERLAP)
            ]
        assert place.box is not None
        shared = [(_union(place.box, box), -tile) for tile, _, box in tiles]
        best = max(shared, default=(0.0, 0))
        return [-best[1]] if best[0] >= LEAST_OVERLAP else []

    @staticmethod
    def _check(box: Box, swath: tuple[int, int | None, int | None]) -> None:
        _, lines, samples = swath
        ends = box.line + box.lines, box.sample + box.samples
        whole = box.line >= 0 and box.sample >= 0 and box.lines > 0 and box.samples > 0
        if not whole or (lines or ends[0]) < ends[0] or (samples or ends[1]) < ends[1]:
            size = f"{lines} lines of {samples} samples"
            raise LookupError(f"{box} lies outside of the picture, {size}", "is it this picture's?")


def _union(one: Box, other: Box) -> float:
    """Intersection over union."""
    high = min(one.line + one.lines, other.line + other.lines) - max(one.line, other.line)
    wide = min(one.sample + one.samples, other.sample + other.samples) - max(
        one.sample, other.sample
    )
    if high <= 0 or wide <= 0:
        return 0.0
    return high * wide / (one.lines * one.samples + other.lines * other.samples - high * wide)


def _class(db: sqlite3.Connection, line: Line, way: Import) -> None:
    """Raises LookupError for a class that is not there, unless it may be added."""
    name = line.class_name
    if name is None:
        return
    try:
        class_id(db, name)
    except AnswerError as error:
        if not way.new_classes:
            raise LookupError(error.what, f"{error.hint}; or --new-classes") from error
        if not _legal(name):
            hint = f"1 to {MOST_NAME} printable characters, no answer's name"
            raise LookupError(f"{printable(name)[:40]!r} is no name of a class", hint) from error
        db.execute("INSERT INTO class (name) VALUES (?)", (name,))
        way.classes.append(name)


def _legal(name: str) -> bool:
    plain = name == name.strip() and name.isprintable() and name not in ANSWERS
    return plain and 0 < len(name) <= MOST_NAME and not re.search(r"[/\\]|^\.", name)


def _is_known(db: sqlite3.Connection, person: str, given: Answer) -> bool:
    """Whether the catalogue has this answer already, from wherever, or a later one after it.

    An answer of no time is known if it is the one that counts. One that was withdrawn, and that
    nothing followed, is not known: it is brought back.
    """
    person = person_name(person)
    last = db.execute(
        "SELECT at, answer, class.name, comment FROM label"
        " LEFT JOIN class ON class.id = label.class"
        " WHERE tile = ? AND person = ? AND withdrawn IS NULL",
        (given.tile, person),
    ).fetchone()
    if last is None:
        return False
    if given.at is None:
        same = (given.answer, given.class_name) == last[1:3]
        return (same and given.comment in ("", last[3])) or _named(db, person, given)
    row = db.execute(
        "SELECT 1 FROM label LEFT JOIN class ON class.id = label.class WHERE tile = ?"
        " AND person = ? AND at = ? AND answer = ? AND class.name IS ?"
        " AND (withdrawn IS NULL OR at <= ?)",
        (given.tile, person, given.at, given.answer, given.class_name, last[0]),
    ).fetchone()
    return row is not None


def _named(db: sqlite3.Connection, person: str, given: Answer) -> bool:
    row = db.execute(
        "SELECT 1 FROM label WHERE tile = ? AND person = ? AND client = ?",
        (given.tile, person, given.client),
    ).fetchone()
    return row is not None


def _renamed(db: sqlite3.Connection, key: tuple[int, str], given: Answer) -> Answer:
    """The answer under a name of its own, if it was there and all was withdrawn."""
    (past,) = db.execute(
        "SELECT count(*) FROM label WHERE tile = ? AND person = ? AND client LIKE ? || '%'",
        (*key, given.client),
    ).fetchone()
    return replace(given, client=f"{given.client}-{past}") if past else given


def _client(line: Line) -> str:
    """The same label of a file has the same name however often it is imported."""
    said = [line.answer, line.class_name, line.at, line.comment, line.sha256]
    return "import-" + hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def _bad(path: Path, line: Line, what: str, hint: str | None) -> DataError:
    return DataError(what, where=f"{path}:{line.where}", hint=hint)


_LABELS: Final = """
SELECT swath.name, swath.store, swath.number, swath.sha256, bundle.name, tile.number, line, sample,
       tile.lines, tile.samples, scale, answer, class.name, person, at, comment, label.sha256,
       told, tile.id, swath.id, swath.lines, swath.samples
FROM label JOIN tile ON tile.id = label.tile JOIN swath ON swath.id = tile.swath
LEFT JOIN class ON class.id = label.class LEFT JOIN bundle ON bundle.id = swath.bundle
WHERE withdrawn IS NULL{} ORDER BY swath.id, tile.number, person
"""
