"""What a store holds, in words and numbers, and as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from winnow_edge.errors import PacketError, StoreError, StoreTroubleError, Trouble
from winnow_edge.files import sync_folder, write_file
from winnow_edge.products.background import decode_background
from winnow_edge.products.encode import decode_picture, decode_record
from winnow_edge.products.event import decode_events
from winnow_edge.products.kinds import NO_CLASS, Kind, TileRecord
from winnow_edge.products.quick_look import decode_quick_look
from winnow_edge.products.region import decode_region, png
from winnow_edge.store.events import counts, events
from winnow_edge.store.room import RESERVE_FILE
from winnow_edge.store.schema import STORE_FILE, Meta, StoredProduct, StoredSwath
from winnow_edge.store.store import Store

COLUMNS: Final = (
    "product", "swath", "tile", "line", "sample", "lines", "samples", "scale", "class",
    "posterior", "detection", "state",
)  # fmt: skip
_MOST_NUMBER: Final = 2**63 - 1
"""SQLite has no greater integers."""


def disk_bytes(folder: Path) -> int:
    """Octets that the store in `folder` takes on the disk: file, log, shared memory, reserve."""
    names = (STORE_FILE, f"{STORE_FILE}-wal", f"{STORE_FILE}-shm", RESERVE_FILE)
    files = (folder / name for name in names)
    return sum(file.stat().st_blocks * 512 for file in files if file.exists())


def swaths(store: Store) -> list[dict[str, Any]]:
    """Each swath: how far it is, and its products on board by kind."""
    counts = dict[tuple[int, str], list[int]]()
    for swath, kind, n, size in store.select(
        "SELECT swath, kind, COUNT(*), SUM(length(data)) FROM product"
        " WHERE data IS NOT NULL GROUP BY 1, 2"
    ):
        if kind in list(Kind):
            counts[swath, Kind(kind).name.lower()] = [n, size]
    listed = []
    for swath in store.swaths():
        on_board = {k.name.lower(): counts.get((swath.id, k.name.lower()), [0, 0]) for k in Kind}
        about = {
            "id": swath.id,
            "swath": swath.name,
            "complete": swath.complete,
            "lines": swath.next_line if swath.summary is None else swath.summary.get("lines"),
            "detections": (swath.summary or {}).get("by_class", {}),
            "on_board": {kind: n for kind, (n, _) in on_board.items()},
            "bytes": sum(size for _, size in on_board.values()),
        }
        listed.append(about)
    return listed


def overview(store: Store, folder: Path) -> dict[str, Any]:
    """The store as a whole."""
    return {
        "store": f"{store.store_id:08x}",
        "mission": store.meta(Meta.MISSION),
        "contacts": store.contacts(),
        "swaths": len(store.swaths()),
        "products": counts(store),
        "events": events(store),
        "data_bytes": store.data_bytes(),
        "disk_bytes": disk_bytes(folder),
    }


def of_swath(store: Store, name: str) -> dict[str, Any]:
    """One swath by its name or number: all that is kept of it. Raises StoreError."""
    swath = _find(store, name)
    by_kind: dict[str, dict[str, int]] = {}
    for product in store.products(swath_id=swath.id):
        of_kind = by_kind.setdefault(product.kind.name.lower(), {})
        state = product.state.name.lower()
        of_kind[state] = of_kind.get(state, 0) + 1
    return {
        "id": swath.id,
        "swath": swath.name,
        "samples": swath.samples,
        "classes": list(swath.classes),
        "bundle": swath.bundle,
        "info": swath.info,
        "next_tile": swath.next_tile,
        "next_line": swath.next_line,
        "complete": swath.complete,
        "products": by_kind,
        "summary": swath.summary,
    }


def of_product(store: Store, number: int) -> dict[str, Any]:
    """One product: its row, its place, and whether its data is what was stored. Raises
    StoreError."""
    query = "SELECT typeof(data) <> 'null' FROM product WHERE id = ?"
    found = store.select(query, (number,)) if 0 < number <= _MOST_NUMBER else []
    if not found:
        hint = "`winnow-edge store export` writes records.csv, which numbers them"
        raise StoreError(f"holds no product {number}", where=store.path, hint=hint)
    row = next((p for p in store.products() if p.id == number), None)
    if row is None:
        return {"product": number, "sound": False}
    about = {"product": number, "swath": row.swath, "kind": row.kind.name.lower(),
             "state": row.state.name.lower(), "bytes": row.bytes, "on_board": bool(found[0][0]),
             "sound": True}  # fmt: skip
    if about["on_board"]:
        try:
            records = _records(row, store.data(number))
        except (StoreError, PacketError) as error:
            return {**about, "sound": False, "why": error.what}
        for record in records[:1]:
            names = {swath.id: swath.classes for swath in store.swaths()}.get(row.swath, ())
            about |= dict(zip(COLUMNS[2:11], _place(row, record, names), strict=True))
    return about


def export(store: Store, out: Path, name: str | None = None) -> dict[str, int]:
    """Write the products on board as files in `out`: `swath-ID.json`, `records.csv`, and the JPEGs
    in `thumbnails`, `images` and so on; how many of each kind, and how many were `damaged`.

    Raises OutputError, StoreError.
    """
    chosen = _find(store, name).id if name is not None else None
    known = {swath.id: swath.classes for swath in store.swaths()}
    counts = {kind.name.lower(): 0 for kind in Kind} | {"damaged": 0}
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(COLUMNS)
    for row in list(store.products(swath_id=chosen)):
        try:
            data = store.data(row.id)
            records = _records(row, data)
        except PacketError:
            counts["damaged"] += 1
            continue
        except StoreError as error:
            counts["damaged"] += "damaged" in error.what
            continue
        kind = row.kind.name.lower()
        if row.kind is Kind.QUICK_LOOK:
            file = out / f"{kind}s" / f"s{row.swath}-{row.tile_index}-{row.id}.jpg"
            write_file(file, decode_quick_look(data).jpeg, durable=False)
        elif row.kind is Kind.REGION:
            file = out / f"{kind}s" / f"s{row.swath}-{row.tile_index}-{row.id}.png"
            write_file(file, png(decode_region(data).pixels), durable=False)
        elif row.kind is Kind.EVENT:
            write_file(out / f"{kind}s" / f"{row.id}.json", data, durable=False)
        elif row.kind is Kind.SWATH:
            write_file(out / f"swath-{row.swath}-{row.id}.json", data, durable=False)
        elif row.kind in (Kind.RECORD, Kind.BACKGROUND):
            names = known.get(row.swath, ())
            for record in records:
                place = _place(row, record, names)
                lines.writerow([row.id, row.swath, *place, row.state.name.lower()])
        else:
            file = out / f"{kind}s" / f"s{row.swath}-t{row.tile_index:06d}-{row.id}.jpg"
            write_file(file, decode_picture(data).jpeg, durable=False)
        counts[kind] += 1
    write_file(out / "records.csv", table.getvalue())
    sync_folder(out)
    return counts


def vacuum(store: Store) -> None:
    """Give free pages back to the disk, through a copy in the log. Raises StoreError."""
    store.select("VACUUM")
    ((busy, *_),) = store.select("PRAGMA wal_checkpoint(TRUNCATE)")
    if busy:
        raise StoreTroubleError(
            "another process uses the store: the copy waits in the log",
            Trouble.BUSY,
            where=store.path,
            hint="run `vacuum` again when it is done",
        )


def _find(store: Store, name: str) -> StoredSwath:
    """A swath by its name, else by its number."""
    known = store.swaths()
    for swath in known:
        if swath.name == name:
            return swath
    for swath in known:
        if str(swath.id) == name:
            return swath
    raise StoreError(
        f"holds no swath {name!r}", where=store.path, hint="`winnow-edge store list` names them"
    )


_OF_NO_TILE: Final[dict[Kind, Callable[[bytes], object]]] = {
    Kind.QUICK_LOOK: decode_quick_look,
    Kind.REGION: decode_region,
    Kind.EVENT: decode_events,
}


def _records(row: StoredProduct, data: bytes) -> list[TileRecord]:
    """The tiles that a product tells of; none of one that is of no tile. Raises PacketError."""
    if row.kind is Kind.SWATH:
        return []
    if row.kind in _OF_NO_TILE:
        _OF_NO_TILE[row.kind](data)
        return []
    if row.kind is Kind.BACKGROUND:
        return [decode_record(record).record for record in decode_background(data)]
    if row.kind is Kind.RECORD:
        return [decode_record(data).record]
    return [decode_picture(data).head.record]


def _place(row: StoredProduct, record: TileRecord, names: tuple[str, ...]) -> list[Any]:
    """The columns from tile to detection."""
    index, box = record.class_index, record.box
    label = "" if index == NO_CLASS or index >= len(names) else names[index]
    return [
        record.index, box.line, box.sample, box.lines, box.samples, record.scale, label,
        round(record.posterior, 5), row.detection,
    ]  # fmt: skip
