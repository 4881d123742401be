"""Requests of the ground: raw regions, cut from the swaths' files as long as they are there.

The file of requests is JSON (docs/requests.md). It may be cumulative, late, or given twice: a
request that was answered is not answered again. One that cannot be served becomes an event.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from winnow_edge.downlink.container import CONTAINER, ITEM
from winnow_edge.downlink.telling import tell
from winnow_edge.errors import (
    MissionError,
    PacketError,
    StoreError,
    StoreTroubleError,
    SwathError,
    SwathKnownError,
)
from winnow_edge.files import printable, read_small
from winnow_edge.mission import Instrument, Mission
from winnow_edge.products import region
from winnow_edge.products.kinds import Box, Kind, Product
from winnow_edge.sources.contract import LineSource, fill
from winnow_edge.sources.open import open_source
from winnow_edge.sources.pgm import PgmSource
from winnow_edge.sources.raw import RawSource
from winnow_edge.store.schema import Meta, StoredSwath
from winnow_edge.store.store import Store
from winnow_edge.store.writer import add_products, next_index
from winnow_edge.tables import Reader, setting

log = logging.getLogger(__name__)
MOST_REQUESTS: Final = 1024
"""Requests of one file."""
_REMEMBERED: Final = 4096
_LEAST_PART: Final = 256
"""Bytes that a part has at least, however small containers are."""
_SLACK: Final = 1 / 32
"""Share that packing adds at worst, and filters and checks with it."""
_TEXT: Final = 300
_QUOTA: Final = 0.25
"""Share of the quota that a region may have: it would drive everything else out."""
_SKIPPED: Final = 256
"""Lines read at once of a picture that cannot be entered in the middle."""


@dataclass(frozen=True, slots=True)
class Request:
    """A region: its number, the name of its swath, and its box."""

    id: int = setting(..., 1, 2**32 - 1)
    swath: str = setting(..., fewest=1)
    line: int = setting(..., 0, 2**32 - 1)
    sample: int = setting(..., 0, 2**31 - 1)
    lines: int = setting(..., 1, 2**32 - 1)
    samples: int = setting(..., 1, 2**31 - 1)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of requests."""

    store: str = setting(...)
    requests: tuple[Request, ...] = setting(..., most=MOST_REQUESTS)


