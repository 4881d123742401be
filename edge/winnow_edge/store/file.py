"""The file of the product store: how it is opened and probed, and its errors in plain words."""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from winnow_edge.errors import StoreDamagedError, StoreError, StoreTroubleError, Trouble
from winnow_edge.files import sync_folder
from winnow_edge.store import migrations
from winnow_edge.store.schema import (
    APPLICATION_ID,
    COUNT_EVENT,
    SCHEMA,
    SCHEMA_VERSION,
    Meta,
    checksum_of,
    seal_of,
)

T = TypeVar("T")
SQLITE_VERSION: Final = sqlite3.sqlite_version
WAL_PAGES: Final = 256  # the log is copied back into the file every megabyte of 4096-octet pages
WAL_LIMIT: Final = 4_000_000
CACHE_KIB: Final = 1024
BUSY_S: Final = 20.0
"""So long a store that another process holds is waited for, ..."""
_SLICE_S: Final = 0.25
"""... by one that writes, in so short waits, as SQLite's cannot be ended."""
_ELSEWHERE: Final = "name another folder with --store"
_ALLOW: Final = "this user may not write there: run as the owner of the store, or chown it"
_FULL: Final = "free some disk space and run again; committed products are safe"
_TROUBLES: Final[dict[int | None, Trouble]] = {
    errno.ENOSPC: Trouble.FULL,
    errno.EDQUOT: Trouble.FULL,
    errno.EIO: Trouble.FAILING,
    errno.EROFS: Trouble.FAILING,
}
_HINTS: Final[dict[int | None, str]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EIO: "the disk is failing; committed products are safe",
    errno.EROFS: f"the disk is mounted read-only: mount -o remount,rw, or {_ELSEWHERE}",
    errno.EACCES: f"{_ALLOW}, or {_ELSEWHERE}",
    errno.EPERM: f"{_ALLOW}, or {_ELSEWHERE}",
    errno.ENOTDIR: _ELSEWHERE,
    errno.ENOENT: _ELSEWHERE,
    errno.EEXIST: f"a file is in the way; {_ELSEWHERE}",
}
"""What to do about an error of the system."""
_DAMAGED: Final = "`winnow-edge store salvage`, or the next run, keeps what can be read"
SUSPECT_FILE: Final = "store.db.suspect"
"""Is there once damage was met in the store, until it has been looked at as a whole."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a store that is there or will be made; other files are left as they are."""
    # isolation_level None: transactions begin where we say so. The flight loop may commit from
    # another thread than the one that opened the store (never two at once).
    db = sqlite3.connect(path, timeout=_SLICE_S, isolation_level=None, check_same_thread=False)
    try:
        _functions(db)
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        _check(db, path)
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":  # SQLite goes on without a log, and says no more than this
            raise StoreTroubleError(
                "no write-ahead log can be made",
                Trouble.FAILING,
                where=path,
                hint="the disk is full or failing, or its file system has no shared memory",
            )
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
    except BaseException:
        db.close()
        raise
    return db


