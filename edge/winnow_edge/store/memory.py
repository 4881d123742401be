"""A store in memory, for a disk that fails for good: the camera's service and its contacts go on.

It is a store like any other, in a folder of a file system that lies in memory, and has a number of
its own: whatever it gives out, no number on the link ever meets one of the store on the disk. What
waits to be sent or is in flight is copied into it, the most useful first. Once the disk works
again, all that it holds goes back to the store on the disk (`returning`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from winnow_edge.errors import StoreError, StoreTroubleError, Trouble
from winnow_edge.files import read_small, write_file
from winnow_edge.mission import Mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.worth import density
from winnow_edge.store.budget import LEAST_QUOTA_MB, PAGE, Budget
from winnow_edge.store.file import explained
from winnow_edge.store.lock import in_use
from winnow_edge.store.returning import RANGES, First, return_to, undo
from winnow_edge.store.rows import set_state
from winnow_edge.store.schema import (
    COUNT_EVENT,
    INTACT,
    SOUND_CONTAINER,
    SOUND_PRODUCT,
    ContainerState,
    Meta,
    ProductState,
)
from winnow_edge.store.store import Store
from winnow_edge.tables import Reader, setting

log = logging.getLogger(__name__)
SHARED_MEMORY: Final = Path("/dev/shm")
ORIGIN_FILE: Final = "origin.json"
COPIED_FILE: Final = "copied"
LOCK_FILE: Final = "in-use"
MOST_MB: Final = 64.0
_SHARE: Final = 4
"""The store takes no more than one part in so many of the memory that is free."""
_COPIED: Final = 2
"""What is copied takes one part in so many of its pages at most: the rest is for what comes."""
_LATEST: Final = 200
"""So many of the latest swaths are known in memory in any case: their files may come again."""
_ROW: Final = 96
_BATCH: Final = 64
_UNREAD: Final = First(2**47, 2**31, 2**31)
"""From here on are the numbers of stores in memory of disks that could not be read."""
_PLACES: Final = 4096
"""Each takes one of so many ranges of them at random: more than one such store may go back."""
_FULL: Final = "the disk fails for good, and there is no room in memory"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a store in memory knows of the one on the disk: its `folder`, the numbers that came
    next, the next line of each swath by number, and the quota in memory."""

    folder: str = setting(...)
    quota_mb: float = setting(..., LEAST_QUOTA_MB, MOST_MB)
    next_product: int = setting(..., 1, 2**48)
    next_swath: int = setting(..., 1, 2**32)
    next_container: int = setting(..., 1, 2**32)
    lines: dict[str, int] = setting(..., 0, 2**32)
    read: bool = setting(...)


def place(folder: str | Path) -> Path | None:
    """Where the store in memory of the one in `folder` is, or would be; None where the machine has
    no file system in memory for this user."""
    whole = os.fsencode(os.path.realpath(folder))
    name = f"winnow-{hashlib.blake2b(whole, digest_size=8).hexdigest()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    for base in (SHARED_MEMORY, *([Path(runtime)] if runtime else [])):
        if base.is_dir() and os.access(base, os.W_OK | os.X_OK):
            return base / name
    return None


def there(folder: str | Path) -> Path | None:
    """The folder of the store in memory of the one in `folder`; None where there is none."""
    kept = place(folder)
    if kept is None or not _is_ours(kept, folder):
        return None
    return kept if (kept / ORIGIN_FILE).is_file() else None


def opened(
    folder: str | Path,
    *,
    mission: Mission | None,
    fails: bool = False,
    back: bool = True,
    **how: Any,
) -> Store:
    """The store in `folder`, or the one in memory where there is one and the disk still fails;
    `how` is for `Store.open`. One in memory goes `back` to the disk if that works.

    The disk `fails` for good by the caller's word: a store in memory is begun, if there is none.
    Raises StoreError.
    """
    kept = there(folder)
    if kept is None and fails and mission is not None:
        kept = _begin(Path(folder), mission)
        if kept is None:
            raise StoreTroubleError(_FULL, Trouble.FAILING, where=folder)
    elif kept is not None and back and not fails and mission is not None:
        kept = None if _went_back(Path(folder), kept, mission) else kept
    if kept is not None:
        try:
            return _opened(kept, mission, **how)
        except StoreError:
            if there(folder) is not None:
                raise  # else it has just gone back to the disk
    store = Store.open(folder, mission=mission, **how)
    if store.holds(Meta.RETURNING) and not how.get("read_only"):
        try:
            undo(store)
        except BaseException:
            store.close()
            raise
    return store


