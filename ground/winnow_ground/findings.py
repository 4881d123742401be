"""What received products say: detections, what of them came down, value, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge.files import printable
from winnow_edge.loop.merging import EXTENT
from winnow_edge.loop.verdict import as_words
from winnow_edge.mission import Mission
from winnow_edge.products.kinds import NO_CLASS, Box, Kind, Product
from winnow_edge.products.ranking import Order, rank
from winnow_edge.products.table import ProductTable
from winnow_edge.products.worth import unit_utility, utilities, utility
from winnow_edge.store.events import counts
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store
from winnow_ground import when_where
from winnow_ground.received import Received, ReceivedProduct
from winnow_ground.truth import (
    Feature,
    Truth,
    TruthOfTable,
    Worth,
    detection_boxes,
    lies_over,
    shown_by,
    spoken_of,
)

ON_BOARD = (ProductState.STORED, ProductState.SENT, ProductState.ACKNOWLEDGED)
"""States in which a product has, or had when it was sent, its data."""
HAVE = ("image", "thumbnail", "record", "on board")
"""What of a detection has come down, best first; `on board`: nothing yet."""
_MOST_COMPARED = 5000
"""Detections of a class and swath with which further ones are compared: with n there are n * n."""
_PICTURES = (Kind.IMAGE, Kind.THUMBNAIL)
SwathKey = tuple[int, int]
"""Store and swath id."""


@dataclass(frozen=True, slots=True)
class Found:
    """A detection: where, what, and what of it came down.

    `have` is one of HAVE; `number` counts pictures from 1 in the order in which they came
    down; `product` is the best that came down (None: still on board); `true` says whether truth
    has such a feature there (None: truth is not known, says nothing of the class, or has one there
    that is too small or too large for the tile), `shows` are the features' indices; `outline` is
    known without a product where pictures are at hand.
    """

    swath: SwathKey
    tile: int
    class_index: int
    class_name: str
    box: Box
    posterior: float
    have: str
    number: int | None = None
    merged: int = 1
    product: ReceivedProduct | None = None
    true: bool | None = None
    shows: tuple[int, ...] = ()
    outline: Box | None = None

    @property
    def drawn(self) -> Box:
        """What is drawn around it: the outline of its feature where that is at hand, else what a
        tile alone outlines."""
        outline = self.product.outline if self.product is not None else self.outline
        return outline or self.box.middle(EXTENT)


@dataclass(frozen=True)
class Curve:
    """Value against bytes of one policy: `value[i]` is reached when `bytes[i]` have come down."""

    name: str
    bytes: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]


@dataclass(frozen=True)
class ValueOnBoard:
    """Value against bytes of everything on board, by policy; `orders[name]` indexes `table`.

    `gains[name]` is what each product adds in that order. `truth` is None where value is the
    mission's expectation (utility x posterior).
    """

    table: ProductTable
    policy: str
    orders: dict[str, Order]
    gains: dict[str, npt.NDArray[np.float64]]
    truth: TruthOfTable | None

    def curves(self) -> list[Curve]:
        """The mission's policy first, then fifo, then the oracle."""
        names = {self.policy: f"{self.policy} (the mission's)", "oracle": "oracle (knows truth)"}
        return [
            Curve(
                names.get(name, name),
                np.cumsum(self.table.columns["bytes"][order], dtype=np.float64),
                np.cumsum(self.gains[name]),
            )
            for name, order in self.orders.items()
        ]

    @property
    def total(self) -> float:
        """The value of all of it."""
        return float(max(gain.sum() for gain in self.gains.values()))

    def after(self, name: str, size: int) -> float:
        """Value that a policy has brought down after `size` bytes of products."""
        chosen = self._prefix(name, size)
        return float(self.gains[name][: len(chosen)].sum())

    def seen_after(self, name: str, size: int) -> int:
        """Features of which that policy has brought down a picture after `size` bytes."""
        worth = Worth()
        if self.truth is not None:
            for i in self._prefix(name, size):
                row = self.table.columns[i]
                shown = self.truth.shown[int(i)]
                worth.add(int(row["swath"]), Kind(int(row["kind"])), shown, 0.0)
        return len(worth.seen(_PICTURES))

    def _prefix(self, name: str, size: int) -> Order:
        order = self.orders[name]
        spent = np.cumsum(self.table.columns["bytes"][order], dtype=np.int64)
        return order[: int(np.searchsorted(spent, size, side="right"))]


def value_on_board(
    store: Store, mission: Mission, truth: Mapping[int, Sequence[Feature]] | None
) -> ValueOnBoard:
    """Rank everything on board by the mission's policy, by fifo and, given truth, by an oracle."""
    table = store.table(ON_BOARD)
    policy = mission.ranking.policy
    orders = {name: rank(table, name, mission) for name in dict.fromkeys((policy, "fifo"))}
    laid = None
    if truth is None:
        worth = utilities(table, mission)
        gains = {name: worth[order] for name, order in orders.items()}
    else:
        laid = TruthOfTable.of(table, detection_boxes(store), truth, mission)
        orders["oracle"] = laid.oracle()
        gains = {name: laid.gains(order) for name, order in orders.items()}
    return ValueOnBoard(table, policy, orders, gains, laid)