def waited(act: Callable[[], T], stop: Callable[[], bool]) -> T:
    """What `act` gives, done again while the store is busy, until `stop` or for `BUSY_S`. Raises
    what `act` raises."""
    ends = time.monotonic() + BUSY_S
    while True:
        try:
            return act()
        except StoreTroubleError as error:
            if error.trouble is not Trouble.BUSY or stop() or time.monotonic() > ends:
                raise
        time.sleep(_SLICE_S)  # SQLite has waited itself, a locked folder has not


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, also on a disk where nothing can be written.

    In WAL mode SQLite wants an index of the log beside the file. Where it cannot make one, as the
    disk fails or is read-only, nobody writes: the index is kept in memory, without a lock. Where
    there is no log to read, the file alone is the whole store and is opened as immutable.
    """
    uri = path.absolute().as_uri()
    try:
        return _readable(f"{uri}?mode=ro", path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            return _readable(f"{uri}?mode=ro&vfs=unix-none", path, alone=True)
        return _readable(f"{uri}?mode=ro&immutable=1", path)


def _readable(uri: str, path: Path, *, alone: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        if alone:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        _functions(db)
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        _check(db, path)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            raise StoreError("no store here yet", where=path, hint="`winnow-edge run` makes one")
        if version < SCHEMA_VERSION:
            hint = "`winnow-edge run` or `downlink` brings it to this version"
            raise StoreError(f"has format version {version}", where=path, hint=hint)
    except BaseException:
        db.close()
        raise
    return db


def _functions(db: sqlite3.Connection) -> None:
    """The checksums of the store, for SQL; text that is none any more is read, and found damaged
    by them."""
    db.text_factory = _text
    db.create_function("checksum", 10, checksum_of, deterministic=True)
    db.create_function("seal_of", -1, seal_of, deterministic=True)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError if the database is not a store, or one of a newer version."""
    db.execute("BEGIN")  # all of one moment: another process may be making it
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    if tables and application != APPLICATION_ID:
        (ours,) = db.execute(
            "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'"
            " AND name IN ('meta', 'swath', 'product', 'container')"
        ).fetchone()
        if ours == 4 and version == SCHEMA_VERSION:
            raise StoreDamagedError("has lost what tells it a store", where=path, hint=_DAMAGED)
        hint = "another program made this file; name another folder with --store"
        raise StoreError("is not a Winnow store", where=path, hint=hint)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"has format version {version}, this program knows {SCHEMA_VERSION}",
            where=path,
            hint="update winnow-edge",
        )


