"""Known truth: which features are really there, which detections show them, what that is worth.

Truth comes from truth files (`winnow_base.truth_files`). Their `classes` names the classes whose
every feature is listed, or is "all"; without it those are the classes of the features.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from winnow_base.truth_files import read_truth_file
from winnow_edge.mission import ClassRule, Mission
from winnow_edge.products.encode import decode_head
from winnow_edge.products.kinds import Box, Kind
from winnow_edge.products.ranking import Order, order_by
from winnow_edge.products.table import ProductTable
from winnow_edge.products.worth import unit_utility
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store

MATCH_OVERLAP = 0.5
SMALLEST, LARGEST = 1 / 12, 2.0
"""A detection shows a feature of its class where they share half of the smaller of the two, and the
feature's longer side is this share of the detection's: a tile does not show what is a speck in it,
nor what it is a speck of. As `winnow evaluate --swaths` has it."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that is really there."""

    class_name: str
    box: Box

    @property
    def side(self) -> int:
        """The longer side, in pixels of the swath."""
        return max(self.box.lines, self.box.samples)


@dataclass(frozen=True)
class Truth(Sequence[Feature]):
    """What is really there: a sequence of its features.

    `classes` are those of which every feature is listed: "all", or names (none: the file does not
    say).
    """

    features: tuple[Feature, ...]
    classes: frozenset[str] | Literal["all"] = frozenset()

    @overload
    def __getitem__(self, index: int) -> Feature: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Feature, ...]: ...
    def __getitem__(self, index: int | slice) -> Feature | tuple[Feature, ...]:
        return self.features[index]

    def __len__(self) -> int:
        return len(self.features)


def spoken_of(truths: Iterable[Truth]) -> frozenset[str] | None:
    """The classes of which a detection that shows no feature is false; None: every class.

    Those that the files state and those of their features; every class where neither is there.
    """
    truths = tuple(truths)
    if any(truth.classes == "all" for truth in truths):
        return None
    return frozenset(c for t in truths for c in (*t.classes, *(f.class_name for f in t))) or None


def truth_beside(picture: Path) -> Path:
    """Where the truth file of a picture lies: NAME.truth.json beside NAME.png."""
    return picture.with_name(f"{picture.stem}.truth.json")


def load_truth(path: str | Path) -> Truth:
    """Read a truth file. Raises DataError naming the file and the key."""
    file = read_truth_file(Path(path))
    return Truth(tuple(Feature(f.class_name, f.box) for f in file.features), file.classes)


def shown_by(class_name: str, box: Box, features: Sequence[Feature]) -> tuple[int, ...]:
    """Indices of the features that a detection of `class_name` at `box` shows."""
    tile = max(box.lines, box.samples)
    return tuple(
        n
        for n, feature in enumerate(features)
        if SMALLEST * tile <= feature.side <= LARGEST * tile and _meets(class_name, box, feature)
    )


def lies_over(class_name: str, box: Box, features: Sequence[Feature]) -> bool:
    """Whether a detection lies over a feature of its class at all, of whatever size."""
    return any(_meets(class_name, box, feature) for feature in features)


def _meets(class_name: str, box: Box, feature: Feature) -> bool:
    return feature.class_name == class_name and box.overlap(feature.box) >= MATCH_OVERLAP


def worth_of_all(features: Iterable[Feature], mission: Mission) -> float:
    """The value of all that is there: what a link that loses and leaves nothing would bring."""
    shares = mission.products
    whole = shares.record_share + shares.thumbnail_share + shares.image_share
    usual = ClassRule()
    return whole * sum(mission.classes.get(f.class_name, usual).utility for f in features)


def detection_boxes(store: Store) -> dict[tuple[int, int], Box]:
    """Where the detections of a store lie, by swath id and tile index."""
    boxes: dict[tuple[int, int], Box] = {}
    states = (ProductState.STORED, ProductState.SENT, ProductState.ACKNOWLEDGED)
    kinds = (Kind.RECORD, Kind.THUMBNAIL, Kind.IMAGE)
    rows = store.table(states, kinds=kinds, with_data=True).columns
    for row in rows[rows["detection"]]:
        key = int(row["swath"]), int(row["tile"])
        if key not in boxes:
            boxes[key] = decode_head(store.data(int(row["id"]))).record.box
    return boxes


