"""The store as a simulated run has it: products as columns in memory, in the order of the store.

A month of a million products would take a disk hours. So the table is held here; what is ranked,
packed and evicted, and in which order, the code that flies says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow_edge.downlink.packing import Candidate
from winnow_edge.mission import Mission
from winnow_edge.products.kinds import NO_CLASS, Kind
from winnow_edge.products.table import COLUMNS, ProductTable
from winnow_edge.products.worth import density
from winnow_edge.store.schema import ProductState
from winnow_ground.simulation.decide import Indices, Made, empty_columns
from winnow_ground.simulation.quota import Block, Quota, Worths, blocks_of
from winnow_ground.simulation.store_file import Integers, cells

Worth = Callable[["OnBoard", Indices], npt.NDArray[np.float64]]
"""Value per byte of products at these places."""


@dataclass(eq=False)
class Swath:
    """A swath on board: its `number`, from 1, and that of its observation; contacts held when it
    began, the product that tells of it, and the number of its first feature among all."""

    number: int
    made: Made
    observation: int
    born: int
    announcement: int
    first: int
    placed: npt.NDArray[np.int64]
    """Where each of its products is; -1: not made yet."""
    cells: tuple[Integers, Integers]
    """What each of its products takes in the store's file (`store_file.cells`)."""
    blocks: dict[int, tuple[int, int, int]]
    """What is stored at once, by its first row (`quota.blocks_of`)."""
    left_out: set[int]
    """Which of its products there was no room for."""
    complete: bool = False


