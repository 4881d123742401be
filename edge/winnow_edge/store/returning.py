"""What was kept in memory while a disk failed goes back to the store on it.

The store in memory went on with the numbers of the one on the disk, which gave out none meanwhile,
so that every row finds its place free. Products go first, a few in a transaction and within the
quota; the last transaction, with the swaths and the store's own values, makes them count. Whoever
is killed in between begins again; where the power failed, and memory with it, they are deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np

from winnow_edge.clock.host import read_host
from winnow_edge.products.kinds import Kind, Product
from winnow_edge.store import containers
from winnow_edge.store.clock import peek, tell
from winnow_edge.store.events import events
from winnow_edge.store.rows import set_state
from winnow_edge.store.salvage import put_back_uncarried
from winnow_edge.store.schema import (
    COUNT_EVENT,
    INTACT,
    MAX_PRODUCT,
    SEAL_SWATH,
    SOUND_CONTAINER,
    SOUND_PRODUCT,
    ContainerState,
    Meta,
    ProductState,
    seal_of,
)
from winnow_edge.store.store import Store
from winnow_edge.store.writer import keeper_of

_BATCH: Final = 64
_KEPT: Final = (Meta.CLOCK, Meta.CLOCK_TOLD, Meta.REQUESTS)
_NEXT: Final = (Meta.NEXT_PRODUCT, Meta.NEXT_SWATH, Meta.NEXT_CONTAINER)
_TABLE: Final = dict(zip(_NEXT, ("product", "swath", "container"), strict=True))
_HIGHER: Final = (Meta.CONTACT, *_NEXT)
Row = tuple[Any, ...]


class First(NamedTuple):
    """The first numbers that the store in memory gave out."""

    product: int
    swath: int
    container: int


RANGES: Final = First(2**32, 2**18, 2**18)
"""So many numbers are those of a store in memory."""


def return_to(
    disk: Store,
    memory: Store,
    copied: Sequence[int],
    first: First,
    lines: Mapping[int, int] | None,
) -> bool:
    """Take into the store on the disk what the one in memory holds; False, and nothing is done,
    where the disk was written since.

    `copied` are the products that were in both, `lines` the next line of each swath then (None:
    unknown). What was copied and is gone was delivered, unless memory had to evict: then it may be
    sent twice. Raises StoreError.
    """
    read = lines is not None
    if memory.store_id not in disk.former():  # else killed before the store in memory was deleted
        if _is_ahead(disk, memory, first, lines):
            return False
        undo(disk)
        end = min(first.product + RANGES.product, MAX_PRODUCT)
        with disk.transaction():
            disk.set_meta(Meta.RETURNING, json.dumps([memory.store_id, first.product, end]))
            # What the disk makes meanwhile, by compaction, never gets a number of memory's.
            disk.set_meta(Meta.NEXT_PRODUCT, max(end, disk.number(Meta.NEXT_PRODUCT)))
        _hear(disk, memory, first)
        _take_all(disk, memory, copied, first)
        _finish(disk, memory, first, read=read)
    if not {"evicted", "salvaged"} & events(memory).keys():
        _delivered(disk, memory, copied)
    if not read:
        _tell_time(disk, memory)
    return True


def _is_ahead(disk: Store, memory: Store, first: First, lines: Mapping[int, int] | None) -> bool:
    """Whether the disk was written since memory went on from it; where it could not be read then,
    whether it has, or had, numbers of memory's range."""
    if lines is not None and any(
        swath.next_line > lines.get(swath.id, 0) for swath in disk.swaths()
    ):
        return True
    begun = _returning(disk)
    for key, number, width in zip(_NEXT, first, RANGES, strict=True):
        if key == Meta.NEXT_PRODUCT and begun is not None and begun[0] == memory.store_id:
            continue  # this return was begun before, which raised it
        # Not `Store.number`: rows may be there of a return that was killed.
        came = disk.meta(key, number + 1 if disk.holds(key) else 1)
        # A return raises the number of products by the width, and the disk goes on from there.
        # Beyond are numbers of other outages.
        if came > number and (lines is not None or came <= number + 2 * width):
            return True
        table = _TABLE[key]
        there = f"SELECT EXISTS (SELECT 1 FROM {table} WHERE id >= ? AND id < ?)"
        if lines is None and disk.select(there, (number, number + width)) == [(1,)]:
            return True
    return False


def _returning(disk: Store) -> tuple[int, int, int] | None:
    """Of a return that was cut short: the number of the store in memory, and the range of its
    products' numbers."""
    try:
        store_id, first, end = map(int, json.loads(disk.meta(Meta.RETURNING, "")))
    except (TypeError, ValueError, RecursionError):
        return None
    return store_id, first, end


