"""Rules between products: each a pure function of a table, what its products are worth, and the
mission; `ranking` applies those that the mission asks for.

A worth is a value per byte, float64, shape (n,); a tier, int8, shape (n,), goes before any worth:
products of a lower tier are all sent first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_edge.mission import ClassRule, Mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.table import ProductTable

Worth = npt.NDArray[np.float64]
Tier = npt.NDArray[np.int8]
PROMISED: Final = -1
USUAL: Final = 0
SURPLUS: Final = 1


def ageing(table: ProductTable, worth: Worth, mission: Mission) -> Worth:
    """Worth times (1 + `ranking.ageing`) for each contact since the swath began.

    Above 0 it bounds the longest wait: whatever is worth anything goes down in the end, however
    much that is worth more keeps coming. Below 0 it maximizes what is fresh when it arrives.
    """
    rate = mission.ranking.ageing
    if not rate:
        return worth
    return worth * (1 + rate) ** _by_swath(table, lambda swath: table.ages.get(swath, 0))


def deadlines(table: ProductTable, worth: Worth, mission: Mission) -> Worth:
    """Of classes with a `deadline` of d contacts, worth times 1 + 1 / (contacts that are left), and
    0 from the deadline on.

    Maximizes what arrives in time: of two products of one worth the earlier deadline goes first
    (Jackson's rule, 1955), but never before what is worth twice as much. A product that comes too
    late gives its place to another.
    """
    factors = _by_class(table, mission, lambda rule: float(rule.deadline or 0))
    if factors is None:
        return worth
    left = factors - _by_swath(table, lambda swath: table.ages.get(swath, 0))
    urgent = np.where(left > 0, 1 + 1 / np.maximum(left, 1), 0.0)
    return np.where(factors > 0, worth * urgent, worth)


def verdicts(table: ProductTable, worth: Worth, mission: Mission) -> Worth:
    """Worth times the share that the mission gives to swaths of its verdict: `hard` and `bad`.

    Maximizes the value of what can be used: a swath that is bad as a whole is likely to be wrong in
    its parts too.
    """
    shares = {"hard to identify": mission.ranking.hard_share, "bad": mission.ranking.bad_share}
    if all(share == 1 for share in shares.values()) or not table.verdicts:
        return worth
    return worth * _by_swath(table, lambda swath: shares.get(table.verdicts.get(swath, ""), 1.0))


def precisions(table: ProductTable, worth: Worth, mission: Mission) -> Worth:
    """Worth times the class's `precision`: the share of its detections that an audit found right.

    Maximizes the value that is really there, where the posteriors promise more of one class.
    """
    factors = _by_class(table, mission, lambda rule: rule.precision, usual=1.0)
    return worth if factors is None else worth * factors


def thumbnails_first(table: ProductTable, worth: Worth) -> Worth:
    """An image is worth at most, per byte, what the thumbnail of its tile is that waits with it.

    Minimizes the bytes until something is seen of each detection; a contact that ends between the
    two has shown the thing.
    """
    columns = table.columns
    keys = _keys(table)
    thumbs = np.flatnonzero(columns["kind"] == Kind.THUMBNAIL)
    images = np.flatnonzero(columns["kind"] == Kind.IMAGE)
    if not len(thumbs) or not len(images):
        return worth
    thumbs = thumbs[np.argsort(keys[thumbs], kind="stable")]
    place = np.minimum(np.searchsorted(keys[thumbs], keys[images]), len(thumbs) - 1)
    paired = keys[thumbs[place]] == keys[images]
    result = worth.copy()
    images = images[paired]
    result[images] = np.minimum(result[images], worth[thumbs[place[paired]]])
    return result


def promises(table: ProductTable, worth: Worth, mission: Mission) -> Tier:
    """The thumbnails of each class's `at_least` best detections go before everything else.

    Guarantees every class its number in each contact, in which it maximizes their worth: one rich
    class cannot keep all others from the ground.
    """
    return _counted(table, worth, mission, lambda rule: rule.at_least, Kind.THUMBNAIL, PROMISED)


def limits(table: ProductTable, worth: Worth, mission: Mission) -> Tier:
    """Pictures of a class over its `at_most_bytes` go after everything else.

    Bounds what one class takes of each contact, with the best of it; what is left over is still
    sent where nothing else waits.
    """
    columns = table.columns
    tier = np.zeros(len(table), np.int8)
    most = _by_class(table, mission, lambda rule: float(rule.at_most_bytes or 0))
    if most is None:
        return tier
    pictures = columns["detection"] & (columns["kind"] >= Kind.THUMBNAIL)
    for name, places in _places(table, pictures & (most > 0)).items():
        order = places[np.lexsort((columns["id"][places], -worth[places]))]
        spent = np.cumsum(columns["bytes"][order], dtype=np.int64)
        tier[order[spent > (mission.classes[name].at_most_bytes or 0)]] = SURPLUS
    return tier


def _counted(
    table: ProductTable,
    worth: Worth,
    mission: Mission,
    number: Callable[[ClassRule], int],
    kind: Kind,
    tier: int,
) -> Tier:
    """The best so many products of each class in a tier of their own."""
    columns = table.columns
    result = np.zeros(len(table), np.int8)
    wanted = _by_class(table, mission, lambda rule: float(number(rule)))
    if wanted is None:
        return result
    chosen = columns["detection"] & (columns["kind"] == kind) & (wanted > 0)
    for name, places in _places(table, chosen).items():
        order = places[np.lexsort((columns["id"][places], -worth[places]))]
        result[order[: number(mission.classes[name])]] = tier
    return result


def _keys(table: ProductTable) -> npt.NDArray[np.uint64]:
    """A number for every swath, tile and class."""
    columns = table.columns
    tile = columns["tile"].astype(np.int64).astype(np.uint64) & np.uint64(2**32 - 1)
    key = columns["swath"].astype(np.uint64) << np.uint64(40)
    return np.asarray(key | tile << np.uint64(8) | columns["class_index"].astype(np.uint64))


def _by_swath(table: ProductTable, value: Callable[[int], float]) -> Worth:
    """What a function says of each product's swath: float64, shape (n,)."""
    swaths, inverse = np.unique(table.columns["swath"], return_inverse=True)
    return np.array([value(int(swath)) for swath in swaths], np.float64)[inverse]


def _by_class(
    table: ProductTable, mission: Mission, value: Callable[[ClassRule], float], usual: float = 0.0
) -> Worth | None:
    """What the mission says of each detection's class, `usual` of everything else: float64, shape
    (n,); None where it says no more than `usual` of all."""
    said = {name: value(rule) for name, rule in mission.classes.items()}
    if all(known == usual for known in said.values()):
        return None
    result = np.full(len(table), usual, np.float64)
    for name, places in _places(table, table.columns["detection"]).items():
        result[places] = said.get(name, usual)
    return result


def _places(table: ProductTable, chosen: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.intp]]:
    """Places of the `chosen` products by the names of their classes."""
    columns, places = table.columns, np.flatnonzero(chosen)
    pairs = columns["swath"][places].astype(np.int64) << 8 | columns["class_index"][places]
    found: dict[str, list[npt.NDArray[np.intp]]] = {}
    for pair in np.unique(pairs).tolist():
        names, index = table.classes[pair >> 8], pair & 0xFF
        if index < len(names):
            found.setdefault(names[index], []).append(places[pairs == pair])
    return {name: np.concatenate(parts) for name, parts in found.items()}
