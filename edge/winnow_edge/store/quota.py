"""Keeping the store within the mission's quota: the least useful data goes first.

What the ground has acknowledged goes before anything else, then the pictures of least value
per byte, at last records. The entries of products stay, so that what was evicted is counted
and nothing is made twice.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from winnow_edge.mission import Mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.worth import density
from winnow_edge.store.schema import Meta, ProductState
from winnow_edge.store.store import Store

SLACK: Final = 1 / 64
"""Share of the quota freed beyond need, so that not every block pays for sorting the store."""


def keep_quota(store: Store, mission: Mission) -> None:
    """Evict until the data fits the quota again, inside a transaction of `store`.

    In order: data that the ground has acknowledged (its state stays), pictures by value per
    byte, then records likewise, then what is in flight. Swath products stay, without
    them nothing else could be read.
    """
    quota = int(mission.store.quota_mb * 1e6)
    held = store.data_bytes()
    if held <= quota:
        return
    target = quota - int(quota * SLACK)
    heavy = tuple(kind for kind in Kind if kind not in (Kind.SWATH, Kind.RECORD))
    for states, kinds, new_state in (
        ((ProductState.ACKNOWLEDGED,), (*heavy, Kind.RECORD), ProductState.ACKNOWLEDGED),
        ((ProductState.STORED,), heavy, ProductState.EVICTED),
        ((ProductState.STORED,), (Kind.RECORD,), ProductState.EVICTED),
        ((ProductState.SENT,), (*heavy, Kind.RECORD), ProductState.EVICTED),
    ):
        held -= _evict(store, mission, held - target, states, kinds, new_state)
        if held <= target:
            break
    store.set_meta(Meta.DATA_BYTES, held)


def _evict(
    store: Store,
    mission: Mission,
    wanted: int,
    states: tuple[ProductState, ...],
    kinds: tuple[Kind, ...],
    new_state: ProductState,
) -> int:
    """Drop the data of the least useful of these products; the bytes that this freed."""
    table = store.table(states, kinds=kinds, with_data=True)
    if not len(table):
        return 0
    sizes = table.columns["bytes"].astype(np.int64)
    order = np.argsort(density(table, mission), kind="stable")
    freed = np.cumsum(sizes[order])
    count = int(np.searchsorted(freed, wanted)) + 1
    chosen = order[:count]
    store.db.executemany(
        "UPDATE product SET data = NULL, state = ? WHERE id = ?",
        ((int(new_state), int(number)) for number in table.columns["id"][chosen]),
    )
    return int(freed[len(chosen) - 1])
