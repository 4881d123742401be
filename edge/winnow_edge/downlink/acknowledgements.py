"""Acknowledgement: what the ground says arrived, and what goes back into the ranking.

The report is JSON (docs/acknowledgement.md). A container is identified by store, contact and
number together, so that a report for another store, or for numbers that this store gave otherwise,
can acknowledge nothing by mistake. Reports may be cumulative, late, or given twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from winnow_edge.errors import PacketError, StoreError
from winnow_edge.files import read_small
from winnow_edge.store import containers
from winnow_edge.store.quota import drop_delivered
from winnow_edge.store.schema import MAX_CONTACT, ContainerState
from winnow_edge.store.store import Store
from winnow_edge.tables import Reader, setting

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
    def from_json(cls, text: str | bytes, where: object = None) -> AckReport:
        """The inverse of `to_json`. Raises PacketError naming the key that is wrong."""
        reader = Reader(where, PacketError, others=True, hint=_HINT)
        file = reader.table(_File, reader.json(text))
        if not _STORE.fullmatch(file.store):
            raise reader.refusal(("store",), "`store` must be a number of up to 8 hex digits")
        for number in file.contacts:
            if not (_CONTACT.fullmatch(number) and int(number) <= MAX_CONTACT):
                what = f"`contacts` are numbers from 1 to {MAX_CONTACT:,}, not {number[:20]!r}"
                raise reader.refusal(("contacts",), what)
        contacts = {int(n): ContactAck(a.received, a.missing) for n, a in file.contacts.items()}
        return cls(int(file.store, 16), contacts, file.mission)


@dataclass(frozen=True)
class _Contact:
    """The numbers of a contact's containers in an ack file."""

    received: tuple[int, ...] = setting(..., 0, 2**32 - 1)
    missing: tuple[int, ...] = setting(..., 0, 2**32 - 1)


@dataclass(frozen=True)
class _File:
    """The keys of an ack file."""

    store: str = setting(...)
    contacts: dict[str, _Contact] = setting(...)
    mission: str | None = setting(None)


_HINT: Final = "give the ack.json that `winnow receive` wrote"
_STORE: Final = re.compile(r"[0-9a-fA-F]{1,8}")
_CONTACT: Final = re.compile(r"[1-9][0-9]{0,9}")


def load_ack(path: str | Path) -> AckReport:
    """Read an ack file. Raises PacketError if it is unreadable or no report."""
    try:
        data = read_small(path)
    except OSError as error:
        raise PacketError(error.strerror or "cannot be read", where=path) from error
    return AckReport.from_json(data, where=path)


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
    if ack.store_id not in (store.store_id, *store.former()):
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
        store.select("PRAGMA wal_checkpoint(PASSIVE)")  # the log back into the file
    return AckSummary(acknowledged, returned, unknown)
