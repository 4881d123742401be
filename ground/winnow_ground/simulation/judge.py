"""What products are worth against truth, which nobody on board knows, and why features were missed.

Every feature pays its class's utility once, shared out to record, thumbnail and image as the
mission file says; a second picture of it pays nothing, nor does a false detection. An image that no
net chose pays all of it. Without truth a product pays utility x posterior, by the model's word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from winnow_edge.mission import ClassRule, Mission
from winnow_edge.products.kinds import NO_CLASS, Kind
from winnow_edge.products.worth import utilities
from winnow_edge.store.schema import ProductState
from winnow_ground.simulation.decide import Indices, Made
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.onboard import OnBoard

SHARED: Final = (Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE, Kind.CONTEXT)
"""Kinds that a feature's worth is shared out to."""
PICTURES: Final = (Kind.THUMBNAIL, Kind.IMAGE)
_COLUMN: Final = np.full(max(Kind) + 1, -1)
_COLUMN[list(SHARED)] = range(len(SHARED))
REASONS: Final = (
    "no tile", "screened", "misclassified", "abstained", "no energy", "not computed", "evicted",
    "lost", "not sent",
)  # fmt: skip
"""Why no picture of a feature came down, the first that holds for the product that got furthest."""
Floats = npt.NDArray[np.float64]


@dataclass
class Arrivals:
    """Products in the order in which they came down, shape (n,) each: places on board, time, value
    that each added, and the number of its contact."""

    place: list[Indices] = field(default_factory=list)
    time: list[Floats] = field(default_factory=list)
    gain: list[Floats] = field(default_factory=list)
    contact: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def joined(self) -> tuple[Indices, Floats, Floats, npt.NDArray[np.int64]]:
        """Place, time, gain and contact of everything."""
        empty = np.empty(0)
        return (
            np.concatenate([empty.astype(np.intp), *self.place]),
            np.concatenate([empty, *self.time]),
            np.concatenate([empty, *self.gain]),
            np.concatenate([empty.astype(np.int64), *self.contact]),
        )


class Features:
    """All true features of a run: class and worth of each, over all observations."""

    def __init__(self, mission: Mission, made: Sequence[Made]) -> None:
        usual = ClassRule()
        self.known = bool(made) and all(m.scores.features is not None for m in made)
        names = [m.scores.features or () for m in made] if self.known else []
        self.first = np.cumsum([0, *(len(some) for some in names)])
        self.classes = tuple(name for some in names for name in some)
        self.utility = np.array(
            [mission.classes.get(name, usual).utility for name in self.classes], np.float64
        )
        products = mission.products
        context = mission.context.share if mission.context.times else 0.0
        self.shares = np.array(
            [products.record_share, products.thumbnail_share, products.image_share, context]
        )
        """Of the kinds of `SHARED`, float64."""

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def worth(self) -> float:
        """The value of all that is there."""
        return float(self.utility.sum() * self.shares.sum())

    def by_class(self) -> dict[str, int]:
        """How many features of each class there are."""
        return dict(sorted(Counter(self.classes).items()))


def paid_by(kinds: npt.NDArray[np.integer[Any]]) -> Indices:
    """Places in `SHARED` of kinds that show features."""
    return _COLUMN[kinds]


