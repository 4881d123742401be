"""The columns of a catalogue in a file beside it, so that the next start has them at once.

The file is CATALOGUE.columns: a header of fixed size (JSON) and four arrays. The header names the
state of the catalogue's own files when the arrays were read from it, and the swaths and classes
that the keys number. It holds for this very state alone: whoever writes to the catalogue gives its
file or its log another time of change. A file that is damaged, of another state or of another
version is passed over and made anew; one that no Winnow wrote is left alone. Where none can be
written there is none.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import time
import weakref
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from winnow_edge.errors import OutputError
from winnow_edge.files import write_aside
from winnow_ground.catalogue.held import Held, Numbered

MAGIC: Final = b"Winnow columns 2\n"
"""The last digit is the version; it rises with every change of what the arrays mean."""
_OURS: Final = MAGIC[:-2]
_log = logging.getLogger(__name__)
_HEADER: Final = 4096
_ARRAYS: Final = {"id": "<i8", "posterior": "<f4", "key": "<i4", "by_key": "<i4"}
_COARSE_NS, _FINE_NS = 2_500_000_000, 100_000_000
"""How old a time of change must be before a later write is sure to have another: file systems
count in steps of up to two seconds, or of the kernel's clock."""
State = dict[str, list[int]]


@dataclass(frozen=True)
class _Header:
    state: State
    numbered: int
    seen: int
    rows: int
    sum: int


def beside(catalogue: Path) -> Path:
    """Where the columns of a catalogue are kept."""
    return catalogue.with_name(f"{catalogue.name}.columns")


def state_of(catalogue: Path) -> State | None:
    """What tells this state of the catalogue's files from all others; None where it cannot.

    The files are not opened: closing one would take all locks off it that SQLite holds in this
    process (fcntl(2)), and other processes would no longer know of each other.
    """
    try:
        catalogue = catalogue.resolve()  # SQLite keeps the log beside the file, not beside a link
        found = catalogue.stat()
        state = {"": [*_told(found), found.st_ctime_ns]}
        with contextlib.suppress(FileNotFoundError):
            log = catalogue.with_name(f"{catalogue.name}-wal").stat()
            if log.st_size:  # an empty log is none
                # SQLite gives it its owner anew whenever it is opened, which changes st_ctime.
                state["-wal"] = _told(log)
    except (OSError, RuntimeError):  # RuntimeError: a link to itself, before Python 3.13
        return None
    return state


def settled(state: State) -> bool:
    """Whether any later write would give another state."""
    now, times = time.time_ns(), [told[3] for told in state.values()]
    fine = all(one % 1_000_000 for one in times)
    return all(now - one > (_FINE_NS if fine else _COARSE_NS) for one in times)


class Beside:
    """The file of columns beside one catalogue."""

    def __init__(self, catalogue: Path) -> None:
        self.catalogue, self.path = catalogue, beside(catalogue)
        self._intact: weakref.ref[Held] | None = None
        """What the file had when it was last read or written, whole."""
        self._told = False

    def state(self) -> State | None:
        """The state of the catalogue; None where it cannot be told."""
        return state_of(self.catalogue)

    def settled(self) -> State | None:
        """The state of the catalogue; None where a later write might leave the same."""
        state = self.state()
        return state if state is not None and settled(state) else None

    def load(self, numbered: Numbered, state: State | None) -> Held | None:
        """The columns that were kept of this state, which the catalogue had before `numbered` was
        read; None where there are none, they are damaged, or it has another state by now."""
        try:
            if state is None or not self.path.is_file():  # a pipe would be waited for
                return None
            with self.path.open("rb") as file:
                held = _read(file, state, _sum_of(numbered))
        except (OSError, ValueError, TypeError, MemoryError):
            return None
        if held is None or not _fits(held, numbered) or self.state() != state:
            return None
        self._intact = weakref.ref(held)
        return held

    def save(self, state: State, held: Held, numbered: Numbered) -> bool:
        """Keep the columns of this state; whether they are. Where the same are there for another
        state, the header alone is written."""
        arrays, found = [getattr(held, name) for name in _ARRAYS], 0
        for array in arrays:
            found = zlib.crc32(_octets(array), found)
        header = _Header(state, _sum_of(numbered), held.seen, len(held), found)
        try:
            if self._is_foreign():
                return False
            mode = _rights(self.catalogue.stat())
            same = self._intact is not None and self._intact() is held
            if same and _renew(self.path, header, mode):
                return True
            with write_aside(self.path, durable=False) as file:
                if _rights(os.fstat(file.fileno())) != mode:
                    os.fchmod(file.fileno(), mode)
                file.write(_written(header))
                for array in arrays:
                    file.write(_octets(array))
        except (OSError, OutputError):
            return False
        self._intact = weakref.ref(held)
        return True

    def _is_foreign(self) -> bool:
        """Whether another program's file has the name of the columns; said once."""
        if not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            begin = file.read(len(_OURS))
        if begin in (b"", _OURS):
            return False
        if not self._told:
            _log.warning("%s: is no file of columns, and is left as it is", self.path)
        self._told = True
        return True


