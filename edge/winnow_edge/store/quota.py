"""Keeping the store within the mission's quota, which is of bytes on the disk.

Before a block is written, room for it is made in small transactions, in this order: data that the
ground has; records of tiles without a detection are compacted; pictures and background products by
value per byte; those in flight likewise; what is remembered of delivered pictures and
finished swaths; at last the records of detections, the least useful first. What is evicted is
counted by kind and class (`Store.events`).
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from winnow_edge.errors import StoreTroubleError, Trouble
from winnow_edge.mission import Mission
from winnow_edge.products.kinds import NO_CLASS, Kind, Product
from winnow_edge.products.table import ProductTable
from winnow_edge.products.worth import (
    ALIKE,
    PRODUCT_HEADER_BYTES,
    UNIT_BYTES,
    density,
    utility,
)
from winnow_edge.store.budget import CONTACT_PAGES, FRAME, PAGE, Budget, pages_for
from winnow_edge.store.compact import Compactor
from winnow_edge.store.events import count_event
from winnow_edge.store.file import waited
from winnow_edge.store.schema import SOUND_PRODUCT, Meta, ProductState, among
from winnow_edge.store.store import Store

_BATCH: Final = 64
"""Products that are evicted in a transaction: its log must find room."""
_SLACK: Final = 256
"""One page in so many is freed beyond need, so that not every block has to make room."""
_HEAVY: Final = tuple(kind for kind in Kind if kind not in (Kind.SWATH, Kind.RECORD))
_QUEUE: Final = 20_000
"""So many products are ranked and remembered at a time."""
_LOSSLESS: Final = 2
"""Stages of making room by which nothing is lost."""
_FULL: Final = "hold contacts and acknowledge them, or raise quota_mb"


class _Queue:
    """The least useful of some products, ranked once; what comes later takes its place among them.

    `known` says of which state of the store it is."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._most = 0.0
        self.known: object = None

    def fill(self, table: ProductTable, mission: Mission, known: object) -> None:
        worth = density(table, mission)
        order = np.argsort(worth, kind="stable")[:_QUEUE]
        self._most = math.inf if len(order) < _QUEUE else float(worth[order[-1]])
        numbers = table.columns["id"][order].tolist()
        self._heap = list(zip(worth[order].tolist(), numbers, strict=True))  # sorted: a heap
        self.known = known

    def add(self, worth: float, number: int) -> None:
        if worth < self._most:
            heapq.heappush(self._heap, (worth, number))

    def least(self) -> float:
        """What the least useful is worth."""
        return self._heap[0][0] if self._heap else math.inf

    def take(self, bar: float) -> list[int]:
        """The numbers of the least useful, which leave the queue: a few, worth up to `bar`."""
        taken = list[int]()
        few = min(_BATCH, 1 + len(self._heap) // _BATCH)
        while len(taken) < few and self.least() <= bar and self._heap:
            taken.append(heapq.heappop(self._heap)[1])
        if not self._heap and self._most < math.inf:
            self.known = None  # there are more, which were not looked at
        return taken


class Keeper:
    """Makes room in a store before blocks are written into it."""

    def __init__(self, store: Store, mission: Mission) -> None:
        self._store, self._mission = store, mission
        self.budget = Budget.of(int(mission.store.quota_mb * 1e6))
        self._waiting, self._records, self._flying = _Queue(), _Queue(), _Queue()
        self.compactor = Compactor(store)
        self._least = math.inf
        """Worth per byte of the least useful picture of the block that waits for room."""
        pages = max(self.budget.pages, self._pragma("page_count"))
        if not store.disk.short:
            store.db.execute(f"PRAGMA max_page_count = {pages}")
        self._most = min(pages, self._pragma("max_page_count")) - CONTACT_PAGES
        self._waits = store.disk.short and not store.disk.light
        """Whether the disk is full for now: nothing is evicted for want of its room."""

    def admit(
        self, products: Sequence[Product], names: tuple[str, ...], *, pending: int
    ) -> list[Product]:
        """Make room for a block, whose state has `pending` octets; what of it there is room for:
        everything, or all but its least useful pictures. `names` are those of its classes.

        Raises StoreTroubleError: there is no room even for its records, or none for all of it on a
        disk that is full for now, or the log is full and a reader keeps it from being copied back.
        """
        chosen, left_out = list(products), list[Product]()
        worth = {id(p): _density(p, self._mission, names) for p in chosen if p.kind in _HEAVY}
        while True:
            need, fits = self._need([*(len(p.data) for p in chosen), pending])
            pictures = sorted((p for p in chosen if id(p) in worth), key=lambda p: worth[id(p)])
            self._least = worth[id(pictures[0])] if pictures else math.inf
            if fits and self._free_pages(need):
                break
            if self._waits:
                raise self._store.disk.full()
            if not pictures:
                raise StoreTroubleError(
                    "the quota is used up", Trouble.FULL, where=self._store.path, hint=_FULL
                )
            few = {id(p) for p in pictures[: 1 if fits else (len(pictures) + 1) // 2]}
            left_out += [p for p in chosen if id(p) in few]
            chosen = [p for p in chosen if id(p) not in few]
        self._make_log_room(need)
        if left_out:
            with self._store.transaction():
                for p in left_out:
                    count_event(self._store, "evicted", _about(p.kind, p.class_index, names), 1)
        return chosen

    def admit_all(self, products: Sequence[Product], names: tuple[str, ...]) -> bool:
        """Make room for all of these products, or for none; whether there is room. Nothing is
        evicted for products that what is worth less could not make room for. Raises
        StoreTroubleError as `admit` does."""
        need, fits = self._need([len(p.data) for p in products])
        least = min((_density(p, self._mission, names) for p in products), default=0.0)
        room = self._room()
        if not fits or (room < need and room + self._given_for(least) < need):
            return False
        self._least = least
        if not self._free_pages(need):
            return False
        self._make_log_room(need)
        return True

    def added(
        self, numbers: Sequence[int], products: Sequence[Product], names: tuple[str, ...]
    ) -> None:
        """These products are in the store now."""
        for number, product in zip(numbers, products, strict=True):
            if product.kind in _HEAVY or product.detection:
                queue = self._waiting if product.kind in _HEAVY else self._records
                if queue.known is not None:
                    queue.add(_density(product, self._mission, names), number)

    # --- room

    def _pragma(self, name: str) -> int:
        ((value,),) = self._store.select(f"PRAGMA {name}")
        return int(value)

    def _need(self, sizes: Sequence[int]) -> tuple[int, bool]:
        """Pages that products of so many octets may take, and whether the log has room for them."""
        need = pages_for(sizes)
        pages = min(self._most, self._pragma("page_count") + need)
        return need, need * FRAME <= self.budget.log_room(pages)

    def _given_for(self, worth: float) -> int:
        """About so many pages would be free without what the ground has, records to be compacted,
        and pictures worth up to so much per byte. Long rows have pages of their own; of short ones
        half are taken to share theirs with what stays."""
        table = self._store.table((ProductState.STORED,), kinds=_HEAVY, with_data=True)
        sizes = table.columns["bytes"][density(table, self._mission) <= worth].astype(np.int64)
        if self._waits:
            sizes = sizes[:0]
        ((long, short),) = self._store.select(
            f"SELECT coalesce(SUM(bytes / {PAGE}), 0), coalesce(SUM(bytes % {PAGE}), 0)"
            " FROM product WHERE data IS NOT NULL AND (state = 2 AND kind > 0"
            f" OR state = 0 AND kind = {Kind.RECORD:d} AND detection = 0) AND {SOUND_PRODUCT}"
        )
        pages = long + int((sizes // PAGE).sum())
        return int(pages + (short + int((sizes % PAGE).sum())) // (2 * PAGE))

    def _room(self) -> int:
        """Pages that are free in the file, and that it may still grow by."""
        return self._pragma("freelist_count") + self._most - self._pragma("page_count")

    def _free_pages(self, need: int) -> bool:
        """Have so many pages free, and some more if any had to be freed."""
        if self._room() >= need:
            return True
        wanted = need + self._most // _SLACK
        stages: tuple[Callable[[], bool], ...] = (
            self._drop_delivered,
            self._compact,
            self._evict_queued,
            self._evict_flying,
            self._forget_delivered,
            self._forget_swaths,
            self._evict_records,
        )
        for stage in stages[: _LOSSLESS if self._waits else None]:
            while self._room() < wanted:
                self._make_log_room(pages_for([0] * (2 * _BATCH)))
                if not stage():
                    break
            if self._room() >= wanted or self._block_goes(stage):
                break
        return self._room() >= need

    def _block_goes(self, stage: Callable[[], bool]) -> bool:
        """Whether the block's own pictures are to go before anything of the stages after this."""
        if stage == self._evict_queued:
            return self._least < self._waiting.least()
        return stage == self._forget_swaths and self._least < math.inf

    def _make_log_room(self, frames: int) -> None:
        """Copy the log back if so many frames more might not fit beside the file."""
        log = self._store.path.with_name(self._store.path.name + "-wal")
        size = log.stat().st_size if log.exists() else 0
        # What is in the log already may have to go to new pages of the file.
        pages = min(self._most, self._pragma("page_count") + frames)
        if size + frames * FRAME <= self.budget.log_room(pages) or not size:
            return
        waited(self._copy_log_back, self._store.stop)

    def _copy_log_back(self) -> None:
        ((busy, *_),) = self._store.select("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise StoreTroubleError(
                "its log is full", Trouble.BUSY, where=self._store.path,
                hint="a contact or another reader keeps it from being copied back",
            )  # fmt: skip

    # --- stages: each frees a little in a transaction, and says whether there was anything

    def _drop_delivered(self) -> bool:
        return drop_delivered(self._store)

    def _compact(self) -> bool:
        return self.compactor.step()

    def _evict_queued(self) -> bool:
        """The least useful of what waits to be sent, but for records."""
        return self._evict_of(self._waiting, (ProductState.STORED,), _HEAVY)

    def _evict_flying(self) -> bool:
        """The least useful of what is in flight, but for records."""
        return self._evict_of(self._flying, (ProductState.SENT,), _HEAVY)

    def _evict_records(self) -> bool:
        """Records, the least useful first: the last thing to go."""
        states = (ProductState.STORED, ProductState.SENT)
        return self._evict_of(self._records, states, (Kind.RECORD,))

    def _evict_of(
        self, queue: _Queue, states: tuple[ProductState, ...], kinds: tuple[Kind, ...]
    ) -> bool:
        known = self._store.rank_changes, self._pragma("data_version")
        if queue.known != known:
            queue.fill(self._store.table(states, kinds=kinds, with_data=True), self._mission, known)
        bar = self._least if queue is self._waiting else math.inf
        numbers = queue.take(bar)
        if numbers:
            self._evict(numbers, states)
        return bool(numbers)

    def _forget_delivered(self) -> bool:
        found = self._store.select(
            "SELECT id, kind FROM product INDEXED BY product_known"
            f" WHERE state = 2 AND data IS NULL AND {SOUND_PRODUCT} LIMIT {_BATCH}"
        )
        with self._store.transaction():
            self._delete([n for n, _ in found])
            for kind, n in Counter(Kind(kind).name.lower() for _, kind in found).items():
                count_event(self._store, "delivered", kind, n)
        return bool(found)

    def _forget_swaths(self) -> bool:
        """Swaths that are complete and on the ground, with nothing left on board."""
        store = self._store
        found = store.select(
            "SELECT id, announcement FROM swath WHERE summary IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM product WHERE swath = swath.id AND kind <> 0)"
            " AND EXISTS (SELECT 1 FROM product WHERE product.id = announcement AND state = 2)"
            f" ORDER BY id LIMIT {_BATCH}"
        )
        with store.transaction():
            for swath, _ in found:
                store.db.execute("DELETE FROM swath WHERE id = ?", (swath,))
                count_event(store, "forgotten", "swath", 1)
            self._delete([number for _, number in found])
        return bool(found)

    def _evict(self, numbers: Sequence[int], states: tuple[ProductState, ...]) -> None:
        """Give these up, those that still are in one of the states, and count them."""
        store = self._store
        chosen = ", ".join(map(str, numbers))
        with store.transaction():
            found = store.select(
                "SELECT id, swath, kind, class, bytes, detection, tiles FROM product"
                f" WHERE id IN ({chosen}) AND {among('state', states)}"
            )
            counts = Counter[str]()
            names = {swath: self._class_names(swath) for swath in {row[1] for row in found}}
            for _, swath, kind, index, _, detection, tiles in found:
                counts[_about(Kind(kind), index if detection else NO_CLASS, names[swath])] += tiles
            for about, n in counts.items():
                count_event(store, "evicted", about, n)
            self._delete([row[0] for row in found])
            self._freed(sum(row[4] for row in found))

    def _class_names(self, swath: int) -> tuple[str, ...]:
        found = self._store.select("SELECT classes FROM swath WHERE id = ?", (swath,))
        try:
            return tuple(map(str, json.loads(found[0][0])))
        except (IndexError, TypeError, ValueError, RecursionError):
            return ()

    def _delete(self, numbers: Sequence[int]) -> None:
        _delete(self._store, numbers)

    def _freed(self, octets: int) -> None:
        _freed(self._store, octets)


def drop_delivered(store: Store) -> bool:
    """Drop the data of a few products that the ground has, in a transaction; False where there are
    none. Pictures are remembered by their sketches, for the policy *diversity*."""
    found = store.select(
        "SELECT id, kind, bytes FROM product INDEXED BY product_delivered"
        f" WHERE state = 2 AND data IS NOT NULL AND kind > 0 AND {SOUND_PRODUCT} LIMIT {_BATCH}"
    )
    if not found:
        return False
    pictures = [n for n, kind, _ in found if kind in (Kind.THUMBNAIL, Kind.IMAGE)]
    with store.transaction():
        store.db.executemany(
            "UPDATE product SET data = NULL WHERE id = ?", ((n,) for n in pictures)
        )
        rest = [row for row in found if row[1] not in (Kind.THUMBNAIL, Kind.IMAGE)]
        _delete(store, [n for n, _, _ in rest])
        for kind, n in Counter(Kind(kind).name.lower() for _, kind, _ in rest).items():
            count_event(store, "delivered", kind, n)
        _freed(store, sum(size for _, _, size in found))
    return True


def _delete(store: Store, numbers: Sequence[int]) -> None:
    store.db.executemany("DELETE FROM product WHERE id = ?", ((n,) for n in numbers))


def _freed(store: Store, octets: int) -> None:
    store.set_meta(Meta.DATA_BYTES, max(0, store.data_bytes() - octets))


def _density(product: Product, mission: Mission, names: tuple[str, ...]) -> float:
    """`worth.density` of one product."""
    alike = product.kind in ALIKE
    cost = UNIT_BYTES if alike else len(product.data) + PRODUCT_HEADER_BYTES
    return utility(product, mission, names) / cost


def _about(kind: Kind, class_index: int, names: tuple[str, ...]) -> str:
    """A kind of product and its class, as events name them."""
    known = class_index < len(names)
    return f"{kind.name.lower()} {names[class_index]}" if known else kind.name.lower()
