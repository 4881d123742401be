"""Telling the ground of events: each goes down once, in a product of the newest swath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from winnow_edge.clock.mission_clock import ClockState
from winnow_edge.products.event import MOST_EVENTS, event_product
from winnow_edge.products.kinds import Kind
from winnow_edge.store.schema import Meta
from winnow_edge.store.store import Store
from winnow_edge.store.writer import add_products, next_index

_TEXT: Final = 300


def tell(
    store: Store, events: Sequence[dict[str, Any]], meta: Mapping[Meta, Any] | None = None
) -> bool:
    """Add events to what goes down, and set values of the store's own with them; False where there
    is no swath yet that they could go down with, or no room. Raises StoreError."""
    swaths = store.swaths()
    if not swaths:
        return False
    newest = swaths[-1]
    first = next_index(store, newest, Kind.EVENT)
    parts = [events[at : at + MOST_EVENTS] for at in range(0, len(events), MOST_EVENTS)]
    products = [event_product(part, number, newest.id) for number, part in enumerate(parts, first)]
    return add_products(store, newest, products, meta or {})


def tell_clock(store: Store, clock: ClockState) -> None:
    """Add the events of the mission clock that are news. Raises StoreError."""
    known = store.meta(Meta.CLOCK_TOLD, 0)
    told = known if type(known) is int and 0 <= known <= clock.counted else 0
    fresh = clock.events[max(0, len(clock.events) - (clock.counted - told)) :]
    if fresh:
        events = [{"about": "clock", **_plain(event)} for event in fresh]
        tell(store, events, {Meta.CLOCK_TOLD: clock.counted})


def _plain(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event that was kept in the store, with nothing in it but numbers and short text."""
    known = (str, int, float, bool, type(None))
    return {
        str(key)[:_TEXT]: value[:_TEXT] if isinstance(value, str) else value
        for key, value in list(event.items())[:8]
        if isinstance(value, known)
    }