def _read(file: BufferedReader, state: State, numbered: int) -> Held | None:
    header = _header_of(file)
    if header is None or (header.state, header.numbered) != (state, numbered):
        return None
    if not _is_whole(file, header):
        return None
    arrays = {name: np.empty(header.rows, kind) for name, kind in _ARRAYS.items()}
    found = 0
    for array in arrays.values():
        file.readinto(_octets(array))
        found = zlib.crc32(_octets(array), found)
    return Held(header.seen, **arrays) if found == header.sum else None


def _is_whole(file: BinaryIO, header: _Header) -> bool:
    row = sum(np.dtype(kind).itemsize for kind in _ARRAYS.values())
    return os.fstat(file.fileno()).st_size == _HEADER + row * header.rows


def _rights(found: os.stat_result) -> int:
    """Who may read and write a file; its owner may."""
    return stat.S_IMODE(found.st_mode) & 0o666 | 0o600


def _renew(path: Path, header: _Header, mode: int) -> bool:
    """Write the header over that of the same arrays. The file is never changed behind it, so that
    one that is put in its place meanwhile is not mixed up with it."""
    if not path.is_file():
        return False
    try:
        with path.open("r+b") as file:
            there = _header_of(file)
            if there is None or not _is_whole(file, header):
                return False
            if _rights(os.fstat(file.fileno())) != mode:
                return False
            if (there.seen, there.rows, there.sum) != (header.seen, header.rows, header.sum):
                return False
            file.seek(0)
            file.write(_written(header))
    except FileNotFoundError:
        return False
    return True


def _told(found: os.stat_result) -> list[int]:
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]


def _header_of(file: BinaryIO) -> _Header | None:
    data = file.read(_HEADER)
    if len(data) != _HEADER or not data.startswith(MAGIC):
        return None
    told, _, check = data[len(MAGIC) :].rstrip(b" ").rpartition(b"\n")
    try:
        header = _Header(**json.loads(told))
        return header if int(check) == zlib.crc32(told) else None
    except (ValueError, TypeError, RecursionError):
        return None


def _written(header: _Header) -> bytes:
    told = json.dumps(vars(header)).encode()
    return (MAGIC + told + b"\n%d" % zlib.crc32(told)).ljust(_HEADER)


def _octets(array: npt.NDArray[Any]) -> memoryview:
    return array.view(np.uint8).data


def _sum_of(numbered: Numbered) -> int:
    """One number of the ids of all swaths and classes."""
    return zlib.crc32(numbered.classes.tobytes(), zlib.crc32(numbered.swaths.tobytes()))


def _fits(held: Held, numbered: Numbered) -> bool:
    """Whether the numbers in it can be used as they are."""
    if not len(held):
        return True
    return bool(
        held.key.min() >= 0
        and held.key.max() < numbered.cells
        and held.by_key.min() >= 0
        and held.by_key.max() < len(held)
    )
