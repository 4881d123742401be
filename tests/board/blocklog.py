"""What a machine wrote to its disk, in order, and what is left of it when the power fails.

The emulator's driver `blklogwrites` keeps the log; its layout is that of Linux's dm-log-writes
(Documentation/admin-guide/device-mapper/log-writes.rst): sectors of 512 octets, the first for the
log itself, then for each request one that describes it and those that it wrote.

A disk has what was written before its last completed flush. Of the requests since, a disk that
keeps them in its own cache may have any, whole or some of their sectors.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
FLUSH, FUA, DISCARD = 1, 2, 4
_ENTRY = struct.Struct("<4Q")
"""First sector, sectors, flags, octets of a mark's text."""
_DATA = 1 << 30
"""No request is longer: what says so is not the description of one."""


@dataclass(frozen=True)
class Request:
    """A write, a flush, or both; `place` is that of its data in the log."""

    sector: int
    sectors: int
    flags: int
    place: int

    @property
    def written(self) -> int:
        return 0 if self.flags & DISCARD else self.sectors * SECTOR


def requests(log: Path) -> list[Request]:
    """Those of a log. One under way when the emulator was killed may be missing in the middle; it
    was not completed, so that it may be missing on the disk too."""
    size = log.stat().st_size
    found: list[Request] = []
    with log.open("rb") as stream:
        at = SECTOR
        while at + SECTOR <= size:
            request = _described(stream.fileno(), at, size)
            if request is None:
                # The hole of a request that was not written: the next description is behind it.
                at += SECTOR
                continue
            found.append(request)
            at = request.place + request.written
    return found


def _described(file: int, at: int, size: int) -> Request | None:
    head = os.pread(file, SECTOR, at)
    sector, sectors, flags, text = _ENTRY.unpack_from(head)
    filled = any(head[_ENTRY.size :]) or flags & ~(FLUSH | FUA | DISCARD) or text
    if filled or not (sectors or flags) or sectors * SECTOR > _DATA:
        return None
    request = Request(sector, sectors, flags, at + SECTOR)
    return request if request.place + request.written <= size else None


def kept(found: Sequence[Request], rng: random.Random) -> Iterator[tuple[Request, float]]:
    """Those that reached the disk, each with the share of its sectors: all that were flushed; of
    the rest all, none, or some."""
    flushed = max((n for n, r in enumerate(found) if r.flags & FLUSH), default=-1)
    how = rng.choice(("all", "none", "some"))
    for number, request in enumerate(found):
        if number < flushed or request.flags & FUA or how == "all":
            yield request, 1.0
        elif how == "some" and rng.random() < 0.5:
            yield request, rng.choice((0.5, 1.0))


def apply(log: Path, disk: Path, rng: random.Random | None) -> int:
    """Bring a disk to where a cut leaves it (`rng` None: everything); how many requests of the log
    are not, or not all, on it."""
    found = requests(log)
    reached = [(r, 1.0) for r in found] if rng is None else list(kept(found, rng))
    with log.open("rb") as source, disk.open("r+b") as target:
        for request, share in reached:
            if not request.written:
                continue
            data = os.pread(source.fileno(), request.written, request.place)
            for start in range(0, len(data), SECTOR) if share < 1.0 else (0,):
                end = start + SECTOR if share < 1.0 else len(data)
                if share == 1.0 or (rng is not None and rng.random() < share):
                    at = request.sector * SECTOR + start
                    os.pwrite(target.fileno(), data[start:end], at)
    whole = sum(share == 1.0 for _, share in reached)
    return len(found) - whole
