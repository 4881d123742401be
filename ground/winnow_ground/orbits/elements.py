"""Published mean elements of satellites: two-line elements and the Orbit Mean-Elements Message.

Two-line elements are fixed columns with a checksum (Hoots and Roehrich, Spacetrack Report No. 3,
1980); a catalogue number over 99,999 has a letter in front (Alpha-5 of Space-Track). An OMM (CCSDS
502.0-B-3) comes as XML, or as CSV or JSON with the same keys, as CelesTrak and Space-Track give it.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from winnow_base.errors import MissingExtraError, PlanError
from winnow_base.files import read_text
from winnow_edge.tables import Reader, keys_of, setting, shortened

if TYPE_CHECKING:
    from sgp4.api import Satrec

_LINE_1 = re.compile(
    r"1 [ A-HJ-NP-Z\d][ \d]{3}\d[ A-Z] .{8} \d\d[ \d]{2}\d\.\d{8} [ +-]\.\d{8} "
    r"[ +-][ \d]{5}[+-]\d [ +-][ \d]{5}[+-]\d [ \d] [ \d]{4}\d"
)
_LINE_2 = re.compile(
    r"2 [ A-HJ-NP-Z\d][ \d]{3}\d [ \d]{3}\.\d{4} [ \d]{3}\.\d{4} [ \d]{7} [ \d]{3}\.\d{4} "
    r"[ \d]{3}\.\d{4} [ \d]{2}\.\d{8}[ \d]{5}\d"
)
_ANGLES = (
    ("inclination", slice(8, 16), 180),
    ("right ascension of the node", slice(17, 25), 360),
    ("argument of perigee", slice(34, 42), 360),
    ("mean anomaly", slice(43, 51), 360),
)
"""Of line 2: their columns and the most degrees."""
_EPOCH_0 = dt.datetime(1949, 12, 31, tzinfo=dt.UTC)
"""Day 0 of SGP4."""
_MOST_NUMBER = 339_999
"""Z9999, the last catalogue number that SGP4's code takes."""


@dataclass(frozen=True)
class Elements:
    """Mean elements of one satellite at `epoch`; `satrec` is what SGP4 made of them."""

    name: str
    number: int
    epoch: dt.datetime
    satrec: Satrec
    where: str

    @property
    def period_s(self) -> float:
        """Time of one revolution."""
        return 2 * math.pi / float(self.satrec.no_kozai) * 60


@dataclass(frozen=True)
class _Omm:
    """What SGP4 takes of a message; degrees, revolutions per day, 1 / Earth radii."""

    number: int = setting(..., 0, _MOST_NUMBER, key="NORAD_CAT_ID")
    epoch: str = setting(..., key="EPOCH")
    motion: float = setting(..., 0.05, 20.0, unit="rev/day", key="MEAN_MOTION")
    eccentricity: float = setting(..., 0.0, 0.9999999, key="ECCENTRICITY")
    inclination: float = setting(..., 0.0, 180.0, unit="°", key="INCLINATION")
    node: float = setting(..., -360.0, 360.0, unit="°", key="RA_OF_ASC_NODE")
    pericenter: float = setting(..., -360.0, 360.0, unit="°", key="ARG_OF_PERICENTER")
    anomaly: float = setting(..., -360.0, 360.0, unit="°", key="MEAN_ANOMALY")
    bstar: float = setting(0.0, -10.0, 10.0, key="BSTAR")
    motion_dot: float = setting(0.0, -100.0, 100.0, key="MEAN_MOTION_DOT")
    motion_ddot: float = setting(0.0, -100.0, 100.0, key="MEAN_MOTION_DDOT")
    name: str = setting("", key="OBJECT_NAME")
    theory: str = setting("SGP4", choices=("SGP4", "SGP/SGP4"), key="MEAN_ELEMENT_THEORY")
    center: str = setting("EARTH", choices=("EARTH", "Earth"), key="CENTER_NAME")
    frame: str = setting("TEME", choices=("TEME",), key="REF_FRAME")
    scale: str = setting("UTC", choices=("UTC",), key="TIME_SYSTEM")
    kind: int = setting(0, choices=(0, 2), key="EPHEMERIS_TYPE")


