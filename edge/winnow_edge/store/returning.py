"""What was kept in memory while a disk failed goes back to the store on it.

The store in memory went on with the numbers of the one on the disk, which gave out none meanwhile,
so that every row finds its place free. Products go first, a few in a transaction and within the
quota; the last transaction, with the swaths and the store's own values, makes them count. Whoever
is killed in between begins again; where the power failed, and memory with it, they are deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from winnow_edge.products.kinds import Kind, Product
from winnow_edge.store import containers
from winnow_edge.store.events import events
from winnow_edge.store.rows import set_state
from winnow_edge.store.schema import (
    COUNT_EVENT,
    INTACT,
    SEAL_SWATH,
    SOUND_CONTAINER,
    SOUND_PRODUCT,
    ContainerState,
    Meta,
    ProductState,
)
from winnow_edge.store.store import Store
from winnow_edge.store.writer import keeper_of

_BATCH: Final = 64
_KEPT: Final = (Meta.CLOCK, Meta.CLOCK_TOLD, Meta.REQUESTS)
_HIGHER: Final = (Meta.CONTACT, Meta.NEXT_PRODUCT, Meta.NEXT_SWATH, Meta.NEXT_CONTAINER)
Row = tuple[Any, ...]


def return_to(
    disk: Store,
    memory: Store,
    copied: Sequence[int],
    next_product: int,
    next_swath: int,
    lines: Mapping[int, int] | None,
) -> bool:
    """Take into the store on the disk what the one in memory holds; False, and nothing is done,
    where the disk was written since.

    `copied` are the products that were in both, `next_product` and `next_swath` the first numbers
    that memory gave out, `lines` the next line of each swath then (None: unknown). What was copied
    and is gone was delivered, unless memory had to evict: then it may be sent twice. Raises
    StoreError.
    """
    if memory.store_id in disk.former():
        return True  # killed before the store in memory was deleted
    ahead = lines is not None and any(
        swath.next_line > lines.get(swath.id, 0) for swath in disk.swaths()
    )
    for key, first in ((Meta.NEXT_PRODUCT, next_product), (Meta.NEXT_SWATH, next_swath)):
        # Not `Store.number`: rows may be there of a return that was killed.
        ahead = ahead or disk.meta(key, first + 1 if disk.holds(key) else 1) > first
    if ahead:
        return False
    undo(disk)
    with disk.transaction():
        disk.set_meta(Meta.RETURNING, next_product)
    _hear(disk, memory)
    for swath, rows in _batches(memory):
        _take(disk, swath, rows, next_product)
    if not {"evicted", "salvaged"} & events(memory).keys():
        _delivered(disk, memory, copied)
    _finish(disk, memory)
    return True


def undo(disk: Store) -> None:
    """Where a return was cut short, delete the products that came with it: their swaths did not.
    Raises StoreError."""
    first = disk.meta(Meta.RETURNING)
    if type(first) is not int:
        return
    while found := disk.select(f"SELECT id FROM product WHERE id >= ? LIMIT {_BATCH}", (first,)):
        with disk.transaction():
            disk.db.executemany("DELETE FROM product WHERE id = ?", found)
    with disk.transaction():
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


def _take(disk: Store, swath: int, rows: Sequence[Row], first: int) -> None:
    """Keep these products of a swath, as far as the quota has room for those that are new, from
    number `first` on."""
    known = dict(disk.select(
        f"SELECT id, crc FROM product WHERE id IN ({', '.join(str(row[0]) for row in rows)})"
    ))  # fmt: skip
    # What told of a swath under the other number need not be told under this one.
    rows = [row for row in rows if row[2] != Kind.SWATH or known.get(row[0]) != row[14]]
    fresh = {row[0]: _product(row) for row in rows if row[0] >= first and row[13] is not None}
    keeper = keeper_of(disk)
    if fresh and keeper is not None:
        names = next((s.classes for s in disk.swaths() if s.id == swath), ())
        admitted = {id(p) for p in keeper.admit(list(fresh.values()), names, pending=0)}
        fresh = {number: p for number, p in fresh.items() if id(p) in admitted}
    kept = [row for row in rows if row[0] in (known if row[0] < first else fresh)]
    with disk.transaction():
        disk.db.executemany(f"INSERT OR REPLACE INTO product VALUES ({', '.join('?' * 15)})", kept)
        disk.rank_changes += 1


def _product(row: Row) -> Product:
    return Product(Kind(row[2]), row[3], row[4], row[5], bool(row[6]), row[13], row[12])


def _hear(disk: Store, memory: Store) -> None:
    """What was heard meanwhile of containers that were in flight."""
    flying = {number for (number,) in disk.select(
        f"SELECT id FROM container WHERE state = {ContainerState.IN_FLIGHT:d} AND {SOUND_CONTAINER}"
    )}  # fmt: skip
    for number, state in memory.select(f"SELECT id, state FROM container WHERE {SOUND_CONTAINER}"):
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
            set_state(disk, gone[at : at + _BATCH], ProductState.ACKNOWLEDGED, of=of)


def _finish(disk: Store, memory: Store) -> None:
    """Swaths, containers, events and the store's own values, all in one transaction."""
    former = [memory.store_id, *disk.former()]
    with disk.transaction():
        _put_swaths(disk, memory)
        _put_changed(disk, "container", memory.select("SELECT * FROM container"))
        disk.db.executemany(COUNT_EVENT, memory.select("SELECT * FROM event"))
        for key in _HIGHER:
            disk.set_meta(key, max(disk.number(key), memory.number(key)))
        disk.set_meta(Meta.SEQUENCE, memory.number(Meta.SEQUENCE))
        for key in _KEPT:
            if (value := memory.meta(key)) is not None:
                disk.set_meta(key, value)
        disk.set_meta(Meta.FORMER, json.dumps(former[:_MOST_FORMER]))
        _end(disk)


_MOST_FORMER: Final = 64


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


def _put_changed(disk: Store, table: str, rows: Sequence[Row]) -> None:
    """Put rows that are not there as they are, by their checksums, their last column."""
    known = dict(disk.select(f"SELECT id, crc FROM {table}"))
    changed = [row for row in rows if known.get(row[0]) != row[-1]]
    if changed:
        marks = ", ".join("?" * len(changed[0]))
        disk.db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", changed)
