"""A disk as a power cut may leave it: calls of a process replayed, what is not yet synced in part.

After Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014). The model is that of
POSIX, wider than any file system's own:

- What was written to a file is on the disk once the file is synced. Before, each write may be
  there, torn at any sector or octet, or not, in any order; where it makes the file longer, its
  place may hold zeros or rubbish.
- A name that was made, changed or removed is on the disk once its folder is synced. Before, any of
  these changes may be there or not; a rename is whole or not at all.

Octets that nobody wrote to stay as they are, as SQLite assumes too ("powersafe overwrite").
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.power.shim import Call
from winnow_edge.store.room import RESERVE_FILE

SECTOR = 512
RESERVED = 65_536
"""Of a longer allocation, which is zeros, so much is kept: nobody reads it."""

Pieces = Sequence[tuple[int, bytes]]
"""Parts of a write, each with its place in the file."""


@dataclass(eq=False)
class File:
    """What is on the disk of a file for certain, and the calls since."""

    synced: bytes = b""
    since: list[Call] = field(default_factory=list)
    _whole: bytes | None = None

    def play(self, call: Call) -> None:
        self.since.append(call)
        self._whole = None

    def sync(self) -> None:
        self.synced, self.since = self.whole(), []

    def whole(self) -> bytes:
        """With everything that was asked for."""
        if self._whole is None:
            self._whole = _applied(self.synced, self.since)
        return self._whole


Entry = File | None
"""What a name stands for; None is a folder."""
Names = dict[str, Entry]


@dataclass(frozen=True)
class Renaming:
    """A change of names: `old` is no more, `new` is `entry` (None, False: no such name)."""

    old: str | None
    new: str | None
    entry: Entry = None


class Disk:
    """A folder, replayed call by call."""

    def __init__(self, root: Path) -> None:
        """As the folder is now, all of it synced."""
        self._by_inode: dict[int, File] = {}
        self._names: Names = {}
        self._since: list[Renaming] = []
        self._root = str(root)
        for path in root.rglob("*"):
            name = self._inside(str(path))
            if path.is_dir():
                self._names[name] = None
            else:
                # What is long is an allocation.
                longest = RESERVED if path.name == RESERVE_FILE else None
                file = File(path.read_bytes()[:longest])
                self._names[name] = self._by_inode[path.stat().st_ino] = file

    def play(self, call: Call) -> None:
        """One more call. Raises ValueError for one that the model does not know."""
        op = call.op
        if op in "WTA":
            self._by_inode[call.inode].play(call)
        elif op == "S":
            self._by_inode[call.inode].sync()
        elif op == "D":
            self._sync_folder(self._inside(call.path))
        elif op == "C":
            file = self._by_inode[call.inode] = File()
            self._since.append(Renaming(None, self._inside(call.path), file))
        elif op == "M":
            self._since.append(Renaming(None, self._inside(call.path)))
        elif op in "UX":
            self._since.append(Renaming(self._inside(call.path), None))
        elif op in "RL":
            old, new = self._inside(call.path), self._inside(call.data.decode())
            entry = self.names()[old]
            self._since.append(Renaming(old if op == "R" else None, new, entry))
        elif not (op == "P" or (op == "m" and call.path.endswith("-shm"))):
            # SQLite's index of the log is made anew by the first that opens the store.
            raise ValueError(f"the model knows no such call: {call.op} {call.path} {call.data!r}")

    def names(self) -> Names:
        """All names, those too that are not on the disk yet."""
        return _renamed(self._names, self._since)

    def open_calls(self) -> int:
        """How many changes may or may not be on the disk."""
        files = {id(f): f for f in (*self._names.values(), *self.names().values()) if f is not None}
        return len(self._since) + sum(len(file.since) for file in files.values())

    def whole(self) -> dict[str, bytes | None]:
        """All that was asked for: what a killed process leaves; None is a folder."""
        return {n: None if f is None else f.whole() for n, f in self.names().items()}

    def synced(self) -> dict[str, bytes | None]:
        """Nothing but what is on the disk for certain."""
        return _reached({n: None if f is None else f.synced for n, f in self._names.items()})

    def cut(self, rng: random.Random) -> dict[str, bytes | None]:
        """What a power cut may leave, drawn at random."""
        kept: list[Renaming]
        how = rng.random()
        if how < 0.5:
            kept = self._since
        elif how < 0.8:
            kept = self._since[: rng.randint(0, len(self._since))]
        else:
            kept = [change for change in self._since if rng.random() < 0.5]
        names = _renamed(self._names, kept)
        return _reached({n: None if f is None else _torn(f, rng) for n, f in names.items()})

    def _sync_folder(self, folder: str) -> None:
        for change in self._since:
            if any(n is not None and _parent(n) == folder for n in (change.old, change.new)):
                self._names = _renamed(self._names, [change])
        self._since = [
            change
            for change in self._since
            if not any(n is not None and _parent(n) == folder for n in (change.old, change.new))
        ]

    def _inside(self, path: str) -> str:
        return path[len(self._root) :].strip("/")


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _reached(names: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """Without the files whose folder is not on the disk: they are nowhere."""
    return {name: file for name, file in names.items() if _has_folder(name, names)}


def _has_folder(name: str, names: dict[str, bytes | None]) -> bool:
    parent = _parent(name)
    return not parent or (parent in names and names[parent] is None and _has_folder(parent, names))


def _renamed(names: Names, changes: Sequence[Renaming]) -> Names:
    after = dict(names)
    for change in changes:
        if change.old is not None:
            after.pop(change.old, None)
        if change.new is not None:
            after[change.new] = change.entry
    return after


def _applied(start: bytes, calls: Sequence[Call]) -> bytes:
    content = bytearray(start)
    for call in calls:
        if call.op == "W":
            _put(content, call.a, call.data)
        else:
            _resize(content, call)
    return bytes(content)


def _resize(content: bytearray, call: Call) -> None:
    if call.op == "A":
        content.extend(bytes(max(0, call.a + min(call.b, RESERVED) - len(content))))
    else:
        del content[call.a :]
        content.extend(bytes(call.a - len(content)))


def _put(content: bytearray, at: int, data: bytes) -> None:
    if at > len(content):
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


def _torn(file: File, rng: random.Random) -> bytes:
    """A file with part of what was asked for since it was synced."""
    calls, count = file.since, len(file.since)
    if not calls:
        return file.synced
    how = rng.randrange(6)
    if how == 0:
        return file.synced
    if how == 1:
        return file.whole()
    content = bytearray(file.synced)
    if how == 2:  # in order, the last of them torn
        end = rng.randrange(count)
        kept = dict.fromkeys(range(end), 1.0) | {end: 0.5}
    elif how == 3:  # one is missing
        kept = dict.fromkeys(set(range(count)) - {rng.randrange(count)}, 1.0)
    elif how == 4:  # the latest came first
        kept = dict.fromkeys(range(rng.randrange(count), count), 1.0)
    else:
        share = rng.choice((0.1, 0.5, 0.9))
        kept = {i: rng.choice((0.5, 1.0)) for i in range(count) if rng.random() < share}
    rubbish = rng.choice((None, None, "zeros", "random"))
    for number, call in enumerate(calls):
        share = kept.get(number, 0.0)
        if call.op != "W":
            if share:
                _resize(content, call)
            continue
        if share < 1.0 and rubbish and call.a + len(call.data) > len(content):
            longer = call.a + len(call.data) - len(content)
            content.extend(bytes(longer) if rubbish == "zeros" else rng.randbytes(longer))
        for at, data in _pieces(call, share, rng):
            _put(content, at, data)
    return bytes(content)


def _pieces(call: Call, share: float, rng: random.Random) -> Pieces:
    """The parts of a write that reached the disk."""
    if share == 1.0:
        return [(call.a, call.data)]
    if share == 0.0:
        return []
    if rng.random() < 0.5:  # it ends in the middle
        return [(call.a, call.data[: rng.randrange(len(call.data) + 1)])]
    first = call.a - call.a % SECTOR
    pieces = []
    for start in range(first, call.a + len(call.data), SECTOR):
        if rng.random() < share:
            low, high = max(start, call.a), min(start + SECTOR, call.a + len(call.data))
            pieces.append((low, call.data[low - call.a : high - call.a]))
    return pieces
