"""Records of tiles without a detection, made one product for up to 1,024 of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from winnow_edge.products.background import MOST_TILES, encode_background
from winnow_edge.products.kinds import NO_CLASS, Kind, Product
from winnow_edge.store.events import count_event
from winnow_edge.store.rows import insert
from winnow_edge.store.schema import INTACT, SOUND_PRODUCT, Meta, ProductState
from winnow_edge.store.store import Store

FEWEST: Final = 32
"""Fewer records are left as they are: a product has a head and a row of its own."""


class Compactor:
    """Goes through the swaths of a store, the oldest first, and waits at the newest for more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._swath, self._tile = 0, -1
        self.leaves: Callable[[int], bool] = lambda number: False
        """Whether a record, by number, is to stay as it is."""

    def step(self) -> bool:
        """Compact the next records, in a transaction; False where there are none left."""
        store = self._store
        while True:
            found = store.select(
                "SELECT id, tile, data FROM product INDEXED BY product_once"
                f" WHERE kind <> 0 AND swath = ? AND tile > ? AND kind = {Kind.RECORD:d}"
                f" AND detection = 0 AND state = {ProductState.STORED:d} AND {SOUND_PRODUCT}"
                f" AND data IS NOT NULL AND {INTACT} ORDER BY tile LIMIT {MOST_TILES}",
                (self._swath, self._tile),
            )
            found = [row for row in found if not self.leaves(row[0])]
            if len(found) >= FEWEST:
                self._tile = found[-1][1]
                self._replace(found)
                return True
            if not self._next_swath():
                return False

    def _next_swath(self) -> bool:
        rows = self._store.select("SELECT MIN(id) FROM swath WHERE id > ?", (self._swath,))
        if rows[0][0] is None:
            return False
        self._swath, self._tile = rows[0][0], -1
        return True

    def _replace(self, found: list[tuple[int, int, bytes]]) -> None:
        store = self._store
        data = encode_background([record for _, _, record in found])
        product = Product(Kind.BACKGROUND, found[0][1], NO_CLASS, 0.0, False, data)
        with store.transaction():
            insert(store, self._swath, [product], tiles=len(found))
            store.db.executemany("DELETE FROM product WHERE id = ?", ((n,) for n, _, _ in found))
            freed = sum(len(record) for _, _, record in found)
            store.set_meta(Meta.DATA_BYTES, max(0, store.data_bytes() - freed))
            count_event(store, "compacted", "record", len(found))
        store.rank_changes += 1