class OnBoard:
    """Products in order of acquisition: `columns` of dtype `COLUMNS`, `state` of `ProductState`,
    `made_at` in seconds, `compacted` what became part of a background product; a product's id is
    its place, plus 1. `worth` says what eviction spares (value per byte; None: the mission's).
    `changes` counts how often products went from state to state."""

    def __init__(self, mission: Mission, worth: Worth | None = None, room: int = 4096) -> None:
        self._mission = mission
        spared = worth or (lambda board, places: density(board.table(places), mission))
        self._quota = Quota(self, mission, lambda places: spared(self, places))
        self.count, self.contacts, self.changes = 0, 0, 0
        self._columns = np.zeros(room, COLUMNS)
        self._state = np.zeros(room, np.uint8)
        self._compacted = np.zeros(room, np.bool_)
        self._sizes: dict[
            int, tuple[tuple[Integers, Integers], dict[int, tuple[int, int, int]]]
        ] = {}
        self._made_at = np.zeros(room)
        self._local = np.full(room, -1, np.int64)
        self.swaths: list[Swath] = []
        self.generated_bytes = 0

    @property
    def columns(self) -> npt.NDArray[np.void]:
        return self._columns[: self.count]

    @property
    def state(self) -> npt.NDArray[np.uint8]:
        return self._state[: self.count]

    @property
    def made_at(self) -> npt.NDArray[np.float64]:
        return self._made_at[: self.count]

    @property
    def local(self) -> npt.NDArray[np.int64]:
        """Which of its swath's products each is; -1: the one that announces it."""
        return self._local[: self.count]

    @property
    def held(self) -> int:
        """Octets that the store's file takes."""
        return self._quota.octets

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """Which products the store has, or remembers."""
        return self._quota.there()

    @property
    def compacted(self) -> npt.NDArray[np.bool_]:
        return self._compacted[: self.count]

    # --- writing

    def begin(self, made: Made, observation: int, first_feature: int, now: float) -> Swath:
        """A new swath and the product that announces it."""
        placed = np.full(len(made.columns), -1, np.int64)
        number = len(self.swaths) + 1
        if id(made) not in self._sizes:
            self._sizes[id(made)] = _cells(made.columns), blocks_of(made)
        swath = Swath(
            number, made, observation, self.contacts, -1, first_feature, placed,
            *self._sizes[id(made)], set(),
        )  # fmt: skip
        self.swaths.append(swath)
        swath.announcement = self._announce(swath.number, made.scores.about[0], now)
        return swath

    def commit(self, swath: Swath, rows: tuple[int, int], now: float) -> None:
        """Store what was made with these rows, [from, to), and keep the quota."""
        made = swath.made
        low, high = made.bounds[rows[0]], made.bounds[rows[1]]
        for row in range(*rows):
            if row in swath.blocks:
                swath.left_out |= self._quota.admit(Block(swath, *swath.blocks[row]), now)
        shared, own = (some[low:high] for some in swath.cells)
        out = [local - low for local in swath.left_out if low <= local < high]
        if out:
            shared, own = shared.copy(), own.copy()
            shared[out] = own[out] = 0
        at = self._append(made.columns[low:high], shared, own, now)
        self._state[at.start + np.array(out, np.intp)] = ProductState.EVICTED
        self._columns["swath"][at] = swath.number
        swath.placed[low:high] = np.arange(at.start, at.stop)
        self._local[at] = np.arange(low, high)
        for row in range(*rows):
            for place in made.marked.get(row, ()):
                self._columns["detection"][swath.placed[place]] = False
            for place, class_index, posterior in made.renamed.get(row, ()):
                at_place = swath.placed[place]
                self._columns["class_index"][at_place] = class_index
                self._columns["posterior"][at_place] = posterior

    def complete(self, swath: Swath, now: float) -> None:
        """The swath is whole: its product takes the place of the one made at the beginning, or
        follows it, where a contact may have carried that (`store.writer`)."""
        size = swath.made.scores.about[1]
        swath.complete = True
        if self.contacts == swath.born:
            known = int(self._columns["bytes"][swath.announcement])
            self._columns["bytes"][swath.announcement] = size
            self.generated_bytes += size - known
            return
        self._state[swath.announcement] = ProductState.ACKNOWLEDGED
        swath.announcement = self._announce(swath.number, size, now)

    def _announce(self, number: int, size: int, now: float) -> int:
        columns = empty_columns(1)
        columns["kind"], columns["swath"], columns["tile"] = Kind.SWATH, number, -1
        columns["class_index"], columns["bytes"] = NO_CLASS, size
        return self.insert(columns, now)

    def insert(self, columns: npt.NDArray[np.void], now: float) -> int:
        """Store products, whatever room there is; where the first is."""
        return int(self._append(columns, *_cells(columns), now).start)

    def _append(
        self, columns: npt.NDArray[np.void], shared: Integers, own: Integers, now: float
    ) -> slice:
        at = slice(self.count, self.count + len(columns))
        if at.stop > len(self._columns):
            self._grow(at.stop)
        self._columns[at] = columns
        self._columns["id"][at] = np.arange(at.start + 1, at.stop + 1)
        self._made_at[at] = now
        self.count = at.stop
        self._quota.add(at, shared, own)
        self.generated_bytes += int(columns["bytes"].sum(dtype=np.int64))
        return at

    def _grow(self, least: int) -> None:
        room = max(least, 2 * len(self._columns)) - len(self._columns)
        self._columns = np.concatenate([self._columns, np.zeros(room, COLUMNS)])
        self._state = np.concatenate([self._state, np.zeros(room, np.uint8)])
        self._compacted = np.concatenate([self._compacted, np.zeros(room, np.bool_)])
        self._made_at = np.concatenate([self._made_at, np.zeros(room)])
        self._local = np.concatenate([self._local, np.full(room, -1, np.int64)])

    def worth_before(
        self, swath: Swath, low: int, high: int, worth: Callable[[Indices], Worths]
    ) -> Worths:
        """What products of a swath will be worth per byte when they are here."""
        begin, end = self.count, self.count + high - low
        if end > len(self._columns):
            self._grow(end)
        self._columns[begin:end] = swath.made.columns[low:high]
        self._columns["swath"][begin:end] = swath.number
        self._local[begin:end] = np.arange(low, high)
        self.count = end
        found = worth(np.arange(begin, end))
        self.count = begin
        return found

    # --- what contacts ask

    def stored(self) -> Indices:
        """Places of the products that take part in the ranking."""
        return np.flatnonzero(self.state == ProductState.STORED)

    def table(self, places: Indices) -> ProductTable:
        """Products as the ranking looks at them."""
        numbers = range(1, len(self.swaths) + 1)
        classes = {n: self.swaths[n - 1].made.scores.manifest.classes for n in numbers}
        ages = {n: max(0, self.contacts - self.swaths[n - 1].born) for n in numbers}
        return ProductTable(self.columns[places], classes, ages)

    def announcements(self) -> dict[int, Candidate]:
        """The swath products that must go before the first product of their swath."""
        found = {}
        for number, swath in enumerate(self.swaths, start=1):
            at = swath.announcement
            if self._state[at] != ProductState.ACKNOWLEDGED:
                size = int(self._columns["bytes"][at])
                found[number] = Candidate(at + 1, Kind.SWATH, size)
        return found

    def sent(self, places: Sequence[int] | Indices) -> None:
        """These are in flight."""
        at = np.asarray(places, np.intp)
        at = at[self._state[at] == ProductState.STORED]
        self.changes += 1
        self._state[at] = ProductState.SENT

    def acknowledge(self, places: Sequence[int] | Indices) -> int:
        """These are on the ground; of how many that is news."""
        at = np.asarray(places, np.intp)
        news = int(np.count_nonzero(self._state[at] != ProductState.ACKNOWLEDGED))
        self.changes += 1
        self._state[at] = ProductState.ACKNOWLEDGED
        return news

    def put_back(self, places: Sequence[int] | Indices, *, unheard: bool) -> int:
        """These go back into the ranking, those of them that are in flight; how many. `unheard`:
        nobody said a word of them, which counts."""
        at = np.asarray(places, np.intp)
        at = at[self._state[at] == ProductState.SENT]
        self.changes += 1
        self._state[at] = ProductState.STORED
        again = np.minimum(self._columns["unheard"][at].astype(int) + 1, 255) if unheard else 0
        self._columns["unheard"][at] = again
        return len(at)


def _cells(columns: npt.NDArray[np.void]) -> tuple[Integers, Integers]:
    return cells(columns["bytes"].astype(np.int64), columns["kind"])
