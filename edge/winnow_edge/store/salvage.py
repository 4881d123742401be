"""A damaged store made anew of what can be read, and what could not.

The rows are taken from the pages themselves (`raw`), so that one bad page costs its own rows and no
more. What has a checksum that differs is left out. What is lost is told by the index of products,
which lies on other pages. The damaged file is kept beside the new one.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from winnow_edge.errors import StoreError, StoreTroubleError, Trouble
from winnow_edge.files import sync_folder
from winnow_edge.products.encode import SWATH_TILE
from winnow_edge.products.kinds import Kind
from winnow_edge.store.file import connect, explained, prepare
from winnow_edge.store.lock import in_use
from winnow_edge.store.raw import Pages, Row, Value
from winnow_edge.store.rebuild import rebuild_swaths
from winnow_edge.store.schema import (
    APPLICATION_ID,
    COUNT_EVENT,
    EVENTS,
    INTACT,
    MAX_CONTACT,
    SCHEMA_VERSION,
    SEAL,
    SEAL_SWATH,
    SOUND_CONTAINER,
    SOUND_PRODUCT,
    STORE_FILE,
    ContainerState,
    Meta,
    ProductState,
    is_store_id,
    seal_of,
)

NEW_FILE: Final = f"{STORE_FILE}.salvage"
DAMAGED_FILE: Final = f"{STORE_FILE}.damaged"
_PRODUCT_COLUMNS: Final = 15
_CONTAINER_COLUMNS: Final = 5
_KEYS: Final = frozenset(str(key) for key in Meta)
_TO_COME: Final = (Meta.NEXT_PRODUCT, Meta.NEXT_SWATH, Meta.NEXT_CONTAINER)
_MOST_EVENTS: Final = 2**48


@dataclass
class Salvaged:
    """What a salvage kept and lost. `lost` names products as (number, kind, swath, tile), as far
    as the index tells; `anew` is whether the numbers of the store were lost, so that it counts as
    another store; `rebuilt` are swaths whose rows were lost and made again of their products;
    `forgot` is whether the damaged file of an earlier salvage was deleted."""

    products: int = 0
    swaths: int = 0
    containers: int = 0
    lost: list[tuple[int, Kind, int, int]] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)
    returned: int = 0
    anew: bool = False
    damaged_file: Path | None = None
    forgot: bool = False

    def as_json(self) -> dict[str, Any]:
        named = [
            {"product": n, "kind": kind.name.lower(), "swath": swath, "tile": tile}
            for n, kind, swath, tile in self.lost
        ]
        return {**vars(self), "lost": named, "damaged_file": str(self.damaged_file)}


def salvage(folder: Path) -> Salvaged:
    """Make the store in `folder` anew of what its file holds.

    The damaged file is kept as `DAMAGED_FILE`, and that of an earlier salvage is not. Raises
    StoreError: there is none, the file is of another version or holds nothing of a store, another
    process uses it, or the disk is full.
    """
    path = folder / STORE_FILE
    with explained(path):
        if not path.is_file():
            raise StoreError("no store here", where=folder, hint="`winnow-edge run` makes one")
        with in_use(folder, alone=True):
            return made_anew(folder)


def made_anew(folder: Path) -> Salvaged:
    """`salvage` of a store that nobody else has open (`lock.in_use`). Raises StoreError."""
    path = folder / STORE_FILE
    with explained(path):
        _fold_in_log(path)
        new = folder / NEW_FILE
        _remove(new)
        try:
            with Pages(path) as pages, closing(connect(new)) as db:
                prepare(db)
                found = _filled(db, pages, path)
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except BaseException:
            _remove(new)
            raise
        found.forgot = forget_damaged(folder)
        found.damaged_file = _put_in_place(path, new)
    return found


def _fold_in_log(path: Path) -> None:
    """Copy the log into the file, where SQLite can. Raises StoreError where the store is in use or
    of another version, or no store."""
    with path.open("rb") as stream:
        head = stream.read(100)
    ours = head[68:72] == APPLICATION_ID.to_bytes(4, "big")
    version = int.from_bytes(head[60:64], "big")
    if head.startswith(b"SQLite format 3") and not ours and version != SCHEMA_VERSION:
        raise StoreError("is not a Winnow store", where=path, hint="name a store's folder")
    if ours and version != SCHEMA_VERSION:
        hint = "`winnow-edge run` or `downlink` brings an older one to this version"
        if version > SCHEMA_VERSION:
            hint = "update winnow-edge"
        raise StoreError(
            f"has format version {version}; salvage knows {SCHEMA_VERSION}", where=path, hint=hint
        )
    try:
        with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as db:
            # Who has the store open and is idle would go on to fill the file that is put away.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            (busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return  # the pages of the file are all that there is
    if busy:
        raise StoreTroubleError(
            "another process uses the store", Trouble.BUSY, where=path, hint="try again later"
        )


def _filled(db: sqlite3.Connection, pages: Pages, path: Path) -> Salvaged:
    """Fill a new store from the pages of a damaged one."""
    found = Salvaged()
    db.execute("BEGIN")
    try:
        for _, rowid, row in pages.rows():
            table = _table_of(row)
            if table is not None and rowid > 0 and row[0] is None:
                marks = ", ".join("?" * len(row))
                with suppress(sqlite3.IntegrityError):
                    db.execute(f"INSERT INTO {table} VALUES ({marks})", (rowid, *row[1:]))
        told = _entries(pages)
        found.anew = not _take_meta(db, told.own)
        _drop_unsound(db)
        found.rebuilt = rebuild_swaths(db)
        found.returned = put_back_uncarried(db)
        found.lost = sorted(_missing(db, told.products))
        for table, name in (("product", "products"), ("swath", "swaths"), ("container",) * 2):
            name = "containers" if table == "container" else name
            ((count,),) = db.execute(f"SELECT COUNT(*) FROM {table}").fetchall()
            setattr(found, name, count)
        if not (found.products or found.swaths or told.own):
            hint = "keep the file for a look at it by hand, and give another --store"
            raise StoreError("holds nothing of a Winnow store", where=path, hint=hint)
        _count_events(db, told.events, found)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return found


@dataclass
class _Entries:
    """What a damaged store tells beside its rows: (swath, tile, kind, class) of products by number,
    the store's own values with their seals, how often what happened."""

    products: dict[int, Row] = field(default_factory=dict)
    own: dict[str, tuple[Value, Value]] = field(default_factory=dict)
    events: dict[Row, int] = field(default_factory=dict)