def load_elements(path: str | Path) -> tuple[Elements, ...]:
    """All satellites of a file of two-line elements or OMM.

    Raises PlanError for what is malformed or impossible, MissingExtraError without `sgp4`.
    """
    path = Path(path)
    return parse_elements(read_text(path, PlanError), path)


def parse_elements(text: str, where: object = "elements") -> tuple[Elements, ...]:
    """As `load_elements`, from the text; `where` is its file and place."""
    head = text.lstrip()
    if head.startswith("<"):
        found = _messages(_xml_rows(text, where), where)
    elif head.startswith(("{", "[")):
        found = _messages(_json_rows(text, where), where)
    elif "NORAD_CAT_ID" in head.partition("\n")[0]:
        found = _messages(_csv_rows(text, where), where)
    else:
        found = _two_lines(text, where)
    satellites = tuple(found)
    if not satellites:
        raise PlanError("holds no elements", where=where, hint=_HINT)
    return satellites


_HINT = "two-line elements, or an OMM as CSV, JSON or XML"


def choose(satellites: tuple[Elements, ...], asked: str | None, where: object) -> Elements:
    """The satellite of that name or catalogue number; the only one where none is asked for.

    Raises PlanError if there is none, or several.
    """
    fits = [s for s in satellites if asked is None or asked in (s.name, str(s.number))]
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(f"{s.name or 'no name'} ({s.number})" for s in satellites[:5])
    more = f" and {len(satellites) - 5} more" if len(satellites) > 5 else ""
    if asked is None:
        said = f"hold {len(satellites)} satellites: {names}{more}"
        raise PlanError(f"its elements {said}", where=where, hint='say which: satellite = "NAME"')
    said = f"satellite {shortened(asked, 60)!r} is {len(fits)} times among its elements"
    raise PlanError(said, where=where, hint=f"they hold: {names}{more}")


def _two_lines(text: str, where: object) -> Iterator[Elements]:
    name, first = "", ""
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.rstrip()
        at = f"{where}:{number}"
        if first:
            yield _pair(first, line[:69], name, at)
            name, first = "", ""
        elif line.startswith("1 ") and len(line) >= 60:
            first = _checked(line[:69], _LINE_1, at)
        elif line.startswith("2 ") and len(line) >= 60:
            raise PlanError("line 2 of two-line elements follows no line 1", where=at)
        elif line and not line.startswith("#"):
            if name:
                raise PlanError(f"{shortened(name, 40)!r} is no element line", where=at, hint=_HINT)
            name = line.removeprefix("0 ").strip()
    if first or name:
        raise PlanError("ends within two-line elements", where=where, hint=_HINT)


def _pair(first: str, second: str, name: str, where: str) -> Elements:
    _checked(second, _LINE_2, where)
    if first[2:7] != second[2:7]:
        said = f"the lines are of two satellites, {first[2:7]} and {second[2:7]}"
        raise PlanError(said, where=where)
    if not 1 <= float(first[20:32]) < 367:
        raise PlanError(f"the epoch is day {first[20:32].strip()} of its year", where=where)
    for angle, columns, most in _ANGLES:
        if float(second[columns]) > most:
            said = f"the {angle} is {second[columns].strip()}°, legal is 0 to {most}"
            raise PlanError(said, where=where, hint="get the elements again")
    if float(second[52:63]) <= 0:
        raise PlanError("the mean motion is 0: no orbit", where=where)
    return _ready(_satrec_class().twoline2rv(first, second), name, where)


def _checked(line: str, form: re.Pattern[str], where: str) -> str:
    """A line whose columns and checksum are right. Raises PlanError."""
    number = form.pattern[0]
    if not line.isascii() or not form.fullmatch(line):
        said = f"{shortened(line, 80)!r} has not the columns of line {number}"
        raise PlanError(said, where=where, hint="two-line elements have 69 columns, numbers apart")
    total = sum(int(c) if c.isdigit() else c == "-" for c in line[:68]) % 10
    if total != int(line[68]):
        said = f"the checksum of line {number} is {line[68]}, its digits give {total}"
        raise PlanError(said, where=where, hint="get the elements again; a digit is wrong")
    return line


