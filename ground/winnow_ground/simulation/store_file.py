"""The file of a simulated store in pages, as SQLite lays rows out in it.

Rows are added one after the other; one that does not fit what is left of a page begins the next.
A long row keeps a part of itself there and has pages of its own for the rest ("Database File
Format", 1.6). Where so much has been deleted that a page is less than a third full, what is left
on it goes to the pages beside it ("Architecture of SQLite", `balance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_edge.products.kinds import Kind
from winnow_edge.store.budget import PAGE

ROOM: Final = PAGE - 8
"""Octets of a page that rows share."""
_LOCAL_MOST, _LOCAL_LEAST, _REST = PAGE - 35, (PAGE - 12) * 32 // 255 - 23, PAGE - 4
"""The longest row that is kept on one page; the least that stays of a longer one, and what a page
of its own carries of it."""
_RECORD, _OTHER = 36, 46
"""Octets of a product's row beside its data; of all but records with the sketch."""
_CELL: Final = 6
"""What a page has of each row beside it: its place, length and number."""
_ENTRIES: Final = 14, 9
"""Octets of the indices for any product, and once more for all but records."""
_FULL: Final = 0.85
"""Share of the pages of an index that is used."""
_FIXED: Final = 14
"""Pages of everything else."""
Integers = npt.NDArray[np.int64]


def cells(size: Integers, kind: npt.NDArray[np.uint8]) -> tuple[Integers, Integers]:
    """Octets (n,) that rows of products take on pages with others, and pages of their own (n,)."""
    payload = size + np.where(kind > Kind.RECORD, _OTHER, _RECORD)
    tail = _LOCAL_LEAST + (payload - _LOCAL_LEAST) % _REST
    tail = np.where(tail <= _LOCAL_MOST, tail, _LOCAL_LEAST)
    local = np.where(payload <= _LOCAL_MOST, payload, tail)
    return local + _CELL, -(-(payload - local) // _REST)


class StoreFile:
    """Pages with rows on them. Every row is known by the page that it was laid on."""

    def __init__(self) -> None:
        self._used, self._into = [0], [0]
        self._before, self._after = [-1], [-1]
        self._shared, self._own = 1, 0
        self._rows = [0, 0]
        """Of records, and of all other products."""

    @property
    def pages(self) -> int:
        """All of the file's."""
        records, others = self._rows
        entries = _ENTRIES[0] * (records + others) + _ENTRIES[1] * others
        return _FIXED + self._shared + self._own + int(entries / (ROOM * _FULL))

    def add(self, sizes: Sequence[int], own: int, others: int) -> list[int]:
        """Add rows of so many octets, with pages of their `own`, `others` of them of no records;
        the pages that they are laid on."""
        at = len(self._used) - 1
        used, laid = self._used[at], list[int]()
        for size in sizes:
            if used + size > ROOM:
                self._used[at] = used
                at = self._begin(at)
                used = 0
            used += size
            laid.append(at)
        self._used[at] = used
        self._own += own
        self._rows[0] += len(sizes) - others
        self._rows[1] += others
        return laid

    def _begin(self, last: int) -> int:
        at = len(self._used)
        self._used.append(0)
        self._into.append(at)
        self._before.append(last)
        self._after.append(-1)
        self._after[last] = at
        self._shared += 1
        return at

    def remove(
        self, laid: Sequence[int], sizes: Sequence[int], own: int, rows: tuple[int, int] = (0, 0)
    ) -> None:
        """Take away so many octets of rows laid on these pages, pages of their `own`, and as many
        `rows` of records and of other products."""
        into, touched = self._into, set[int]()
        for at, size in zip(laid, sizes, strict=True):
            while into[at] != at:
                into[at] = into[into[at]]
                at = into[at]
            self._used[at] -= size
            touched.add(at)
        self._own -= own
        self._rows[0] -= rows[0]
        self._rows[1] -= rows[1]
        for at in sorted(touched):
            if self._into[at] == at and 3 * self._used[at] < ROOM:
                self._balance(at)

    def _balance(self, at: int) -> None:
        """What is left on a page goes to those beside it, where it fits."""
        used, left, right = self._used, self._before[at], self._after[at]
        if right < 0:
            return  # rows are still added to it
        beside = [page for page in (left, right) if page >= 0]
        total = used[at] + sum(used[page] for page in beside)
        if total > len(beside) * ROOM and used[at] > 0:
            for page in (at, *beside):
                used[page] = total // (len(beside) + 1)
            return
        first = beside[0]
        moved = min(used[at], ROOM - used[first]) if len(beside) > 1 else used[at]
        used[first] += moved
        used[beside[-1]] += used[at] - moved
        self._into[at] = first
        self._before[right] = left
        if left >= 0:
            self._after[left] = right
        self._shared -= 1