def undo(disk: Store) -> None:
    """Where a return was cut short, delete the products that came with it: their swaths did not.
    What memory sent in containers that did not come is ranked again. Raises StoreError."""
    begun = _returning(disk)
    if begun is None:
        return
    _, first, end = begun
    # What was copied and the disk had lost came with its first number: its swath is not there.
    for which in (f"id >= {first} AND id < {end}", "swath NOT IN (SELECT id FROM swath)"):
        while found := disk.select(f"SELECT id FROM product WHERE {which} LIMIT {_BATCH}"):
            with disk.transaction():
                disk.db.executemany("DELETE FROM product WHERE id = ?", found)
    with disk.transaction():
        put_back_uncarried(disk.db)
        _end(disk)


def _end(disk: Store) -> None:
    held = disk.select("SELECT coalesce(SUM(length(data)), 0) FROM product")
    disk.set_meta(Meta.DATA_BYTES, held[0][0])
    disk.db.execute("DELETE FROM meta WHERE key = ?", (Meta.RETURNING,))


def _batches(memory: Store) -> Iterator[tuple[int, list[Row]]]:
    """All products, a few of a swath at a time, with the number of the swath."""
    for (swath,) in memory.select("SELECT DISTINCT swath FROM product"):
        last = 0
        while rows := memory.select(
            f"SELECT * FROM product WHERE swath = ? AND id > ? AND {SOUND_PRODUCT}"
            f" AND (data IS NULL OR {INTACT}) ORDER BY id LIMIT {_BATCH}",
            (swath, last),
        ):
            last = rows[-1][0]
            yield swath, rows


def _take_all(disk: Store, memory: Store, copied: Sequence[int], first: First) -> None:
    """Keep all products, as far as the quota has room."""
    in_both = frozenset(copied)
    if (keeper := keeper_of(disk)) is not None:
        # What a return that is cut short would have to take apart again is not compacted.
        keeper.compactor.leaves = lambda number: (
            number in in_both or first.product <= number < first.product + RANGES.product
        )
    names = {swath.id: swath.classes for swath in (*disk.swaths(), *memory.swaths())}
    tells = {product.id for product in memory.announcements().values()}
    for swath, rows in _batches(memory):
        _take(disk, names.get(swath, ()), rows, tells)


def _take(
    disk: Store, names: tuple[str, ...], rows: Sequence[Row], tells: AbstractSet[int]
) -> None:
    """Keep these products of a swath with classes of these `names`, as far as the quota has room
    for those that the disk does not hold. What `tells` of the swath goes again, under this number:
    the ground was told under the other one alone."""
    known = _known(disk, rows)
    # What told of a swath under the other number need not be told under this one.
    rows = [row for row in rows if row[2] != Kind.SWATH or known.get(row[0]) != row[14]]
    fresh = {row[0]: _product(row) for row in rows if row[0] not in known and row[13] is not None}
    keeper = keeper_of(disk)
    if fresh and keeper is not None:
        admitted = {id(p) for p in keeper.admit(list(fresh.values()), names, pending=0)}
        fresh = {number: p for number, p in fresh.items() if id(p) in admitted}
        known = _known(disk, rows)  # some may have been evicted for these
    kept = [row for row in rows if row[0] in known or row[0] in fresh]
    with disk.transaction():
        disk.db.executemany(f"INSERT OR REPLACE INTO product VALUES ({', '.join('?' * 15)})", kept)
        set_state(
            disk, tells & {row[0] for row in kept}, ProductState.STORED,
            of=(ProductState.SENT, ProductState.ACKNOWLEDGED), unheard="0",
        )  # fmt: skip


def _known(disk: Store, rows: Sequence[Row]) -> dict[int, int]:
    """Which of the products the disk holds, with their checksums."""
    numbers = ", ".join(str(row[0]) for row in rows)
    return dict(disk.select(f"SELECT id, crc FROM product WHERE id IN ({numbers})"))


def _product(row: Row) -> Product:
    return Product(Kind(row[2]), row[3], row[4], row[5], bool(row[6]), row[13], row[12])


def _hear(disk: Store, memory: Store, first: First) -> None:
    """What was heard meanwhile of containers that were in flight, and in both."""
    flying = {number for (number,) in disk.select(
        f"SELECT id FROM container WHERE state = {ContainerState.IN_FLIGHT:d} AND {SOUND_CONTAINER}"
    )}  # fmt: skip
    for number, state in memory.select(
        f"SELECT id, state FROM container WHERE id < ? AND {SOUND_CONTAINER}", (first.container,)
    ):
        if number in flying and state != ContainerState.IN_FLIGHT:
            with disk.transaction():
                if state == ContainerState.ACKNOWLEDGED:
                    containers.acknowledge(disk, [number])
                else:
                    containers.put_back(disk, [number])


