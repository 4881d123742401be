"""Contact plans: when a spacecraft can talk to whom, and how fast."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from winnow_base.errors import PlanError

FASTEST, LATEST = 1e12, 1e12
"""Bytes per second; seconds, thirty thousand years."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A window in which `sender` transmits to `receiver`.

    `start`, `end` in seconds from the plan's epoch, `rate` in bytes per second, `confidence` 0..1,
    `where` the file and line that it was read from. `octets` are the bytes that fit through it
    where the rate is not the same throughout, and `rate` the mean. `light_seconds`, one way, is
    filled in by `ContactPlan.downlinks`.
    """

    start: float
    end: float
    sender: int
    receiver: int
    rate: float
    confidence: float = 1.0
    where: str = ""
    light_seconds: float = 0.0
    octets: int | None = None

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.end - self.start

    @property
    def budget_bytes(self) -> int:
        """Whole bytes that fit through it."""
        if self.octets is not None:
            return self.octets
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
    """All contacts and ranges of a file; `epoch` is the time of second 0 (None: relative).

    `names` are those of nodes, where the file names them; `eclipses` are (start, end) in seconds,
    None where no orbit tells them; `notes` say what to be wary of,
    `hint` what to do where there is no contact.
    """

    path: Path
    contacts: tuple[Contact, ...]
    ranges: tuple[Range, ...] = ()
    epoch: dt.datetime | None = None
    names: dict[int, str] = field(default_factory=dict)
    eclipses: tuple[tuple[float, float], ...] | None = None
    notes: tuple[str, ...] = ()
    hint: str = ""

    def name(self, node: int) -> str:
        """The name of a node for people: the plan's, or its number."""
        return self.names.get(node, str(node))

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
            raise PlanError("holds no contact", where=self.path, hint=self.hint)
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
        lit = (
            replace(c, light_seconds=self.light_time(c.sender, c.receiver, c.start)) for c in kept
        )
        return Downlinks(node, tuple(lit), (*self.notes, *notes))

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


def refuse_overlaps(plan: ContactPlan) -> None:
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
            kept.append(_from(contact, free))
        else:
            kept.append(contact)
    return kept, notes


def _from(contact: Contact, start: float) -> Contact:
    """What is left of a contact from `start` on."""
    octets = contact.octets
    if octets is not None:
        octets = math.floor(octets * (contact.end - start) / contact.seconds)
    return replace(contact, start=start, octets=octets)
