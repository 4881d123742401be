"""Contact plans of ION: a text file of `ionadmin` commands (ionrc(5) of the ION-DTN distribution).
These matter here::

    @ 2026/03/01-12:00:00            reference of the relative times that follow
    a contact +START +END FROM TO RATE [CONFIDENCE]     RATE in bytes per second
    a range +START +END ONE OTHER LIGHT_SECONDS
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import replace
from pathlib import Path

from winnow_base.errors import PlanError
from winnow_edge.tables import shortened
from winnow_ground.contacts.plan import FASTEST, LATEST, Contact, ContactPlan, Range

_ABSOLUTE = re.compile(r"(\d{4})/(\d\d)/(\d\d)-(\d\d):(\d\d):(\d\d)")
_RELATIVE = re.compile(r"\+(\d+(?:\.\d+)?)")
_DIGITS = 15
"""Digits of a node number."""
_LAST_SECOND = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC).timestamp()
_IGNORED = frozenset("?hev1smliq^x")
"""ionadmin commands that say nothing about contacts (help, echo, version, initialize, start,
manage, list, info, quit, region, stop)."""


def parse_ion(text: str, path: Path) -> ContactPlan:
    """The plan of ionadmin commands. Raises PlanError with the line of what is malformed."""
    return _IonReader(path).plan(text)


class _IonReader:
    """Reads ionadmin commands; keeps the reference time and which kind of time axis is in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)
        self.reference = 0.0
        self.reference_absolute = False
        self.absolute: bool | None = None  # which kind the times read so far are

    def plan(self, text: str) -> ContactPlan:
        contacts: list[Contact] = []
        ranges: list[Range] = []
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            self.where = f"{self.path}:{number}"
            if words[0] == "@":
                if len(words) != 2:
                    raise self.error("`@` takes one time")
                self.reference, self.reference_absolute = self.time(words[1]), bool(self.absolute)
            elif words[:2] == ["a", "contact"]:
                contact = self.contact(words[2:])
                if contact is not None:
                    contacts.append(contact)
            elif words[:2] == ["a", "range"]:
                ranges.append(self.range(words[2:]))
            elif words[0] in ("c", "d") and words[1:2] in (["contact"], ["range"]):
                raise self.error(
                    "contacts cannot be changed here",
                    "write the plan as it stands after the change",
                )
            elif words[0] not in _IGNORED:
                raise self.error(f"unknown command {' '.join(words[:2])!r}", _WANTED)
        epoch = None
        if self.absolute and contacts:
            zero = min(c.start for c in contacts)
            epoch = dt.datetime.fromtimestamp(zero, dt.UTC)
            contacts = [replace(c, start=c.start - zero, end=c.end - zero) for c in contacts]
            ranges = [replace(r, start=r.start - zero, end=r.end - zero) for r in ranges]
        contacts.sort(key=lambda c: (c.start, c.end, c.receiver))
        return ContactPlan(self.path, tuple(contacts), tuple(ranges), epoch, hint=_HINT)

    def contact(self, words: list[str]) -> Contact | None:
        if len(words) not in (5, 6):
            raise self.error(f"a contact has 5 or 6 fields, here are {len(words)}", _WANTED)
        # ionrc(5): start -1 registers a node, stop 0 is a contact that may or may not come about;
        # neither can be planned with.
        if words[0] == "-1" or words[1] == "0":
            return None
        start, end = self.interval(words)
        rate = self.number(words[4], "rate in bytes per second")
        if not 0 < rate <= FASTEST:
            said = f"the rate is {words[4]}, legal is over 0 to {FASTEST:g} bytes per second"
            raise self.error(said)
        confidence = self.number(words[5], "confidence") if len(words) == 6 else 1.0
        if not 0 < confidence <= 1:
            raise self.error(f"the confidence is {words[5]}, legal is over 0 to 1")
        sender, receiver = self.node(words[2]), self.node(words[3])
        if sender == receiver:
            raise self.error(f"node {sender} cannot send to itself")
        return Contact(start, end, sender, receiver, rate, confidence, self.where)

    def range(self, words: list[str]) -> Range:
        if len(words) != 5:
            raise self.error(f"a range has 5 fields, here are {len(words)}", _WANTED_RANGE)
        start, end = self.interval(words)
        light = self.number(words[4], "distance in light seconds")
        if not 0 <= light <= LATEST:
            raise self.error(f"the distance is {words[4]}, legal is 0 to {LATEST:g}")
        return Range(start, end, self.node(words[2]), self.node(words[3]), light)

    def interval(self, words: list[str]) -> tuple[float, float]:
        start, end = self.time(words[0]), self.time(words[1])
        if end <= start:
            raise self.error(f"ends at {words[1]}, not after its start {words[0]}")
        return start, end

    def time(self, word: str) -> float:
        """Seconds on the file's time axis: from second 0, or POSIX where times are absolute."""
        if match := _RELATIVE.fullmatch(word):
            self.on_axis(absolute=self.reference_absolute, word=word)
            seconds = float(match[1])
            if seconds > LATEST:
                raise self.error(f"{shortened(word)} is later than {LATEST:g} s")
            if self.reference_absolute and self.reference + seconds > _LAST_SECOND:
                raise self.error(f"{word!r} lies beyond the year 9999")
            return self.reference + seconds
        if match := _ABSOLUTE.fullmatch(word):
            try:
                when = dt.datetime(*map(int, match.groups()), tzinfo=dt.UTC)  # type: ignore[misc,arg-type]
            except ValueError as error:
                raise self.error(f"{word!r} is no date and time: {error}") from error
            self.on_axis(absolute=True, word=word)
            return when.timestamp()
        raise self.error(f"{word!r} is no time", "write +SECONDS or yyyy/mm/dd-hh:mm:ss")

    def on_axis(self, *, absolute: bool, word: str) -> None:
        if self.absolute is not None and self.absolute != absolute:
            raise self.error(
                f"{word!r} cannot be placed among times of the other kind",
                "set the reference first: @ yyyy/mm/dd-hh:mm:ss",
            )
        self.absolute = absolute

    def node(self, word: str) -> int:
        if not word.isascii() or not word.isdigit() or len(word) > _DIGITS:
            raise self.error(f"{shortened(word)!r} is no node number")
        return int(word)

    def number(self, word: str, what: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(f"{shortened(word)!r} is no {what}")
        return value

    def error(self, what: str, hint: str | None = None) -> PlanError:
        return PlanError(what, where=self.where, hint=hint)


_HINT = "add lines `a contact +0 +600 1 2 16000`"
_WANTED = "write: a contact +START +END FROM TO BYTES_PER_SECOND"
_WANTED_RANGE = "write: a range +START +END ONE OTHER LIGHT_SECONDS"
