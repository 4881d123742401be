"""The state of a swath between two blocks: JSON in the store, checked once when it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from winnow_edge.errors import SwathKnownError
from winnow_edge.loop.summary import Tally, Verified
from winnow_edge.loop.verdict import Votes
from winnow_edge.tables import Reader, setting

STATE: Final = 2
"""Version of what is saved between blocks: another version's swath cannot be gone on with."""
_FAR: Final = 2**32 - 1
_HINT: Final = "give it another --name"


@dataclass(frozen=True)
class _Detection:
    """A detection that was open, or of an open one's feature, as `Merger.save` writes it."""

    tile: int = setting(..., 0, _FAR)
    box: tuple[int, ...] = setting(..., 0, _FAR, fewest=4, most=4)
    scale: int = setting(..., 1, _FAR)
    class_index: int = setting(..., 0, 255, key="class")
    posterior: float = setting(..., 0, 1)
    dropped: bool = setting(False)
    kept: bool = setting(False)
    waits: int = setting(0, 0, _FAR)
    touched: tuple[int, ...] = setting((), 0, _FAR)
    beside: tuple[tuple[int, ...], ...] = setting((), 0, _FAR)
    owner: int | None = setting(None, 0, _FAR)

    def names(self) -> list[int]:
        """The places of the detections that it names."""
        return [*self.touched, *(pair[0] for pair in self.beside), self.owner or 0]


@dataclass(frozen=True)
class _Version:
    state: int = setting(..., 0, _FAR)


@dataclass(frozen=True)
class Saved:
    """What an earlier run left; `merger` is what `Merger.restore` takes."""

    tally: Tally = setting(...)
    votes: Votes = setting(...)
    merger: tuple[Any, ...] = setting(...)
    check: int = setting(..., 0, _FAR)
    state: int = setting(...)
    verified: Verified = setting(Verified)


def read_saved(data: bytes, name: str, next_tile: int, classes: int) -> Saved:
    """The state of the swath `name`, of which tiles before `next_tile` are committed, and which has
    so many classes. Raises SwathKnownError where it is another version's or makes no sense."""
    where = f"swath {name!r}"
    raw = Reader(where, SwathKnownError, hint=_HINT).json(data)
    if Reader(where, SwathKnownError, others=True, hint=_HINT).table(_Version, raw).state != STATE:
        raise SwathKnownError(
            "was left unfinished by another version of winnow-edge", where=where, hint=_HINT
        )
    reader = Reader(where, SwathKnownError, hint=_HINT)
    saved = reader.table(Saved, raw)
    for number, entry in enumerate(saved.merger):
        at = (f"merger[{number}]",)
        found = reader.table(_Detection, entry, at)
        sound = (
            found.tile < next_tile
            and found.class_index < classes
            and all(place < len(saved.merger) for place in found.names())
            and all(len(pair) == 2 for pair in found.beside)
        )
        if not sound:
            raise reader.refusal(
                at, f"`{at[0]}` names a tile, class or detection that is not there"
            )
    return saved
