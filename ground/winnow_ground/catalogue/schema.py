"""The catalogue's file: SQLite; docs/catalogue.md describes it for people.

Every integrity that SQLite can hold is in the schema (foreign keys, uniqueness, ranges), so that
Datasette, `sqlite3` and every other reader see the same truth as Winnow. A catalogue of an older
schema is brought to this one when it is opened, one step a version (`migrations`).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from winnow_base.errors import CatalogueError
from winnow_edge.files import printable
from winnow_ground.catalogue.migrations import MIGRATIONS

APPLICATION_ID: Final = int.from_bytes(b"Winc")
VERSION: Final = 2
BUSY_S: Final = 30.0
"""How long a command waits for another one that writes."""
HAVE: Final = ("record", "thumbnail", "image")
"""What of a tile is here, from the least to the best, as `tile.have` counts it from 0."""

TABLES: Final = (
    "swath", "tile", "product", "contact", "bundle", "class", "label", "label_set", "decision",
    "request",
)  # fmt: skip

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS bundle (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE IF NOT EXISTS class (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- One observation under one bundle. A swath that came down has a store and a number; one that was
-- classified on the ground has the digest of its picture.
CREATE TABLE IF NOT EXISTS swath (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    bundle INTEGER REFERENCES bundle(id),
    mission TEXT,
    instrument TEXT NOT NULL DEFAULT '',
    store INTEGER, number INTEGER,
    sha256 TEXT,
    lines INTEGER, samples INTEGER,
    tiles INTEGER NOT NULL DEFAULT 0,
    screened INTEGER NOT NULL DEFAULT 0,
    complete INTEGER NOT NULL DEFAULT 0 CHECK (complete IN (0, 1)),
    verdict TEXT,
    start TEXT,
    latitude REAL CHECK (latitude BETWEEN -90 AND 90),
    longitude REAL CHECK (longitude BETWEEN -180 AND 180),
    folder TEXT,
    picture TEXT,
    quick_look TEXT,
    about TEXT NOT NULL DEFAULT '{}',
    UNIQUE (store, number),
    UNIQUE (sha256, bundle),
    CHECK ((store IS NULL) = (number IS NULL)),
    CHECK (store IS NOT NULL OR sha256 IS NOT NULL)
) STRICT;

-- A tile and the best that is here of it: `drawn` for an audit, `asked` of the ground by the net.
-- A tile that was screened has no class. `changed` rises with every change.
CREATE TABLE IF NOT EXISTS tile (
    id INTEGER PRIMARY KEY,
    swath INTEGER NOT NULL REFERENCES swath(id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    class INTEGER REFERENCES class(id),
    posterior REAL NOT NULL CHECK (posterior BETWEEN 0 AND 1),
    detection INTEGER NOT NULL CHECK (detection IN (0, 1)),
    refused INTEGER NOT NULL DEFAULT 0,
    out_of_place INTEGER NOT NULL DEFAULT 0,
    drawn INTEGER NOT NULL DEFAULT 0,
    asked INTEGER NOT NULL DEFAULT 0,
    merged INTEGER NOT NULL DEFAULT 1,
    line INTEGER NOT NULL, sample INTEGER NOT NULL,
    lines INTEGER NOT NULL, samples INTEGER NOT NULL,
    scale INTEGER NOT NULL DEFAULT 1,
    time TEXT,
    latitude REAL CHECK (latitude BETWEEN -90 AND 90),
    longitude REAL CHECK (longitude BETWEEN -180 AND 180),
    have INTEGER NOT NULL DEFAULT 0 CHECK (have BETWEEN 0 AND 2),
    file TEXT,
    changed INTEGER NOT NULL,
    UNIQUE (swath, number)
) STRICT;
CREATE INDEX IF NOT EXISTS tile_changed ON tile (changed);

CREATE TABLE IF NOT EXISTS product (
    store INTEGER NOT NULL,
    number INTEGER NOT NULL,
    swath INTEGER NOT NULL REFERENCES swath(id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    tile INTEGER,
    contact INTEGER NOT NULL,
    container INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    arrival INTEGER NOT NULL,
    file TEXT,
    PRIMARY KEY (store, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS product_swath ON product (swath);

CREATE TABLE IF NOT EXISTS contact (
    store INTEGER NOT NULL,
    number INTEGER NOT NULL,
    containers INTEGER NOT NULL,
    products INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    folder TEXT NOT NULL,
    PRIMARY KEY (store, number)
) STRICT, WITHOUT ROWID;

-- Tiles that people label together, `page` of them at once. `class` is what all are suspected to
-- show (none: each what the net said), `hidden` keeps the net's answer back until a person has
-- answered, `seed` makes the order of each person, `how` (JSON) tells how its tiles were chosen.
CREATE TABLE IF NOT EXISTS label_set (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    class INTEGER REFERENCES class(id),
    page INTEGER NOT NULL DEFAULT 60 CHECK (page BETWEEN 20 AND 200),
    hidden INTEGER NOT NULL DEFAULT 1 CHECK (hidden IN (0, 1)),
    seed INTEGER NOT NULL DEFAULT 0,
    how TEXT NOT NULL DEFAULT '{}',
    person TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS label_set_tile (
    label_set INTEGER NOT NULL REFERENCES label_set(id) ON DELETE CASCADE,
    tile INTEGER NOT NULL REFERENCES tile(id) ON DELETE CASCADE,
    score REAL,
    PRIMARY KEY (label_set, tile)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS label_set_of ON label_set_tile (tile);

-- What a person said of a tile. `sha256` is of the picture that was looked at; a label that was
-- taken back stays, with the time at which it was. `client` is the name that a browser or an import
-- gave the answer, so that one that is sent twice counts once; `label_set` is where it was asked;
-- `told` is 1 if the net's answer was shown before.
CREATE TABLE IF NOT EXISTS label (
    id INTEGER PRIMARY KEY,
    tile INTEGER NOT NULL REFERENCES tile(id) ON DELETE CASCADE,
    person TEXT NOT NULL,
    class INTEGER REFERENCES class(id),
    answer TEXT NOT NULL CHECK (answer IN ('shows', 'nothing', 'unsure', 'later')),
    comment TEXT NOT NULL DEFAULT '',
    at TEXT NOT NULL,
    withdrawn TEXT,
    sha256 TEXT NOT NULL DEFAULT '',
    client TEXT NOT NULL DEFAULT '',
    label_set INTEGER REFERENCES label_set(id) ON DELETE SET NULL,
    told INTEGER NOT NULL DEFAULT 1 CHECK (told IN (0, 1)),
    CHECK ((answer = 'shows') = (class IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS label_of ON label (tile, person) WHERE withdrawn IS NULL;
CREATE UNIQUE INDEX IF NOT EXISTS label_client ON label (tile, person, client) WHERE client <> '';

-- What a tile shows, decided by one person where others disagree.
CREATE TABLE IF NOT EXISTS decision (
    id INTEGER PRIMARY KEY,
    tile INTEGER NOT NULL REFERENCES tile(id) ON DELETE CASCADE,
    person TEXT NOT NULL,
    class INTEGER REFERENCES class(id),
    answer TEXT NOT NULL CHECK (answer IN ('shows', 'nothing', 'unsure')),
    comment TEXT NOT NULL DEFAULT '',
    at TEXT NOT NULL,
    withdrawn TEXT,
    CHECK ((answer = 'shows') = (class IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS decision_of ON decision (tile) WHERE withdrawn IS NULL;

-- Boxes that a later uplink asks the spacecraft for.
CREATE TABLE IF NOT EXISTS request (
    id INTEGER PRIMARY KEY,
    swath INTEGER NOT NULL REFERENCES swath(id) ON DELETE CASCADE,
    line INTEGER NOT NULL, sample INTEGER NOT NULL,
    lines INTEGER NOT NULL, samples INTEGER NOT NULL,
    person TEXT NOT NULL,
    comment TEXT NOT NULL DEFAULT '',
    at TEXT NOT NULL,
    sent TEXT
) STRICT;

CREATE VIEW IF NOT EXISTS detection AS
SELECT tile.id, swath.name AS swath, class.name AS class, tile.posterior, tile.line, tile.sample,
       tile.lines, tile.samples, tile.time, tile.latitude, tile.longitude, bundle.name AS bundle,
       swath.instrument, tile.have, tile.file
FROM tile JOIN swath ON swath.id = tile.swath JOIN class ON class.id = tile.class
LEFT JOIN bundle ON bundle.id = swath.bundle
WHERE tile.detection = 1;
"""


