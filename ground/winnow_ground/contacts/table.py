"""Contact plans as CSV: a contact in a row, under a header of these names in any order::

    start,end,sender,receiver,bits_per_s,confidence,light_s
    2026-03-01T12:00:00Z,2026-03-01T12:08:00Z,1,2,128000,1,0.01

`start` and `end` are UTC, or seconds, all of one kind. The rate is a column `bits_per_s` or
`bytes_per_s`. `confidence` (1) and `light_s` (0) may be left out, and so may `sender` (1) and
`receiver` (2). Lines that begin with # are comments.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from dataclasses import dataclass, replace
from pathlib import Path

from winnow_base.errors import PlanError
from winnow_edge.tables import shortened
from winnow_ground.contacts.plan import FASTEST, LATEST, Contact, ContactPlan, Range

_NEEDED = ("start", "end")
_RATES = {"bits_per_s": 8.0, "bytes_per_s": 1.0}
_OTHERS = ("sender", "receiver", "confidence", "light_s")
_HEADER = "start,end,sender,receiver,bits_per_s"
_HINT = "add a line for each, e.g. 0,600,1,2,128000 under " + _HEADER
_LAST_NODE = 2**53


def is_table(text: str) -> bool:
    """Whether the first line that says anything is a header of CSV."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            return "," in line and "start" in _names(line)
    return False


def _names(line: str) -> list[str]:
    return [name.strip().strip('"').lower() for name in line.split(",")]


def parse_table(text: str, path: Path) -> ContactPlan:
    """The plan of a CSV text. Raises PlanError with the line of what is malformed."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1)]
    lines = [(n, line) for n, line in lines if line.strip() and not line.startswith("#")]
    if not lines:
        raise PlanError("is empty", where=path, hint=f"begin with {_HEADER}")
    (first, header), rows = lines[0], lines[1:]
    names = _names(header)
    rate = _checked_header(names, f"{path}:{first}")
    contacts: list[Contact] = []
    ranges: list[Range] = []
    absolute: bool | None = None
    for number, line in rows:
        where = f"{path}:{number}"
        row = _Row(_cells(line, names, where), where)
        start, dated = row.time("start")
        end, dated_too = row.time("end")
        if dated != dated_too or absolute not in (None, dated):
            raise PlanError(
                "has times as dates and times in seconds",
                where=where,
                hint="write all of them in one way",
            )
        absolute = dated
        contact = row.contact(start, end, rate)
        contacts.append(contact)
        if light := row.number("light_s", "0", 0, LATEST):
            ranges.append(Range(start, end, contact.sender, contact.receiver, light))
    epoch = None
    if absolute:
        zero = min(c.start for c in contacts)
        epoch = dt.datetime.fromtimestamp(zero, dt.UTC)
        contacts = [replace(c, start=c.start - zero, end=c.end - zero) for c in contacts]
        ranges = [replace(r, start=r.start - zero, end=r.end - zero) for r in ranges]
    contacts.sort(key=lambda c: (c.start, c.end, c.receiver))
    return ContactPlan(path, tuple(contacts), tuple(ranges), epoch, hint=_HINT)


def _checked_header(names: list[str], where: str) -> str:
    """The column of the rate. Raises PlanError for columns missing, unknown or twice there."""
    known = (*_NEEDED, *_RATES, *_OTHERS)
    for name in names:
        if name not in known or names.count(name) > 1:
            said = "is there twice" if name in known else "is no column of a contact plan"
            hint = f"columns: {', '.join(known)}"
            raise PlanError(f"{shortened(name, 60)!r} {said}", where=where, hint=hint)
    rates = [name for name in _RATES if name in names]
    missing = [name for name in _NEEDED if name not in names]
    if missing or len(rates) != 1:
        said = f"the column {missing[0]!r} is missing" if missing else _RATE_SAID[len(rates)]
        raise PlanError(said, where=where, hint=f"begin with {_HEADER}")
    return rates[0]


_RATE_SAID = {
    0: "no column gives the rate, bits_per_s or bytes_per_s",
    2: "there are two rates, bits_per_s and bytes_per_s",
}


def _cells(line: str, names: list[str], where: str) -> dict[str, str]:
    try:
        (cells,) = csv.reader([line], strict=True)
    except csv.Error as error:
        raise PlanError(f"is not CSV: {error}", where=where) from error
    if len(cells) != len(names):
        raise PlanError(f"has {len(cells)} cells under {len(names)} columns", where=where)
    return {name: cell.strip() for name, cell in zip(names, cells, strict=True)}


@dataclass(frozen=True)
class _Row:
    """The cells of one line by column."""

    cells: dict[str, str]
    where: str

    def contact(self, start: float, end: float, rate: str) -> Contact:
        if end <= start:
            raise self.error(f"ends at {self.cells['end']}, not after its start")
        speed = self.number(rate, "", 0, FASTEST * _RATES[rate]) / _RATES[rate]
        if not speed:
            raise self.error(f"`{rate}` is 0: nothing fits through the contact")
        confidence = self.number("confidence", "1", 0, 1)
        if not confidence:
            raise self.error("`confidence` is 0: the contact never comes about")
        sender, receiver = self.node("sender", "1"), self.node("receiver", "2")
        if sender == receiver:
            raise self.error(f"node {sender} cannot send to itself")
        return Contact(start, end, sender, receiver, speed, confidence, self.where)

    def time(self, name: str) -> tuple[float, bool]:
        """Seconds, and whether they are of a date (then POSIX)."""
        text = self.cells[name]
        try:
            when = dt.datetime.fromisoformat(text) if "-" in text[1:] and "T" in text else None
        except ValueError as error:
            raise self.error(f"`{name}` is {shortened(text, 60)!r}, no date and time") from error
        if when is None:
            return self.number(name, "", 0, LATEST), False
        return (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp(), True

    def number(self, name: str, absent: str, low: float, high: float) -> float:
        text = self.cells.get(name, "") or absent
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            said = f"`{name}` is {shortened(text, 60)!r}, legal is {low:g} to {high:g}"
            raise self.error(said + (" s, or UTC as 2026-03-01T12:00:00Z" * (name in _NEEDED)))
        return value

    def node(self, name: str, absent: str) -> int:
        text = self.cells.get(name, "") or absent
        if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) <= _LAST_NODE):
            raise self.error(f"`{name}` is {shortened(text, 60)!r}, no node number")
        return int(text)

    def error(self, what: str) -> PlanError:
        return PlanError(what, where=self.where)