def prepare(db: sqlite3.Connection, *, again: bool = False) -> None:
    """Make the tables, or bring them to this version step by step; each in one transaction, so that
    a killed start leaves nothing half-made. That a new store is begun `again` is counted."""
    while _version(db) != SCHEMA_VERSION:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = _version(db)  # another process may have been first
            if version == 0:
                for statement in SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                start = {Meta.STORE_ID: secrets.randbits(32), Meta.CONTACT: 0, Meta.DATA_BYTES: 0}
                rows = [(str(key), value, seal_of(str(key), value)) for key, value in start.items()]
                db.executemany("INSERT INTO meta VALUES (?, ?, ?)", rows)
                if again:
                    db.execute(COUNT_EVENT, (0, "begun anew", "store", 1))
            elif version < SCHEMA_VERSION:
                migrations.functions(db)
                migrations.STEPS[version - 1](db)
                db.execute(f"PRAGMA user_version = {version + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def transaction_ms(folder: Path, times: int = 10) -> float:
    """Milliseconds that a durable transaction of 4 kB takes in `folder`, made as the store's are.

    Raises StoreError where none can be made.
    """
    with (
        explained(folder),
        tempfile.TemporaryDirectory(dir=folder, prefix=".winnow-probe-") as scratch,
    ):
        db = sqlite3.connect(Path(scratch) / "probe.db", isolation_level=None)
        try:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise sqlite3.OperationalError("no write-ahead log on this file system")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("CREATE TABLE probe (data BLOB)")
            started = time.perf_counter()
            for _ in range(times):
                db.execute("INSERT INTO probe VALUES (zeroblob(4096))")
            spent = time.perf_counter() - started
        finally:
            db.close()
        sync_folder(scratch)
    return spent / times * 1000


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
        raise _told(error, path) from error
    except UnicodeDecodeError as error:  # SQLite quotes what it found in a damaged schema
        raise StoreDamagedError("cannot be read", where=path, hint=_DAMAGED) from error
    except OSError as error:
        what, hint = error.strerror or str(error), _HINTS.get(error.errno)
        where, trouble = error.filename or path, _TROUBLES.get(error.errno)
        if trouble is not None:
            raise StoreTroubleError(what, trouble, where=where, hint=hint) from error
        raise StoreError(what, where=where, hint=hint) from error


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Rows that SQLite reads but that no store holds are a damaged file."""
    try:
        yield
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreDamagedError(
            f"holds a row that makes no sense ({error})", where=path, hint=_DAMAGED
        ) from error


def _told(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error as one of ours."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_CANTOPEN") and _may_write(path):
        # SQLite does not say why: neither the folder nor a file of the store stands in the way.
        hint = "the disk is full or failing; committed products are safe"
        return StoreTroubleError(str(error), Trouble.FAILING, where=path, hint=hint)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return _damaged(error, path)
    if name == "SQLITE_ERROR" and _lacks_tables(path):
        return suspect(path, str(error))
    for start, (trouble, hint) in _SQLITE.items():
        if name.startswith(start):
            if trouble is not None:
                return StoreTroubleError(str(error), trouble, where=path, hint=hint)
            return StoreError(str(error), where=path, hint=hint)
    return StoreError(str(error), where=path)


def _damaged(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's word of damage, looked into: a file that could not be read seems damaged too."""
    hint = "the disk is failing; committed products are safe"
    try:
        if not is_damaged(path):
            what = "could not be read for a moment"
            return StoreTroubleError(what, Trouble.FAILING, where=path, hint=hint)
    except (sqlite3.OperationalError, OSError) as failing:
        return StoreTroubleError(str(failing), Trouble.FAILING, where=path, hint=hint)
    return suspect(path, str(error))


def suspect(path: Path, what: str) -> StoreDamagedError:
    """The error of a store that is damaged; a mark beside it tells whoever opens it next."""
    with suppress(OSError):
        path.with_name(SUSPECT_FILE).touch()
    return StoreDamagedError(what, where=path, hint=_DAMAGED)


def is_damaged(path: Path) -> bool:
    """Read a whole store, and see whether it is sound for SQLite. Raises sqlite3.OperationalError
    where it cannot be read, or is in use."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = _text
        try:
            sound = db.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
            return not sound or _has_other_tables(db)
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return True


def _lacks_tables(path: Path) -> bool:
    try:
        return is_damaged(path)
    except (sqlite3.OperationalError, OSError):
        return False


def _has_other_tables(db: sqlite3.Connection) -> bool:
    """Whether what a store of this version says of its tables is not what it said at first."""
    if _version(db) != SCHEMA_VERSION:
        return False
    with closing(sqlite3.connect(":memory:")) as first:
        first.executescript(SCHEMA)
        wanted, found = (set(each.execute(_TABLES).fetchall()) for each in (first, db))
    return not wanted <= found


_TABLES: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"


def _may_write(path: Path) -> bool:
    """Whether this user may write the store's folder and every file of it that is there."""
    files = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
    there = [file for file in files if os.path.lexists(file)]
    return os.access(path.parent, os.W_OK | os.X_OK) and all(
        file.is_file() and os.access(file, os.R_OK | os.W_OK) for file in there
    )


_SQLITE: Final[dict[str, tuple[Trouble | None, str]]] = {
    "SQLITE_FULL": (Trouble.FULL, _FULL),
    "SQLITE_IOERR": (
        Trouble.FAILING,
        "the disk is full or failing; committed products are safe",
    ),
    "SQLITE_READONLY_DIRECTORY": (
        None,
        f"make the folder writable (chmod, chown), or {_ELSEWHERE}",
    ),
    "SQLITE_READONLY": (
        Trouble.FAILING,
        f"the disk or file is read-only: mount it for writing, or chmod it, or {_ELSEWHERE}",
    ),
    "SQLITE_CANTOPEN": (
        None,
        f"the disk is full, or the folder read-only: make room or chmod it, or {_ELSEWHERE}",
    ),
    "SQLITE_BUSY": (Trouble.BUSY, "another process holds the store; try again when it is done"),
    "SQLITE_PROTOCOL": (Trouble.BUSY, "another process holds the store; try again later"),
}
"""For the beginning of the name of each error of SQLite, the trouble (None: not one that passes)
and what to do."""
