"""Reading the store in idle time, so that rot is found before it is to be sent."""

from __future__ import annotations

import logging

from winnow_edge.errors import StoreTroubleError
from winnow_edge.store.events import count_event
from winnow_edge.store.file import suspect
from winnow_edge.store.schema import INTACT, SOUND_PRODUCT
from winnow_edge.store.store import Store

log = logging.getLogger(__name__)
_FEW = 64


def scrub(store: Store) -> bool:
    """Compare the checksums of the next few products, from the first again after the last; whether
    that was the last. What is damaged is given up and said. Raises StoreError."""
    found = store.select(
        f"SELECT id, coalesce({SOUND_PRODUCT}, 0) AND (data IS NULL OR {INTACT}) FROM product"
        f" WHERE id > ? ORDER BY id LIMIT {_FEW}",
        (store.scrubbed,),
    )
    known = {number for (number,) in store.select("SELECT product FROM lost")}
    damaged = [number for number, intact in found if not intact and number not in known]
    if damaged:
        with store.transaction():
            store.give_up(damaged)
            count_event(store, "damaged", "product", len(damaged))
        log.warning("%s: given up, as they are damaged: products %s", store.path, damaged)
    ended = len(found) < _FEW
    store.scrubbed = 0 if ended else found[-1][0]
    return ended


def idle(store: Store) -> bool:
    """`scrub` while a swath waits for its lines; True also where the store is busy, or its disk
    full or failing: who has something to write will tell. Raises StoreDamagedError."""
    try:
        return scrub(store)
    except StoreTroubleError as error:
        log.info("not read in idle time: %s", error)
        return True


def trust(store: Store) -> None:
    """See that SQLite finds all rows of the store: a page whose count of rows has rotted gives
    fewer of them, and no error. Raises StoreDamagedError; opening the store anew salvages it."""
    found = store.damage()
    if found is not None:
        raise suspect(store.path, " ".join(found.split()))
