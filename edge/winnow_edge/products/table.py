"""Products as columns: what ranking, eviction and diversity look at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from winnow_edge.products.sketch import SKETCH_BYTES

COLUMNS: Final = np.dtype(
    [
        ("id", "u8"),
        ("swath", "u4"),
        ("kind", "u1"),
        ("tile", "i4"),
        ("class_index", "u1"),
        ("posterior", "f4"),
        ("detection", "?"),
        ("tiles", "u2"),
        ("unheard", "u1"),
        ("bytes", "u4"),
        ("sketch", f"S{SKETCH_BYTES}"),
    ]
)


PACKED: Final = "(swath << 13) | (kind << 9) | (class << 1) | detection"
MORE: Final = "(tiles << 32) | (unheard << 24) | bytes"
"""Several columns as one number, in SQL: a million rows are read in half the time."""


@dataclass(frozen=True, slots=True)
class ProductTable:
    """Products as columns, 38 bytes each, in order of acquisition.

    `columns` is a structured array of dtype `COLUMNS`, shape (n,): product id, swath id, kind, tile
    index, class index, posterior, detection, how many tiles it tells of, how often it was sent and
    not heard of again, length of its data in bytes, and what its tile looks like (`sketch.sketch`;
    pictures only). `classes` names the classes of each swath; `ages` counts the contacts since a
    swath began, `verdicts` has the verdicts on those that got one.
    """

    columns: npt.NDArray[np.void]
    classes: dict[int, tuple[str, ...]]
    ages: dict[int, int] = field(default_factory=dict)
    verdicts: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, chosen: npt.NDArray[Any] | slice) -> ProductTable:
        return replace(self, columns=self.columns[chosen])

    @classmethod
    def read(
        cls,
        products: Iterator[tuple[int, int, float, int, int, bytes]],
        count: int,
        classes: dict[int, tuple[str, ...]],
    ) -> ProductTable:
        """From at most `count` products, holding few Python objects at a time; each as id, tile,
        posterior, what `PACKED` and `MORE` say, and sketch."""
        columns = np.zeros(count, COLUMNS)
        at = 0
        while chunk := list(itertools.islice(products, min(8192, count - at))):
            numbers, tiles, posteriors, packed, more, sketches = zip(*chunk, strict=True)
            part = columns[at : at + len(chunk)]
            part["id"], part["tile"], part["posterior"] = numbers, tiles, posteriors
            bits = np.array(packed, np.int64)
            part["swath"], part["kind"] = bits >> 13, bits >> 9 & 0xF
            part["class_index"], part["detection"] = bits >> 1 & 0xFF, bits & 1
            rest = np.array(more, np.int64)
            part["bytes"] = rest & 0xFF_FFFF
            part["unheard"], part["tiles"] = rest >> 24 & 0xFF, rest >> 32
            if any(sketches):
                part["sketch"] = sketches
            at += len(chunk)
        return cls(columns[:at], classes)