def _opened(kept: Path, mission: Mission | None, **how: Any) -> Store:
    with ExitStack() as held:
        held.enter_context(_in_use(kept, alone=False))
        bounded = None if mission is None else _bounded(mission, _origin(kept))
        store = Store.open(kept, mission=bounded, **how)
        store.closes_with(held.pop_all())
    return store


def _bounded(mission: Mission, origin: Origin) -> Mission:
    return replace(mission, store=replace(mission.store, quota_mb=origin.quota_mb))


@contextmanager
def _in_use(kept: Path, *, alone: bool) -> Iterator[None]:
    """Inside, the store in memory does not go back to the disk, or nobody has it open. Raises
    StoreTroubleError."""
    with ExitStack() as held:
        with explained(kept):
            held.enter_context(in_use(kept, alone=alone, file=LOCK_FILE))
        yield


def _is_ours(kept: Path, folder: str | Path) -> bool:
    """Whether it is a folder of this user's, or of the store's owner's, which nobody else
    writes."""
    owners = {os.geteuid()}
    with suppress(OSError):
        owners.add(Path(folder).stat().st_uid)
    with suppress(OSError):
        status = kept.lstat()
        return (
            stat.S_ISDIR(status.st_mode) and status.st_uid in owners and not status.st_mode & 0o022
        )
    return False


def _origin(kept: Path) -> Origin:
    """Raises StoreError."""
    reader = Reader(kept / ORIGIN_FILE, StoreError)
    with explained(kept):
        data = read_small(kept / ORIGIN_FILE)
    return reader.table(Origin, reader.json(data))


# --- from the disk to memory


def _begin(folder: Path, mission: Mission) -> Path | None:
    """Begin a store in memory; None where there is no room for one."""
    kept = place(folder)
    if kept is None:
        return None
    quota = _quota_mb(mission, kept.parent)
    if quota < LEAST_QUOTA_MB:
        return None
    try:
        if _is_ours(kept, folder):
            shutil.rmtree(kept)
        kept.mkdir(mode=0o700)
    except OSError as error:
        log.warning("%s: no store in memory: %s", kept, error.strerror)
        return None
    origin = Origin(str(folder), quota, *_apart(secrets.randbelow(_PLACES)), {}, read=False)
    copied, room = list[int](), Budget.of(int(quota * 1e6)).pages * PAGE // _COPIED
    with Store.open(kept, mission=_bounded(mission, origin)) as memory:
        try:
            with Store.open(folder, mission=mission, read_only=True) as disk:
                known = _known(disk, origin)
                _take_over(disk, memory)
                origin = known  # all of it, or nothing
                swaths = {swath.id for swath in memory.swaths()}
                for part in _chosen(disk, mission, swaths, room):
                    copied += _copied(disk, memory, part)
        except StoreError as error:
            log.warning("%s: not all of it can be read: %s", folder, error.what)
        with memory.transaction():
            memory.set_meta(Meta.NEXT_PRODUCT, origin.next_product)
            memory.set_meta(Meta.NEXT_SWATH, origin.next_swath)
            memory.set_meta(Meta.NEXT_CONTAINER, origin.next_container)
            _announce_again(memory)
            memory.db.execute(COUNT_EVENT, (memory.contacts(), "in memory", "store", 1))
    (kept / COPIED_FILE).write_bytes(np.array(copied, ">u8").tobytes())
    write_file(kept / ORIGIN_FILE, json.dumps(asdict(origin)), durable=False)
    log.warning(
        "%s: its disk fails; going on in memory, in %s, with %d products of it and %.1f MB",
        folder, kept, len(copied), quota,
    )  # fmt: skip
    return kept


def _apart(number: int) -> First:
    """The first numbers of a range of which the store on the disk has most likely none."""
    return First(*(at + number * width for at, width in zip(_UNREAD, RANGES, strict=True)))


def _quota_mb(mission: Mission, base: Path) -> float:
    """What a store in memory may take."""
    status = os.statvfs(base)
    free = status.f_bavail * status.f_frsize
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = min(free, next(int(n.split()[1]) * 1024 for n in lines if n.startswith("MemAvail")))
    return min(mission.store.quota_mb, MOST_MB, free / _SHARE / 1e6)


def _known(disk: Store, origin: Origin) -> Origin:
    """What is known of a store that can be read."""
    return replace(
        origin,
        next_product=max(1, disk.number(Meta.NEXT_PRODUCT)),
        next_swath=max(1, disk.number(Meta.NEXT_SWATH)),
        next_container=max(1, disk.number(Meta.NEXT_CONTAINER)),
        lines={str(swath.id): swath.next_line for swath in disk.swaths()},
        read=True,
    )


