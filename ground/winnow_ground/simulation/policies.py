"""What is sent first: the policies that fly, and those that they are measured against.

*fifo*, *confidence*, *utility-per-byte* and *diversity* are `products.ranking`'s; the first three
without the mission's rules between products, which *rules* holds to. *random* draws. *oracle* knows
the truth and the future of what the net made; *perfect-net* does too, and its net is never wrong.
*send-everything* and *evenly-spaced* have no net: they send images of tiles side by side, all in
order of acquisition, or as many, evenly spaced, as the contacts carry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_base.errors import DataError
from winnow_edge.downlink.container import ITEM
from winnow_edge.mission import POLICIES, ClassRule, Mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import Order, order_by, rank
from winnow_edge.store.schema import ProductState
from winnow_ground.simulation.decide import Indices
from winnow_ground.simulation.onboard import OnBoard

WITHOUT_NET: Final = ("send-everything", "evenly-spaced")
WITH_TRUTH: Final = ("oracle", "perfect-net")
ALL: Final = (*POLICIES, "rules", "random", *WITH_TRUTH, *WITHOUT_NET)
"""Every policy that can be played."""
Floats = npt.NDArray[np.float64]
Ranker = Callable[[OnBoard, Indices], Order]
"""Gives the order of products on board: indices into the places it is given."""


def checked(names: tuple[str, ...], where: object) -> tuple[str, ...]:
    """The names, each once. Raises DataError for one that is no policy."""
    for name in names:
        if name not in ALL:
            raise DataError(
                f"{name!r} is no policy", where=str(where), hint=f"choose of {', '.join(ALL)}"
            )
    return tuple(dict.fromkeys(names))


def has_rules(mission: Mission) -> bool:
    """Whether the mission has rules between products (`products.rules`)."""
    return without_rules(mission) != mission


def flown(mission: Mission) -> str:
    """The name of the policy that the mission flies."""
    return "rules" if has_rules(mission) else mission.ranking.policy


def without_rules(mission: Mission) -> Mission:
    """The mission with utilities alone: no precision, deadline, promise, limit, ageing or share by
    verdict."""
    usual, ranking = ClassRule(), mission.ranking
    classes = {
        name: replace(
            rule,
            precision=usual.precision,
            deadline=usual.deadline,
            at_least=usual.at_least,
            at_most_bytes=usual.at_most_bytes,
        )
        for name, rule in mission.classes.items()
    }
    plain = replace(ranking, ageing=0.0, hard_share=1.0, bad_share=1.0)
    return replace(mission, classes=classes, ranking=plain)


@dataclass(frozen=True)
class Flown:
    """A policy that flies: `name` of `POLICIES`, under a mission's rules."""

    name: str
    mission: Mission

    def __call__(self, board: OnBoard, places: Indices) -> Order:
        known = None
        if self.name == "diversity":
            columns = board.columns
            pictures = np.isin(columns["kind"], (Kind.THUMBNAIL, Kind.IMAGE))
            sent = np.isin(board.state, (ProductState.SENT, ProductState.ACKNOWLEDGED))
            known = board.table(np.flatnonzero(pictures & sent))
        return rank(board.table(places), self.name, self.mission, known=known)


@dataclass(frozen=True)
class Drawn:
    """The order is drawn: a number for each product, the same however often it is ranked."""

    seed: int

    def draws(self, board: OnBoard) -> Floats:
        """The number of each product on board; the highest goes first."""
        return np.random.default_rng([self.seed, 3]).random(board.count)

    def __call__(self, board: OnBoard, places: Indices) -> Order:
        return order_by(board.table(places), self.draws(board)[places])


@dataclass(frozen=True)
class ByKey:
    """By falling key, which is known of every product by its place: (n,) at least."""

    key: Callable[[OnBoard], Floats]

    def __call__(self, board: OnBoard, places: Indices) -> Order:
        return order_by(board.table(places), self.key(board)[places])


def candidates(
    board: OnBoard, mission: Mission, budget: int, draws: Floats | None = None
) -> Indices:
    """Places of the products that a contact of so many bytes could possibly carry.

    Records of tiles that are no detections, of the same size and never sent, are ranked alike by
    every policy that flies, in order of acquisition within what the rules tell apart by swath. So
    of each such group only as many need be looked at as there is room for. With `draws`
    (`Drawn.draws`) those of the highest numbers are the first of a group.
    """
    columns, stored = board.columns, board.state == ProductState.STORED
    plain = (columns["kind"] == Kind.RECORD) & stored
    plain &= ~columns["detection"]
    plain &= columns["unheard"] == 0
    which = np.flatnonzero(plain)
    if not len(which):
        return np.flatnonzero(stored)
    group = columns["bytes"][which].astype(np.int64)
    most = budget // (int(group.min()) + ITEM.size) + 1
    ranking = mission.ranking
    if ranking.ageing or ranking.hard_share != 1 or ranking.bad_share != 1:
        group = group << 32 | columns["swath"][which].astype(np.int64)
    alike = group.min() == group.max()
    groups = [which] if alike else [which[group == name] for name in np.unique(group)]
    for some in groups:
        if draws is not None and len(some) > most:
            some = some[np.argpartition(-draws[some], most)]
        stored[some[most:]] = False
    return np.flatnonzero(stored)


def ranker(name: str, mission: Mission, seed: int) -> Ranker:
    """The ranking of a policy that needs neither truth nor future."""
    if name == "random":
        return Drawn(seed)
    if name in WITHOUT_NET:
        return Flown("fifo", mission)
    if name == "rules":
        policy = mission.ranking.policy
        by_worth = policy in ("utility-per-byte", "diversity")
        return Flown(policy if by_worth else "utility-per-byte", mission)
    return Flown(name, without_rules(mission))
