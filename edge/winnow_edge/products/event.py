"""Events: what happened on board that the ground should know, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from winnow_edge.errors import PacketError
from winnow_edge.products.kinds import NO_CLASS, Kind, Product
from winnow_edge.tables import Reader

EVENT_BYTES: Final = 16_384
"""Most octets of a product of events."""
MOST_EVENTS: Final = 64
"""Most events of one product."""
_MOST_KEYS, _MOST_TEXT = 16, 400


class Events(NamedTuple):
    """Events, and the swath that they went down with."""

    swath_id: int
    events: list[dict[str, Any]]


def event_product(events: Sequence[dict[str, Any]], number: int, swath_id: int) -> Product:
    """A product of at most `MOST_EVENTS` events, the `number`-th of the swath they go down with.

    An event is a flat object of text, numbers and null; `about` says what it is about.
    """
    told = {"swath": swath_id, "events": list(events)}
    data = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    return Product(Kind.EVENT, number, NO_CLASS, 0.0, False, data.encode(errors="replace"))


def decode_events(data: bytes) -> Events:
    """The events of a product. Raises PacketError for anything else."""
    if len(data) > EVENT_BYTES:
        raise PacketError(f"events of {len(data):,} octets, legal is {EVENT_BYTES:,}")
    raw = Reader("a product of events", PacketError).json(data)
    if not isinstance(raw, dict):
        raise PacketError("a product of events is no object")
    swath = raw.get("swath")
    if type(swath) is not int or not 0 < swath < 2**32:
        raise PacketError("events name no swath")
    return Events(swath, checked_events(raw.get("events")))


def checked_events(events: Any, most: int = MOST_EVENTS) -> list[dict[str, Any]]:
    """The events of a list that was read as JSON. Raises PacketError where they are none."""
    if not isinstance(events, list) or not 0 < len(events) <= most:
        raise PacketError(f"holds no list `events` of 1 to {most}")
    for event in events:
        if not isinstance(event, dict) or not 0 < len(event) <= _MOST_KEYS:
            raise PacketError("an event is no object of a few keys")
        for key, value in event.items():
            text = isinstance(value, str) and len(value) <= _MOST_TEXT
            if len(key) > _MOST_TEXT or not (text or isinstance(value, bool | int | float | None)):
                raise PacketError("an event has a value that is no number and no short text")
        if not isinstance(event.get("about"), str):
            raise PacketError("an event does not say what it is about")
    return events
