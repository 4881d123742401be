"""Acknowledgement: what the ground says arrived, and what goes back into the ranking.

The report is JSON (docs/acknowledgement.md). A container is identified by store, contact and
number together, so that a report for another store, or for numbers that this store gave otherwise,
can acknowledge nothing by mistake. Reports may be cumulative, late, or given twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from winnow_edge.errors import PacketError, StoreError
from winnow_edge.files import read_small
from winnow_edge.store import containers
from winnow_edge.store.quota import drop_delivered
from winnow_edge.store.schema import MAX_CONTACT, ContainerState
from winnow_edge.store.store import Store

_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True)
class ContactAck:
    """Of one contact, the numbers of the containers that arrived and that are known to be lost."""

    received: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AckReport:
    """What the ground received from a store: `contacts` by number; `mission` is its name."""

    store_id: int
    contacts: dict[int, ContactAck]
    mission: str | None = None

    def to_json(self) -> str:
        """The text of an ack file."""
        contacts = {
            str(number): {"received": list(ack.received), "missing": list(ack.missing)}
            for number, ack in sorted(self.contacts.items())
        }
        report = {"mission": self.mission, "store": f"{self.store_id:08x}", "contacts": contacts}
        return json.dumps(report, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: object = None) -> AckReport:
        """The inverse of `to_json`. Raises PacketError naming the key that is wrong."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PacketError(
                f"is not an acknowledgement report: {error}",
                where=where,
                hint="give the ack.json that `winnow receive` wrote",
            ) from error
        try:
            return cls(
                store_id=int(_typed(raw, "store", str), 16),
                contacts={
                    _contact(number): ContactAck(
                        _numbers(ack, "received"), _numbers(ack, "missing")
                    )
                    for number, ack in _typed(raw, "contacts", dict).items()
                },
                mission=_typed(raw, "mission", str) if raw.get("mission") is not None else None,
            )
        except ValueError as error:
            raise PacketError(
                f"is not an acknowledgement report: {error}",
                where=where,
                hint="give the ack.json that `winnow receive` wrote",
            ) from error


def _typed(raw: Any, key: str, wanted: type) -> Any:
    value = raw.get(key) if isinstance(raw, dict) else None
    if not isinstance(value, wanted):
        raise ValueError(f"`{key}` is missing or of the wrong type")
    return value


def _contact(number: str) -> int:
    if not 0 < int(number) <= MAX_CONTACT:
        raise ValueError(f"{number} is no contact number, 1 to {MAX_CONTACT}")
    return int(number)


def _numbers(ack: Any, key: str) -> tuple[int, ...]:
    numbers = _typed(ack, key, list)
    if not all(type(n) is int and 0 <= n < 2**32 for n in numbers):
        raise ValueError(f"`{key}` must list container numbers")
    return tuple(numbers)


def load_ack(path: str | Path) -> AckReport:
    """Read an ack file. Raises PacketError if it is unreadable or no report."""
    try:
        text = read_small(path).decode("utf-8")
    except OSError as error:
        raise PacketError(error.strerror or "cannot be read", where=path) from error
    except UnicodeDecodeError as error:
        raise PacketError("is not UTF-8 text", where=path) from error
    return AckReport.from_json(text, where=path)


@dataclass(frozen=True, slots=True)
class AckSummary:
    """What a report changed: products acknowledged, products back in the ranking, and containers
    that this store never sent under that contact and number (ignored).
    """

    acknowledged: int = 0
    returned: int = 0
    unknown: int = 0


def acknowledge(store: Store, ack: AckReport) -> AckSummary:
    """Apply a report, a few containers in a transaction, so that the log stays small.

    Containers received are acknowledged even if they had been given up meanwhile; containers
    missing go back into the ranking, as if they had never been sent. Raises StoreError if the
    report is about another store.
    """
    if ack.store_id != store.store_id:
        raise StoreError(
            f"the report is about store {ack.store_id:08x}, this one is {store.store_id:08x}",
            where=store.path,
            hint="give the ack.json of this spacecraft's packets",
        )
    parts = [_apply(store, part) for part in _few_by_few(ack, 1 if store.disk.short else _AT_ONCE)]
    while store.disk.short and drop_delivered(store):
        pass
    counts = [(p.acknowledged, p.returned, p.unknown) for p in parts]
    return AckSummary(*(sum(column) for column in zip(*counts, strict=True)))


def _few_by_few(ack: AckReport, few: int) -> Iterator[AckReport]:
    """A report in parts of so many containers."""
    for contact, told in ack.contacts.items():
        received = list(dict.fromkeys(told.received))
        missing = sorted(set(told.missing) - set(received))
        for at in range(0, len(received), few):
            heard = ContactAck(tuple(received[at : at + few]))
            yield AckReport(ack.store_id, {contact: heard})
        for at in range(0, len(missing), few):
            yield AckReport(ack.store_id, {contact: ContactAck((), tuple(missing[at : at + few]))})


def _apply(store: Store, ack: AckReport) -> AckSummary:
    """Apply a report in one transaction."""
    acknowledged = returned = unknown = 0
    with store.transaction():
        for contact, told in ack.contacts.items():
            received = set(told.received)
            states = containers.states(store, contact, received | set(told.missing))
            unknown += len(received - states.keys())
            news = [
                number
                for number in received & states.keys()
                if states[number] is not ContainerState.ACKNOWLEDGED
            ]
            acknowledged += containers.acknowledge(store, news)
            lost = [
                number
                for number in set(told.missing) - received
                if states.get(number) is ContainerState.IN_FLIGHT
            ]
            returned += containers.put_back(store, lost)
    if acknowledged or returned:
        store.copy_back()
    return AckSummary(acknowledged, returned, unknown)