def create(path: Path) -> sqlite3.Connection:
    """The catalogue in `path`, made where it is not there. Raises CatalogueError."""
    return _opened(path, "rwc")


def open_catalogue(path: Path, *, write: bool = False, shared: bool = False) -> sqlite3.Connection:
    """The catalogue in `path`, to read or to `write`; `shared` by threads that take turns.

    Raises CatalogueError.
    """
    if not path.is_file():
        raise CatalogueError(
            "is no catalogue" if path.exists() else "is not there",
            where=path,
            hint="`winnow catalogue add RECEPTION --to FILE` makes one",
        )
    return _opened(path, "rw" if write else "ro", shared=shared)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The catalogue in `path` to read, while the block lasts. Raises CatalogueError."""
    with closing(open_catalogue(path)) as db, saying(path):
        yield db


@contextmanager
def changes(db: sqlite3.Connection, path: Path) -> Iterator[int]:
    """A transaction: all of it is there afterwards, or none. Yields the number under which its
    tiles count as changed. Raises CatalogueError."""
    with saying(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            (last,) = db.execute("SELECT coalesce(max(changed), 0) FROM tile").fetchone()
            yield last + 1
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


@contextmanager
def saying(path: Path) -> Iterator[None]:
    """Inside, what SQLite refuses is a CatalogueError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        what, hint = next(
            (said for prefix, said in _TROUBLE.items() if name.startswith(prefix)),
            (printable(str(error)), "it is damaged: make it anew from the receptions"),
        )
        raise CatalogueError(what, where=path, hint=hint) from error


