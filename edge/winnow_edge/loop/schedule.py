"""Where tiles lie: origins along one axis, tile rows as they complete, boxes in the swath.

Along an axis of `extent` binned pixels, tiles begin at 0, hop, 2 hop, ... and one more lies flush
with the end, so that no pixel is left outside every tile. The extent along the swath is not known
before its end: `TileRows` hands out each row of tiles as soon as its last line is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from winnow_edge.products.kinds import Box


def origins(extent: int, tile: int, hop: int) -> list[int]:
    """First pixels of the tiles along an axis; one tile at 0 if it is shorter than a tile.

    >>> origins(300, tile=128, hop=64)
    [0, 64, 128, 172]
    >>> origins(100, tile=128, hop=64)
    [0]
    """
    if extent <= tile:
        return [0]
    regular = list(range(0, extent - tile + 1, hop))
    return regular if regular[-1] == extent - tile else [*regular, extent - tile]


@dataclass(frozen=True, slots=True)
class TileRow:
    """A row of tiles at one scale: `origin` its first binned row.

    `line` is the swath line with which it was complete. `last` marks a row that lies where it does
    because the swath ends, and comes after all others.
    """

    line: int
    last: bool
    scale: int
    origin: int

    @property
    def order(self) -> tuple[bool, int, int]:
        """Sort key of the rows of a swath: independent of how its lines were delivered."""
        return (self.last, self.line, self.scale)


class TileRows:
    """The tile rows of one scale, in order.

    >>> rows = TileRows(tile=128, hop=64, scale=2)
    >>> [row.origin for row in rows.complete(200)]
    [0, 64]
    >>> [(row.origin, row.line, row.last) for row in rows.flush(210, lines=419)]
    [(82, 419, True)]
    """

    def __init__(self, tile: int, hop: int, scale: int) -> None:
        self.tile, self.hop, self.scale = tile, hop, scale
        self._next = 0

    def complete(self, rows: int) -> Iterator[TileRow]:
        """Rows of tiles that are complete once `rows` whole binned rows are there."""
        while self._next + self.tile <= rows:
            end = (self._next + self.tile) * self.scale
            yield TileRow(end, False, self.scale, self._next)
            self._next += self.hop

    def flush(self, rows: int, lines: int) -> Iterator[TileRow]:
        """What is left at the end of a swath of `lines` lines, `rows` binned rows in all."""
        covered = self._next - self.hop + self.tile if self._next else 0
        if covered < rows:
            yield TileRow(lines, True, self.scale, max(rows - self.tile, 0))


def box_of(origin: int, column: int, *, tile: int, scale: int, lines: int, samples: int) -> Box:
    """The box of the tile at binned row `origin` and `column`, clipped to the swath.

    >>> box_of(82, 64, tile=128, scale=2, lines=419, samples=2048)
    Box(line=164, sample=128, lines=255, samples=256)
    """
    line, sample, side = origin * scale, column * scale, tile * scale
    return Box(line, sample, min(side, lines - line), min(side, samples - sample))
