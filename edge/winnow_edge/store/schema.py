"""The tables of the product store, the keys and states in them, and entries as they are read."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from winnow_edge.products.kinds import Kind

STORE_FILE: Final = "store.db"
SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x574E_4F57  # "WNOW", where `file` and SQLite look for it
MAX_SWATHS: Final = 65_535  # a swath's number has 16 bits in a product's head
MAX_CONTACT: Final = 65_535  # a contact's number has 16 bits in a container's header

SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE swath (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, samples INTEGER NOT NULL,
    classes TEXT NOT NULL, bundle TEXT NOT NULL, digest TEXT NOT NULL, fingerprint TEXT,
    info TEXT NOT NULL, born INTEGER NOT NULL, next_tile INTEGER NOT NULL,
    next_line INTEGER NOT NULL, pending BLOB, summary TEXT, announcement INTEGER
);
CREATE TABLE product (
    id INTEGER PRIMARY KEY, swath INTEGER NOT NULL REFERENCES swath (id), kind INTEGER NOT NULL,
    tile INTEGER NOT NULL, class INTEGER NOT NULL, posterior REAL NOT NULL,
    detection INTEGER NOT NULL, state INTEGER NOT NULL, unheard INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL, sketch BLOB NOT NULL, data BLOB
);
CREATE UNIQUE INDEX product_once ON product (swath, tile, kind, class) WHERE kind <> 0;
CREATE INDEX product_heavy ON product (kind, state) WHERE kind >= 2;
CREATE TABLE container (
    id INTEGER PRIMARY KEY, contact INTEGER NOT NULL, state INTEGER NOT NULL,
    products BLOB NOT NULL
);
CREATE INDEX container_open ON container (state) WHERE state = 1;
CREATE INDEX container_contact ON container (contact);
"""


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
    NEXT_CONTAINER = "next_container"
    """Number of the next container, from 1."""
    SEQUENCE = "sequence"
    """Sequence count of the next packet."""


class ProductState(enum.IntEnum):
    """Where a product of the store stands."""

    STORED = 0
    """On board; takes part in the ranking."""
    SENT = 1
    """In flight: sent, and not heard of since."""
    ACKNOWLEDGED = 2
    """On the ground, or told better by a later product; never sent again."""
    EVICTED = 3
    """Given up to the quota; its data is gone."""


class ContainerState(enum.IntEnum):
    """Where a container of the store stands."""

    PLANNED = 0
    """Numbered; the output was not finished, so its products were never counted as sent."""
    IN_FLIGHT = 1
    ACKNOWLEDGED = 2
    RETURNED = 3
    """Missing or not heard of: its products are back in the ranking."""


@dataclass(frozen=True, slots=True)
class StoredSwath:
    """A swath of the store; `summary` is None until it is complete.

    `born` is the number of contacts that had been held when the swath began.
    """

    id: int
    name: str
    samples: int
    classes: tuple[str, ...]
    bundle: str
    digest: str
    fingerprint: str | None
    info: dict[str, Any]
    born: int
    next_tile: int
    next_line: int
    summary: dict[str, Any] | None

    @property
    def complete(self) -> bool:
        return self.summary is not None

    @classmethod
    def read(cls, values: tuple[Any, ...]) -> StoredSwath:
        """From the values of `SELECT_SWATH`. Raises what `file.sound` explains."""
        number, name, samples, classes, bundle, digest, fingerprint, info, *more = values
        born, tile, line, summary = more
        return cls(
            number,
            name,
            samples,
            tuple(json.loads(classes)),
            bundle,
            digest,
            fingerprint,
            json.loads(info),
            born,
            tile,
            line,
            json.loads(summary) if summary is not None else None,
        )


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


SELECT_SWATH: Final = (
    "SELECT id, name, samples, classes, bundle, digest, fingerprint, info, born, next_tile,"
    " next_line, summary FROM swath"
)
SELECT_PRODUCT: Final = (
    "SELECT id, swath, kind, tile, class, posterior, detection, state, bytes FROM product"
)


def among(column: str, numbers: Sequence[int]) -> str:
    """An SQL condition; `numbers` are members of enumerations, so nothing needs quoting."""
    return f"{column} IN ({', '.join(str(int(n)) for n in numbers)})"
