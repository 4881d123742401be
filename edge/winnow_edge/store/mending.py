"""What is done about a damaged store before it is written: it is salvaged, and nothing is lost
without a word.

A query that meets damage leaves a mark beside the store (`file.explained`), so that the next one
who opens it for writing looks at the whole file.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from winnow_edge.errors import StoreDamagedError, StoreError, StoreTroubleError
from winnow_edge.store.file import SUSPECT_FILE, explained, is_damaged
from winnow_edge.store.room import RESERVE_FILE
from winnow_edge.store.salvage import DAMAGED_FILE, Salvaged, free_name, salvage
from winnow_edge.store.schema import STORE_FILE

log = logging.getLogger(__name__)


class Happened(NamedTuple):
    """An event that is to be counted in the store, once it is open."""

    what: str
    about: str
    n: int


def look(folder: Path, *, create: bool) -> list[Happened]:
    """Look at a store before it is opened for writing: one that met damage is salvaged, one that
    is empty or gone is told of; what happened. Raises StoreError."""
    path = folder / STORE_FILE
    with explained(path):
        mark = folder / SUSPECT_FILE
        whole = path.is_file() and path.stat().st_size > 0
        if mark.exists():
            happened = salvaged(folder, None) if whole and is_damaged(path) else []
            mark.unlink(missing_ok=True)
            if whole:
                return happened
        if whole:
            return []
        return _begun_anew(path, create=create)


def salvaged(folder: Path, why: StoreDamagedError | None) -> list[Happened]:
    """Make a damaged store anew, and say what it kept and lost. Raises `why`, or StoreError, where
    that cannot be done."""
    try:
        found = salvage(folder)
    except StoreTroubleError:
        raise
    except StoreError as error:
        raise why or error from error
    (folder / SUSPECT_FILE).unlink(missing_ok=True)
    lost = Counter(kind.name.lower() for _, kind, _, _ in found.lost)
    log.warning("%s: %s", folder / STORE_FILE, _told(found, lost))
    happened = [Happened("salvaged", "store", 1)]
    return happened + [Happened("lost", kind, n) for kind, n in lost.items()]


def _told(found: Salvaged, lost: Counter[str]) -> str:
    """What a salvage did, in a line."""
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
        parts.append(f"the damaged file is {found.damaged_file.name}")
    return "; ".join(parts)


def _begun_anew(path: Path, *, create: bool) -> list[Happened]:
    """A store's file that is empty, or gone from beside others of the store, is told of."""
    empty, log_file = path.exists(), path.with_name(path.name + "-wal")
    left = [
        file.name
        for file in (log_file, path.with_name(RESERVE_FILE), path.with_name(DAMAGED_FILE))
        if file.is_file() and file.stat().st_size
    ]
    if not (empty or left) or not (empty or create):
        return []
    if not create:
        hint = "`winnow-edge run` begins a new store"
        raise StoreError("is an empty file", where=path, hint=hint)
    if log_file.name in left:  # SQLite deletes the log of an empty file
        log_file.rename(f"{free_name(path)}-wal")
    log.warning(
        "%s: %s%s; a new store is begun, and what the old one held is lost",
        path, "is an empty file" if empty else "is gone",
        f" beside {', '.join(left)}" if left else "",
    )  # fmt: skip
    # A first start that was killed may leave an empty file, but none beside it.
    return [Happened("begun anew", "store", 1)] if left else []
