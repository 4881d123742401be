"""What is done about a damaged store before it is written: it is salvaged, and nothing is lost
without a word.

A query that meets damage leaves a mark beside the store (`file.explained`), so that the next one
who opens it for writing looks at the whole file.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from winnow_edge.errors import StoreDamagedError, StoreError, StoreTroubleError
from winnow_edge.store.file import SUSPECT_FILE, explained, is_damaged
from winnow_edge.store.lock import in_use
from winnow_edge.store.room import RESERVE_FILE
from winnow_edge.store.salvage import DAMAGED_FILE, Salvaged, made_anew
from winnow_edge.store.schema import STORE_FILE

log = logging.getLogger(__name__)


def look(folder: Path, *, create: bool) -> bool:
    """Look at a store before it is opened for writing: one that met damage is salvaged, one that
    is empty or gone is told of; whether another store stood here that is gone. Raises
    StoreError."""
    path = folder / STORE_FILE
    with explained(path):
        if path.exists() and not path.is_file():
            hint = "move it away, or name another folder with --store"
            raise StoreError(
                "is a folder or device, not the file of a store", where=path, hint=hint
            )
        mark = folder / SUSPECT_FILE
        whole = _is_whole(path)
        if mark.exists():
            seen = file_of(folder)
            if whole and is_damaged(path):
                salvaged(folder, None, seen)
            mark.unlink(missing_ok=True)
        if whole or not folder.is_dir():
            return False
        with in_use(folder, alone=True):  # else it is being made at this moment
            return not _is_whole(path) and _begun_anew(path, create=create)


def _is_whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def file_of(folder: Path) -> tuple[int, int] | None:
    """Which file the store in `folder` is at the moment; None: there is none."""
    try:
        status = (folder / STORE_FILE).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def salvaged(folder: Path, why: StoreDamagedError | None, seen: tuple[int, int] | None) -> None:
    """Make a damaged store anew, and say what it kept and lost; nothing is done where it is no
    longer the file that was `seen` to be damaged. Raises `why`, or StoreError, where that cannot be
    done."""
    try:
        with explained(folder / STORE_FILE), in_use(folder, alone=True):
            if file_of(folder) != seen:
                return  # another process was first
            found = made_anew(folder)
    except StoreTroubleError:
        raise
    except StoreError as error:
        raise why or error from error
    (folder / SUSPECT_FILE).unlink(missing_ok=True)
    log.warning("%s: %s", folder / STORE_FILE, _told(found))


def _told(found: Salvaged) -> str:
    """What a salvage did, in a line."""
    lost = Counter(kind.name.lower() for _, kind, _, _ in found.lost)
    losses = ", ".join(f"{n} {kind}{'s' * (n != 1)}" for kind, n in sorted(lost.items()))
    parts = [
        f"was damaged and is made anew: {found.products} products kept,"
        f" known to be lost: {losses or 'none'}"
    ]
    if found.rebuilt:
        parts.append(f"{len(found.rebuilt)} swaths rebuilt from their products")
    if found.anew:
        parts.append("its number was lost: it counts as another store")
    if found.damaged_file is not None:
        forgot = ", that of an earlier salvage is deleted" if found.forgot else ""
        parts.append(f"the damaged file is {found.damaged_file.name}{forgot}")
    return "; ".join(parts)


def _begun_anew(path: Path, *, create: bool) -> bool:
    """A store's file that is empty, or gone from beside others of the store, is told of; whether
    there was a store."""
    empty, log_file = path.exists(), path.with_name(path.name + "-wal")
    left = [
        file.name
        for file in (log_file, path.with_name(RESERVE_FILE), path.with_name(DAMAGED_FILE))
        if file.is_file() and file.stat().st_size
    ]
    if not (empty or left) or not (empty or create):
        return False
    if not create:
        hint = "`winnow-edge run` begins a new store"
        raise StoreError("is an empty file", where=path, hint=hint)
    if log_file.name in left:  # SQLite deletes the log of an empty file
        log_file.replace(path.with_name(f"{DAMAGED_FILE}-wal"))
    log.warning(
        "%s: %s%s; a new store is begun, and what the old one held is lost",
        path, "is an empty file" if empty else "is gone",
        f" beside {', '.join(left)}" if left else "",
    )  # fmt: skip
    # A first start that was killed may leave an empty file, but none beside it.
    return bool(left)
