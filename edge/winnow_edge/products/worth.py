"""What a product is worth: its utility, in the mission's own units.

A detection is worth its class's utility x its posterior, shared out to record, thumbnail and image
by the mission's [products]; a quick look is worth what [quick_look] says; anything else is worth
`background_utility` for each tile that it tells of. Ranking, eviction and simulation all ask here.

>>> from winnow_edge.mission import ClassRule, Instrument, Mission
>>> from winnow_edge.products.kinds import Kind, Product
>>> camera = Instrument(bundle="hirise-landmarks")
>>> mission = Mission("m", {"camera": camera}, classes={"crater": ClassRule(utility=10.0)})
>>> crater = Product(Kind.IMAGE, 7, 1, 0.5, True, b"")
>>> utility(crater, mission, ("other", "crater")) == 10.0 * 0.5 * mission.products.image_share
True
>>> plain = Product(Kind.RECORD, 7, 1, 0.5, False, b"")
>>> utility(plain, mission, ("other", "crater")) == mission.products.background_utility
True
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from winnow_edge.mission import Mission
from winnow_edge.products.kinds import NO_CLASS, Kind
from winnow_edge.products.table import ProductTable


class Valued(Protocol):
    """What `utility` looks at: a `Product`, or a product of the store."""

    @property
    def kind(self) -> Kind: ...
    @property
    def class_index(self) -> int: ...
    @property
    def posterior(self) -> float: ...
    @property
    def detection(self) -> bool: ...


def utility(product: Valued, mission: Mission, classes: tuple[str, ...]) -> float:
    """What a product is worth; `classes` names the classes of its swath."""
    unit = unit_utility(product.kind, product.class_index, product.detection, mission, classes)
    return unit * product.posterior if product.detection else unit


def utilities(table: ProductTable, mission: Mission) -> npt.NDArray[np.float64]:
    """`utility` of every product of a table: float64, shape (n,)."""
    columns = table.columns
    groups = (columns["swath"].astype(np.int64) << 17) | (columns["kind"].astype(np.int64) << 9)
    groups |= (columns["class_index"].astype(np.int64) << 1) | columns["detection"]
    found, inverse = np.unique(groups, return_inverse=True)
    units = np.array(
        [
            unit_utility(
                Kind(int(g >> 9) & 0xFF),
                int(g >> 1) & 0xFF,
                bool(g & 1),
                mission,
                table.classes[int(g >> 17)],
            )
            for g in found
        ],
        dtype=np.float64,
    )
    if not len(units):
        return np.empty(0, np.float64)
    share = np.where(columns["detection"], columns["posterior"], columns["tiles"])
    return np.asarray(share * units[inverse])


PRODUCT_HEADER_BYTES: Final = 10
"""What a product costs in a container beside its own bytes (docs/downlink-format.md)."""
ALIKE: Final = (Kind.AUDIT, Kind.REGION)
"""Kinds whose products have the same worth per byte, whatever their length."""
UNIT_BYTES: Final = 1000
"""The bytes that `audit.utility` and `requests.utility` are the worth of."""


def density(table: ProductTable, mission: Mission) -> npt.NDArray[np.float64]:
    """Value per link byte of every product of a table: float64, shape (n,).

    All pictures of the audit have the same: were a small one worth more per byte, those that come
    down first would be smoother than the swath, and the estimate biased. So have all parts of
    regions: the ground asked for the whole.
    """
    columns = table.columns
    cost = columns["bytes"] + float(PRODUCT_HEADER_BYTES)
    cost[np.isin(columns["kind"], ALIKE)] = UNIT_BYTES
    return np.asarray(utilities(table, mission) / cost)


def unit_utility(
    kind: Kind, class_index: int, detection: bool, mission: Mission, classes: tuple[str, ...]
) -> float:
    """What a product would be worth at posterior 1."""
    samples = {
        Kind.QUICK_LOOK: mission.quick_look.utility,
        Kind.AUDIT: mission.audit.utility,
        Kind.QUESTION: mission.ask.utility,
        Kind.REGION: mission.requests.utility,
        Kind.EVENT: mission.products.event_utility,
    }
    if kind in samples:
        return samples[kind]
    if not detection or kind in (Kind.SWATH, Kind.BACKGROUND):
        return mission.products.background_utility
    shares = {
        Kind.RECORD: mission.products.record_share,
        Kind.THUMBNAIL: mission.products.thumbnail_share,
        Kind.IMAGE: mission.products.image_share,
        Kind.CONTEXT: mission.context.share,
    }
    return class_utility(class_index, mission, classes) * shares[kind]


def class_utility(class_index: int, mission: Mission, classes: tuple[str, ...]) -> float:
    """The mission's utility of a class; 1.0 (the default of `ClassRule`) where it names none."""
    if class_index == NO_CLASS or class_index >= len(classes):
        return 0.0
    rule = mission.classes.get(classes[class_index])
    return rule.utility if rule is not None else 1.0
