"""Labelled tiles as a training can use them: what they show, and where their pixels are."""

from __future__ import annotations

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
    tiles, numbers = [], sorted(known)
    for first in range(0, len(numbers), _CHUNK):
        part = numbers[first : first + _CHUNK]
        for row in db.execute(_ROWS.format(",".join("?" * len(part))), part):
            tile, swath, folder, file, picture, have, scale, *box = row
            own = inside(folder, file) if have == HAVE.index("image") else None
            whole = inside(folder, picture)
            if own is None and whole is None:
                left_out["no image of it is here"] += 1
                continue
            name = known[tile].class_name
            tiles.append(Learnable(tile, name, swath, own, whole, Box(*box), scale))
    return Learned(tuple(tiles), dict(+left_out))


_ROWS: Final = """
SELECT tile.id, swath.name, folder, file, picture, have, scale, line, sample, tile.lines,
       tile.samples
FROM tile JOIN swath ON swath.id = tile.swath WHERE tile.id IN ({}) ORDER BY tile.id
"""
