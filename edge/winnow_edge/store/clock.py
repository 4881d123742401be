"""The mission clock's state in the store: kept over restarts, and repaired where it was damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from winnow_edge.clock.cuc import Instant
from winnow_edge.clock.host import Moment, read_host
from winnow_edge.clock.mission_clock import ClockState, advance, first, set_time
from winnow_edge.store.schema import Meta
from winnow_edge.store.store import Store
from winnow_edge.tables import plain_json

_MOST_TEXT: Final = 65_536


def tick(store: Store, moment: Moment | None = None) -> ClockState:
    """The clock now (of `moment`, for tests), kept in the store where something has to be.

    Raises StoreError.
    """
    return _keep(store, moment or read_host(), lambda state, _: state)


def tell(store: Store, now: Instant, source: str, moment: Moment | None = None) -> ClockState:
    """The clock after `source` has said that it is `now`. Raises ValueError, StoreError."""
    return _keep(store, moment or read_host(), lambda state, at: set_time(state, at, now, source))


def peek(store: Store, moment: Moment | None = None) -> ClockState:
    """The clock now, without keeping anything: for a store that is open for reading alone."""
    now = moment or read_host()
    return _advanced(store, now)


def _keep(
    store: Store, moment: Moment, change: Callable[[ClockState, Moment], ClockState]
) -> ClockState:
    kept = _kept(store)
    state = change(_advanced(store, moment), moment)
    if state == kept:
        return state
    with store.transaction():
        # Anew under the write lock: another process may have kept a later state meanwhile.
        state = change(_advanced(store, moment), moment)
        store.set_meta(Meta.CLOCK, json.dumps(state.as_json(), separators=(",", ":")))
    return state


def _advanced(store: Store, moment: Moment) -> ClockState:
    kept = _kept(store)
    if kept is None:
        why = "first start" if not store.holds(Meta.CLOCK) else "what was kept is damaged"
        return first(moment, why=why)
    return advance(kept, moment)


def _kept(store: Store) -> ClockState | None:
    """What is kept; None where there is nothing, or nothing that makes sense."""
    text = store.meta(Meta.CLOCK)
    if not isinstance(text, str) or len(text) > _MOST_TEXT:
        return None
    try:
        return ClockState.read(plain_json(text))
    except ValueError:
        return None
