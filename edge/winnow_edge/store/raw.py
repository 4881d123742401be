"""Rows of a damaged SQLite file, read page by page without the trees that lead to them.

Layouts are those of SQLite's documentation, "Database File Format", sections 1.3 (file header), 1.5
(freelist), 1.6 (b-tree pages), 1.6 (overflow) and 2.1 (records). A page that makes no sense gives
nothing; the others give all that they hold. Whoever reads rows this way must check them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PAGE: Final = 4096
"""Octets of a page where the header of the file does not say."""
_HEADER: Final = 100
_LEAF_TABLE, _LEAF_INDEX, _INNER_INDEX = 0x0D, 0x0A, 0x02
_HEADS: Final = {_LEAF_TABLE: 8, _LEAF_INDEX: 8, _INNER_INDEX: 12}
"""Octets before the places of a page's cells."""
_CHILD: Final = 4
"""Octets of an inner page's cell that name the page below."""
_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_MOST_OVERFLOW: Final = 1 << 14
"""Pages of the longest row: 64 MB."""

Value = int | float | bytes | str | None
Row = tuple[Value, ...]


class Pages:
    """The pages of a file; a context manager. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        head = self._stream.read(_HEADER)
        stated = int.from_bytes(head[16:18], "big")
        size = 65_536 if stated == 1 else stated
        self.size = size if size in {1 << n for n in range(9, 17)} else PAGE
        self.count = path.stat().st_size // self.size
        self._usable = self.size - (head[20] if len(head) == _HEADER and head[20] < 64 else 0)
        self._free = self._freelist(head)

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def page(self, number: int) -> bytes:
        """Octets of a page, numbered from 1; empty where there is none."""
        if not 1 <= number <= self.count:
            return b""
        self._stream.seek((number - 1) * self.size)
        return self._stream.read(self.size)

    def rows(self) -> Iterator[tuple[int, int, Row]]:
        """Page, rowid and columns of every row on the leaves of tables that are in use."""
        for number, page, cells in self._cells(_LEAF_TABLE):
            for at in cells:
                try:
                    length, at = _varint(page, at)
                    rowid, at = _varint(page, at)
                    columns = record(self._payload(page, at, length))
                except (IndexError, ValueError, struct.error):
                    continue
                yield number, rowid, columns

    def entries(self) -> Iterator[tuple[int, Row]]:
        """Page and columns of every entry of indices and of tables without rowid: their inner pages
        hold entries of their own."""
        for number, page, cells in self._cells(_LEAF_INDEX, _INNER_INDEX):
            inner = page[_HEADER if number == 1 else 0] == _INNER_INDEX
            for at in cells:
                at += _CHILD * inner
                try:
                    length, at = _varint(page, at)
                    columns = record(self._payload(page, at, length, index=True))
                except (IndexError, ValueError, struct.error):
                    continue
                yield number, columns

    def _cells(self, *kinds: int) -> Iterator[tuple[int, bytes, tuple[int, ...]]]:
        """Number, octets and places of the cells of every page of these kinds that is in use."""
        for number in range(1, self.count + 1):
            if number in self._free:
                continue
            page = self.page(number)
            at = _HEADER if number == 1 else 0
            if len(page) < self.size or page[at] not in kinds:
                continue
            (cells,) = struct.unpack_from(">H", page, at + 3)
            first = at + _HEADS[page[at]]
            if first + 2 * cells <= len(page):
                yield number, page, struct.unpack_from(f">{cells}H", page, first)

    def _payload(self, page: bytes, at: int, length: int, *, index: bool = False) -> bytes:
        """The octets of a cell, those on overflow pages too. Raises ValueError."""
        usable = self._usable
        least = (usable - 12) * 32 // 255 - 23
        most = (usable - 12) * 64 // 255 - 23 if index else usable - 35
        if length <= most:
            found = page[at : at + length]
        else:
            local = least + (length - least) % (usable - 4)
            local = local if local <= most else least
            parts = [page[at : at + local]]
            missing = length - local
            following = int.from_bytes(page[at + local : at + local + 4], "big")
            for _ in range(min(_MOST_OVERFLOW, missing // (usable - 4) + 1)):
                if not missing:
                    break
                more = self.page(following)
                parts.append(more[4 : 4 + min(missing, usable - 4)])
                missing -= len(parts[-1])
                following = int.from_bytes(more[:4], "big")
            found = b"".join(parts)
        if len(found) != length:
            raise ValueError("a row that is cut short")
        return found

    def _freelist(self, head: bytes) -> frozenset[int]:
        """Pages that hold no row any more; empty where the list of them makes no sense."""
        free = set[int]()
        if len(head) < _HEADER:
            return frozenset()
        trunk, count = struct.unpack_from(">II", head, 32)
        while trunk and len(free) <= count:
            page = self.page(trunk)
            if trunk in free or len(page) < self.size:
                return frozenset()
            following, leaves = struct.unpack_from(">II", page)
            if leaves > self._usable // 4 - 2:
                return frozenset()
            free.add(trunk)
            free.update(struct.unpack_from(f">{leaves}I", page, 8))
            trunk = following
        return frozenset(free) if len(free) == count else frozenset()


def record(payload: bytes) -> Row:
    """The columns of a record. Raises ValueError, IndexError or struct.error where it is none."""
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if at != end:
        raise ValueError("a header that is cut short")
    columns = list[Value]()
    for kind in kinds:
        length = _INTEGERS.get(kind, 0) if kind < 12 else (kind - 12) // 2
        length = 8 if kind == 7 else length
        part = payload[at : at + length]
        if len(part) != length or kind in (10, 11):
            raise ValueError("a column that is cut short")
        at += length
        if kind == 0:
            columns.append(None)
        elif kind == 7:
            columns.append(struct.unpack(">d", part)[0])
        elif kind < 7:
            columns.append(int.from_bytes(part, "big", signed=True))
        elif kind < 10:
            columns.append(kind - 8)
        elif kind % 2:
            columns.append(part.decode())  # UnicodeDecodeError is a ValueError
        else:
            columns.append(part)
    if at != len(payload):
        raise ValueError("octets after the last column")
    return tuple(columns)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 octets, signed, and the place after it. Raises IndexError."""
    value = 0
    for n in range(8):
        octet = data[at + n]
        value = value << 7 | octet & 0x7F
        if octet < 0x80:
            return value, at + n + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >= 1 << 63 else value, at + 9
