"""What has come down so far: the contents of `received.json`.

A folder that `winnow receive` fills holds `received.json` (everything in order of arrival),
`records.csv` (a line per tile record), `quick_looks/`, `images/` and `thumbnails/` (JPEG files as
they were made on board, named after order of arrival, swath and tile) and `ack.json` (for the next
uplink).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from winnow_base.errors import PacketError
from winnow_edge.downlink.reader import LinkCounts
from winnow_edge.errors import PacketError as EdgePacketError
from winnow_edge.files import printable, read_small, write_file
from winnow_edge.products.encode import checked_swath
from winnow_edge.products.event import checked_events
from winnow_edge.products.kinds import NO_CLASS, Box, Kind
from winnow_edge.tables import Reader, setting, shortened

RECEIVED_FILE = "received.json"
FORMAT = 1


_MOST = 2**53
"""Numbers that every reader of JSON takes as they are."""
MOST_PRODUCTS = 500_000
MOST_STORES = 64
MOST_SWATHS = 4096
MOST_EVENTS = 4096
MOST_TOLD = 16_000_000
"""What a folder takes: products, events, the stores and swaths that they are of, and octets of all
that was told about swaths. Containers beyond are left out and not acknowledged."""


@dataclass(frozen=True, slots=True)
class ReceivedProduct:
    """A product as it arrived.

    `order` counts products from 1 over all that ever came down here; `store`, `contact`,
    `container`, `id` are the numbers it was sent under; `kind` is swath, record, thumbnail,
    image or quick_look; `cumulative_bytes` what had come down with it, headers not counted; `file`
    where its picture lies in the folder; `outline` is where the feature of a picture lies, where
    several tiles told. A swath's product has no tile, class, box or posterior, a quick look no
    tile, class or posterior. Of a part of a region `request` is the ground's number of it, and
    `outline` the whole region. `time` (UTC, or mission time where the spacecraft did not know it),
    `latitude` and `longitude` (degrees north and east) are those of the tile's middle.
    """

    order: int = setting(..., 1, _MOST)
    store: int = setting(..., 0, 2**32)
    contact: int = setting(..., 0, 2**32)
    container: int = setting(..., 0, 2**32)
    id: int = setting(..., 0, 2**48)
    kind: str = setting(..., choices=tuple(kind.name.lower() for kind in Kind))
    swath: int = setting(..., 0, 2**32)
    bytes: int = setting(..., 0, 2**24)
    cumulative_bytes: int = setting(..., 0, _MOST)
    tile: int | None = setting(None, 0, 2**32)
    class_index: int | None = setting(None, 0, NO_CLASS)
    posterior: float | None = setting(None, 0, 1)
    detection: bool = setting(False)
    screened: bool = setting(False)
    refused: bool = setting(False)
    box: Box | None = None
    scale: int | None = setting(None, 0, 255)
    merged: int | None = setting(None, 0, 255)
    outline: Box | None = None
    file: str | None = setting(None)
    time: str | None = setting(None)
    latitude: float | None = setting(None, -90, 90)
    longitude: float | None = setting(None, -180, 180)
    out_of_place: bool = setting(False)
    request: int | None = setting(None, 0, 2**32)


@dataclass(frozen=True)
class _Boxes:
    """A product's boxes as `received.json` has them: line, sample, lines, samples."""

    box: tuple[int, int, int, int] | None = setting(None, 0, _MOST)
    outline: tuple[int, int, int, int] | None = setting(None, 0, _MOST)


@dataclass(frozen=True, slots=True)
class ReceivedContainer:
    """A whole container: its numbers, its products and their bytes."""

    store: int = setting(..., 0, 2**32)
    contact: int = setting(..., 0, 2**32)
    id: int = setting(..., 0, 2**32)
    products: int = setting(..., 0, 2**16)
    bytes: int = setting(..., 0, _MOST)


@dataclass(frozen=True, slots=True)
class Reception:
    """One packet file that was read: what was met in it, how much of it was new."""

    file: str
    bytes: int
    link: LinkCounts
    repeated: int = 0
    """Whole containers that had come down before."""
    unreadable: int = 0
    """Products in sound containers that this program cannot read."""
    first_sent: str | None = None
    """When its first packet was made, by the mission clock: UTC, or mission time where the clock
    did not know it; None: packets have no time code."""
    last_sent: str | None = None
    left_out: int = 0
    """Products that the folder has no room for."""


