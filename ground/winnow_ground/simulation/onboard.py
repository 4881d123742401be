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
from winnow_ground.simulation.quota import Quota, on_disk

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
    disk: npt.NDArray[np.int64]
    """Octets that each of its products takes on the disk."""
    complete: bool = False


class OnBoard:
    """Products in order of acquisition: `columns` of dtype `COLUMNS`, `state` of `ProductState`,
    `made_at` in seconds, `disk` the octets that each takes there now, `compacted` what became part
    of a background product; a product's id is its place, plus 1. `worth` says what eviction spares
    (value per byte; None: the mission's). `held` octets are on the disk."""

    def __init__(self, mission: Mission, worth: Worth | None = None, room: int = 4096) -> None:
        self._mission = mission
        spared = worth or (lambda board, places: density(board.table(places), mission))
        self._quota = Quota(self, mission, lambda places: spared(self, places))
        self.count, self.held, self.contacts = 0, 0, 0
        self._columns = np.zeros(room, COLUMNS)
        self._state = np.zeros(room, np.uint8)
        self._compacted = np.zeros(room, np.bool_)
        self._disk = np.zeros(room, np.int64)
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
    def disk(self) -> npt.NDArray[np.int64]:
        return self._disk[: self.count]

    @property
    def compacted(self) -> npt.NDArray[np.bool_]:
        return self._compacted[: self.count]

    # --- writing

    def begin(self, made: Made, observation: int, first_feature: int, now: float) -> Swath:
        """A new swath and the product that announces it."""
        placed = np.full(len(made.columns), -1, np.int64)
        number, disk = len(self.swaths) + 1, on_disk(made.columns)
        swath = Swath(number, made, observation, self.contacts, -1, first_feature, placed, disk)
        self.swaths.append(swath)
        swath.announcement = self._announce(swath.number, made.scores.about[0], now)
        return swath

    def commit(self, swath: Swath, rows: tuple[int, int], now: float) -> None:
        """Store what was made with these rows, [from, to), and keep the quota."""
        made = swath.made
        low, high = made.bounds[rows[0]], made.bounds[rows[1]]
        at = self._append(made.columns[low:high], swath.disk[low:high], now)
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
        self._quota.keep(now)

    def complete(self, swath: Swath, now: float) -> None:
        """The swath is whole: its product takes the place of the one made at the beginning, or
        follows it, where a contact may have carried that (`store.writer`)."""
        size = swath.made.scores.about[1]
        swath.complete = True
        if self.contacts == swath.born:
            known = int(self._columns["bytes"][swath.announcement])
            self._columns["bytes"][swath.announcement] = size
            self._disk[swath.announcement] += size - known
            self.held += size - known
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
        return int(self._append(columns, on_disk(columns), now).start)

    def _append(
        self, columns: npt.NDArray[np.void], disk: npt.NDArray[np.int64], now: float
    ) -> slice:
        at = slice(self.count, self.count + len(columns))
        if at.stop > len(self._columns):
            self._grow(at.stop)
        self._columns[at] = columns
        self._columns["id"][at] = np.arange(at.start + 1, at.stop + 1)
        self._disk[at] = disk
        self._made_at[at] = now
        self.count = at.stop
        self.held += int(disk.sum())
        self.generated_bytes += int(columns["bytes"].sum(dtype=np.int64))
        return at

    def _grow(self, least: int) -> None:
        room = max(least, 2 * len(self._columns)) - len(self._columns)
        self._columns = np.concatenate([self._columns, np.zeros(room, COLUMNS)])
        self._state = np.concatenate([self._state, np.zeros(room, np.uint8)])
        self._compacted = np.concatenate([self._compacted, np.zeros(room, np.bool_)])
        self._disk = np.concatenate([self._disk, np.zeros(room, np.int64)])
        self._made_at = np.concatenate([self._made_at, np.zeros(room)])
        self._local = np.concatenate([self._local, np.full(room, -1, np.int64)])

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
        self._state[at] = ProductState.SENT

    def acknowledge(self, places: Sequence[int] | Indices) -> int:
        """These are on the ground; of how many that is news."""
        at = np.asarray(places, np.intp)
        news = int(np.count_nonzero(self._state[at] != ProductState.ACKNOWLEDGED))
        self._state[at] = ProductState.ACKNOWLEDGED
        return news

    def put_back(self, places: Sequence[int] | Indices, *, unheard: bool) -> int:
        """These go back into the ranking, those of them that are in flight; how many. `unheard`:
        nobody said a word of them, which counts."""
        at = np.asarray(places, np.intp)
        at = at[self._state[at] == ProductState.SENT]
        self._state[at] = ProductState.STORED
        again = np.minimum(self._columns["unheard"][at].astype(int) + 1, 255) if unheard else 0
        self._columns["unheard"][at] = again
        return len(at)
