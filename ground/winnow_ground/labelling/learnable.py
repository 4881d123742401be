"""Labelled tiles as a training can use them: what they show, and where their pixels are."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from winnow_edge.products.kinds import Box
from winnow_ground.catalogue.schema import HAVE
from winnow_ground.labelling.pictures import inside
from winnow_ground.labelling.settle import settled

_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Learnable:
    """A tile on which people agree: `class_name` is what it shows (None: nothing).

    Its pixels are those of `file`, or of `box` in `picture`, binned by `scale`; one of both is
    there. `swath` is the name of its swath.
    """

    tile: int
    class_name: str | None
    swath: str
    file: Path | None
    picture: Path | None
    box: Box
    scale: int


@dataclass(frozen=True)
class Learned:
    """Tiles that can be learned from, by number, and how many cannot, by the reason."""

    tiles: tuple[Learnable, ...]
    left_out: dict[str, int]


def learnable(db: sqlite3.Connection) -> Learned:
    """All tiles of a catalogue on which people agree, or of which one decided, with pixels."""
    known = settled(db)
    (labelled,) = db.execute(
        "SELECT count(DISTINCT tile) FROM label WHERE withdrawn IS NULL"
    ).fetchone()
    left_out = Counter({"people disagree, are unsure or put it off": labelled - len(known)})
    tiles, numbers, seen = [], sorted(known), _Digests(db)
    for first in range(0, len(numbers), _CHUNK):
        part = numbers[first : first + _CHUNK]
        for row in db.execute(_ROWS.format(",".join("?" * len(part))), part):
            tile, swath, sha256, folder, file, picture, have, scale, *box = row
            own = inside(folder, file) if have == HAVE.index("image") else None
            whole = inside(folder, picture)
            if own is None and whole is None:
                left_out["no image of it is here"] += 1
                continue
            looked_at = known[tile].sha256
            if own is not None:
                same = not looked_at or not looked_at.isdisjoint(seen.of_tile(own, tile, folder))
            else:
                same = not sha256 or (
                    seen.of(whole) == sha256 and (not looked_at or sha256 in looked_at)
                )
            if not same:
                left_out["its picture is another one than was labelled"] += 1
                continue
            name = known[tile].class_name
            tiles.append(Learnable(tile, name, swath, own, whole, Box(*box), scale))
    return Learned(tuple(tiles), dict(+left_out))


class _Digests:
    """SHA-256 of the octets of files, each read once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[Path, str] = {}

    def of(self, path: Path | None) -> str:
        """Hexadecimal; "" for a file that cannot be read."""
        if path is None:
            return ""
        if path not in self._known:
            try:
                with path.open("rb") as file:
                    self._known[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                self._known[path] = ""
        return self._known[path]

    def of_tile(self, own: Path, tile: int, folder: str) -> set[str]:
        """Of a tile's picture, and of all that came down of it: what was labelled may have been
        its thumbnail."""
        files = (inside(folder, name) for (name,) in self._db.execute(_PRODUCTS, (tile,)))
        return {self.of(path) for path in (own, *files)}


_PRODUCTS: Final = """
SELECT product.file FROM tile JOIN product ON product.swath = tile.swath AND tile = tile.number
WHERE tile.id = ? AND product.file IS NOT NULL
"""
_ROWS: Final = """
SELECT tile.id, swath.name, swath.sha256, folder, file, picture, have, scale, line, sample,
       tile.lines, tile.samples
FROM tile JOIN swath ON swath.id = tile.swath WHERE tile.id IN ({}) ORDER BY tile.id
"""
