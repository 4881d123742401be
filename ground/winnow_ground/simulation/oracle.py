"""The oracle: what one who knows truth and future would send of what is on board.

Which products to send is a knapsack with release times: what is made late fits only the contacts
after it. Products pay for features that nobody has paid for (maximum coverage). Small cases are
solved exactly (HiGHS, through `scipy.optimize.milp`); any case greedily by value per byte, with a
bound on what is possible at all: every pair of a feature and a kind is paid by the cheapest product
that shows it, and fractions may be sent. Constraints on the bytes of what is made after each time
are nested, so the greedy solution of that relaxation is optimal (Edmonds, "Submodular functions,
matroids, and certain polyhedra", 1970).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_edge.downlink.container import CONTAINER, ITEM
from winnow_edge.downlink.packets import link_bytes
from winnow_edge.mission import Link
from winnow_ground.simulation.decide import Indices

EXACT: Final = 400
"""Products of at most so many are chosen exactly."""
SOLVER_S: Final = 20.0
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """`size` octets and `release` (the first contact after it was made; `len(budgets)`: none) of
    each product, int64 (n,); `product` and `paid` (m,) are pairs of a product and what it pays for,
    with `worth` float64 by what is paid for; `budgets` octets of each contact."""

    size: Integers
    release: Integers
    product: Indices
    paid: Indices
    worth: Floats
    budgets: Integers
    link: Link

    @property
    def cost(self) -> Floats:
        """Octets on the link of each product, with its share of containers and packets."""
        whole = self.link.container_bytes
        over = link_bytes(whole, self.link.packet_bytes, timed=self.link.time_code) / whole
        return (self.size + ITEM.size) * over * (1 + CONTAINER.size / whole)

    @property
    def tails(self) -> Integers:
        """Octets of each contact and all after it."""
        return np.cumsum(self.budgets[::-1])[::-1]


@dataclass(frozen=True)
class Plan:
    """Products in order of value per byte, their `value`, and a `bound` that no choice exceeds;
    `exact` where the choice is optimal."""

    chosen: Indices
    value: float
    bound: float
    exact: bool

    @property
    def gap(self) -> float:
        """The most that a better choice could add, as a share of the bound."""
        return 1.0 - self.value / self.bound if self.bound > 0 else 0.0


def plan(problem: Problem) -> Plan:
    """The best choice where that can be told, else the greedy one with its bound."""
    chosen, value = _greedy(problem)
    bound = max(_bound(problem), value)
    useful = np.unique(problem.product)
    if len(useful) <= EXACT and value < bound:
        best = _exact(problem, useful)
        if best is not None and best[1] >= value - 1e-9:
            return Plan(_by_density(problem, best[0]), best[1], best[1], True)
    return Plan(chosen, float(value), float(bound), bool(value >= bound))


def _greedy(problem: Problem) -> tuple[Indices, float]:
    """Always the product that adds most per byte and still fits (lazily: Minoux 1978)."""
    cost, release = problem.cost, problem.release
    slack = problem.tails.astype(np.float64)
    pays = _lists(problem)
    paid = np.zeros(len(problem.worth), np.bool_)

    def gain(i: int) -> float:
        return float(sum(problem.worth[f] for f in pays[i] if not paid[f]))

    heap = [(-gain(i) / cost[i], i) for i in pays if release[i] < len(slack)]
    heapq.heapify(heap)
    chosen, value = [], 0.0
    while heap:
        _, i = heapq.heappop(heap)
        now = gain(i)
        if now <= 0:
            continue
        if heap and -now / cost[i] > heap[0][0]:
            heapq.heappush(heap, (-now / cost[i], i))
            continue
        if slack[: release[i] + 1].min() < cost[i]:
            continue
        slack[: release[i] + 1] -= cost[i]
        paid[pays[i]] = True
        chosen.append(i)
        value += now
    return np.array(chosen, np.intp), value


def _bound(problem: Problem) -> float:
    """The value of the relaxation: no choice of products is worth more."""
    if not len(problem.product) or not len(problem.budgets):
        return 0.0
    count = np.bincount(problem.product, minlength=len(problem.size))
    # Whoever sends a product that pays for several things spends at least this on each of them.
    share = (problem.size + ITEM.size)[problem.product] / count[problem.product]
    least = np.full(len(problem.worth), np.inf)
    first = np.full(len(problem.worth), len(problem.budgets))
    np.minimum.at(least, problem.paid, share)
    np.minimum.at(first, problem.paid, problem.release[problem.product])
    slack = problem.tails.astype(np.float64)
    value = 0.0
    with np.errstate(invalid="ignore"):
        order = np.argsort(-problem.worth / least, kind="stable")
    for f in order.tolist():
        if not np.isfinite(least[f]) or first[f] >= len(slack) or problem.worth[f] <= 0:
            continue
        room = min(float(slack[: first[f] + 1].min()), float(least[f]))
        if room > 0:
            slack[: first[f] + 1] -= room
            value += problem.worth[f] * room / least[f]
    return value


def _exact(problem: Problem, useful: Indices) -> tuple[Indices, float] | None:
    """The best choice by HiGHS; None without SciPy, or where the time does not suffice."""
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_array, vstack
    except ImportError:
        return None
    places = {int(i): k for k, i in enumerate(useful)}
    things, things_of = np.unique(problem.paid, return_inverse=True)
    n, m = len(useful), len(things)
    # Covered only where a product that pays for it is sent.
    columns = [*range(n, n + m), *(places[int(i)] for i in problem.product)]
    rows = [*range(m), *things_of.tolist()]
    covered = coo_array(
        ([1.0] * m + [-1.0] * len(problem.product), (rows, columns)), shape=(m, n + m)
    )
    cost, release, tails = problem.cost[useful], problem.release[useful], problem.tails
    late = np.unique(release[release < len(tails)])
    fits = np.zeros((len(late), n + m))
    for k, contact in enumerate(late.tolist()):
        fits[k, :n] = np.where(release >= contact, cost, 0.0)
    upper = np.concatenate([(release < len(tails)) * 1.0, np.ones(m)])
    found = milp(
        np.concatenate([np.zeros(n), -problem.worth[things]]),
        integrality=np.concatenate([np.ones(n), np.zeros(m)]),
        bounds=Bounds(0, upper),
        constraints=LinearConstraint(
            vstack([covered, coo_array(fits)]),
            -np.inf,
            np.concatenate([np.zeros(m), tails[late].astype(np.float64)]),
        ),
        options={"time_limit": SOLVER_S},
    )
    if found.status != 0 or found.x is None:
        return None
    return useful[np.flatnonzero(found.x[:n] > 0.5)], float(-found.fun)


def _by_density(problem: Problem, chosen: Indices) -> Indices:
    """What was chosen, by falling value per byte."""
    pays = _lists(problem)
    density = [
        -sum(problem.worth[f] for f in pays.get(i, ())) / problem.cost[i] for i in chosen.tolist()
    ]
    return chosen[np.argsort(density, kind="stable")]


def _lists(problem: Problem) -> dict[int, list[int]]:
    """What each product pays for."""
    pays: dict[int, list[int]] = {}
    for i, f in zip(problem.product.tolist(), problem.paid.tolist(), strict=True):
        pays.setdefault(i, []).append(f)
    return pays


def releases(made_at: Floats, starts: Sequence[float]) -> Integers:
    """The first contact that begins after each product was made, counted from 0."""
    return np.searchsorted(np.asarray(starts, np.float64), made_at, side="left").astype(np.int64)
