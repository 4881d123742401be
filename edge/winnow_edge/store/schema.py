"""The tables of the product store, the keys and states in them, and entries as they are read."""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from winnow_edge.products.kinds import NO_CLASS, Kind
from winnow_edge.products.sketch import SKETCH_BYTES
from winnow_edge.tables import Reader, plain_json, setting

STORE_FILE: Final = "store.db"
SCHEMA_VERSION: Final = 3
APPLICATION_ID: Final = 0x574E_4F57  # "WNOW", where `file` and SQLite look for it
MAX_SWATH: Final = 2**32 - 1  # a swath's number has 32 bits in a product's head
MAX_CONTACT: Final = 2**32 - 1  # a contact's number has 32 bits in a container's header
MAX_PRODUCT: Final = 2**48 - 1  # a product's number has 48 bits in a container

SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE swath (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, samples INTEGER NOT NULL,
    classes TEXT NOT NULL, bundle TEXT NOT NULL, digest TEXT NOT NULL, fingerprint TEXT,
    info TEXT NOT NULL, born INTEGER NOT NULL, next_tile INTEGER NOT NULL,
    next_line INTEGER NOT NULL, pending BLOB, summary TEXT, announcement INTEGER,
    crc INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE product (
    id INTEGER PRIMARY KEY, swath INTEGER NOT NULL REFERENCES swath (id), kind INTEGER NOT NULL,
    tile INTEGER NOT NULL, class INTEGER NOT NULL, posterior REAL NOT NULL,
    detection INTEGER NOT NULL, tiles INTEGER NOT NULL, state INTEGER NOT NULL,
    unheard INTEGER NOT NULL, seal INTEGER NOT NULL, bytes INTEGER NOT NULL,
    sketch BLOB NOT NULL, data BLOB, crc INTEGER NOT NULL
);
CREATE TABLE lost (product INTEGER PRIMARY KEY);
CREATE TABLE event (
    contact INTEGER NOT NULL, what TEXT NOT NULL, about TEXT NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (contact, what, about)
) WITHOUT ROWID;
CREATE UNIQUE INDEX product_once ON product (swath, tile, kind, class) WHERE kind <> 0;
CREATE INDEX product_heavy ON product (kind) WHERE kind >= 2;
CREATE INDEX product_delivered ON product (state) WHERE state = 2 AND data IS NOT NULL;
CREATE INDEX product_known ON product (state) WHERE state = 2 AND data IS NULL;
CREATE TABLE container (
    id INTEGER PRIMARY KEY, contact INTEGER NOT NULL, state INTEGER NOT NULL,
    products BLOB NOT NULL, crc INTEGER NOT NULL
);
CREATE INDEX container_open ON container (state) WHERE state = 1;
CREATE INDEX container_contact ON container (contact);
"""

_WEIGHTS: Final = {
    "id": 31,
    "swath": 37,
    "kind": 41,
    "tile": 43,
    "class": 47,
    "detection": 53,
    "tiles": 59,
    "state": 7919,
    "unheard": 7927,
    "bytes": 61,
}
_MODULUS: Final = 65_521
SEAL: Final = f"(({' + '.join(f'{c} * {w}' for c, w in _WEIGHTS.items())} + 44) % {_MODULUS})"
"""SQL expression: what a product's column `seal` must be. The modulus is a prime, so that no change
of one bit goes unnoticed, nor most others; whatever is no number counts as another one."""
SOUND_PRODUCT: Final = " AND ".join(
    [
        f"seal = {SEAL}",
        f"kind IN ({', '.join(str(int(kind)) for kind in Kind)})",
        "state BETWEEN 0 AND 2 AND class BETWEEN 0 AND 255",
        f"detection BETWEEN 0 AND 1 AND id BETWEEN 1 AND {MAX_PRODUCT}",
        f"typeof(tile) = 'integer' AND tile BETWEEN -1 AND {2**32 - 1}",
        "posterior BETWEEN 0 AND 1",
        f"typeof(sketch) = 'blob' AND length(sketch) <= {SKETCH_BYTES}",
        # A product that is on board or in flight has its data, as long as it says.
        "CASE typeof(data) WHEN 'blob' THEN length(data) = bytes WHEN 'null' THEN state = 2"
        " ELSE 0 END",
        "product.id NOT IN (SELECT product FROM lost)",
    ]
)
"""SQL condition: a product's row makes sense by itself. Rows that do not are left alone and out."""
INTACT: Final = (
    "crc IS checksum(id, swath, kind, tile, class, posterior, detection, tiles, sketch, data)"
)
"""SQL condition: the checksum of a product that has its data."""
_CONTAINER_CRC: Final = "seal_of(id, contact, state, products)"
SOUND_CONTAINER: Final = (
    f"typeof(contact) = 'integer' AND contact BETWEEN 0 AND {MAX_CONTACT}"
    " AND typeof(state) = 'integer'"
    " AND state BETWEEN 0 AND 3 AND typeof(products) = 'blob' AND length(products) % 8 = 0"
    f" AND crc IS {_CONTAINER_CRC}"
)
"""SQL condition: a container's row makes sense."""
SEAL_CONTAINERS: Final = f"UPDATE container SET crc = {_CONTAINER_CRC} WHERE id = ?"
_SWATH_COLUMNS: Final = (
    "id, name, samples, classes, bundle, digest, fingerprint, info, born, next_tile,"
    " next_line, summary, announcement"
)
_SWATH_KEYS: Final = tuple(_SWATH_COLUMNS.split(", "))
SEAL_SWATH: Final = f"UPDATE swath SET crc = seal_of({_SWATH_COLUMNS}) WHERE id = ?"
"""To be run after every change of a swath's row; `pending` has a seal of its own."""
COUNT_EVENT: Final = (
    "INSERT INTO event VALUES (?, ?, ?, ?)"
    " ON CONFLICT (contact, what, about) DO UPDATE SET n = n + excluded.n"
)
"""Contact, what happened, about what, how often."""
EVENTS: Final = frozenset(
    {
        "evicted", "left out", "delivered", "compacted", "forgotten", "damaged", "salvaged", "lost",
        "begun anew", "in memory",
    }
)  # fmt: skip
"""What can happen."""
_PRODUCT_KEY: Final = struct.Struct(">qqqqqdqq")


def checksum(
    number: int,
    swath: int,
    kind: int,
    tile: int,
    class_index: int,
    posterior: float,
    detection: int,
    tiles: int,
    sketch: bytes,
    data: bytes | None,
) -> int:
    """CRC-32 of a product's row but for what contacts change in it: tells rot from data."""
    key = _PRODUCT_KEY.pack(number, swath, kind, tile, class_index, posterior, detection, tiles)
    return zlib.crc32(data or b"", zlib.crc32(sketch, zlib.crc32(key)))


def checksum_of(*row: Any) -> int | None:
    """`checksum` for SQL; None for a row that is of no product."""
    try:
        return checksum(*row)
    except (struct.error, TypeError):
        return None


def is_store_id(value: object) -> bool:
    """Whether a value can be a store's number: 32 bits."""
    return type(value) is int and 0 <= value < 2**32


def seal_of_new(
    number: int, swath: int, kind: int, tile: int, cls: int, detection: int, tiles: int, size: int
) -> int:
    """`SEAL` of a product that is stored, and was never sent."""
    total = number * 31 + swath * 37 + kind * 41 + tile * 43 + cls * 47
    return (total + detection * 53 + tiles * 59 + size * 61 + 44) % _MODULUS


def seal_of(*values: object) -> int:
    """CRC-32 of values of a row, each with its type."""
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass"))


def seal(state: bytes | None) -> bytes | None:
    """A state with its CRC-32 before it."""
    return None if state is None else zlib.crc32(state).to_bytes(4, "big") + state


def unseal(sealed: bytes | None) -> bytes | None:
    """The inverse of `seal`. Raises ValueError where the state has changed."""
    if sealed is None:
        return None
    if zlib.crc32(sealed[4:]).to_bytes(4, "big") != sealed[:4]:
        raise ValueError("its CRC-32 differs")
    return sealed[4:]


class Meta(enum.StrEnum):
    """Keys of the table `meta`: values of the store's own."""

    STORE_ID = "store_id"
    """32 random bits that tell this store's numbers from another's."""
    MISSION = "mission"
    """Name of the mission that the store was made for."""
    DATA_BYTES = "data_bytes"
    """Bytes of product data that are held; the quota bounds them."""
    CONTACT = "contact"
    """Contacts held so far."""
    NEXT_PRODUCT = "next_product"
    """Number of the next product, from 1."""
    NEXT_SWATH = "next_swath"
    """Number of the next swath, from 1."""
    NEXT_CONTAINER = "next_container"
    """Number of the next container, from 1."""
    SEQUENCE = "sequence"
    """Sequence count of the next packet."""
    CLOCK = "clock"
    """State of the mission clock (JSON)."""
    REQUESTS = "requests"
    """Numbers of the ground's latest requests that were answered (JSON)."""
    FORMER = "former"
    """Numbers that tell this store's numbers too: of stores in memory that it went on from, or
    that went back to it (JSON)."""
    RETURNING = "returning"
    """While a store in memory goes back to this one: its number, and the range of the numbers of
    its products (JSON)."""
    CLOCK_TOLD = "clock_told"
    """How many events of the clock are on their way to the ground."""


class ProductState(enum.IntEnum):
    """Where a product of the store stands."""

    STORED = 0
    """On board; takes part in the ranking."""
    SENT = 1
    """In flight: sent, and not heard of since."""
    ACKNOWLEDGED = 2
    """On the ground, or told better by a later product; never sent again."""
    EVICTED = 3
    """Given up to the quota: its row is gone, and `event` counts it."""


class ContainerState(enum.IntEnum):
    """Where a container of the store stands."""

    PLANNED = 0
    """Numbered; the output was not finished, so its products were never counted as sent."""
    IN_FLIGHT = 1
    ACKNOWLEDGED = 2
    RETURNED = 3
    """Missing or not heard of: its products are back in the ranking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSwath:
    """A swath of the store; `summary` is None until it is complete.

    `born` is the number of contacts that had been held when the swath began.
    """

    id: int = setting(..., 1, MAX_SWATH)
    name: str = setting(...)
    samples: int = setting(..., 1, 2**31 - 1)
    classes: tuple[str, ...] = setting(..., fewest=1, most=NO_CLASS - 1)
    bundle: str = setting(...)
    digest: str = setting(...)
    fingerprint: str | None = setting(None)
    info: dict[str, Any] = setting(...)
    born: int = setting(..., 0, MAX_CONTACT)
    next_tile: int = setting(..., 0, 2**32 - 1)
    next_line: int = setting(..., 0, 2**32 - 1)
    summary: dict[str, Any] | None = setting(None)

    @property
    def complete(self) -> bool:
        return self.summary is not None

    @property
    def verdict(self) -> str:
        """The verdict on it in words; "" where there is none."""
        told = (self.summary or {}).get("verdict")
        found = told.get("verdict") if isinstance(told, dict) else None
        return found if isinstance(found, str) else ""

    @classmethod
    def read(cls, values: tuple[Any, ...]) -> StoredSwath:
        """From the values of `SELECT_SWATH`. Raises ValueError where they make no sense."""
        *row, crc = values
        if crc != seal_of(*row):
            raise ValueError("its CRC-32 differs")
        raw = dict(zip(_SWATH_KEYS, row, strict=True))
        for key in ("classes", "info", "summary"):
            if raw[key] is not None:
                if not isinstance(raw[key], str):
                    raise ValueError(f"`{key}` is no text")
                raw[key] = plain_json(raw[key])
        del raw["announcement"]
        return Reader("swath", _senseless).table(cls, raw)


def _senseless(what: str, **_: object) -> ValueError:
    return ValueError(what)


@dataclass(frozen=True, slots=True)
class StoredProduct:
    """A product of the store without its data; `bytes` is the length of its data."""

    id: int
    swath: int
    kind: Kind
    tile_index: int
    class_index: int
    posterior: float
    detection: bool
    state: ProductState
    bytes: int

    @classmethod
    def read(cls, values: tuple[Any, ...]) -> StoredProduct:
        """From the values of `SELECT_PRODUCT`. Raises what `file.sound` explains."""
        number, swath, kind, tile, class_index, posterior, detection, state, size = values
        return cls(
            number,
            swath,
            Kind(kind),
            tile,
            class_index,
            posterior,
            bool(detection),
            ProductState(state),
            size,
        )


SELECT_SWATH: Final = f"SELECT {_SWATH_COLUMNS}, crc FROM swath"
SELECT_PRODUCT: Final = (
    "SELECT id, swath, kind, tile, class, posterior, detection, state, bytes FROM product"
)


def among(column: str, numbers: Sequence[int]) -> str:
    """An SQL condition; `numbers` are members of enumerations, so nothing needs quoting."""
    return f"{column} IN ({', '.join(str(int(n)) for n in numbers)})"