class Judge:
    """Counts value as products come down."""

    def __init__(
        self, mission: Mission, features: Features, board: OnBoard, *, whole: bool = False
    ) -> None:
        self._mission, self.features, self._board = mission, features, board
        self._whole = whole
        """Whether an image pays all of a feature's worth."""
        self.paid = np.zeros((len(features), len(SHARED)), np.bool_)
        self.pictured_at = np.full(len(features), np.inf)
        self.heard_at = np.full(len(features), np.inf)
        self.arrivals = Arrivals()
        self.value = 0.0

    def pairs(self, places: Indices) -> tuple[Indices, Indices]:
        """Pairs of an index into `places` and a feature that the product there shows."""
        board, features = self._board, self.features
        numbers, local = board.columns["swath"][places], board.local[places]
        which, found = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        for number in np.unique(numbers) if features.known else ():
            swath = board.swaths[int(number) - 1]
            made = swath.made
            mine = np.flatnonzero((numbers == number) & (local >= 0))
            low = np.searchsorted(made.product, local[mine], side="left")
            count = np.searchsorted(made.product, local[mine], side="right") - low
            start = np.repeat(low - np.cumsum(count) + count, count)
            at = start + np.arange(len(start))
            which.append(np.repeat(mine, count))
            found.append(made.feature[at] + features.first[swath.observation])
        return np.concatenate(which), np.concatenate(found)

    def gains(self, places: Indices) -> Floats:
        """What the products at these places add, in this order; the features are paid."""
        gain = np.zeros(len(places))
        if not self.features.known:
            table = self._board.table(places)
            detection = table.columns["detection"]
            return np.where(detection, utilities(table, self._mission), 0.0)
        which, feature = self.pairs(places)
        order = np.argsort(which, kind="stable")
        which, feature = which[order], feature[order]
        kind = self._board.columns["kind"][places[which]].astype(np.int64)
        column = paid_by(kind)
        _, first = np.unique(feature * len(SHARED) + column, return_index=True)
        fresh = first[~self.paid[feature[first], column[first]]]
        share = self.features.shares
        if self._whole:
            share = np.full(len(SHARED), share.sum())
        worth = self.features.utility[feature[fresh]] * share[column[fresh]]
        np.add.at(gain, which[fresh], worth)
        self.paid[feature[fresh], column[fresh]] = True
        return gain

    def receive(self, new: Sequence[int], time: float, contact: int) -> float:
        """Products that are new on the ground, by id in order of arrival; the value they add."""
        places = np.asarray(new, np.intp) - 1
        gain = self.gains(places)
        which, feature = self.pairs(places)
        kinds = self._board.columns["kind"][places[which]]
        np.minimum.at(self.heard_at, feature, time)
        np.minimum.at(self.pictured_at, feature[np.isin(kinds, PICTURES)], time)
        arrivals = self.arrivals
        arrivals.place.append(places)
        arrivals.time.append(np.full(len(places), time))
        arrivals.gain.append(gain)
        arrivals.contact.append(np.full(len(places), contact))
        self.value += float(gain.sum())
        return float(gain.sum())


def missed(
    judge: Judge,
    board: OnBoard,
    observations: Sequence[Observation],
    made: Sequence[Made],
    powerless: set[int],
    delivered: npt.NDArray[np.bool_],
) -> dict[str, dict[str, int]]:
    """How many features of each class have no picture down, by `REASONS`.

    `powerless` are observations that wait for want of energy, `delivered` bool (products,) what is
    on the ground.
    """
    result: dict[str, Counter[str]] = {}
    swaths = {swath.observation: swath for swath in board.swaths}
    for n, one in enumerate(made):
        first = int(judge.features.first[n])
        names = one.scores.features or ()
        waiting = [f for f in range(len(names)) if not np.isfinite(judge.pictured_at[first + f])]
        if not waiting:
            continue
        swath = swaths.get(n)
        late = "no energy" if n in powerless else "not computed"
        why = _Why(one, None if swath is None else swath.placed, board, delivered, late)
        for f in waiting:
            result.setdefault(names[f], Counter())[why(f)] += 1
    return {name: dict(counts) for name, counts in sorted(result.items())}


class _Why:
    """Tells of one swath why the picture of a feature is not on the ground."""

    def __init__(
        self,
        made: Made,
        placed: npt.NDArray[np.int64] | None,
        board: OnBoard,
        delivered: npt.NDArray[np.bool_],
        late: str,
    ) -> None:
        self._made, self._placed, self._board = made, placed, board
        self._delivered, self._late = delivered, late
        scores = made.scores
        order = np.argsort(scores.shows[:, 1], kind="stable")
        self._tiles, self._features = scores.shows[order].T
        picture = np.isin(made.columns["kind"][made.product], PICTURES)
        self._pictures, self._shown = made.product[picture], made.feature[picture]
        self._by_feature = np.argsort(self._shown, kind="stable")
        self._sorted = self._shown[self._by_feature]
        self._classes = {name: k for k, name in enumerate(scores.manifest.classes)}

    def __call__(self, feature: int) -> str:
        low, high = np.searchsorted(self._sorted, (feature, feature + 1))
        products = self._pictures[self._by_feature[low:high]]
        if not len(products):
            return self._unseen(feature)
        places = np.full(len(products), -1) if self._placed is None else self._placed[products]
        there = places[places >= 0]
        if not len(there):
            return self._late
        states = self._board.state[there]
        if (states == ProductState.STORED).any():
            return "not sent"
        return "lost" if (states == ProductState.SENT).any() else "evicted"

    def _unseen(self, feature: int) -> str:
        """No product shows it: why the net did not find it."""
        low, high = np.searchsorted(self._features, (feature, feature + 1))
        tiles, made = self._tiles[low:high], self._made
        if not len(tiles):
            return "no tile"  # of a size that shows it
        if made.hit is None:
            return "not sent"
        seen = tiles[~made.scores.tiles["screened"][tiles]]
        if not len(seen):
            return "screened"
        name = (made.scores.features or ())[feature]
        own = made.best[seen] == self._classes.get(name, NO_CLASS)
        return "abstained" if (own & ~made.hit[seen]).any() else "misclassified"
