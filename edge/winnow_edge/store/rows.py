"""Rows of products as they are added, and as they move from state to state."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from winnow_edge.products.kinds import Product
from winnow_edge.store.schema import SEAL, Meta, ProductState, among, checksum, seal_of_new
from winnow_edge.store.store import Store

_VALUES: Final = "(?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?)"
_INSERT: Final = f"INSERT INTO product VALUES {_VALUES}"
_AT_ONCE: Final = 32  # each statement lets Python's lock go and asks for it again
_INSERT_MANY: Final = _INSERT + f", {_VALUES}" * (_AT_ONCE - 1)


def insert(
    store: Store, swath_id: int, products: Sequence[Product], *, tiles: int = 1
) -> list[int]:
    """Add products, each of which tells of so many tiles, inside a transaction; their numbers."""
    first = max(1, store.number(Meta.NEXT_PRODUCT))
    entries = [
        # Plain integers: SQLite's adapter takes its time over any other kind.
        (number, swath_id, int(kind), tile, cls, posterior, int(detection), tiles,
         seal_of_new(number, swath_id, kind, tile, cls, detection, tiles, len(data)), len(data),
         sketch, data,
         checksum(number, swath_id, kind, tile, cls, posterior, detection, tiles, sketch, data))
        for number, (kind, tile, cls, posterior, detection, data, sketch) in enumerate(
            products, first
        )
    ]  # fmt: skip
    whole = len(entries) - len(entries) % _AT_ONCE
    for at in range(0, whole, _AT_ONCE):
        some = entries[at : at + _AT_ONCE]
        store.db.execute(_INSERT_MANY, list(itertools.chain.from_iterable(some)))
    store.db.executemany(_INSERT, entries[whole:])
    if entries:
        store.set_meta(Meta.NEXT_PRODUCT, first + len(entries))
        store.set_meta(Meta.DATA_BYTES, store.data_bytes() + sum(len(p.data) for p in products))
    return list(range(first, first + len(entries)))


def set_state(
    store: Store,
    products: Iterable[int],
    state: ProductState,
    *,
    of: Sequence[ProductState],
    unheard: str = "unheard",
) -> int:
    """Move those of the products to `state` that are in one `of` the states; how many. `unheard`
    is an SQL expression."""
    seal = SEAL.replace("state", str(int(state))).replace("unheard", unheard)
    sql = (
        f"UPDATE product SET state = {state:d}, unheard = {unheard}, seal = {seal}"
        f" WHERE id = ? AND {among('state', of)} AND seal = {SEAL}"
    )
    count = store.db.executemany(sql, [(number,) for number in products]).rowcount
    store.rank_changes += 1
    return max(count, 0)
