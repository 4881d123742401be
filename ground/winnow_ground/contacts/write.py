"""Contact plans as text of the formats that are read: ION's, HDTN's and CSV."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator

from winnow_ground.contacts.plan import Contact, ContactPlan


def as_ion(plan: ContactPlan) -> str:
    """ionadmin commands: rates in bytes per second, the epoch, to a second, as reference time."""
    lines = [f"# {plan.name(node)} is node {node}" for node in sorted(plan.names)]
    if plan.epoch is not None:
        lines.append(f"@ {plan.epoch:%Y/%m/%d-%H:%M:%S}")
    lines += [
        f"a contact +{c.start:.6f} +{c.end:.6f} {c.sender} {c.receiver} "
        f"{_rate(c):.9f} {c.confidence:g}"
        for c in plan.contacts
    ]
    lines += [
        f"a range +{r.start:.6f} +{r.end:.6f} {r.one} {r.other} {r.light_seconds:.6f}"
        for r in plan.ranges
    ]
    return "\n".join(lines) + "\n"


def as_hdtn(plan: ContactPlan) -> str:
    """HDTN's JSON: rates in bits per second, times from the epoch."""
    entries = [
        {
            "contact": number,
            "source": c.sender,
            "dest": c.receiver,
            "startTime": round(c.start, 6),
            "endTime": round(c.end, 6),
            "rateBitsPerSec": 8 * _rate(c),
            "owlt": plan.light_time(c.sender, c.receiver, c.start),
        }
        for number, c in enumerate(plan.contacts)
    ]
    return json.dumps({"contacts": entries}, indent=1) + "\n"


def as_csv(plan: ContactPlan) -> str:
    """CSV: rates in bits per second, times in UTC where the epoch is known, else seconds."""
    return "\n".join(_csv_lines(plan)) + "\n"


def _csv_lines(plan: ContactPlan) -> Iterator[str]:
    yield "start,end,sender,receiver,bits_per_s,confidence,light_s"

    def text(seconds: float) -> str:
        if plan.epoch is None:
            return f"{seconds:.6f}"
        when = plan.epoch + dt.timedelta(seconds=seconds)
        return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    for c in plan.contacts:
        light = plan.light_time(c.sender, c.receiver, c.start)
        yield (
            f"{text(c.start)},{text(c.end)},{c.sender},{c.receiver},"
            f"{8 * _rate(c):.8f},{c.confidence:g},{light:.6f}"
        )


def _rate(contact: Contact) -> float:
    """Bytes per second at which the contact's bytes fit between its times, to a microsecond."""
    if contact.octets is None and contact.start.is_integer() and contact.end.is_integer():
        return contact.rate
    # Half a byte more: times of day are rounded once they are seconds since 1970.
    return (contact.budget_bytes + 0.5) / (round(contact.end, 6) - round(contact.start, 6))


FORMATS: dict[str, Callable[[ContactPlan], str]] = {
    "ion": as_ion,
    "hdtn": as_hdtn,
    "csv": as_csv,
}
