"""The file of the product store: its schema, how it is opened, and its errors in plain words."""

from __future__ import annotations

import errno
import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from winnow_edge.errors import StoreError
from winnow_edge.ranking import State
from winnow_edge.records import Kind

STORE_FILE: Final = "store.db"
SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x574E_4F57  # "WNOW", where `file` and SQLite look for it
WAL_PAGES: Final = 256  # the log is copied back into the file every megabyte of 4096-octet pages
WAL_LIMIT: Final = 4_000_000
CACHE_KIB: Final = 1024
BUSY_S: Final = 20.0
_ELSEWHERE: Final = "name another folder with --store"
_HINTS: Final[dict[int | None, str]] = {
    errno.ENOSPC: "free some disk space and run again; what was committed is safe",
    errno.EROFS: f"the disk is mounted read-only; {_ELSEWHERE}",
    errno.EACCES: f"this user may not write there; {_ELSEWHERE}",
    errno.EPERM: f"this user may not write there; {_ELSEWHERE}",
    errno.ENOTDIR: _ELSEWHERE,
    errno.ENOENT: _ELSEWHERE,
    errno.EEXIST: f"a file is in the way; {_ELSEWHERE}",
}
"""What to do about an error of the system."""
_DAMAGED: Final = "the file is damaged; keep it aside and name another with --store"

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE swath (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, samples INTEGER NOT NULL,
    classes TEXT NOT NULL, bundle TEXT NOT NULL, digest TEXT NOT NULL, fingerprint TEXT,
    info TEXT NOT NULL, born INTEGER NOT NULL, next_tile INTEGER NOT NULL,
    next_line INTEGER NOT NULL, pending BLOB, summary TEXT, announcement INTEGER
);
CREATE TABLE product (
    id INTEGER PRIMARY KEY, swath INTEGER NOT NULL REFERENCES swath (id), kind INTEGER NOT NULL,
    tile INTEGER NOT NULL, class INTEGER NOT NULL, posterior REAL NOT NULL,
    detection INTEGER NOT NULL, state INTEGER NOT NULL, unheard INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL, sketch BLOB NOT NULL, data BLOB
);
CREATE UNIQUE INDEX product_once ON product (swath, tile, kind, class) WHERE kind <> 0;
CREATE INDEX product_heavy ON product (kind, state) WHERE kind >= 2;
CREATE TABLE container (
    id INTEGER PRIMARY KEY, contact INTEGER NOT NULL, state INTEGER NOT NULL,
    products BLOB NOT NULL
);
CREATE INDEX container_open ON container (state) WHERE state = 1;
CREATE INDEX container_contact ON container (contact);
"""


@dataclass(frozen=True, slots=True)
class SwathRow:
    """A swath of the store; `summary` is None until it is complete.

    `born` is the number of contacts that had been held when the swath began.
    """

    id: int
    name: str
    samples: int
    classes: tuple[str, ...]
    bundle: str
    digest: str
    fingerprint: str | None
    info: dict[str, Any]
    born: int
    next_tile: int
    next_line: int
    summary: dict[str, Any] | None

    @property
    def complete(self) -> bool:
        return self.summary is not None


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product of the store without its data; `bytes` is the length of its data."""

    id: int
    swath: int
    kind: Kind
    tile_index: int
    class_index: int
    posterior: float
    detection: bool
    state: State
    bytes: int


SELECT_SWATH: Final = (
    "SELECT id, name, samples, classes, bundle, digest, fingerprint, info, born, next_tile,"
    " next_line, summary FROM swath"
)


def among(column: str, numbers: Sequence[int]) -> str:
    """An SQL condition; `numbers` are members of enumerations, so nothing needs quoting."""
    return f"{column} IN ({', '.join(str(int(n)) for n in numbers)})"


def swath_row(row: tuple[Any, ...]) -> SwathRow:
    number, name, samples, classes, bundle, digest, fingerprint, info, born, tile, line, end = row
    return SwathRow(
        number,
        name,
        samples,
        tuple(json.loads(classes)),
        bundle,
        digest,
        fingerprint,
        json.loads(info),
        born,
        tile,
        line,
        json.loads(end) if end is not None else None,
    )


PRODUCT_COLUMNS: Final = "id, swath, kind, tile, class, posterior, detection, state, bytes"


def product_row(row: tuple[Any, ...]) -> ProductRow:
    number, swath, kind, tile, cls, posterior, detection, state, size = row
    return ProductRow(
        number, swath, Kind(kind), tile, cls, posterior, bool(detection), State(state), size
    )


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a store that is there or will be made; other files are left as they are."""
    # isolation_level None: transactions begin where we say so. The flight loop may commit from
    # another thread than the one that opened the store (never two at once).
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        _check(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
    except BaseException:
        db.close()
        raise
    return db


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, also on a disk where nothing can be written.

    In WAL mode SQLite wants an index of the log beside the file. Where it cannot make one and there
    is no log to read, the file alone is the whole store and is opened as immutable.
    """
    uri = path.absolute().as_uri()
    try:
        return _readable(f"{uri}?mode=ro", path)
    except sqlite3.OperationalError:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _readable(f"{uri}?mode=ro&immutable=1", path)


def _readable(uri: str, path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        _check(db, path)
        if db.execute("PRAGMA user_version").fetchone() == (0,):
            raise StoreError("no store here yet", where=path, hint="`winnow-edge run` makes one")
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError if the database is not a store, or one of a newer version."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise StoreError("is not a Winnow store", where=path)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"has format version {version}, this program knows {SCHEMA_VERSION}",
            where=path,
            hint="update winnow-edge",
        )


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables in one transaction, so that a killed start leaves nothing half-made."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            start = {"store_id": secrets.randbits(32), "contact": 0, "data_bytes": 0}
            db.executemany("INSERT INTO meta VALUES (?, ?)", start.items())
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as one-line StoreErrors that say what to do."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StoreError(
            f"a product is there already ({error})",
            where=path,
            hint="the swath was written by another run",
        ) from error
    except sqlite3.Error as error:
        raise StoreError(str(error), where=path, hint=_hint(error)) from error
    except UnicodeDecodeError as error:  # SQLite quotes what it found in a damaged schema
        raise StoreError("cannot be read", where=path, hint=_DAMAGED) from error
    except OSError as error:
        what, hint = error.strerror or str(error), _HINTS.get(error.errno)
        raise StoreError(what, where=error.filename or path, hint=hint) from error


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Rows that SQLite reads but that no store holds are a damaged file."""
    try:
        yield
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreError(
            f"holds a row that makes no sense ({error})", where=path, hint=_DAMAGED
        ) from error


def _hint(error: sqlite3.Error) -> str | None:
    hints = {
        "SQLITE_FULL": "free some disk space and run again; what was committed is safe",
        "SQLITE_IOERR": "the disk is full or failing; what was committed is safe",
        "SQLITE_READONLY": "the disk or folder is read-only; name another with --store",
        "SQLITE_CANTOPEN": "the disk or folder is full or read-only; name another with --store",
        "SQLITE_NOTADB": "not a store; name another folder with --store",
        "SQLITE_CORRUPT": _DAMAGED,
        "SQLITE_BUSY": "another process holds the store; try again when it is done",
    }
    name = getattr(error, "sqlite_errorname", "") or ""
    return next((hint for key, hint in hints.items() if name.startswith(key)), None)