def _delivered(disk: Store, memory: Store, copied: Sequence[int]) -> None:
    """What was in both and is gone from memory is on the ground."""
    there = {number for (number,) in memory.select("SELECT id FROM product")}
    gone = [number for number in copied if number not in there]
    of = (ProductState.STORED, ProductState.SENT)
    for at in range(0, len(gone), _BATCH):
        with disk.transaction():
            few = gone[at : at + _BATCH]
            found = disk.select(
                f"SELECT id FROM product WHERE id IN ({', '.join(map(str, few))})"
                f" AND kind <> {Kind.SWATH:d}"  # told under the other number
            )
            set_state(disk, (n for (n,) in found), ProductState.ACKNOWLEDGED, of=of)


def _finish(disk: Store, memory: Store, first: First, *, read: bool) -> None:
    """Swaths, containers, events and the store's own values, all in one transaction; where memory
    could not `read` these values when it began, the disk's hold, and requests are those of both."""
    former = [memory.store_id, *disk.former()]
    with disk.transaction():
        _put_swaths(disk, memory)
        _put_containers(disk, memory, first)
        disk.db.executemany(COUNT_EVENT, memory.select("SELECT * FROM event"))
        for key in _HIGHER:
            disk.set_meta(key, max(disk.number(key), memory.number(key)))
        disk.set_meta(Meta.SEQUENCE, memory.number(Meta.SEQUENCE))
        for key in _KEPT:
            value = memory.meta(key)
            if value is not None and (read or disk.meta(key) is None):
                disk.set_meta(key, value)
        if not read:
            disk.set_meta(Meta.REQUESTS, json.dumps([*_requests(disk), *_requests(memory)]))
        disk.set_meta(Meta.FORMER, json.dumps(former[:_MOST_FORMER]))
        _end(disk)


_MOST_FORMER: Final = 64


def _requests(store: Store) -> list[Any]:
    """The requests that were answered; none where the list is damaged (`downlink.requests`)."""
    try:
        answered = json.loads(store.meta(Meta.REQUESTS, "[]"))
    except (TypeError, ValueError, RecursionError):
        return []
    return answered if isinstance(answered, list) else []


def _tell_time(disk: Store, memory: Store) -> None:
    """The disk's clock goes on; what was said of the time meanwhile, it is told."""
    now = read_host()
    said = peek(memory, now)
    if said.source is not None:
        with suppress(ValueError):
            tell(disk, said.instant(now.boot_ns), said.source, now)


def _put_swaths(disk: Store, memory: Store) -> None:
    """Swaths; one whose name another has that was not known in memory gets its number to it."""
    names = dict(disk.select("SELECT name, id FROM swath"))
    renamed = list[int]()
    rows = list[Row]()
    for number, name, *rest in memory.select("SELECT * FROM swath"):
        clashes = names.get(name, number) != number
        renamed += [number] if clashes else []
        rows.append((number, f"{name}-{number}" if clashes else name, *rest))
    _put_changed(disk, "swath", rows)
    disk.db.executemany(SEAL_SWATH, ((number,) for number in renamed))


def _put_containers(disk: Store, memory: Store, first: First) -> None:
    """Containers but for those that the disk knows (`_hear`); word of them is no word of products
    that tell of swaths, which go again."""
    told = memory.select(f"SELECT id FROM product WHERE kind = {Kind.SWATH:d}")
    again = [number for (number,) in told]
    there = {number for (number,) in disk.select("SELECT id FROM container")}
    rows = list[Row]()
    for number, contact, state, products in memory.select(
        f"SELECT id, contact, state, products FROM container WHERE {SOUND_CONTAINER}"
    ):
        if number >= first.container or number not in there:
            numbers = np.frombuffer(products, ">u8")
            kept = numbers[~np.isin(numbers, again)].tobytes()
            row = number, contact, state, kept
            rows.append((*row, seal_of(*row)))
    disk.db.executemany("INSERT OR REPLACE INTO container VALUES (?, ?, ?, ?, ?)", rows)


def _put_changed(disk: Store, table: str, rows: Sequence[Row]) -> None:
    """Put rows that are not there as they are, by their checksums, their last column."""
    known = dict(disk.select(f"SELECT id, crc FROM {table}"))
    changed = [row for row in rows if known.get(row[0]) != row[-1]]
    if changed:
        marks = ", ".join("?" * len(changed[0]))
        disk.db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", changed)