_TROUBLE: Final = {
    "SQLITE_BUSY": ("is in use by another process", "try again when it is done"),
    "SQLITE_LOCKED": ("is in use by another process", "try again when it is done"),
    "SQLITE_READONLY": ("cannot be written", "copy it to a disk that can be written"),
    "SQLITE_FULL": ("cannot be written: the disk is full", "free some space"),
    "SQLITE_IOERR": ("cannot be read or written: the disk fails", "copy it to another disk"),
    "SQLITE_CANTOPEN": ("cannot be opened", "look at the rights of the file and its folder"),
    "SQLITE_NOTADB": ("is no catalogue", "`winnow catalogue add RECEPTION --to FILE` makes one"),
}


def _opened(path: Path, mode: str, *, shared: bool = False) -> sqlite3.Connection:
    # On a disk that is read-only there is no room for SQLite's shared memory, and no need of it.
    # Elsewhere another user may write it at any time: then it must not be taken for immutable.
    still = mode == "ro" and _disk_is_read_only(path) and not _log_of(path).exists()
    with saying(path):
        db = _connected(path, f"{mode}{'&immutable=1' if still else ''}", shared=shared)
    try:
        with saying(path):
            _prepare(db, path, mode)
    except BaseException:
        db.close()
        raise
    return db


def _connected(path: Path, mode: str, *, shared: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=not shared,
    )


def _disk_is_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _log_of(path: Path) -> Path:
    path = path.resolve()  # SQLite keeps it beside the file, not beside a link
    return path.with_name(f"{path.name}-wal")


def _prepare(db: sqlite3.Connection, path: Path, mode: str) -> None:
    kind, version, empty = _told(db)
    if empty and mode == "rwc":
        _keep_a_log(db)
        # Two that make it at once take turns; the second finds everything there.
        db.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )
    elif kind != APPLICATION_ID:
        raise CatalogueError(
            "is no catalogue", where=path, hint="name one, or a file that is not there yet"
        )
    elif 0 < version < VERSION:
        _migrate(db, path, mode)
    elif version != VERSION:
        raise CatalogueError(
            f"has schema {version}, this program knows {VERSION}",
            where=path,
            hint="use the program that made it",
        )
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA trusted_schema = OFF")


def _told(db: sqlite3.Connection) -> tuple[int, int, bool]:
    """Whose file it is, of which schema, and whether it is empty, all of one moment: another
    process may be making it."""
    db.execute("BEGIN")
    try:
        (kind,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        empty = db.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    return kind, version, empty


def _keep_a_log(db: sqlite3.Connection) -> None:
    """Change the file to a write-ahead log. SQLite waits for nobody here, whatever its timeout:
    a second process that makes the file at this moment is waited for by trying again."""
    began = time.monotonic()
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
            if not busy or time.monotonic() - began > BUSY_S:
                raise
            time.sleep(0.02)


def _migrate(db: sqlite3.Connection, path: Path, mode: str) -> None:
    """Bring an older catalogue to this schema: all steps or none. A reader needs it written too."""
    if mode == "ro":
        with closing(_connected(path, "rw")) as writer:
            _migrate(writer, path, "rw")
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()  # another may have been first
        for step in MIGRATIONS[version - 1 :]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