@dataclass(frozen=True)
class _Reception:
    """A reception as `received.json` has it."""

    file: str = setting(...)
    bytes: int = setting(..., 0, _MOST)
    link: dict[str, int] = setting(..., 0, _MOST)
    repeated: int = setting(0, 0, _MOST)
    unreadable: int = setting(0, 0, _MOST)
    first_sent: str | None = setting(None)
    last_sent: str | None = setting(None)
    left_out: int = setting(0, 0, _MOST)


@dataclass(frozen=True)
class _File:
    """`received.json`, as far as it is read again."""

    receptions: tuple[_Reception, ...] = setting(...)
    swaths: tuple[dict[str, Any], ...] = setting(..., most=MOST_SWATHS)
    containers: tuple[ReceivedContainer, ...] = setting(...)
    products: tuple[Any, ...] = setting(..., most=MOST_PRODUCTS)
    last_count: int | None = setting(None, 0, 2**14)
    events: tuple[dict[str, Any], ...] = setting((), most=MOST_EVENTS)


@dataclass
class Received:
    """Everything that came down into a folder.

    `swaths` maps (store, swath id) to what the spacecraft said about the swath; `last_count` is
    the sequence count of the last packet read.
    """

    folder: Path
    receptions: list[Reception] = field(default_factory=list)
    swaths: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    containers: list[ReceivedContainer] = field(default_factory=list)
    products: list[ReceivedProduct] = field(default_factory=list)
    last_count: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    """What happened on board, with the `store` that told it."""

    @property
    def bytes(self) -> int:
        """Bytes of products that came down."""
        return self.products[-1].cumulative_bytes if self.products else 0

    @property
    def link(self) -> LinkCounts:
        """What was met in all files together."""
        total = LinkCounts()
        for reception in self.receptions:
            for name in _LINK_FIELDS:
                setattr(total, name, getattr(total, name) + getattr(reception.link, name))
        return total

    @property
    def never_arrived(self) -> int:
        """Packets that the sequence counts miss, beside those that came damaged."""
        link = self.link
        return max(0, link.missing - link.crc_failures)

    def swath_name(self, store: int, swath: int) -> str:
        """A swath's name, as it can be printed; `swath N` where its description has not come
        down."""
        return printable(str(self.swaths.get((store, swath), {}).get("swath", f"swath {swath}")))

    def classes(self, store: int, swath: int) -> tuple[str, ...]:
        """The class names of a swath, empty where its description has not come down."""
        named = self.swaths.get((store, swath), {}).get("classes", ())
        return tuple(printable(str(name)) for name in named)

    def class_name(self, product: ReceivedProduct) -> str | None:
        """The name of a product's class; `class N` where the names have not come down."""
        if product.class_index is None:
            return None
        names = self.classes(product.store, product.swath)
        if product.class_index < len(names):
            return names[product.class_index]
        return f"class {product.class_index}"

    def kinds(self) -> dict[str, int]:
        """How many products of each kind came down."""
        counts = {kind.name.lower(): 0 for kind in Kind}
        for product in self.products:
            counts[product.kind] = counts.get(product.kind, 0) + 1
        return counts

    def contacts(self) -> list[dict[str, int]]:
        """Containers, products and bytes of each contact, in order."""
        table: dict[tuple[int, int], dict[str, int]] = {}
        for box in self.containers:
            key = box.store, box.contact
            row = table.setdefault(key, {"store": box.store, "contact": box.contact,
                                         "containers": 0, "products": 0, "bytes": 0})  # fmt: skip
            row["containers"] += 1
            row["products"] += box.products
            row["bytes"] += box.bytes
        return [table[key] for key in sorted(table)]

    def save(self) -> None:
        """Write `records.csv` and, last of all, `received.json`. Raises OutputError."""
        write_file(self.folder / "records.csv", self._csv())
        text = json.dumps(self.as_json(), ensure_ascii=False, indent=1)
        write_file(self.folder / RECEIVED_FILE, text)

    def as_json(self) -> dict[str, Any]:
        """The contents of `received.json`."""
        return {
            "format": FORMAT,
            "bytes": self.bytes,
            "kinds": self.kinds(),
            "link": dataclasses.asdict(self.link),
            "last_count": self.last_count,
            "receptions": [dataclasses.asdict(r) for r in self.receptions],
            "contacts": self.contacts(),
            "swaths": [
                {"store": store, "id": number, **_told(info)}
                for (store, number), info in sorted(self.swaths.items())
            ],
            "containers": [dataclasses.asdict(c) for c in self.containers],
            "products": [self._product_json(p) for p in self.products],
            "events": self.events,
        }

    def _product_json(self, product: ReceivedProduct) -> dict[str, Any]:
        values = {
            f.name: getattr(product, f.name)
            for f in dataclasses.fields(product)
            if f.name not in ("box", "outline") and getattr(product, f.name) is not None
        }
        if product.class_index is not None:
            values["class"] = self.class_name(product)
        for key, box in (("box", product.box), ("outline", product.outline)):
            if box is not None:
                values[key] = dataclasses.astuple(box)
        return values

    def _csv(self) -> str:
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(_COLUMNS)
        for p in self.products:
            if p.kind == "record" and p.box is not None:
                where = [
                    _cell(self.swath_name(p.store, p.swath)),
                    p.tile,
                    *dataclasses.astuple(p.box),
                ]
                what = [p.scale, _cell(self.class_name(p)), f"{p.posterior or 0:.5f}"]
                flags = [int(p.detection), int(p.screened), int(p.refused)]
                seen = [p.time, p.latitude, p.longitude, int(p.out_of_place)]
                table.writerow([*where, *what, *flags, p.contact, p.container, *seen])
        return out.getvalue()


