"""The product store: one SQLite file in WAL mode that survives a power cut at any write.

Every block is one transaction with `synchronous=FULL`, so that what was committed is on the disk
and nothing half-written is ever seen (SQLite's documentation, "Write-Ahead Logging"). This module
opens and reads it; `writer` writes swaths, `containers` knows what was sent, `quota` keeps to the
mission's quota.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from winnow_edge.errors import (
    StoreDamagedError,
    StoreError,
    SwathKnownError,
)
from winnow_edge.files import make_folder
from winnow_edge.mission import Mission
from winnow_edge.products.kinds import NO_CLASS, Kind
from winnow_edge.products.table import MORE, PACKED, ProductTable
from winnow_edge.store import mending, own, room
from winnow_edge.store.budget import LEAST_QUOTA_MB, Budget
from winnow_edge.store.file import connect_read_only, explained, prepare, sound, waited
from winnow_edge.store.lock import in_use
from winnow_edge.store.opening import connect_whole, make_room
from winnow_edge.store.schema import (
    SELECT_PRODUCT,
    SELECT_SWATH,
    SOUND_PRODUCT,
    STORE_FILE,
    Meta,
    ProductState,
    StoredProduct,
    StoredSwath,
    among,
    checksum,
    is_store_id,
    seal_of,
)
from winnow_edge.store.short import Disk

log = logging.getLogger(__name__)
_MAKES: Final = "`winnow-edge run` makes one"


def _never() -> bool:
    return False


class Store:
    """The product store of one spacecraft in a folder; a context manager.

    Attributes: `path` (Path) the SQLite file, `mission` (Mission or None), `store_id` (int) 32
    random bits that tell this store's numbers from another's. `db`, `select`, `meta` and `set_meta`
    are for the modules of the store alone.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, mission: Mission | None) -> None:
        self.db, self.path, self.mission = db, path, mission
        self.scrubbed = 0
        """The last product that `scrub` has read."""
        self._told: set[int] = set()
        """Products that were said to be left out."""
        self.disk = Disk(db, path)
        self.keeper: object | None = None
        """Keeps the quota (`quota.Keeper`), from the first block on."""
        self.rank_changes = 0  # of the order of eviction
        self.stop = _never
        """Ends the wait for a process that writes."""
        self._opened = ExitStack()
        self._told_swaths: set[int] = set()
        number = self.meta(Meta.STORE_ID)
        if not is_store_id(number):
            raise StoreDamagedError(
                "the number that tells it from others is damaged",
                where=path,
                hint="`winnow-edge store salvage` gives it another",
            )
        self.store_id: int = number

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        mission: Mission | None,
        read_only: bool = False,
        create: bool = True,
        grows: bool = True,
        light: bool = False,
        stop: Callable[[], bool] = _never,
    ) -> Store:
        """Open the store in `folder`; make it if there is none, unless `read_only` or not `create`.

        `mission` gives quota and utilities and must be the one that the store was made for; None
        (for readers) accepts any. Raises StoreError: no store, not a store, of a newer version, of
        another mission, or a disk that is full or read-only. A store that is there opens on a full
        disk by its reserve (`room`): pages that are free in it can be filled, and where it hardly
        `grows`, as for a contact, a few more. A `light` one is for a disk that stays full: it keeps
        no more pictures, and gives up those that it has for records. A damaged store is salvaged
        first, unless it is opened `read_only`; that is told in a line, and counted as an event.
        Another process that writes is waited for, here and later, until `stop` says so.
        """
        folder = Path(folder)
        if read_only:
            return cls._opened_for_reading(folder, mission)
        opened = partial(
            cls._opened_for_writing,
            folder, mission=mission, create=create, grows=grows, light=light,
        )  # fmt: skip
        again = waited(partial(mending.look, folder, create=create), stop)
        seen = mending.file_of(folder)
        try:
            store = waited(partial(opened, again=again), stop)
        except StoreDamagedError as error:
            waited(partial(mending.salvaged, folder, error, seen), stop)
            store = waited(opened, stop)
        store.stop = stop
        return store

    @classmethod
    def _opened_for_reading(cls, folder: Path, mission: Mission | None) -> Store:
        path = folder / STORE_FILE
        with explained(path), ExitStack() as opened:
            if not path.is_file():
                raise StoreError("no store here", where=folder, hint=_MAKES)
            db = connect_read_only(path)
            opened.callback(db.close)
            store = cls(db, path, mission)
            own.adopt(store, read_only=True)
            store._opened = opened.pop_all()
        return store

    @classmethod
    def _opened_for_writing(
        cls,
        folder: Path,
        *,
        mission: Mission | None,
        create: bool,
        grows: bool,
        light: bool,
        again: bool = False,
    ) -> Store:
        path = folder / STORE_FILE
        budget = Budget.of(int((mission.store.quota_mb if mission else LEAST_QUOTA_MB) * 1e6))
        with explained(path):
            if not path.is_file():
                if not create:
                    raise StoreError("no store here", where=folder, hint=_MAKES)
                make_folder(folder)
            with ExitStack() as opened:
                opened.enter_context(in_use(folder, alone=False))
                held = make_room(folder, budget.log)
                if held is not None:
                    opened.callback(room.hold_again, folder, held)
                db = connect_whole(path, opened)
                opened.callback(db.close)
                prepare(db, again=again)
                store = cls(db, path, mission)
                if held is not None:
                    store.disk.found_full(held)
                own.adopt(store, read_only=False)
                if light:
                    store.disk.live_short()
                elif store.disk.short:
                    store.disk.bound(0 if grows else room.GROWTH_PAGES)
                elif mission is not None:
                    room.hold(folder, budget.reserve)
                store._opened = opened.pop_all()
        return store

    def closes_with(self, held: ExitStack) -> None:
        """Hold something until the file is closed."""
        opened, self._opened = self._opened, ExitStack()
        self._opened.callback(held.close)
        self._opened.callback(opened.close)

    def close(self) -> None:
        """Close the file; the log is copied back into it first, and room is held anew."""
        self._opened.close()
        self.disk.leave()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction: all of it is committed, or none. Raises StoreError."""
        waited(partial(self.select, "BEGIN IMMEDIATE"), self.stop)
        with explained(self.path):
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself.
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        """This store as it is now, for reading, whatever is written meanwhile."""
        with explained(self.path):
            db = connect_read_only(self.path)
            try:
                db.execute("BEGIN")
                yield Store(db, self.path, self.mission)  # its first query takes the snapshot
            finally:
                db.close()

    def swath(self, name: str) -> StoredSwath | None:
        """The swath of that name, or None."""
        found = self.select(f"{SELECT_SWATH} WHERE name = ?", (name,))
        try:
            return StoredSwath.read(found[0]) if found else None
        except (TypeError, ValueError, RecursionError) as error:
            raise SwathKnownError(
                f"what is kept of swath {name!r} is damaged ({error})",
                where=self.path,
                hint="give it another --name",
            ) from error

    def swaths(self) -> list[StoredSwath]:
        """All swaths in the order in which they began; those whose rows are damaged are left out,
        and said."""
        swaths = []
        for values in self.select(f"{SELECT_SWATH} ORDER BY id"):
            try:
                swaths.append(StoredSwath.read(values))
            except (TypeError, ValueError, RecursionError) as error:
                if values[0] not in self._told_swaths:
                    self._told_swaths.add(values[0])
                    log.warning(
                        "%s: swath %s is damaged (%s); it and its products are left out",
                        self.path, values[0], error,
                    )  # fmt: skip
        return swaths

    def products(
        self,
        *,
        swath_id: int | None = None,
        kinds: Sequence[Kind] = tuple(Kind),
        states: Sequence[ProductState] = tuple(ProductState),
    ) -> Iterator[StoredProduct]:
        """Products in the order in which they were made, without their data."""
        sql = (
            f"{SELECT_PRODUCT} WHERE {SOUND_PRODUCT}"
            f" AND {among('state', states)} AND {among('kind', kinds)}"
            f"{'' if swath_id is None else f' AND swath = {int(swath_id)}'} ORDER BY id"
        )
        with explained(self.path), sound(self.path):
            for values in self.db.execute(sql):
                yield StoredProduct.read(values)

    def table(
        self,
        states: Sequence[ProductState] = (ProductState.STORED,),
        *,
        kinds: Sequence[Kind] = tuple(Kind),
        with_data: bool = False,
    ) -> ProductTable:
        """The products in `states` as columns, for `ranking.rank`.

        `with_data` leaves out those whose data is gone.
        """
        chosen = (
            f" FROM product WHERE {SOUND_PRODUCT}"
            f" AND {among('state', states)} AND {among('kind', kinds)}"
            f"{' AND data IS NOT NULL' if with_data else ''}"
        )
        swaths, contacts = self.swaths(), self.contacts()
        classes = {swath.id: swath.classes for swath in swaths}
        ((count,),) = self.select("SELECT COUNT(*) FROM product")
        sql = f"SELECT id, tile, posterior, {PACKED}, {MORE}, sketch{chosen} ORDER BY id"
        with explained(self.path):
            table = ProductTable.read(self.db.execute(sql), count, classes)
        table.ages.update((swath.id, max(0, contacts - swath.born)) for swath in swaths)
        table.verdicts.update((swath.id, swath.verdict) for swath in swaths if swath.verdict)
        # No class of an unknown swath is known.
        there, place = np.unique(table.columns["swath"], return_inverse=True)
        known = np.array([len(classes.get(int(n), ())) for n in there], np.uint8)[place]
        index = table.columns["class_index"]
        sense = (known > 0) & ((index < known) | (index == NO_CLASS))
        if not sense.all():
            strange = table.columns["id"][~sense]
            new = not self._told.issuperset(strange.tolist())
            if new and not self.holds(Meta.RETURNING):  # its swaths come last
                self._told.update(strange.tolist())
                log.warning(
                    "%s: %d products, from number %d on, are of no swath or class that is known;"
                    " they are left out",
                    self.path, len(strange), strange[0],
                )  # fmt: skip
        return table if sense.all() else table[sense]

    def data(self, product_id: int) -> bytes:
        """A product's encoded bytes. Raises StoreError if there are none (evicted), or if they are
        not what was stored."""
        found = self.select(
            "SELECT id, swath, kind, tile, class, posterior, detection, tiles, sketch, data, crc"
            " FROM product WHERE id = ?",
            (product_id,),
        )
        if not found or found[0][-2] is None:
            raise StoreError(f"product {product_id} holds no data", where=self.path)
        *row, crc = found[0]
        with sound(self.path):
            if checksum(*row) != crc:
                raise ValueError(f"product {product_id} is damaged: its CRC-32 differs")
        return bytes(row[-1])

    def give_up(self, products: Sequence[int] = ()) -> list[int]:
        """Leave these products out from now on, and all whose rows make no sense, inside a
        transaction; the numbers of those that this is news of. Their rows stay as they are."""
        found = self.select(
            f"SELECT id FROM product WHERE NOT coalesce({SOUND_PRODUCT}, 0)"
            " AND id NOT IN (SELECT product FROM lost)"
        )
        lost = sorted({*(number for (number,) in found), *products})
        self.db.executemany("INSERT OR IGNORE INTO lost VALUES (?)", ((n,) for n in lost))
        return lost

    def data_bytes(self) -> int:
        """Bytes of product data that the store holds now; what the quota bounds."""
        return self.number(Meta.DATA_BYTES)

    def contacts(self) -> int:
        """Contacts held so far."""
        return self.number(Meta.CONTACT)

    def announcements(self, swath: int | None = None) -> dict[int, StoredProduct]:
        """The product that tells the ground about each swath (one swath), the newest, by its id."""
        one = "" if swath is None else f" WHERE id = {swath:d}"
        found = self.select(
            f"{SELECT_PRODUCT} WHERE {SOUND_PRODUCT} AND kind = 0"
            f" AND id IN (SELECT announcement FROM swath{one})"
        )
        return {product.swath: product for product in map(StoredProduct.read, found)}

    def damage(self) -> str | None:
        """The first thing that SQLite finds wrong with the file; None: it is sound."""
        (found,) = self.select("PRAGMA quick_check(1)")[0]
        return None if found == "ok" else str(found)

    def meta(self, key: Meta, default: Any = None) -> Any:
        """A value of the store's own; `default` where there is none, or a damaged one."""
        found = self.select("SELECT value, crc FROM meta WHERE key = ?", (key,))
        sound = bool(found) and found[0][1] == seal_of(str(key), found[0][0])
        return found[0][0] if sound else default

    def former(self) -> list[int]:
        """Other numbers under which products of this store were sent (`memory`)."""
        try:
            known = json.loads(self.meta(Meta.FORMER, "[]"))
        except (TypeError, ValueError, RecursionError):
            return []
        return [n for n in known if is_store_id(n)] if isinstance(known, list) else []

    def holds(self, key: Meta) -> bool:
        """Whether there is a value of the store's own, be it damaged."""
        return bool(self.select("SELECT 1 FROM meta WHERE key = ?", (key,)))

    def number(self, key: Meta) -> int:
        """A number of the store's own; of a damaged one, the least that it can be."""
        return own.number(self, key)

    def set_meta(self, key: Meta, value: Any) -> None:
        """Set a value of the store's own, inside a transaction."""
        row = str(key), value, seal_of(str(key), value)
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", row)

    def select(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Everything that a query gives. Raises StoreError."""
        with explained(self.path):
            return self.db.execute(sql, arguments).fetchall()