def _take_over(disk: Store, memory: Store) -> None:
    """The store's own values, its swaths and the containers that are in flight."""
    former = [disk.store_id, *disk.former()]
    with memory.transaction():
        for key in (Meta.CLOCK, Meta.CLOCK_TOLD, Meta.REQUESTS):
            if (value := disk.meta(key)) is not None:
                memory.set_meta(key, value)
        for key in (Meta.CONTACT, Meta.SEQUENCE):
            memory.set_meta(key, disk.number(key))
        memory.set_meta(Meta.FORMER, json.dumps(former))
        _put(memory, "swath", disk.select(
            "SELECT * FROM swath WHERE summary IS NULL"
            f" OR id > (SELECT MAX(id) - {_LATEST} FROM swath) OR EXISTS"
            f" (SELECT 1 FROM product WHERE swath = swath.id AND state < 2 AND {SOUND_PRODUCT})"
        ))  # fmt: skip
        _put(memory, "container", disk.select(
            f"SELECT * FROM container WHERE state = {ContainerState.IN_FLIGHT:d}"
            f" AND {SOUND_CONTAINER}"
        ))  # fmt: skip


def _chosen(
    disk: Store, mission: Mission, swaths: AbstractSet[int], room: int
) -> Iterator[list[int]]:
    """Numbers of the products to be copied, a few at a time: those that tell of the swaths, and
    those that are to be sent or in flight, as many as find room, the most useful first. Background
    waits on the disk."""
    announced = [told.id for swath, told in disk.announcements().items() if swath in swaths]
    table = disk.table((ProductState.STORED, ProductState.SENT), with_data=True)
    kind, detection = table.columns["kind"], table.columns["detection"]
    table = table[((kind != Kind.RECORD) | detection) & (kind != Kind.SWATH)]
    order = np.argsort(-density(table, mission), kind="stable")
    fits = np.cumsum(table.columns["bytes"][order].astype(np.int64) + _ROW) <= room
    numbers = [*announced, *table.columns["id"][order][fits].tolist()]
    for at in range(0, len(numbers), _BATCH):
        yield numbers[at : at + _BATCH]


def _copied(disk: Store, memory: Store, numbers: Sequence[int]) -> list[int]:
    """Copy products as they are, but for damaged ones; the numbers of those copied."""
    rows = disk.select(
        f"SELECT * FROM product WHERE id IN ({', '.join(map(str, numbers))})"
        f" AND {SOUND_PRODUCT} AND {INTACT}"
    )
    with memory.transaction():
        _put(memory, "product", rows)
        held = "SELECT coalesce(SUM(length(data)), 0) FROM product"
        memory.set_meta(Meta.DATA_BYTES, memory.select(held)[0][0])
    memory.select("PRAGMA wal_checkpoint(TRUNCATE)")
    return [row[0] for row in rows]


def _put(store: Store, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        store.db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)


def _announce_again(memory: Store) -> None:
    """The ground does not know the swaths of a store with this number yet."""
    told = [product.id for product in memory.announcements().values()]
    set_state(
        memory, told, ProductState.STORED, of=(ProductState.SENT, ProductState.ACKNOWLEDGED),
        unheard="0",
    )  # fmt: skip


# --- and back


def _went_back(folder: Path, kept: Path, mission: Mission) -> bool:
    """Let what is in memory go back to the disk; False where that still fails, or another process
    has the store in memory open."""
    try:
        with ExitStack() as held:
            held.enter_context(_in_use(kept, alone=True))
            origin = _origin(kept)
            disk = held.enter_context(Store.open(folder, mission=mission))
            memory = held.enter_context(Store.open(kept, mission=_bounded(mission, origin)))
            copied = np.fromfile(kept / COPIED_FILE, ">u8").tolist()
            lines = {int(number): line for number, line in origin.lines.items()}
            first = First(origin.next_product, origin.next_swath, origin.next_container)
            done = return_to(disk, memory, copied, first, lines if origin.read else None)
    except StoreError as error:
        log.info("%s: not yet back from memory: %s", folder, error)
        return False
    if done:
        shutil.rmtree(kept, ignore_errors=True)
        log.warning("%s: its disk works again; all is back from memory", folder)
        return True
    aside = _set_aside(kept)
    log.warning(
        "%s: its disk works again and was written meanwhile; what was made in memory stays in %s,"
        " and `winnow-edge downlink --store` sends it", folder, aside,
    )  # fmt: skip
    return True


def _set_aside(kept: Path) -> Path:
    number = 1
    while (aside := kept.with_name(f"{kept.name}.{number}")).exists():
        number += 1
    return kept.rename(aside)