class Worth:
    """What products are worth against truth.

    Every feature pays its class's utility once, shared out to record, thumbnail and image as the
    mission file says: a second picture of it pays nothing, nor does a false detection.
    """

    def __init__(self) -> None:
        self._paid: set[tuple[int, int, Kind]] = set()

    def gain(self, swath: int, kind: Kind, shown: Sequence[int], unit: float) -> float:
        """What a product would add now; `unit` is its `unit_utility`."""
        return unit * sum((swath, n, kind) not in self._paid for n in shown)

    def add(self, swath: int, kind: Kind, shown: Sequence[int], unit: float) -> float:
        """As `gain`, and the features are paid."""
        gained = self.gain(swath, kind, shown, unit)
        self._paid.update((swath, n, kind) for n in shown)
        return gained

    def seen(self, kinds: Sequence[Kind]) -> set[tuple[int, int]]:
        """Features (swath id, index) of which a product of one of `kinds` came down."""
        return {(swath, n) for swath, n, kind in self._paid if kind in kinds}


@dataclass(frozen=True)
class TruthOfTable:
    """Truth laid over a store's products: which features each shows, and its value at each.

    `shown[i]` and `unit[i]` belong to row i of `table`.
    """

    table: ProductTable
    shown: tuple[tuple[int, ...], ...]
    unit: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls,
        table: ProductTable,
        boxes: Mapping[tuple[int, int], Box],
        truth: Mapping[int, Sequence[Feature]],
        mission: Mission,
    ) -> TruthOfTable:
        """Match the products of `table` with the features of their swath (`truth[swath id]`)."""
        known: dict[tuple[int, int, int], tuple[int, ...]] = {}
        shown: list[tuple[int, ...]] = []
        unit = np.zeros(len(table))
        for i, row in enumerate(table.columns):
            swath, tile = int(row["swath"]), int(row["tile"])
            names = table.classes[swath]
            class_index = int(row["class_index"])
            box = boxes.get((swath, tile))
            if not row["detection"] or box is None or class_index >= len(names):
                shown.append(())
                continue
            key = swath, tile, class_index
            if key not in known:
                known[key] = shown_by(names[class_index], box, truth.get(swath, ()))
            shown.append(known[key])
            unit[i] = unit_utility(Kind(int(row["kind"])), class_index, True, mission, names)
        return cls(table, tuple(shown), unit)

    def gains(self, order: Order) -> npt.NDArray[np.float64]:
        """What each product of `order` adds when they come down in that order."""
        worth = Worth()
        return np.array([worth.add(*self._key(int(i))) for i in order], dtype=np.float64)

    def oracle(self) -> Order:
        """The order of one who knows the truth: always the product that adds most per byte.

        Lazy greedy (Minoux 1978): a gain never grows as others are sent, so a product whose gain
        is still on top after it is computed anew is the best of all.
        """
        worth = Worth()
        size = np.maximum(self.table.columns["bytes"].astype(np.float64), 1.0)
        gain = [worth.gain(*self._key(i)) for i in range(len(self.table))]
        heap = [(-g / size[i], i) for i, g in enumerate(gain) if g > 0]
        heapq.heapify(heap)
        chosen: list[int] = []
        while heap:
            _, i = heapq.heappop(heap)
            now = worth.gain(*self._key(i)) / size[i]
            if now > 0 and (not heap or -now <= heap[0][0]):
                worth.add(*self._key(i))
                chosen.append(i)
            elif now > 0:
                heapq.heappush(heap, (-now, i))
        rank = np.full(len(self.table), -1.0)
        rank[chosen] = np.arange(len(chosen), 0, -1)
        return order_by(self.table, rank)

    def _key(self, i: int) -> tuple[int, Kind, tuple[int, ...], float]:
        row = self.table.columns[i]
        return int(row["swath"]), Kind(int(row["kind"])), self.shown[i], float(self.unit[i])
