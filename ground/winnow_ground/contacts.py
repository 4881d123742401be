"""Contact plans: when a spacecraft can talk to whom, and how fast.

Two formats are read. ION's is a text file of `ionadmin` commands (ionrc(5) of the ION-DTN
distribution), of which these matter here::

    @ 2026/03/01-12:00:00            reference of the relative times that follow
    a contact +START +END FROM TO RATE [CONFIDENCE]     RATE in bytes per second
    a range +START +END ONE OTHER LIGHT_SECONDS

HDTN's is a JSON file, ``{"contacts": [{"source", "dest", "startTime", "endTime",
"rateBitsPerSec", "owlt"}]}`` (module/router/contact_plans of NASA's HDTN), with rates in bits per
second. A file that begins with ``{`` is read as HDTN's.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from winnow_base.errors import PlanError
from winnow_edge.files import read_small
from winnow_edge.tables import Reader, setting, shortened

_ABSOLUTE = re.compile(r"(\d{4})/(\d\d)/(\d\d)-(\d\d):(\d\d):(\d\d)")
_RELATIVE = re.compile(r"\+(\d+(?:\.\d+)?)")
_FASTEST, _LATEST, _DIGITS = 1e12, 1e12, 15
"""Bytes per second; seconds, thirty thousand years; digits of a node number."""
_LAST_SECOND = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC).timestamp()
_IGNORED = frozenset("?hev1smliq^x")
"""ionadmin commands that say nothing about contacts (help, echo, version, initialize, start,
manage, list, info, quit, region, stop)."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A window in which `sender` transmits to `receiver`.

    `start`, `end` in seconds from the plan's epoch, `rate` in bytes per second, `confidence` 0..1,
    `where` the file and line that it was read from.
    """

    start: float
    end: float
    sender: int
    receiver: int
    rate: float
    confidence: float = 1.0
    where: str = ""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.end - self.start

    @property
    def budget_bytes(self) -> int:
        """Whole bytes that fit through it."""
        return math.floor(self.seconds * self.rate + 1e-6)


@dataclass(frozen=True, slots=True)
class Range:
    """`light_seconds` of one-way light time between two nodes from `start` to `end`."""

    start: float
    end: float
    one: int
    other: int
    light_seconds: float


@dataclass(frozen=True, slots=True)
class ContactPlan:
    """All contacts and ranges of a file; `epoch` is the time of second 0 (None: relative)."""

    path: Path
    contacts: tuple[Contact, ...]
    ranges: tuple[Range, ...] = ()
    epoch: dt.datetime | None = None

    def light_time(self, sender: int, receiver: int, at: float) -> float:
        """One-way light time in seconds, 0 where the plan gives none.

        A range whose first node has the lower number holds in both directions unless the other
        direction is given too (ionrc(5)).
        """
        for one, other in ((sender, receiver), (receiver, sender)):
            if one > other and (one, other) != (sender, receiver):
                continue
            for r in self.ranges:
                if (r.one, r.other) == (one, other) and r.start <= at <= r.end:
                    return r.light_seconds
        return 0.0

    def downlinks(self, node: int | None = None) -> Downlinks:
        """The contacts in which spacecraft `node` sends, in order of time.

        `node` may be left out where one node alone sends. A spacecraft has one transmitter:
        where it could reach two receivers at once, the one that it reached first keeps it.
        Raises PlanError if there is no such contact or the sender cannot be told.
        """
        senders = sorted({c.sender for c in self.contacts})
        if not self.contacts:
            raise PlanError(
                "holds no contact", where=self.path, hint="add lines `a contact +0 +600 1 2 16000`"
            )
        if node is None:
            if len(senders) > 1:
                names = ", ".join(map(str, senders))
                raise PlanError(
                    f"nodes {names} send in it",
                    where=self.path,
                    hint="say which is the spacecraft: --node N, or node = N under [simulation]",
                )
            node = senders[0]
        if node not in senders:
            names = ", ".join(map(str, senders))
            raise PlanError(f"node {node} sends in no contact; senders: {names}", where=self.path)
        kept, notes = _one_transmitter([c for c in self.contacts if c.sender == node])
        return Downlinks(node, tuple(kept), tuple(notes))

    def time_text(self, seconds: float) -> str:
        """A time of the plan for people: UTC where the epoch is known, else T+h:mm:ss."""
        if self.epoch is not None:
            when = self.epoch + dt.timedelta(seconds=seconds)
            return when.strftime("%Y-%m-%d %H:%M:%S")
        whole = round(seconds)
        return f"T+{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


@dataclass(frozen=True, slots=True)
class Downlinks:
    """What one spacecraft can send in: `contacts` in order; `notes` say what was shortened."""

    node: int
    contacts: tuple[Contact, ...]
    notes: tuple[str, ...] = field(default=())


def load_plan(path: str | Path) -> ContactPlan:
    """Read a contact plan in ION or HDTN format.

    Raises PlanError with the file and line of what is malformed, and for overlapping contacts.
    """
    path = Path(path)
    try:
        text = read_small(path).decode("utf-8")
    except OSError as error:
        raise PlanError(error.strerror or "cannot be read", where=path) from error
    except UnicodeDecodeError as error:
        raise PlanError("is not a text file", where=path) from error
    return parse_plan(text, path)


def parse_plan(text: str, path: Path = Path("contacts.ionrc")) -> ContactPlan:
    """As `load_plan`, from the text of the file."""
    hdtn = text.lstrip().startswith(("{", "["))
    plan = _parse_hdtn(text, path) if hdtn else _IonReader(path).plan(text)
    _refuse_overlaps(plan)
    return plan


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
        return ContactPlan(self.path, tuple(contacts), tuple(ranges), epoch)

    def contact(self, words: list[str]) -> Contact | None:
        if len(words) not in (5, 6):
            raise self.error(f"a contact has 5 or 6 fields, here are {len(words)}", _WANTED)
        # ionrc(5): start -1 registers a node, stop 0 is a contact that may or may not come about;
        # neither can be planned with.
        if words[0] == "-1" or words[1] == "0":
            return None
        start, end = self.interval(words)
        rate = self.number(words[4], "rate in bytes per second")
        if not 0 < rate <= _FASTEST:
            said = f"the rate is {words[4]}, legal is over 0 to {_FASTEST:g} bytes per second"
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
        if not 0 <= light <= _LATEST:
            raise self.error(f"the distance is {words[4]}, legal is 0 to {_LATEST:g}")
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
            if seconds > _LATEST:
                raise self.error(f"{shortened(word)} is later than {_LATEST:g} s")
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


_WANTED = "write: a contact +START +END FROM TO BYTES_PER_SECOND"
_WANTED_RANGE = "write: a range +START +END ONE OTHER LIGHT_SECONDS"


@dataclass(frozen=True)
class _HdtnContact:
    """A contact of an HDTN plan; seconds, bits per second, light seconds."""

    source: int = setting(..., 0, 2**53)
    dest: int = setting(..., 0, 2**53)
    start: float = setting(..., 0, _LATEST, unit="s", key="startTime")
    end: float = setting(..., 0, _LATEST, unit="s", key="endTime")
    rate: float = setting(..., 0, 8 * _FASTEST, unit="bit/s", key="rateBitsPerSec")
    owlt: float = setting(0.0, 0, _LATEST, unit="s")


@dataclass(frozen=True)
class _Hdtn:
    """An HDTN plan, as far as it is read."""

    contacts: tuple[_HdtnContact, ...] = setting(...)


def _parse_hdtn(text: str, path: Path) -> ContactPlan:
    reader = Reader(path, PlanError, others=True, hint="is it an HDTN contact plan?")
    plan = reader.table(_Hdtn, reader.json(text))
    contacts: list[Contact] = []
    ranges: list[Range] = []
    for index, c in enumerate(plan.contacts):
        where = f"{path}: contacts[{index}]"
        if c.end <= c.start:
            raise PlanError("`endTime` is not after `startTime`", where=where)
        if not c.rate:
            raise PlanError(
                "`rateBitsPerSec` is 0, which HDTN takes as unlimited",
                where=where,
                hint="give the rate; without one there is no byte budget",
            )
        if c.source == c.dest:
            raise PlanError(f"node {c.source} cannot send to itself", where=where)
        contacts.append(Contact(c.start, c.end, c.source, c.dest, c.rate / 8, 1.0, where))
        if c.owlt:
            ranges.append(Range(c.start, c.end, c.source, c.dest, c.owlt))
    contacts.sort(key=lambda c: (c.start, c.end, c.receiver))
    return ContactPlan(path, tuple(contacts), tuple(ranges))


def _refuse_overlaps(plan: ContactPlan) -> None:
    """ionrc(5): the intervals of scheduled contacts between two nodes must not overlap."""
    latest: dict[tuple[int, int], Contact] = {}
    for contact in plan.contacts:
        before = latest.get((contact.sender, contact.receiver))
        if before is not None and contact.start < before.end:
            raise PlanError(
                f"overlaps the contact of {before.where} between the same nodes "
                f"{contact.sender} and {contact.receiver}",
                where=contact.where,
                hint="end one before the other starts",
            )
        if before is None or contact.end > before.end:
            latest[contact.sender, contact.receiver] = contact


def _one_transmitter(contacts: list[Contact]) -> tuple[list[Contact], list[str]]:
    kept: list[Contact] = []
    notes: list[str] = []
    for contact in contacts:
        free = kept[-1].end if kept else -math.inf
        if contact.end <= free:
            notes.append(f"{contact.where}: left out, the transmitter is busy all the while")
        elif contact.start < free:
            notes.append(
                f"{contact.where}: starts {free - contact.start:g} s later, "
                "when the transmitter is free"
            )
            kept.append(replace(contact, start=free))
        else:
            kept.append(contact)
    return kept, notes
