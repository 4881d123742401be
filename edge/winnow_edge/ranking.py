"""In which order products go down: pure functions of a table of products and the mission.

The policies of the mission file: *fifo* in order of acquisition; *confidence* detections by
posterior; *utility-per-byte* value by link bytes, the greedy order for a knapsack (Dantzig,
"Discrete-Variable Extremum Problems", Operations Research 5, 1957); *diversity* the same, less what
a picture shares with those sent already (`diversity`). The simulator adds others by passing a key
of its own to `order_by`.
"""

from __future__ import annotations

import enum
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from winnow_edge.diversity import SKETCH_BYTES, discounted
from winnow_edge.mission import POLICIES, Mission
from winnow_edge.products import unit_value
from winnow_edge.records import Kind

PRODUCT_HEADER_BYTES: Final = 8
"""What a product costs in a container beside its own bytes (docs/downlink-format.md)."""

ROW: Final = np.dtype(
    [
        ("id", "u4"),
        ("swath", "u2"),
        ("kind", "u1"),
        ("tile", "i4"),
        ("class_index", "u1"),
        ("posterior", "f4"),
        ("detection", "?"),
        ("unheard", "u1"),
        ("bytes", "u4"),
        ("sketch", f"S{SKETCH_BYTES}"),
    ]
)

UNHEARD_DISCOUNT: Final = 0.5
"""What sending again is worth, for each time that it was sent and not heard of: as likely as not it
did arrive and the word of it was lost. Without this, a link that never acknowledges would carry the
same few products for ever."""

Order = npt.NDArray[np.intp]


class State(enum.IntEnum):
    """Where a product of the store stands."""

    STORED = 0
    """On board; takes part in the ranking."""
    SENT = 1
    """In flight: sent, and not heard of since."""
    ACKNOWLEDGED = 2
    """On the ground, or told better by a later product; never sent again."""
    EVICTED = 3
    """Given up to the quota; its data is gone."""


@dataclass(frozen=True, slots=True)
class ProductTable:
    """Products as columns, 30 bytes each, in order of acquisition.

    `rows` is a structured array of dtype `ROW`: product id, swath id, kind, tile index, class
    index, posterior, detection, how often it was sent and not heard of again, length of its data in
    bytes, and what its tile looks like (`diversity.sketch`; pictures only). `classes` names the
    classes of each swath.
    """

    rows: npt.NDArray[np.void]
    classes: dict[int, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: npt.NDArray[Any] | slice) -> ProductTable:
        return ProductTable(self.rows[chosen], self.classes)

    @classmethod
    def read(cls, cursor: sqlite3.Cursor, classes: dict[int, tuple[str, ...]]) -> ProductTable:
        """From a query that gives the columns of `ROW`, holding few Python objects at a time."""
        parts = [np.empty(0, ROW)]
        while chunk := cursor.fetchmany(4096):
            parts.append(np.array(chunk, ROW))
        return cls(np.concatenate(parts), classes)


def values(table: ProductTable, mission: Mission) -> npt.NDArray[np.float64]:
    """`products.value` of every product: float64, shape (n,), in the mission's units of utility."""
    rows = table.rows
    groups = (rows["swath"].astype(np.int64) << 17) | (rows["kind"].astype(np.int64) << 9)
    groups |= (rows["class_index"].astype(np.int64) << 1) | rows["detection"]
    found, inverse = np.unique(groups, return_inverse=True)
    units = np.array(
        [
            unit_value(
                Kind(int(g >> 9) & 0xFF),
                int(g >> 1) & 0xFF,
                bool(g & 1),
                mission,
                table.classes[int(g >> 17)],
            )
            for g in found
        ],
        dtype=np.float64,
    )
    if not len(units):
        return np.empty(0, np.float64)
    return np.asarray(np.where(rows["detection"], rows["posterior"], 1.0) * units[inverse])


def rank(
    table: ProductTable, policy: str, mission: Mission, *, known: ProductTable | None = None
) -> Order:
    """Indices into `table`, the product to send first at the front: intp, shape (n,).

    `known` are products that were sent before, which *diversity* takes into account.

    Products that are worth the same go in order of acquisition; all policies but fifo count one
    that was sent and not heard of by `UNHEARD_DISCOUNT`. Raises ValueError for a policy that is not
    in `POLICIES`.
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}, known: {', '.join(POLICIES)}")
    rows = table.rows
    if policy == "fifo":
        return order_by(table, np.zeros(len(table)))
    hope = UNHEARD_DISCOUNT ** rows["unheard"].astype(np.float64)
    if policy == "confidence":
        return order_by(table, np.where(rows["detection"], 1.0 + rows["posterior"], 0.5) * hope)
    density = hope * values(table, mission) / (rows["bytes"] + float(PRODUCT_HEADER_BYTES))
    if policy == "diversity":
        density = discounted(table, density, known, mission.ranking.diversity)
    return order_by(table, density)


def order_by(table: ProductTable, key: npt.NDArray[np.float64]) -> Order:
    """Indices into `table` by falling `key`, ties in order of acquisition."""
    return np.lexsort((table.rows["id"], -key))
