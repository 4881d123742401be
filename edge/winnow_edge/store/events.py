"""What happened to products that are no longer there, counted since each contact."""

from __future__ import annotations

from winnow_edge.products.kinds import Kind
from winnow_edge.store.schema import COUNT_EVENT, SOUND_PRODUCT, ProductState
from winnow_edge.store.store import Store


def count_event(store: Store, what: str, about: str, n: int) -> None:
    """Count that something happened `n` times since the last contact, inside a transaction."""
    store.db.execute(COUNT_EVENT, (store.contacts(), what, about, n))


def events(store: Store, *, since: int = 0) -> dict[str, dict[str, int]]:
    """What happened how often, {what: {about: times}}, from contact `since` on.

    "evicted" and "left out" (on a full disk) are by kind and class, "delivered" and dropped by
    kind, "compacted" counts records, "forgotten" swaths, "damaged" products.
    "salvaged" is the store, "lost" what a salvage missed, by kind; "begun anew" is a store whose
    file was empty or gone; "in memory" one whose disk failed.
    """
    found: dict[str, dict[str, int]] = {}
    for what, about, n in store.select(
        "SELECT what, about, SUM(n) FROM event WHERE contact >= ? GROUP BY 1, 2", (since,)
    ):
        found.setdefault(what, {})[about] = n
    return found


def counts(store: Store) -> dict[str, dict[str, int]]:
    """How many products there are or were: {kind: {state: count}}, names in lower case."""
    found = {k.name.lower(): {s.name.lower(): 0 for s in ProductState} for k in Kind}
    for kind, state, n in store.select(
        f"SELECT kind, state, COUNT(*) FROM product WHERE {SOUND_PRODUCT} GROUP BY 1, 2"
    ):
        found[Kind(kind).name.lower()][ProductState(state).name.lower()] = n
    for what, state in (("evicted", "evicted"), ("delivered", "acknowledged")):
        for about, n in events(store).get(what, {}).items():
            kind_name, _, _ = about.partition(" ")
            if kind_name in found:
                found[kind_name][state] += n
    return found
