"""The product store: one SQLite file in WAL mode that survives a power cut at any write.

Every block is one transaction with `synchronous=FULL`, so that what was committed is on the disk
and nothing half-written is ever seen (SQLite's documentation, "Write-Ahead Logging"). This module
opens and reads it; `writer` writes swaths, `containers` knows what was sent, `quota` keeps to the
mission's quota.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from winnow_edge.errors import StoreError
from winnow_edge.mission import Mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.table import ProductTable
from winnow_edge.store.file import connect, connect_read_only, explained, prepare, sound
from winnow_edge.store.schema import (
    SELECT_PRODUCT,
    SELECT_SWATH,
    STORE_FILE,
    Meta,
    ProductState,
    StoredProduct,
    StoredSwath,
    among,
)


class Store:
    """The product store of one spacecraft in a folder; a context manager.

    Attributes: `path` (Path) the SQLite file, `mission` (Mission or None), `store_id` (int) 32
    random bits that tell this store's numbers from another's. `db`, `select`, `meta` and `set_meta`
    are for the modules of the store alone.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, mission: Mission | None) -> None:
        self.db, self.path, self.mission = db, path, mission
        with sound(path):
            self.store_id = int(self.meta(Meta.STORE_ID, 0))

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        mission: Mission | None,
        read_only: bool = False,
        create: bool = True,
    ) -> Store:
        """Open the store in `folder`; make it if there is none, unless `read_only` or not `create`.

        `mission` gives quota and utilities and must be the one that the store was made for; None
        (for readers) accepts any. Raises StoreError: no store, not a store, of a newer version, of
        another mission, or a disk that is full or read-only.
        """
        folder = Path(folder)
        path = folder / STORE_FILE
        with explained(path):
            if not path.is_file():
                if read_only or not create:
                    hint = "`winnow-edge run` makes one"
                    raise StoreError("no store here", where=folder, hint=hint)
                folder.mkdir(parents=True, exist_ok=True)
            db = connect_read_only(path) if read_only else connect(path)
            try:
                if not read_only:
                    prepare(db)
                store = cls(db, path, mission)
                store._adopt(read_only)
            except BaseException:
                db.close()
                raise
        return store

    def close(self) -> None:
        """Close the file; the log is copied back into it first."""
        self.db.close()

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
        with explained(self.path):
            self.db.execute("BEGIN IMMEDIATE")
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
        with sound(self.path):
            return StoredSwath.read(found[0]) if found else None

    def swaths(self) -> list[StoredSwath]:
        """All swaths in the order in which they began."""
        found = self.select(f"{SELECT_SWATH} ORDER BY id")
        with sound(self.path):
            return [StoredSwath.read(values) for values in found]

    def products(
        self,
        *,
        swath_id: int | None = None,
        kinds: Sequence[Kind] = tuple(Kind),
        states: Sequence[ProductState] = tuple(ProductState),
    ) -> Iterator[StoredProduct]:
        """Products in the order in which they were made, without their data."""
        sql = (
            f"{SELECT_PRODUCT} WHERE {among('state', states)} AND {among('kind', kinds)}"
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
        sql = (
            "SELECT id, swath, kind, tile, class, posterior, detection, unheard, bytes, sketch"
            f" FROM product WHERE {among('state', states)} AND {among('kind', kinds)}"
            f"{' AND data IS NOT NULL' if with_data else ''} ORDER BY id"
        )
        classes = {swath.id: swath.classes for swath in self.swaths()}
        with explained(self.path), sound(self.path):
            return ProductTable.read(self.db.execute(sql), classes)

    def data(self, product_id: int) -> bytes:
        """A product's encoded bytes. Raises StoreError if there are none (evicted)."""
        found = self.select("SELECT data FROM product WHERE id = ?", (product_id,))
        if not found or found[0][0] is None:
            raise StoreError(f"product {product_id} holds no data", where=self.path)
        return bytes(found[0][0])

    def counts(self) -> dict[str, dict[str, int]]:
        """How many products there are: {kind: {state: count}}, names in lower case."""
        counts = {k.name.lower(): {s.name.lower(): 0 for s in ProductState} for k in Kind}
        found = self.select("SELECT kind, state, COUNT(*) FROM product GROUP BY 1, 2")
        with sound(self.path):
            for kind, state, n in found:
                counts[Kind(kind).name.lower()][ProductState(state).name.lower()] = n
        return counts

    def data_bytes(self) -> int:
        """Bytes of product data that the store holds now; what the quota bounds."""
        return int(self.meta(Meta.DATA_BYTES, 0))

    def contacts(self) -> int:
        """Contacts held so far."""
        return int(self.meta(Meta.CONTACT, 0))

    def announcements(self) -> dict[int, StoredProduct]:
        """The product that tells the ground about each swath, the newest, by swath id."""
        found = self.select(f"{SELECT_PRODUCT} WHERE id IN (SELECT announcement FROM swath)")
        return {product.swath: product for product in map(StoredProduct.read, found)}

    def damage(self) -> str | None:
        """The first thing that SQLite finds wrong with the file; None: it is sound."""
        (found,) = self.select("PRAGMA quick_check(1)")[0]
        return None if found == "ok" else str(found)

    def meta(self, key: Meta, default: Any = None) -> Any:
        """A value of the store's own."""
        found = self.select("SELECT value FROM meta WHERE key = ?", (key,))
        return found[0][0] if found else default

    def set_meta(self, key: Meta, value: Any) -> None:
        """Set a value of the store's own, inside a transaction."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def select(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Everything that a query gives. Raises StoreError."""
        with explained(self.path):
            return self.db.execute(sql, arguments).fetchall()

    def _adopt(self, read_only: bool) -> None:
        """A new store belongs to the first mission that opens it."""
        made_for = self.meta(Meta.MISSION)
        if self.mission is not None and made_for is None and not read_only:
            with self.transaction():
                self.set_meta(Meta.MISSION, self.mission.name)
        elif self.mission is not None and made_for not in (None, self.mission.name):
            raise StoreError(
                f"belongs to mission {made_for!r}, not {self.mission.name!r}",
                where=self.path,
                hint="name another folder with --store",
            )
