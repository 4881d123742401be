"""Geometry that came late: what has come down gets its time and place on the ground."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from winnow_base.errors import DataError
from winnow_base.files import locked
from winnow_edge.clock.cuc import Instant, decode_cuc
from winnow_edge.clock.utc import as_text
from winnow_edge.errors import PacketError
from winnow_edge.loop.placing import Placing
from winnow_edge.place.door import SUFFIXES, Asked, Shape, look
from winnow_edge.place.geometry import Geometry
from winnow_edge.products.tail import Seen
from winnow_ground.received import Received, ReceivedProduct, load_received

GROUND: Final = "ground"
"""The source of geometry that the spacecraft did not have."""
SwathKey = tuple[int, int]
"""Store and swath id."""


def place(
    folder: Path,
    file: Path,
    *,
    swath: str | None = None,
    start: Instant | None = None,
    line_time_us: float | None = None,
) -> dict[str, Any]:
    """Give tiles of a swath in `folder` the times and places that `file` tells, where they have
    none; how many products got them, as JSON values.

    `swath` names it (None: the one that the file is named after, or the only one); `start` and
    `line_time_us` count where the spacecraft told none. Raises DataError where there is no such
    swath or the file tells nothing, SwathError for a file of no kind that is known.
    """
    load_received(folder)  # says what is wrong with the folder before it is locked
    with locked(folder):
        received = load_received(folder)
        key = _swath(received, file, swath)
        info = received.swaths[key]
        geometry = _geometry(file, info, start, line_time_us)
        placed = {"times": 0, "places": 0}
        rows = [n for n, p in enumerate(received.products) if _is_tile(p, key)]
        for n, product in zip(rows, _placed(received, rows, geometry), strict=True):
            before = received.products[n]
            placed["times"] += before.time is None and product.time is not None
            placed["places"] += before.latitude is None and product.latitude is not None
            received.products[n] = product
        _tell(info, geometry)
        received.save()
    name = received.swath_name(*key)
    return {"swath": name, "products": len(rows), **placed, "faults": list(geometry.faults)}


def _is_tile(product: ReceivedProduct, key: SwathKey) -> bool:
    return (product.store, product.swath) == key and product.tile is not None


def _swath(received: Received, file: Path, swath: str | None) -> SwathKey:
    """The swath of that name, or the one that the file is named after, or the only one."""
    names = {key: str(info.get("swath")) for key, info in received.swaths.items()}
    if swath is not None:
        found = [key for key, name in names.items() if swath in (name, received.swath_name(*key))]
    else:
        ending = next((s for s in SUFFIXES if file.name.endswith(s)), "")
        stem = file.name.removesuffix(ending)
        found = [key for key, name in names.items() if name == stem or name.startswith(f"{stem}.")]
        found = found or (list(names) if len(names) == 1 else [])
    if len(found) == 1:
        return found[0]
    known = ", ".join(sorted(received.swath_name(*key) for key in names)) or "none"
    what = f"holds {len(found)} swaths {swath!r}" if swath else f"which swath is {file.name} about?"
    raise DataError(what, where=received.folder, hint=f"name one with --swath; it has: {known}")


def _geometry(
    file: Path, info: dict[str, Any], start: Instant | None, line_time_us: float | None
) -> Geometry:
    """What the file tells about a swath. Raises DataError where that is nothing."""
    samples, lines = info.get("samples") or 1, info.get("lines") if info.get("complete") else None
    step = _number(info.get("line_time_us")) or line_time_us
    told = info.get("start")
    known = _start(told.get("cuc") if isinstance(told, dict) else None) or start
    found = look("-", Shape(samples, lines, step), Asked(known, sidecar=file))
    if found.sha256 is None:
        why = found.faults[0] if found.faults else f"{file.name}: tells no place"
        raise DataError(f"tells nothing that makes sense ({why})", where=file)
    return replace(found, source=GROUND)


def _number(told: Any) -> float | None:
    return float(told) if type(told) in (int, float) and 0 < told < 1e12 else None


def _start(code: Any) -> Instant | None:
    try:
        return decode_cuc(bytes.fromhex(code))[0]
    except (TypeError, ValueError, PacketError):
        return None


def _placed(received: Received, rows: list[int], geometry: Geometry) -> list[ReceivedProduct]:
    """The products of those rows with what the geometry knows and they do not."""
    products = [received.products[n] for n in rows]
    boxes = [p.box for p in products]
    if any(box is None for box in boxes) or not boxes:
        return products
    columns = np.array([(b.line, b.lines, b.sample, b.samples) for b in boxes if b], np.int64)
    line, lines, sample, samples = columns.T
    seen = Placing(geometry, {}, ()).seen(line, lines, sample, samples)
    if seen is None:
        return products
    return [_with(product, seen, n) for n, product in enumerate(products)]


def _with(product: ReceivedProduct, seen: Seen, n: int) -> ReceivedProduct:
    moment, where = seen.time(n), seen.place(n)
    if product.time is None and moment is not None:
        product = replace(product, time=as_text(moment))
    if product.latitude is None and where is not None:
        east = None if where.longitude is None else (where.longitude + 180) % 360 - 180
        product = replace(product, latitude=round(where.latitude, 5), longitude=_rounded(east))
    return product


def _rounded(angle: float | None) -> float | None:
    return None if angle is None else round(angle, 5)


def _tell(info: dict[str, Any], geometry: Geometry) -> None:
    """What the ground knows of the swath beside what the spacecraft told."""
    about = geometry.about()
    for key in ("start", "line_time_us"):
        if key in about and info.get(key) is None:
            info[key] = about[key]
    told = info.get("geometry")
    if not (isinstance(told, dict) and told.get("sha256")):
        info["geometry"] = about["geometry"]
