"""The quota of a simulated store: what products take on the disk, and what goes for want of room.

The order is that of `winnow_edge.store.quota`; pages of the file are counted as what a product
takes on average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from winnow_edge.mission import Mission
from winnow_edge.products.background import MOST_TILES, encode_background
from winnow_edge.products.encode import HEAD, record_products
from winnow_edge.products.kinds import NO_CLASS, Flag, Kind
from winnow_edge.store.budget import CONTACT_PAGES, PAGE, Budget, pages_for
from winnow_edge.store.compact import FEWEST
from winnow_edge.store.schema import ProductState
from winnow_ground.simulation.decide import Indices, Made, empty_columns

SLACK: Final = 1 / 64
"""Share of the room that is freed beyond need, so that not every row pays for sorting."""
RECORD_ROW: Final = 56
ROW, EMPTY, ROW_MOST = 100, 1 / 4, 720
"""Octets on the disk beside its own: of a record; of any other product a row with its entries in
the indices, and for what stays empty on a page a share of its size, `ROW_MOST` together (found by
filling stores of format 3)."""
HOLES: Final = 0.12
"""Share of the room that lies between rows once some have been deleted."""
REMEMBERED: Final = 120
"""Octets of a picture that the ground has, of which the store remembers the sketch."""
TAIL_SHARE: Final = 6 / 13
"""What is left of time and place of a tile in a background product (docs/background.md)."""
Octets = npt.NDArray[np.int64]


class Swath(Protocol):
    """A swath on board, as the quota looks at it (`onboard.Swath`)."""

    number: int
    made: Made
    placed: Octets


class Board(Protocol):
    """A store on board, as the quota looks at it (`onboard.OnBoard`)."""

    held: int

    @property
    def swaths(self) -> Sequence[Swath]: ...
    @property
    def columns(self) -> npt.NDArray[np.void]: ...
    @property
    def state(self) -> npt.NDArray[np.uint8]: ...
    @property
    def disk(self) -> Octets: ...
    @property
    def compacted(self) -> npt.NDArray[np.bool_]: ...
    def insert(self, columns: npt.NDArray[np.void], now: float) -> int: ...


def on_disk(columns: npt.NDArray[np.void]) -> Octets:
    """Octets (n,) that products take on the disk."""
    size = columns["bytes"].astype(np.int64)
    others = np.minimum(ROW + size * EMPTY, ROW_MOST).astype(np.int64)
    return size + np.where(columns["kind"] == Kind.RECORD, RECORD_ROW, others)


class Quota:
    """Keeps the products of a board within the mission's quota; `worth` says what is spared."""

    def __init__(
        self,
        board: Board,
        mission: Mission,
        worth: Callable[[Indices], npt.NDArray[np.float64]],
    ) -> None:
        self._board, self._worth = board, worth
        budget = Budget.of(int(mission.store.quota_mb * 1e6))
        block = pages_for(())  # which must find room before any of its products
        self.room = max(1, budget.pages - CONTACT_PAGES - block) * PAGE
        self._full = False
        self._swath, self._tile = 0, -1
        self._records: list[bytes] = []
        """Of the swath that is compacted, by tile."""

    def keep(self, now: float) -> None:
        """Make room if there is none, a little more than is needed."""
        board = self._board
        if board.held <= self.room:
            return
        if not self._full:
            self._full, self.room = True, int(self.room * (1 - HOLES))
        target = int(self.room * (1 - SLACK))
        self._drop_delivered()
        while board.held > target and self._compact(now):
            pass
        stored, sent = (ProductState.STORED,), (ProductState.SENT,)
        self._evict(stored, heavy=True, target=target)
        self._evict(sent, heavy=True, target=target)
        if board.held > target:
            self._forget_delivered()
        self._evict(stored + sent, heavy=False, target=target)

    def _free(self, places: Indices, left: int = 0) -> None:
        """These take no more than `left` octets each."""
        board = self._board
        board.held -= int(board.disk[places].sum()) - left * len(places)
        board.disk[places] = left

    def _drop_delivered(self) -> None:
        """The data of what the ground has: pictures are remembered."""
        places, kinds = self._delivered()
        pictures = (kinds == Kind.THUMBNAIL) | (kinds == Kind.IMAGE)
        self._free(places[pictures & (self._board.disk[places] > REMEMBERED)], REMEMBERED)
        self._free(places[~pictures])

    def _forget_delivered(self) -> None:
        self._free(self._delivered()[0])

    def _delivered(self) -> tuple[Indices, npt.NDArray[np.uint8]]:
        """Places and kinds of what the ground has and still takes room, but for swaths."""
        board = self._board
        there = (board.state == ProductState.ACKNOWLEDGED) & (board.disk > 0)
        places = np.flatnonzero(there)
        kinds = board.columns["kind"][places]
        return places[kinds != Kind.SWATH], kinds[kinds != Kind.SWATH]

    def _evict(self, states: Sequence[ProductState], *, heavy: bool, target: int) -> None:
        """Give up the least useful until the target is reached."""
        board = self._board
        if board.held <= target:
            return
        kinds = board.columns["kind"]
        of_kind = kinds > Kind.RECORD if heavy else kinds == Kind.RECORD
        places = np.flatnonzero(np.isin(board.state, states) & of_kind)
        order = places[np.argsort(self._worth(places), kind="stable")]
        freed = np.cumsum(board.disk[order])
        chosen = order[: int(np.searchsorted(freed, board.held - target)) + 1]
        board.state[chosen] = ProductState.EVICTED
        self._free(chosen)

    def _compact(self, now: float) -> bool:
        """Make the next records without a detection one product; False where there are none."""
        board = self._board
        while self._swath < len(board.swaths):
            swath = board.swaths[self._swath]
            places = swath.placed[swath.placed >= 0]
            columns = board.columns[places]
            wanted = (columns["kind"] == Kind.RECORD) & ~columns["detection"]
            wanted &= (board.state[places] == ProductState.STORED) & (columns["tile"] > self._tile)
            found, tiles = places[wanted], columns["tile"][wanted]
            found = found[np.argsort(tiles, kind="stable")[:MOST_TILES]]
            if len(found) >= FEWEST:
                self._tile = int(board.columns["tile"][found[-1]])
                self._replace(swath, found, now)
                return True
            if self._swath + 1 == len(board.swaths):
                return False  # its records are still to come
            self._swath, self._tile, self._records = self._swath + 1, -1, []
        return False

    def _replace(self, swath: Swath, found: Indices, now: float) -> None:
        board, made = self._board, swath.made
        self._records = self._records or records_of(made, swath.number)
        tiles = board.columns["tile"][found].tolist()
        octets = len(encode_background([self._records[tile] for tile in tiles]))
        background = empty_columns(1)
        background["kind"], background["swath"] = Kind.BACKGROUND, swath.number
        background["tile"], background["tiles"] = tiles[0], len(tiles)
        background["class_index"] = NO_CLASS
        background["bytes"] = octets + round(len(tiles) * made.scores.tail * TAIL_SHARE)
        board.compacted[found] = True
        board.state[found] = ProductState.ACKNOWLEDGED  # nothing is left of them to be sent
        self._free(found)
        board.insert(background, now)


def records_of(made: Made, swath: int) -> list[bytes]:
    """The heads of the records of all tiles of a swath that are no detections."""
    tiles = made.scores.tiles
    posterior, flags = np.zeros(len(tiles)), np.where(tiles["screened"], Flag.SCREENED, Flag.NONE)
    mine = made.columns["kind"] == Kind.RECORD
    posterior[made.columns["tile"][mine]] = made.columns["posterior"][mine]
    products = record_products(
        swath,
        0,
        line=tiles["line"].astype(np.int64),
        lines=tiles["lines"].astype(np.int64),
        sample=tiles["sample"].astype(np.int64),
        samples=tiles["samples"].astype(np.int64),
        scale=tiles["scale"].astype(np.int64),
        class_index=made.best,
        posterior=posterior,
        flags=flags.astype(np.uint8),
    )
    return [product.data[: HEAD.size] for product in products]
