"""The quota of a simulated store: what products take on the disk, and what goes for want of room.

The order is that of `winnow_edge.store.quota`, and so is the room that a block must find; pages of
the file are counted by `store_file`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from winnow_edge.loop.intake import BLOCK_BYTES, BLOCK_LINES
from winnow_edge.mission import Mission
from winnow_edge.products.background import MOST_TILES, encode_background
from winnow_edge.products.encode import HEAD, record_products
from winnow_edge.products.kinds import NO_CLASS, Flag, Kind
from winnow_edge.store.budget import CONTACT_PAGES, FRAME, PAGE, Budget, pages_for
from winnow_edge.store.compact import FEWEST
from winnow_edge.store.schema import ProductState
from winnow_ground.simulation.decide import Indices, Made, empty_columns
from winnow_ground.simulation.store_file import StoreFile

_SLACK: Final = 256
"""One page in so many is freed beyond need (`store.quota`)."""
_BATCH: Final = 64
"""Products that are evicted at a time (`store.quota`)."""
REMEMBERED: Final = 58
"""Octets of a picture that the ground has, of which the store remembers the sketch."""
_PENDING: Final = 1500
"""Octets of the state of a swath that is committed with each of its blocks, about."""
TAIL_SHARE: Final = 6 / 13
"""What is left of time and place of a tile in a background product (docs/background.md)."""
Octets = npt.NDArray[np.int64]
Worths = npt.NDArray[np.float64]
Worth = Callable[[Indices], Worths]
"""Value per byte of products at these places."""


class Swath(Protocol):
    """A swath on board, as the quota looks at it (`onboard.Swath`)."""

    number: int
    made: Made
    placed: Octets


@dataclass(frozen=True, slots=True)
class Block:
    """What of a swath is committed at once: products from `low` to before `high`, and the pages
    that must be free for them."""

    swath: Swath
    low: int
    high: int
    need: int


class Board(Protocol):
    """A store on board, as the quota looks at it (`onboard.OnBoard`)."""

    changes: int

    @property
    def swaths(self) -> Sequence[Swath]: ...
    @property
    def columns(self) -> npt.NDArray[np.void]: ...
    @property
    def state(self) -> npt.NDArray[np.uint8]: ...
    @property
    def compacted(self) -> npt.NDArray[np.bool_]: ...
    def worth_before(self, swath: Any, low: int, high: int, worth: Worth) -> Worths: ...
    def insert(self, columns: npt.NDArray[np.void], now: float) -> int: ...


class Quota:
    """Keeps the products of a board within the mission's quota; `worth` says what is spared."""

    def __init__(
        self,
        board: Board,
        mission: Mission,
        worth: Worth,
    ) -> None:
        self._board, self._worth = board, worth
        self.file = StoreFile()
        self._budget = Budget.of(int(mission.store.quota_mb * 1e6))
        self._most = self._budget.pages - CONTACT_PAGES
        self._laid, self._cell, self._own = (np.zeros(0, np.int64) for _ in range(3))
        self._swath, self._tile = 0, -1
        self._records: list[bytes] = []
        """Of the swath that is compacted, by tile."""
        self._queue: list[tuple[float, int]] = []
        self._ranked, self._known = 0, -1
        """Products up to this one were ranked, after so many changes of states."""

    @property
    def octets(self) -> int:
        """What the store takes on the disk."""
        return self.file.pages * PAGE

    def add(self, at: slice, cells: Octets, own: Octets) -> None:
        """Products are stored at these places; `store_file.cells` says what each takes. Those that
        take nothing were left out of their block."""
        if at.stop > len(self._cell):
            more = np.zeros(max(at.stop, 2 * len(self._cell)) - len(self._cell), np.int64)
            self._laid, self._cell, self._own = (
                np.concatenate([some, more]) for some in (self._laid, self._cell, self._own)
            )
        stored = cells > 0
        others = int(np.count_nonzero(self._board.columns["kind"][at][stored] > Kind.RECORD))
        self._laid[at][stored] = self.file.add(cells[stored].tolist(), int(own.sum()), others)
        self._cell[at], self._own[at] = cells, own

    def admit(self, block: Block, now: float) -> set[int]:
        """Make room for a block before it is stored; which of its pictures are left out."""
        left_out = set[int]()
        if self._fits(block.need) and self._room() >= block.need:
            return left_out
        sizes, order = self._waiting(block)
        need, lossless = block.need, True
        while True:
            fits, least = self._fits(need), order[0][0] if order else math.inf
            if (fits and self._free_pages(need, least, lossless, now)) or not order:
                return left_out
            lossless = lossless and not fits
            for _, local in order[: 1 if fits else (len(order) + 1) // 2]:
                left_out.add(local)
                sizes.pop(local)
            order = order[1 if fits else (len(order) + 1) // 2 :]
            need = pages_for([*sizes.values(), _PENDING])

    def _waiting(self, block: Block) -> tuple[dict[int, int], list[tuple[float, int]]]:
        """Octets of the products of a block by their places in the swath; worth and place of those
        that are no records, the least useful first."""
        made, places = block.swath.made, range(block.low, block.high)
        columns = made.columns[block.low : block.high]
        heavy = np.flatnonzero(columns["kind"] > Kind.RECORD)
        worth = self._board.worth_before(block.swath, block.low, block.high, self._worth)
        sizes = dict(zip(places, columns["bytes"].tolist(), strict=True))
        return sizes, sorted(zip(worth[heavy].tolist(), (heavy + block.low).tolist(), strict=True))

    def _fits(self, need: int) -> bool:
        """Whether the log has room for so many pages."""
        pages = min(self._most, self.file.pages + need)
        return need * FRAME <= self._budget.log_room(pages)

    def _free_pages(self, need: int, least: float, lossless: bool, now: float) -> bool:
        """Have so many pages free, and some more if there were none; nothing is given up for a
        block whose least useful picture is worth less. `lossless`: what costs nothing is to be
        looked at."""
        if self._room() >= need:
            return True
        wanted = need + self._most // _SLACK
        if lossless:
            self._drop_delivered()
            while self._room() < wanted and self._compact(now):
                pass
        while self._room() < wanted and (few := self._least(least)):
            self._give_up(np.array(few, np.intp))
        waiting = self._queue[0][0] if self._queue else math.inf
        if self._room() < wanted and least >= waiting:  # else the block's own go
            self._evict((ProductState.SENT,), heavy=True, wanted=wanted)
            if self._room() < wanted:
                self._free(self._delivered()[0])
            if least == math.inf:
                states = (ProductState.STORED, ProductState.SENT)
                self._evict(states, heavy=False, wanted=wanted)
        return self._room() >= need

    def _room(self) -> int:
        return self._most - self.file.pages

    def _free(self, places: Indices, left: int = 0) -> None:
        """These take no more than `left` octets each."""
        rows = (0, 0)
        if not left:
            records = int(np.count_nonzero(self._board.columns["kind"][places] <= Kind.RECORD))
            rows = records, len(places) - records
        freed, own = self._cell[places] - left, int(self._own[places].sum())
        self.file.remove(self._laid[places].tolist(), freed.tolist(), own, rows)
        self._cell[places], self._own[places] = left, 0

    def there(self) -> npt.NDArray[np.bool_]:
        """Which products the store has (n,), though it be what it remembers of them."""
        return self._cell[: len(self._board.state)] > 0

    def _drop_delivered(self) -> None:
        """The data of what the ground has: pictures are remembered."""
        places, kinds = self._delivered()
        pictures = (kinds == Kind.THUMBNAIL) | (kinds == Kind.IMAGE)
        self._free(places[pictures & (self._cell[places] > REMEMBERED)], REMEMBERED)
        self._free(places[~pictures])

    def _delivered(self) -> tuple[Indices, npt.NDArray[np.uint8]]:
        """Places and kinds of what the ground has and still takes room, but for swaths."""
        board = self._board
        places = np.flatnonzero((board.state == ProductState.ACKNOWLEDGED) & self.there())
        kinds = board.columns["kind"][places]
        return places[kinds != Kind.SWATH], kinds[kinds != Kind.SWATH]

    def _least(self, bar: float) -> list[int]:
        """Places of a few of the least useful that wait to be sent, worth at most `bar`, but for
        records."""
        board = self._board
        if self._known != board.changes:
            self._queue, self._ranked, self._known = [], 0, board.changes
        new = np.arange(self._ranked, len(board.state))
        fresh = (board.state[new] == ProductState.STORED) & (board.columns["kind"][new] > 1)
        if fresh.any():
            places = new[fresh]
            entries = list(zip(self._worth(places).tolist(), places.tolist(), strict=True))
            if not self._queue:
                self._queue = sorted(entries)
            else:
                for entry in entries:
                    heapq.heappush(self._queue, entry)
        self._ranked = len(board.state)
        taken = list[int]()
        few = min(_BATCH, 1 + len(self._queue) // _BATCH)
        while self._queue and len(taken) < few and self._queue[0][0] <= bar:
            _, place = heapq.heappop(self._queue)
            taken.append(place)
        return taken

    def _evict(self, states: Sequence[ProductState], *, heavy: bool, wanted: int) -> None:
        """Give up the least useful until there is room."""
        board = self._board
        if self._room() >= wanted:
            return
        kinds = board.columns["kind"]
        of_kind = kinds > Kind.RECORD if heavy else kinds == Kind.RECORD
        places = np.flatnonzero(np.isin(board.state, states) & of_kind)
        order = places[np.argsort(self._worth(places), kind="stable")]
        for first in range(0, len(order), _BATCH):
            if self._room() >= wanted:
                break
            self._give_up(order[first : first + _BATCH])

    def _give_up(self, places: Indices) -> None:
        self._board.state[places] = ProductState.EVICTED
        self._free(places)

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


def blocks_of(made: Made) -> dict[int, tuple[int, int, int]]:
    """Blocks of lines by the first row of tiles in each: the first product, the one behind the
    last, and the pages that must be free for them."""
    lines = max(min(BLOCK_LINES, BLOCK_BYTES // max(made.scores.samples, 1)), 16)
    block = -(-np.maximum.accumulate(made.due) // lines)
    first = np.flatnonzero(np.diff(block, prepend=-1)).tolist()
    found = {}
    for row, end in zip(first, [*first[1:], len(made.due)], strict=True):
        low, high = made.bounds[row], made.bounds[end]
        sizes = made.columns["bytes"][low:high].tolist()
        found[row] = low, high, pages_for([*sizes, _PENDING])
    return found


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