_COLUMNS = (
    *("swath", "tile", "line", "sample", "lines", "samples"),
    *("scale", "class", "posterior", "detection", "screened", "refused", "contact", "container"),
    *("time", "latitude", "longitude", "out_of_place"),
)
_LINK_FIELDS = tuple(f.name for f in dataclasses.fields(LinkCounts))


def _cell(text: str | None) -> str | None:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text is not None and text.startswith(("=", "+", "-", "@")) else text


def load_received(folder: str | Path) -> Received:
    """Read what came down into `folder`. Raises PacketError: nothing there, or damaged."""
    folder = Path(folder)
    path = folder / RECEIVED_FILE
    try:
        data = read_small(path, _LARGEST)
    except FileNotFoundError as error:
        raise PacketError(
            f"holds no {RECEIVED_FILE}",
            where=folder,
            hint="name a folder that `winnow receive PACKETS --out DIR` has filled",
        ) from error
    except OSError as error:
        raise PacketError(error.strerror or "cannot be read", where=path) from error
    reader = Reader(path, PacketError, others=True, hint=_RECEIVE_AGAIN)
    raw = reader.json(data)
    del data
    found = raw.get("format") if isinstance(raw, dict) else None
    if type(found) is not int or found != FORMAT:
        what = f"has format {shortened(repr(found))}, this program knows {FORMAT}"
        raise PacketError(what, where=path, hint=_RECEIVE_AGAIN)
    file = reader.table(_File, raw)
    try:
        receptions = [_reception(entry) for entry in file.receptions]
        swaths = {(info.get("store"), info.get("id")): checked_swath(info) for info in file.swaths}
        told = list(file.events)
        events = checked_events(told, MOST_EVENTS) if told else []
    except (TypeError, EdgePacketError) as error:
        what = error.what if isinstance(error, EdgePacketError) else str(error)
        raise PacketError(what, where=path, hint=_RECEIVE_AGAIN) from error
    if not all(type(store) is int and 0 <= store < 2**32 for store, _ in swaths):
        raise PacketError("`swaths` name no store", where=path, hint=_RECEIVE_AGAIN)
    return Received(
        folder=folder,
        receptions=receptions,
        swaths=swaths,
        containers=list(file.containers),
        products=[_product(entry, reader) for entry in file.products],
        last_count=file.last_count,
        events=events,
    )


_RECEIVE_AGAIN = "it is damaged: receive the packet files anew into an empty folder"
_LARGEST = 1024 * MOST_PRODUCTS
"""Octets of a received.json: that of a full folder has half as many."""


def _reception(entry: _Reception) -> Reception:
    return Reception(**{**vars(entry), "link": LinkCounts(**entry.link)})


def _product(entry: Any, reader: Reader) -> ReceivedProduct:
    made = reader.table(ReceivedProduct, entry, ("products",))
    place = PurePosixPath(made.file or "")
    if place.is_absolute() or ".." in place.parts:
        raise reader.refusal(("products", "file"), f"`file` {place} is outside of the folder")
    if "box" not in entry and "outline" not in entry:
        return made
    boxes = reader.table(_Boxes, entry, ("products",))
    return dataclasses.replace(
        made,
        box=Box(*boxes.box) if boxes.box else None,
        outline=Box(*boxes.outline) if boxes.outline else None,
    )


def _told(info: dict[str, Any]) -> dict[str, Any]:
    """What a swath's product says, but for the numbers it is kept under."""
    return {key: value for key, value in info.items() if key not in ("id", "store")}