def _count_events(db: sqlite3.Connection, known: dict[Row, int], found: Salvaged) -> None:
    """Keep what was counted, and count the salvage itself: in its own transaction, as a disk that
    is full may take no other."""
    db.executemany("INSERT INTO event VALUES (?, ?, ?, ?)", ((*k, n) for k, n in known.items()))
    ((contact,),) = db.execute(
        "SELECT coalesce(MAX(value), 0) FROM meta WHERE key = ? AND typeof(value) = 'integer'",
        (Meta.CONTACT,),
    ).fetchall()
    lost = Counter(kind.name.lower() for _, kind, _, _ in found.lost)
    for event in (("salvaged", "store", 1), *(("lost", kind, n) for kind, n in lost.items())):
        db.execute(COUNT_EVENT, (contact, *event))


def _table_of(row: Row) -> str | None:
    """The table that a row is of."""
    if len(row) == _PRODUCT_COLUMNS:  # as many as a swath's, which has its name where this is
        return "swath" if isinstance(row[1], str) else "product"
    return "container" if len(row) == _CONTAINER_COLUMNS else None


def _entries(pages: Pages) -> _Entries:
    """What the indices of a damaged store tell, and its tables without rowid."""
    found = _Entries()
    on_page = dict[int, dict[str, tuple[Value, Value]]]()
    for page, row in pages.entries():
        if len(row) == 5 and all(isinstance(value, int) for value in row):
            number = row[4]
            assert isinstance(number, int)
            found.products[number] = row[:4]
        elif len(row) == 3 and row[0] in _KEYS:
            on_page.setdefault(page, {})[str(row[0])] = row[1:]
        elif len(row) == 4 and _is_event(row):
            key, n = row[:3], row[3]
            assert isinstance(n, int)
            found.events[key] = max(n, found.events.get(key, 0))
    for values in on_page.values():  # names of swaths are on a page of their own
        if _is_sealed(Meta.STORE_ID, *values.get(Meta.STORE_ID, (None, None))):
            found.own = values
    return found


def _is_sealed(key: str, value: Value, seal: Value) -> bool:
    return seal == seal_of(str(key), value)


def _is_event(row: Row) -> bool:
    """Whether a row counts an event. It has no checksum: a count is for people."""
    contact, what, about, n = row
    return (
        isinstance(contact, int) and 0 <= contact <= MAX_CONTACT
        and what in EVENTS and isinstance(about, str)
        and isinstance(n, int) and 0 < n < _MOST_EVENTS
    )  # fmt: skip