def value_received(
    received: Received,
    mission: Mission,
    truth: Mapping[SwathKey, Sequence[Feature]] | None,
    store: Store | None = None,
) -> tuple[float, int]:
    """Value of what came down, and features of which a picture came down (0 without truth).

    A swath whose description has not come down is worth nothing yet, unless `store` tells its
    classes.
    """
    worth, total = Worth(), 0.0
    told = {(store.store_id, row.id): row.classes for row in store.swaths()} if store else {}
    tiles = {(p.store, p.swath, p.tile): p.box for p in received.products if p.kind in HAVE}
    for p in received.products:
        names = told.get((p.store, p.swath)) or received.classes(p.store, p.swath)
        kind = Kind[p.kind.upper()]
        index = NO_CLASS if p.class_index is None else p.class_index
        if truth is None:
            product = Product(kind, p.tile or 0, index, p.posterior or 0.0, p.detection, b"")
            total += utility(product, mission, names)
        elif p.kind in (*HAVE, "context") and p.detection and index < len(names):
            # A context's own box is wider than the tile that shows the feature.
            box = tiles.get((p.store, p.swath, p.tile))
            features = truth.get((p.store, p.swath), ())
            shown = shown_by(names[index], box, features) if box is not None else ()
            unit = unit_utility(kind, index, True, mission, names)
            total += worth.add(p.swath, kind, shown, unit)
    return total, len(worth.seen(_PICTURES))


def find(
    received: Received,
    store: Store | None,
    truth: Mapping[SwathKey, Truth] | None,
    merge: float,
) -> list[Found]:
    """All detections: those that came down in order of arrival, then those on board.

    Without `store`, records of the same class whose boxes share more than `merge` of the smaller
    with a better detection are taken for the same feature, as on board.
    """
    best: dict[tuple[int, int, int, int], Found] = {}
    pictures = 0
    for p in received.products:
        if p.kind not in HAVE or not p.detection or p.box is None:
            continue
        if p.class_index is None or p.tile is None:
            continue
        key = p.store, p.swath, p.tile, p.class_index
        known = best.get(key)
        if known is not None and HAVE.index(known.have) <= HAVE.index(p.kind):
            continue
        number = known.number if known is not None else None
        if number is None and p.kind != "record":
            pictures += 1
            number = pictures
        best[key] = Found(
            swath=(p.store, p.swath),
            tile=p.tile,
            class_index=p.class_index,
            class_name=received.class_name(p) or "",
            box=p.box,
            posterior=p.posterior or 0.0,
            have=p.kind,
            number=number,
            merged=p.merged if p.kind != "record" and p.merged else 1,
            product=p,
        )
    all_of_them = list(best.values())
    found = _with_store(best, store) if store is not None else _merged(all_of_them, merge)
    found.sort(key=lambda f: (f.number is None, f.number or 0, HAVE.index(f.have)))
    return found if truth is None else laid_over(found, truth)


def laid_over(found: Sequence[Found], truth: Mapping[SwathKey, Truth]) -> list[Found]:
    """The detections with what truth says of each."""
    spoken = spoken_of(truth.values())
    laid = []
    for f in found:
        if f.swath not in truth or not (spoken is None or f.class_name in spoken):
            laid.append(f)
            continue
        features = truth[f.swath]
        shows = shown_by(f.class_name, f.box, features)
        # Over a feature too small or too large for the tile it is neither right nor false.
        beside = not shows and lies_over(f.class_name, f.box, features)
        laid.append(replace(f, true=None if beside else bool(shows), shows=shows))
    return laid


def _with_store(best: Mapping[tuple[int, int, int, int], Found], store: Store) -> list[Found]:
    """What the store holds pictures of, merged on board, and what of it came down."""
    boxes = detection_boxes(store)
    classes = {row.id: row.classes for row in store.swaths()}
    found = {key: f for key, f in best.items() if f.number is not None}
    for row in store.products(kinds=_PICTURES):
        key = store.store_id, row.swath, row.tile_index, row.class_index
        box = boxes.get((row.swath, row.tile_index))
        if key in found or box is None:
            continue
        found[key] = best.get(key) or Found(
            swath=key[:2],
            tile=row.tile_index,
            class_index=row.class_index,
            class_name=classes[row.swath][row.class_index],
            box=box,
            posterior=row.posterior,
            have="on board",
        )
    return list(found.values())