def _csv_rows(text: str, where: object) -> Iterator[dict[str, Any]]:
    try:
        for row in csv.DictReader(io.StringIO(text), strict=True):
            yield {key: value for key, value in row.items() if key}
    except csv.Error as error:
        raise PlanError(f"is not CSV: {error}", where=where) from error


def _json_rows(text: str, where: object) -> Iterator[dict[str, Any]]:
    raw = Reader(where, PlanError, hint=_HINT).json(text)
    for row in raw if isinstance(raw, list) else [raw]:
        if not isinstance(row, dict):
            raise PlanError("its JSON holds no OMM", where=where, hint=_HINT)
        yield row


def _xml_rows(text: str, where: object) -> Iterator[dict[str, Any]]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise PlanError("an OMM has no document type", where=where, hint="remove <!DOCTYPE ...>")
    try:
        root = ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise PlanError(f"is not XML: {error}", where=where) from error
    for segment in root.iter("segment"):
        yield {field.tag: field.text or "" for field in segment.iter() if not len(field)}


def _messages(rows: Iterator[dict[str, Any]], where: object) -> Iterator[Elements]:
    known = keys_of(_Omm)
    for number, row in enumerate(rows, start=1):
        at = f"{where}: OMM {number}"
        # CSV and XML have texts alone, CelesTrak's JSON numbers, Space-Track's JSON texts.
        values = {
            key: _as(known[key].kind, value)
            for key, value in row.items()
            if key in known and value not in ("", None)
        }
        omm = Reader(at, PlanError, others=True, hint=_HINT).table(_Omm, values)
        yield _of_message(omm, at)


def _as(kind: Any, value: Any) -> Any:
    """A text as the number it should be; what is none is left to be refused by name."""
    if kind in (int, float) and isinstance(value, str) and len(value) < 40:
        try:
            return kind(value)
        except ValueError:
            return value
    return str(value) if kind is str and isinstance(value, int | float) else value


def _of_message(omm: _Omm, where: str) -> Elements:
    try:
        epoch = dt.datetime.fromisoformat(omm.epoch)
    except ValueError as error:
        said = f"`EPOCH` is {shortened(omm.epoch, 60)!r}, no time such as 2026-11-20T06:00:00"
        raise PlanError(said, where=where) from error
    epoch = epoch if epoch.tzinfo else epoch.replace(tzinfo=dt.UTC)
    satrec = _satrec_class()()
    per_minute = 2 * math.pi / 1440
    satrec.sgp4init(
        _gravity(),
        "i",
        omm.number,
        (epoch - _EPOCH_0) / dt.timedelta(days=1),
        omm.bstar,
        omm.motion_dot * per_minute / 1440,
        omm.motion_ddot * per_minute / 1440**2,
        omm.eccentricity,
        *map(math.radians, (omm.pericenter, omm.inclination, omm.anomaly)),
        omm.motion * per_minute,
        math.radians(omm.node),
    )
    return _ready(satrec, omm.name, where)


def _ready(satrec: Satrec, name: str, where: str) -> Elements:
    from sgp4.api import SGP4_ERRORS

    code, _, _ = satrec.sgp4(satrec.jdsatepoch, satrec.jdsatepochF)
    if code:
        said = f"the elements are of no orbit: {SGP4_ERRORS.get(code, f'SGP4 error {code}')}"
        raise PlanError(said, where=where, hint="get the elements again")
    days = (satrec.jdsatepoch - 2_433_281.5) + satrec.jdsatepochF
    epoch = _EPOCH_0 + dt.timedelta(days=days)
    return Elements(name, int(satrec.satnum), epoch, satrec, where)


def _satrec_class() -> type[Satrec]:
    try:
        from sgp4.api import Satrec
    except ImportError:
        raise MissingExtraError(
            "sgp4 is not installed", hint="pip install 'winnow-ground[orbits]'"
        ) from None
    return Satrec  # type: ignore[no-any-return]


def _gravity() -> int:
    from sgp4.api import WGS72

    return int(WGS72)