def _take_meta(db: sqlite3.Connection, own: dict[str, tuple[Value, Value]]) -> bool:
    """Keep the store's own values; whether its number is among them. A number to come that is
    damaged or gone stays damaged, so that it leaps over all that may have been given out."""
    sound = {key: row for key, row in own.items() if _is_sealed(key, *row)}
    if not is_store_id(sound.get(Meta.STORE_ID, (None,))[0]):
        return False
    db.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", ((k, *row) for k, row in sound.items())
    )
    used = _used(db, sound)
    gone = [key for key in _TO_COME if key not in sound and (key in own or key in used)]
    db.executemany("INSERT INTO meta VALUES (?, NULL, -1)", ((str(key),) for key in gone))
    return True


def _used(db: sqlite3.Connection, sound: dict[str, tuple[Value, Value]]) -> Sequence[Meta]:
    """Which numbers a store has given out, as far as is known of it."""
    if sound.get(Meta.CONTACT, (None,))[0] != 0:
        return _TO_COME
    ((rows,),) = db.execute(
        "SELECT EXISTS (SELECT 1 FROM product) OR EXISTS (SELECT 1 FROM swath)"
    ).fetchall()
    return _TO_COME[:2] if rows else ()


def _drop_unsound(db: sqlite3.Connection) -> None:
    """Leave out what makes no sense or has another checksum."""
    db.execute(
        f"DELETE FROM product WHERE NOT coalesce({SOUND_PRODUCT}, 0)"
        f" OR data IS NOT NULL AND NOT coalesce({INTACT}, 0)"
    )
    db.execute(f"DELETE FROM container WHERE NOT coalesce({SOUND_CONTAINER}, 0)")
    db.execute("DELETE FROM lost")
    held = "(SELECT coalesce(SUM(length(data)), 0) FROM product)"
    db.execute(
        f"INSERT OR REPLACE INTO meta SELECT :name, {held}, seal_of(:name, {held})",
        {"name": Meta.DATA_BYTES},
    )


def put_back_uncarried(db: sqlite3.Connection) -> int:
    """Rank again what is in flight and in no container that is known; how many products."""
    carried = set[int]()
    for (ids,) in db.execute(
        "SELECT products FROM container WHERE state = ?", (ContainerState.IN_FLIGHT,)
    ):
        carried.update(int.from_bytes(ids[n : n + 8], "big") for n in range(0, len(ids), 8))
    sent = db.execute("SELECT id FROM product WHERE state = ?", (ProductState.SENT,)).fetchall()
    back = [(number,) for (number,) in sent if number not in carried]
    seal = SEAL.replace("state", str(int(ProductState.STORED)))
    db.executemany(
        f"UPDATE product SET state = {ProductState.STORED:d}, seal = {seal} WHERE id = ?", back
    )
    return len(back)


def _missing(db: sqlite3.Connection, told: dict[int, Row]) -> Iterator[tuple[int, Kind, int, int]]:
    """What the index of the damaged store tells of, or a swath, and the new one does not hold."""
    there = {number for (number,) in db.execute("SELECT id FROM product")}
    for number, (swath, tile, kind, _) in told.items():
        if number not in there and isinstance(kind, int) and kind in set(Kind) - {Kind.SWATH}:
            yield number, Kind(kind), int(swath or 0), int(tile or 0)
    for swath, number in db.execute("SELECT id, announcement FROM swath").fetchall():
        if number is not None and number not in there:
            # Without a number the next contact announces it again.
            db.execute("UPDATE swath SET announcement = NULL WHERE id = ?", (swath,))
            db.execute(SEAL_SWATH, (swath,))
            yield number, Kind.SWATH, swath, SWATH_TILE


def _put_in_place(path: Path, new: Path) -> Path:
    """Put the new file where the damaged one was, which is kept; where."""
    kept, aside = path.with_name(DAMAGED_FILE), path.with_name(f"{DAMAGED_FILE}.part")
    with new.open("rb") as stream:
        os.fsync(stream.fileno())
    for end in ("-wal", "-shm"):  # what could not be folded in must not be read into the new file
        log = path.with_name(path.name + end)
        if log.exists() and log.stat().st_size:
            log.replace(kept.with_name(kept.name + end))
        log.unlink(missing_ok=True)
    aside.unlink(missing_ok=True)
    aside.hardlink_to(path)
    aside.replace(kept)
    aside.unlink(missing_ok=True)  # a name of the file that `kept` was already
    new.replace(path)
    sync_folder(path.parent)
    return kept


def forget_damaged(folder: Path) -> bool:
    """Delete what earlier salvages put aside; whether there was anything. Raises OSError."""
    found = list(folder.glob(f"{DAMAGED_FILE}*"))
    for file in found:
        file.unlink(missing_ok=True)
    return bool(found)


def _remove(file: Path) -> None:
    for end in ("", "-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
