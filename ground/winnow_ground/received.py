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
from typing import Any, TypeVar, get_type_hints

from winnow_base.errors import PacketError
from winnow_edge.downlink.reader import LinkCounts
from winnow_edge.errors import PacketError as EdgePacketError
from winnow_edge.files import printable, write_file
from winnow_edge.products.encode import checked_swath
from winnow_edge.products.kinds import Box, Kind

_Entry = TypeVar("_Entry")
_BOX = tuple(f.name for f in dataclasses.fields(Box))
_KINDS = frozenset(kind.name.lower() for kind in Kind)
RECEIVED_FILE = "received.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ReceivedProduct:
    """A product as it arrived.

    `order` counts products from 1 over all that ever came down here; `store`, `contact`,
    `container`, `id` are the numbers it was sent under; `kind` is swath, record, thumbnail,
    image or quick_look; `cumulative_bytes` what had come down with it, headers not counted; `file`
    where its picture lies in the folder; `outline` is where the feature of a picture lies, where
    several tiles told. A swath's product has no tile, class, box or posterior, a quick look no
    tile, class or posterior. `time` (UTC, or mission time where the spacecraft did not know it),
    `latitude` and `longitude` (degrees north and east) are those of the tile's middle.
    """

    order: int
    store: int
    contact: int
    container: int
    id: int
    kind: str
    swath: int
    bytes: int
    cumulative_bytes: int
    tile: int | None = None
    class_index: int | None = None
    posterior: float | None = None
    detection: bool = False
    screened: bool = False
    refused: bool = False
    box: Box | None = None
    scale: int | None = None
    merged: int | None = None
    outline: Box | None = None
    file: str | None = None
    time: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    out_of_place: bool = False


@dataclass(frozen=True, slots=True)
class ReceivedContainer:
    """A whole container: its numbers, its products and their bytes."""

    store: int
    contact: int
    id: int
    products: int
    bytes: int


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
_DEGREES = {"latitude": (-90, 90), "longitude": (-180, 180)}
_LINK_FIELDS = tuple(f.name for f in dataclasses.fields(LinkCounts))


def _cell(text: str | None) -> str | None:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text is not None and text.startswith(("=", "+", "-", "@")) else text


def load_received(folder: str | Path) -> Received:
    """Read what came down into `folder`. Raises PacketError: nothing there, or damaged."""
    folder = Path(folder)
    path = folder / RECEIVED_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PacketError(
            f"holds no {RECEIVED_FILE}",
            where=folder,
            hint="name a folder that `winnow receive PACKETS --out DIR` has filled",
        ) from error
    except OSError as error:
        raise PacketError(error.strerror or "cannot be read", where=path) from error
    except (ValueError, RecursionError) as error:
        raise PacketError("is damaged: not JSON", where=path, hint=_RECEIVE_AGAIN) from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else None
        raise PacketError(f"has format {found!r}, this program knows {FORMAT}", where=path)
    try:
        return _from_json(folder, raw)
    except (KeyError, TypeError, ValueError, AttributeError, EdgePacketError) as error:
        raise PacketError(f"is damaged: {error!r}", where=path, hint=_RECEIVE_AGAIN) from error


_RECEIVE_AGAIN = "receive the packet files anew into an empty folder"


def _from_json(folder: Path, raw: dict[str, Any]) -> Received:
    def product(entry: dict[str, Any]) -> ReceivedProduct:
        values = {k: v for k, v in entry.items() if k != "class"}
        for key in ("box", "outline"):
            if key in values:
                values[key] = _checked(Box, dict(zip(_BOX, values[key], strict=True)))
        made = _checked(ReceivedProduct, values)
        place = PurePosixPath(made.file or "")
        if made.kind not in _KINDS or place.is_absolute() or ".." in place.parts:
            raise ValueError("a product of no kind, or a file outside of the folder")
        return made

    return Received(
        folder=folder,
        receptions=[
            _checked(Reception, {**entry, "link": _checked(LinkCounts, entry["link"])})
            for entry in raw["receptions"]
        ],
        swaths={
            (_number(info["store"]), info["id"]): checked_swath(info) for info in raw["swaths"]
        },
        containers=[_checked(ReceivedContainer, entry) for entry in raw["containers"]],
        products=[product(entry) for entry in raw["products"]],
        last_count=None if raw["last_count"] is None else _number(raw["last_count"]),
    )


def _told(info: dict[str, Any]) -> dict[str, Any]:
    """What a swath's product says, but for the numbers it is kept under."""
    return {key: value for key, value in info.items() if key not in ("id", "store")}


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{value!r} is no number of a packet")
    return value


def _checked(made: type[_Entry], entry: dict[str, Any]) -> _Entry:
    """An entry whose values are of the types that its class says. Raises ValueError, TypeError."""
    whole = made(**entry)
    for name, kind in get_type_hints(made).items():
        value = getattr(whole, name)
        if kind is int or (type(value) is int and kind == int | None):
            _number(value)
        elif isinstance(value, float) and kind == float | None:
            low, high = _DEGREES.get(name, (0, 1))
            if not low <= value <= high:
                raise ValueError(f"{name} {value} is not {low} to {high}")
        elif not isinstance(value, kind):
            raise ValueError(f"{name} {value!r} is of the wrong type")
        elif isinstance(value, str):
            value.encode()  # lone surrogates could not be written again
    return whole
