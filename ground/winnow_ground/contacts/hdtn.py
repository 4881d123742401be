"""Contact plans of HDTN: a JSON file, ``{"contacts": [{"source", "dest", "startTime", "endTime",
"rateBitsPerSec", "owlt"}]}`` (module/router/contact_plans of NASA's HDTN), with rates in bits per
second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from winnow_base.errors import PlanError
from winnow_edge.tables import Reader, setting
from winnow_ground.contacts.plan import FASTEST, LATEST, Contact, ContactPlan, Range

_HINT = "an entry has source, dest, startTime, endTime, rateBitsPerSec"


@dataclass(frozen=True)
class _HdtnContact:
    """A contact of an HDTN plan; seconds, bits per second, light seconds."""

    source: int = setting(..., 0, 2**53)
    dest: int = setting(..., 0, 2**53)
    start: float = setting(..., 0, LATEST, unit="s", key="startTime")
    end: float = setting(..., 0, LATEST, unit="s", key="endTime")
    rate: float = setting(..., 0, 8 * FASTEST, unit="bit/s", key="rateBitsPerSec")
    owlt: float = setting(0.0, 0, LATEST, unit="s")


@dataclass(frozen=True)
class _Hdtn:
    """An HDTN plan, as far as it is read."""

    contacts: tuple[_HdtnContact, ...] = setting(...)


def parse_hdtn(text: str, path: Path) -> ContactPlan:
    """The plan of a JSON text. Raises PlanError with the entry that is malformed."""
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
    return ContactPlan(path, tuple(contacts), tuple(ranges), hint=_HINT)