def _merged(found: Sequence[Found], merge: float) -> list[Found]:
    """Non-maximum suppression of records by pictures and better records of their class."""
    kept: dict[tuple[SwathKey, int], list[Found]] = {}
    for f in sorted(found, key=lambda f: (f.number is None, -f.posterior)):
        same = kept.setdefault((f.swath, f.class_index), [])
        apart = len(same) >= _MOST_COMPARED or all(f.box.overlap(k.box) <= merge for k in same)
        if f.number is not None or apart:
            same.append(f)
    return [f for same in kept.values() for f in same]


def count_by_class(found: Sequence[Found]) -> dict[str, dict[str, int]]:
    """How many detections of each class have come down as what: {class: {have: count}}."""
    counts: dict[str, dict[str, int]] = {}
    for f in found:
        of_class = counts.setdefault(f.class_name, dict.fromkeys(HAVE, 0))
        of_class[f.have] += 1
    return counts


def troubles(received: Received, store: Store | None) -> list[str]:
    """What did not go as it should, a sentence each; empty where all is well."""
    link, said = received.link, []
    if link.crc_failures:
        said.append(
            f"{_n(link.crc_failures, 'packet')} arrived damaged (CRC failure) and was not used."
            if link.crc_failures == 1
            else f"{link.crc_failures} packets arrived damaged (CRC failure) and were not used."
        )
    if received.never_arrived:
        said.append(
            f"{_n(received.never_arrived, 'packet')} never arrived: the sequence count jumps "
            f"{_n(link.gaps, 'time')}."
        )
    if link.broken:
        said.append(
            f"{_n(link.broken, 'container')} arrived in part and could not be used. Their products "
            "are sent again once the spacecraft has the acknowledgement report (ack.json)."
        )
    if link.skipped_bytes:
        said.append(f"{link.skipped_bytes} bytes in the packet files belonged to no packet.")
    if link.foreign:
        said.append(f"{_n(link.foreign, 'packet')} of another APID passed over.")
    unreadable = sum(r.unreadable for r in received.receptions)
    if unreadable:
        said.append(f"{_n(unreadable, 'product')} in a format that this program does not know.")
    left_out = sum(r.left_out for r in received.receptions)
    if left_out:
        said.append(
            f"{_n(left_out, 'product')} left out and not acknowledged: this folder holds as many "
            "products, stores or swaths as it takes. Receive the files into another folder."
        )
    said += _swath_troubles(received)
    if store is not None:
        for kind, states in counts(store).items():
            if states["evicted"]:
                gone = _n(states["evicted"], kind.replace("_", " "))
                said.append(
                    f"{gone} had to leave the store on board before being "
                    "sent, because its quota was used up."
                )
    return said


def verdict_words(info: Mapping[str, Any]) -> str:
    """What a swath's product says of it as a whole; "" where it gives no verdict."""
    found = info.get("verdict")
    return printable(as_words(found)) if found else ""


def _swath_troubles(received: Received) -> list[str]:
    used = {(p.store, p.swath) for p in received.products}
    said = [
        f"The description of swath {swath} has not come down: its name and class names are not "
        "known yet."
        for _, swath in sorted(used - set(received.swaths))
    ]
    for info in received.swaths.values():
        name = printable(info["swath"])
        if info.get("truncated"):
            said.append(f"Swath {name} is truncated: {printable(info['truncated'])}.")
        elif not info.get("complete", True):
            said.append(f"Swath {name} was still being worked on when its description was sent.")
    for key, info in received.swaths.items():
        said += when_where.faults(received.swath_name(*key), info)
    return said


def _n(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def arrivals(received: Received, found: Sequence[Found], most: int) -> list[dict[str, Any]]:
    """Rows of the table of what came down in which order; runs of records share a row.

    At most `most` rows.
    """
    numbers = {(*f.swath, f.tile, f.class_index): f.number for f in found if f.number is not None}
    rows: list[dict[str, Any]] = []
    for p in received.products:
        last = rows[-1] if rows else None
        if (
            p.kind == "record"
            and last is not None
            and last["kind"] == "record"
            and (last["contact"], last["swath"]) == (p.contact, received.swath_name(*_key(p)))
        ):
            last["count"] += 1
            last["detections"] += p.detection
            last["last"] = p.order
            last["bytes"] += p.bytes
            last["sum"] = p.cumulative_bytes
            continue
        if len(rows) == most:
            break
        key = (*_key(p), p.tile or 0, -1 if p.class_index is None else p.class_index)
        rows.append(
            {
                "first": p.order,
                "last": p.order,
                "contact": p.contact,
                "container": p.container,
                "kind": p.kind,
                "count": 1,
                "detections": int(p.detection),
                "swath": received.swath_name(*_key(p)),
                "class": received.class_name(p),
                "posterior": p.posterior,
                "box": p.box,
                "bytes": p.bytes,
                "sum": p.cumulative_bytes,
                "number": numbers.get(key) if p.kind in ("image", "thumbnail") else None,
            }
        )
    return rows


def _key(p: ReceivedProduct) -> SwathKey:
    return p.store, p.swath
