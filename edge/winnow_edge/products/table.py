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


@dataclass(frozen=True, slots=True)
class ProductTable:
    """Products as columns, 30 bytes each, in order of acquisition.

    `columns` is a structured array of dtype `COLUMNS`, shape (n,): product id, swath id, kind, tile
    index, class index, posterior, detection, how often it was sent and not heard of again, length
    of its data in bytes, and what its tile looks like (`sketch.sketch`; pictures only). `classes`
    names the classes of each swath; `ages` counts the contacts since a swath began, `verdicts` has
    the verdicts on those that got one.
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
        cls, products: Iterator[tuple[Any, ...]], classes: dict[int, tuple[str, ...]]
    ) -> ProductTable:
        """From products as tuples of `COLUMNS`, holding few Python objects at a time."""
        parts = [np.empty(0, COLUMNS)]
        while chunk := list(itertools.islice(products, 4096)):
            parts.append(np.array(chunk, COLUMNS))
        return cls(np.concatenate(parts), classes)