@dataclass(frozen=True, slots=True)
class Requests:
    """What the ground asks of the store `store_id`."""

    store_id: int
    requests: tuple[Request, ...]

    def to_json(self) -> str:
        """The text of a file of requests."""
        entries = [{key: getattr(r, key) for key in Request.__slots__} for r in self.requests]
        return json.dumps({"store": f"{self.store_id:08x}", "requests": entries}, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: the `products` that it became, or `why` it was refused."""

    request: Request
    products: int = 0
    bytes: int = 0
    why: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "request": self.request.id,
            "swath": self.request.swath,
            "products": self.products,
            "bytes": self.bytes,
            "why": self.why,
        }


def load_requests(path: str | Path) -> Requests:
    """Read a file of requests. Raises PacketError naming the key that is wrong."""
    hint = "`winnow request` writes such a file; docs/requests.md"
    try:
        data = read_small(path)
    except OSError as error:
        raise PacketError(error.strerror or "cannot be read", where=path) from error
    reader = Reader(Path(path), PacketError, hint=hint)
    file = reader.table(_File, reader.json(data))
    try:
        number = int(file.store, 16)
    except ValueError:
        number = -1
    if not 0 <= number < 2**32:
        raise PacketError("`store` is no store's number", where=path, hint=hint)
    ids = [request.id for request in file.requests]
    if len(set(ids)) < len(ids):
        raise PacketError("two requests have the same `id`", where=path, hint=hint)
    return Requests(number, file.requests)


def answer(
    store: Store, mission: Mission, asked: Requests, folders: Sequence[Path]
) -> list[Answer]:
    """Answer the requests that were not answered before: regions become products, each request in
    one transaction. The swaths' files are looked for in the `folders`. On a disk that is full or
    failing the rest waits.

    Raises StoreError, if the requests are about another store too.
    """
    if asked.store_id not in (store.store_id, *store.former()):
        raise StoreError(
            f"the requests are about store {asked.store_id:08x}, this one is {store.store_id:08x}",
            where=store.path,
            hint="give the requests of this spacecraft",
        )
    answered, answers = _answered(store), list[Answer]()
    for request in asked.requests:
        if request.id in answered:
            continue
        answered = [*answered, request.id][-_REMEMBERED:]
        meta = {Meta.REQUESTS: json.dumps(answered, separators=(",", ":"))}
        try:
            answers.append(_answer(store, mission, request, folders, meta))
        except StoreTroubleError as error:
            log.warning("requests from %d on wait: %s", request.id, error)
            break
    return answers


def _answer(
    store: Store,
    mission: Mission,
    request: Request,
    folders: Sequence[Path],
    meta: Mapping[Meta, Any],
) -> Answer:
    """Answer one request, and note so with `meta`."""
    try:
        swath = _swath(store, request)
        products = list(_parts(store, mission, swath, request, folders))
        size, most = sum(len(p.data) for p in products), int(mission.store.quota_mb * 1e6 * _QUOTA)
        if size > most:
            raise SwathError(
                f"packed it has {size:,} bytes, over {_QUOTA:.0%} of the store's quota"
            )
        if not add_products(store, swath, products, meta):
            raise SwathError("the store has no room for it within its quota")
    except (SwathError, SwathKnownError, MissionError) as error:
        event = {"request": request.id, "swath": request.swath[:_TEXT], "why": error.what[:_TEXT]}
        tell(store, [{"about": "request", **event}], meta)
        return Answer(request, why=error.what)
    return Answer(request, len(products), size)


def _answered(store: Store) -> list[int]:
    """The requests that were answered, the last ones; none where the list is damaged: a region that
    comes twice does no harm."""
    try:
        numbers = json.loads(store.meta(Meta.REQUESTS, "[]"))
    except (TypeError, ValueError, RecursionError):
        return []
    if not isinstance(numbers, list):
        return []
    return [n for n in numbers if type(n) is int][-_REMEMBERED:]


def _swath(store: Store, request: Request) -> StoredSwath:
    """The swath of a request. Raises SwathError where the store has none of that name."""
    swath = store.swath(request.swath)
    if swath is None:
        raise SwathError("the store has no swath of that name")
    return swath


def _parts(
    store: Store, mission: Mission, swath: StoredSwath, request: Request, folders: Sequence[Path]
) -> Iterator[Product]:
    """The products of a region. Raises SwathError, MissionError saying why there are none."""
    whole = Box(request.line, request.sample, request.lines, request.samples)
    name = swath.info.get("instrument")
    _, camera = mission.instrument_for(swath.name, name if isinstance(name, str) else None)
    if camera.frame:
        raise SwathError("its instrument takes frames, which come down as images")
    if whole.sample + whole.samples > swath.samples:
        raise SwathError(f"the swath has {swath.samples:,} samples")
    source = _opened(swath, camera, folders, mission.compute.memory_mb)
    try:
        octets = whole.samples * source.channels * (source.bits // 8)
        if octets * whole.lines > mission.requests.bytes:
            most = f"`requests.bytes` of the mission is {mission.requests.bytes:,}"
            raise SwathError(f"the region has {octets * whole.lines:,} bytes, {most}")
        if source.lines is not None and whole.line + whole.lines > source.lines:
            raise SwathError(f"the swath has {source.lines:,} lines")
        _skip(source, whole.line)
        room = mission.link.container_bytes - CONTAINER.size - ITEM.size - region.HEAD.size
        step = max(1, int(max(room, _LEAST_PART) * (1 - _SLACK)) // (octets + 1))
        number = next_index(store, swath, Kind.REGION)
        for at in range(0, whole.lines, step):
            box = replace(whole, line=whole.line + at, lines=min(step, whole.lines - at))
            pixels = _lines(source, box.lines)[:, box.sample : box.sample + box.samples]
            part = region.Region(swath.id, request.id, box, whole, np.ascontiguousarray(pixels))
            yield region.region_product(part, number)
            number += 1
    finally:
        source.close()


def _opened(
    swath: StoredSwath, camera: Instrument, folders: Sequence[Path], memory_mb: float
) -> LineSource:
    """The swath's file, if it is there still. Raises SwathError."""
    if swath.fingerprint is None:
        raise SwathError("its lines came over a pipe or socket, and are not kept")
    others = 0
    for path in _files(swath.name, folders):
        for bits in (camera.bits, 24 - camera.bits):
            try:
                source = open_source(
                    path,
                    instrument=camera,
                    samples=swath.samples,
                    bits=bits,
                    grey=False,
                    memory_mb=memory_mb,
                )
            except SwathError:
                continue
            if source.fingerprint == swath.fingerprint and _is_whole(source, swath):
                if isinstance(source, PgmSource):
                    source.scaled = False
                return source
            source.close()
        others += 1
    where = ", ".join(printable(str(folder)) for folder in folders) or "no folder"
    if others:
        raise SwathError(f"the file of that name in {where} is not the swath any more")
    raise SwathError(f"its file is not in {where}")


def _is_whole(source: LineSource, swath: StoredSwath) -> bool:
    """Whether a source has the lines of the swath: raw files of 8 and 16 bits look alike."""
    lines = (swath.summary or {}).get("lines")
    return lines is None or source.lines is None or source.lines == lines


def _files(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    """The files of that name; a swath's name is its file's as it can be printed."""
    for folder in folders:
        try:
            found = sorted(p for p in folder.iterdir() if printable(p.name) == name and p.is_file())
        except OSError:
            continue  # a disk that is not there holds no swath
        yield from found


def _skip(source: LineSource, lines: int) -> None:
    if isinstance(source, RawSource | PgmSource):
        source.skip(lines)
        return
    while lines:
        count = min(lines, _SKIPPED)
        _lines(source, count)
        lines -= count


def _lines(source: LineSource, count: int) -> np.ndarray[Any, Any]:
    """The next lines. Raises SwathError where there are no more."""
    colour = () if source.channels == 1 else (source.channels,)
    out = np.empty((count, source.samples, *colour), np.uint8 if source.bits == 8 else np.uint16)
    if fill(source, out) < count:
        raise SwathError("the swath has fewer lines")
    return out
