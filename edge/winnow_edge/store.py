"""The product store: one SQLite file in WAL mode that survives a power cut at any write.

Every band is one transaction with `synchronous=FULL`, so that what was committed is on the disk
and nothing half-written is ever seen (SQLite's documentation, "Write-Ahead Logging"). Over the
mission's quota the least useful data goes first: what the ground has acknowledged, then the images
and thumbnails of least value per byte, at last records. Rows stay, so that what was evicted is
counted and nothing is made twice.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from winnow_edge import eviction
from winnow_edge.errors import StoreError, SwathKnownError
from winnow_edge.mission import Mission
from winnow_edge.products import SWATH_TILE, encode_swath, with_flag
from winnow_edge.ranking import ProductTable, State
from winnow_edge.records import NO_CLASS, Flag, Kind, Product
from winnow_edge.store_file import (
    PRODUCT_COLUMNS,
    SELECT_SWATH,
    STORE_FILE,
    ProductRow,
    SwathRow,
    among,
    connect,
    connect_read_only,
    explained,
    prepare,
    product_row,
    sound,
    swath_row,
)

MAX_SWATHS: Final = 65_535  # the swath's number has 16 bits in a product's head

_ROW: Final = "(?, ?, ?, ?, ?, ?, 0, ?, ?, ?)"
_INSERT: Final = (
    "INSERT INTO product (swath, kind, tile, class, posterior, detection, state, bytes, sketch,"
    f" data) VALUES {_ROW}"
)
_ROWS_AT_ONCE: Final = 32  # each statement lets Python's lock go and asks for it again
_INSERT_MANY: Final = _INSERT + f", {_ROW}" * (_ROWS_AT_ONCE - 1)


class Store:
    """The product store of one spacecraft in a folder; a context manager.

    Attributes: `path` (Path) the SQLite file, `mission` (Mission or None), `store_id` (int) 32
    random bits that tell this store's numbers from another's.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, mission: Mission | None) -> None:
        self.db, self.path, self.mission = db, path, mission
        with sound(path):
            self.store_id = int(self.meta("store_id", 0))

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
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is committed, or none. Raises StoreError."""
        with explained(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
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

    def begin_swath(
        self,
        name: str,
        *,
        samples: int,
        classes: tuple[str, ...],
        bundle: str,
        digest: str,
        fingerprint: str | None,
        info: dict[str, Any],
    ) -> SwathWriter:
        """A writer for a new swath, or for one that a killed run left unfinished.

        `digest` is `Mission.processing_digest`, `fingerprint` identifies the file's content (None
        for a pipe), `info` anything else that the ground should know (JSON); it comes down with
        the swath's product. Of a swath that is complete, `writer.complete` is True. Raises
        StoreError if the name is known with other content or processing.
        """
        row = self.swath(name)
        if row is None:
            row = self._new_swath(name, samples, classes, bundle, digest, fingerprint, info)
        else:
            _check_same(row, samples, digest, fingerprint, self.path)
        (pending,) = self._all("SELECT pending FROM swath WHERE id = ?", (row.id,))[0]
        return SwathWriter(self, row, pending)

    def _new_swath(
        self,
        name: str,
        samples: int,
        classes: tuple[str, ...],
        bundle: str,
        digest: str,
        fingerprint: str | None,
        info: dict[str, Any],
    ) -> SwathRow:
        with self.transaction() as db:
            (swaths,) = db.execute("SELECT COUNT(*) FROM swath").fetchone()
            if swaths >= MAX_SWATHS:
                raise StoreError(
                    f"holds {MAX_SWATHS} swaths, the most it can number",
                    where=self.path,
                    hint="start another with --store",
                )
            cursor = db.execute(
                "INSERT INTO swath (name, samples, classes, bundle, digest, fingerprint, info,"
                " born, next_tile, next_line) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
                (
                    name,
                    samples,
                    json.dumps(classes),
                    bundle,
                    digest,
                    fingerprint,
                    json.dumps(info),
                    self.contacts(),
                ),
            )
            row = self._swath_where("id = ?", cursor.lastrowid)
            assert row is not None
            self._announce(db, row)
        return row

    def swath(self, name: str) -> SwathRow | None:
        """The swath of that name, or None."""
        return self._swath_where("name = ?", name)

    def swaths(self) -> list[SwathRow]:
        """All swaths in the order in which they began."""
        rows = self._all(f"{SELECT_SWATH} ORDER BY id")
        with sound(self.path):
            return [swath_row(row) for row in rows]

    def products(
        self,
        *,
        swath_id: int | None = None,
        kinds: Sequence[Kind] = tuple(Kind),
        states: Sequence[State] = tuple(State),
    ) -> Iterator[ProductRow]:
        """Products in the order in which they were made, without their data."""
        sql = (
            f"SELECT {PRODUCT_COLUMNS} FROM product"
            f" WHERE {among('state', states)} AND {among('kind', kinds)}"
            f"{'' if swath_id is None else f' AND swath = {int(swath_id)}'} ORDER BY id"
        )
        with explained(self.path), sound(self.path):
            for row in self.db.execute(sql):
                yield product_row(row)

    def table(
        self,
        states: Sequence[State] = (State.STORED,),
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
        classes = {row.id: row.classes for row in self.swaths()}
        with explained(self.path), sound(self.path):
            return ProductTable.read(self.db.execute(sql), classes)

    def data(self, product_id: int) -> bytes:
        """A product's encoded bytes. Raises StoreError if there are none (evicted)."""
        rows = self._all("SELECT data FROM product WHERE id = ?", (product_id,))
        if not rows or rows[0][0] is None:
            raise StoreError(f"product {product_id} holds no data", where=self.path)
        return bytes(rows[0][0])

    def counts(self) -> dict[str, dict[str, int]]:
        """How many products there are: {kind: {state: count}}, names in lower case."""
        counts = {k.name.lower(): {s.name.lower(): 0 for s in State} for k in Kind}
        found = self._all("SELECT kind, state, COUNT(*) FROM product GROUP BY 1, 2")
        with sound(self.path):
            for kind, state, n in found:
                counts[Kind(kind).name.lower()][State(state).name.lower()] = n
        return counts

    def data_bytes(self) -> int:
        """Bytes of product data that the store holds now; what the quota bounds."""
        return int(self.meta("data_bytes", 0))

    def contacts(self) -> int:
        """Contacts held so far."""
        return int(self.meta("contact", 0))

    def meta(self, key: str, default: Any = None) -> Any:
        """A value of the store's own: contact, store_id, data_bytes and such."""
        rows = self._all("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else default

    def set_meta(self, key: str, value: Any) -> None:
        """Set a value of the store's own, inside a transaction."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _insert(self, db: sqlite3.Connection, swath: int, products: Sequence[Product]) -> None:
        rows = [
            # Plain integers: SQLite's adapter takes its time over any other kind.
            (swath, int(kind), tile, cls, posterior, int(detection), len(data), sketch, data)
            for kind, tile, cls, posterior, detection, data, sketch in products
        ]
        whole = len(rows) - len(rows) % _ROWS_AT_ONCE
        for first in range(0, whole, _ROWS_AT_ONCE):
            some = rows[first : first + _ROWS_AT_ONCE]
            db.execute(_INSERT_MANY, list(itertools.chain.from_iterable(some)))
        db.executemany(_INSERT, rows[whole:])
        self.set_meta("data_bytes", self.data_bytes() + sum(len(p.data) for p in products))

    def _announce(
        self, db: sqlite3.Connection, row: SwathRow, summary: dict[str, Any] | None = None
    ) -> None:
        """Make the swath's product; it takes the place of an earlier one.

        It is written over if no contact can have carried it; else its number stands for its
        content, and another follows it.
        """
        data = encode_swath(self._about(row, summary))
        earlier = self.announcements().get(row.id)
        if earlier is not None and self.contacts() == row.born:
            db.execute(
                "UPDATE product SET data = ?, bytes = ? WHERE id = ?",
                (data, len(data), earlier.id),
            )
            self.set_meta("data_bytes", self.data_bytes() + len(data) - earlier.bytes)
            return
        if earlier is not None:
            db.execute(
                "UPDATE product SET state = ? WHERE id = ?", (State.ACKNOWLEDGED, earlier.id)
            )
        self._insert(db, row.id, [Product(Kind.SWATH, SWATH_TILE, NO_CLASS, 0.0, False, data)])
        db.execute(
            "UPDATE swath SET announcement = (SELECT MAX(id) FROM product) WHERE id = ?", (row.id,)
        )

    def announcements(self) -> dict[int, ProductRow]:
        """The product that tells the ground about each swath, the newest, by swath id."""
        rows = self._all(
            f"SELECT {PRODUCT_COLUMNS} FROM product WHERE id IN (SELECT announcement FROM swath)"
        )
        return {row.swath: row for row in map(product_row, rows)}

    def _about(self, row: SwathRow, summary: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the ground is told about a swath."""
        return {
            "id": row.id,
            "swath": row.name,
            "mission": self.meta("mission"),
            "bundle": row.bundle,
            "classes": row.classes,
            "samples": row.samples,
            "complete": summary is not None,
            **row.info,
            **(summary or {}),
        }

    def _adopt(self, read_only: bool) -> None:
        """A new store belongs to the first mission that opens it."""
        made_for = self.meta("mission")
        if self.mission is not None and made_for is None and not read_only:
            with self.transaction():
                self.set_meta("mission", self.mission.name)
        elif self.mission is not None and made_for not in (None, self.mission.name):
            raise StoreError(
                f"belongs to mission {made_for!r}, not {self.mission.name!r}",
                where=self.path,
                hint="name another folder with --store",
            )

    def _swath_where(self, where: str, value: object) -> SwathRow | None:
        rows = self._all(f"{SELECT_SWATH} WHERE {where}", (value,))
        with sound(self.path):
            return swath_row(rows[0]) if rows else None

    def _all(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with explained(self.path):
            return self.db.execute(sql, arguments).fetchall()


class SwathWriter:
    """Writes one swath, a band at a time.

    Attributes: `swath_id`; `complete`; `next_tile`, tiles of a lower index are committed;
    `next_line`, lines before it are done with; `pending`, what was saved with the last band (bytes
    or None); `summary` of a complete swath (dict or None).
    """

    def __init__(self, store: Store, row: SwathRow, pending: bytes | None) -> None:
        self._store, self._row = store, row
        self.swath_id = row.id
        self.next_tile, self.next_line = row.next_tile, row.next_line
        self.pending = pending
        self.summary = row.summary

    @property
    def complete(self) -> bool:
        return self.summary is not None

    def commit(
        self,
        *,
        products: Sequence[Product],
        next_tile: int,
        next_line: int,
        pending: bytes | None,
        merged: Sequence[tuple[int, int]] = (),
        summary: dict[str, Any] | None = None,
    ) -> None:
        """Store a band in one transaction and keep to the quota.

        `merged` names detections, as (tile, class), for whose feature another one stands: their
        records, of this band or before, are worth no more than any tile's. With a `summary` the
        swath is complete: its product, JSON of `info` and `summary`, takes the place of the one
        made at the beginning, or follows it where that has left the store already.

        Raises StoreError: the disk is full or read-only, a product is there already, or another
        process writes the same swath. The store is then as it was before.
        """
        if next_tile < self.next_tile or next_line < self.next_line:
            raise ValueError("a band cannot end before the one that was committed last")
        store = self._store
        with store.transaction() as db:
            self._advance(db, next_tile, next_line, pending)
            store._insert(db, self.swath_id, products)
            _mark_merged(db, self.swath_id, merged)
            if store.mission is not None:
                eviction.keep_quota(store, store.mission)
            if summary is not None:
                db.execute(
                    "UPDATE swath SET summary = ? WHERE id = ?",
                    (json.dumps(summary), self.swath_id),
                )
                store._announce(db, self._row, summary)
        self.next_tile, self.next_line, self.pending = next_tile, next_line, pending
        self.summary = summary

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the swath complete; all its bands are committed."""
        at = self.next_tile, self.next_line
        self.commit(products=(), next_tile=at[0], next_line=at[1], pending=None, summary=summary)

    def _advance(
        self, db: sqlite3.Connection, next_tile: int, next_line: int, pending: bytes | None
    ) -> None:
        """Move the swath on, if it still stands where this writer left it."""
        done = db.execute(
            "UPDATE swath SET next_tile = ?, next_line = ?, pending = ?"
            " WHERE id = ? AND next_tile = ? AND next_line = ? AND summary IS NULL",
            (next_tile, next_line, pending, self.swath_id, self.next_tile, self.next_line),
        )
        if done.rowcount != 1:
            raise StoreError(
                f"another process writes swath {self._row.name!r}",
                where=self._store.path,
                hint="let one run finish before the next",
            )


def _mark_merged(db: sqlite3.Connection, swath: int, merged: Sequence[tuple[int, int]]) -> None:
    """Records of detections that were merged away: flagged so, where no contact carried them."""
    for tile, class_index in merged:
        found = db.execute(
            "SELECT id, state, unheard, data FROM product"
            # The index product_once serves only those who say what it leaves out.
            " WHERE swath = ? AND tile = ? AND kind = ? AND class = ? AND kind <> 0",
            (swath, tile, Kind.RECORD, class_index),
        ).fetchone()
        if found is None:
            continue  # with a sigmoid head the tile's record may name another class
        number, state, unheard, data = found
        if data is not None and state == State.STORED and not unheard:
            data = with_flag(data, Flag.MERGED)
        db.execute("UPDATE product SET detection = 0, data = ? WHERE id = ?", (data, number))


def _check_same(
    row: SwathRow, samples: int, digest: str, fingerprint: str | None, path: Path
) -> None:
    """A swath goes on only where content, shape and processing are the same."""
    for what, known, given in (
        ("content", row.fingerprint, fingerprint),
        ("samples per line", row.samples, samples),
        ("processing (mission file or bundle)", row.digest, digest),
    ):
        if known != given:
            raise SwathKnownError(
                f"swath {row.name!r} is known with other {what}",
                where=path,
                hint="give it another --name or --store",
            )
