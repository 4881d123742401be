"""The oracle: within its bound, no worse than greedy, and the best there is where it says so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from winnow_edge.mission import Link
from winnow_ground.simulation.oracle import Plan, Problem, plan

LINK = Link(packet_bytes=1024, container_bytes=65_536)


def problem(seed: int, products: int = 8, things: int = 6, contacts: int = 3) -> Problem:
    """Products of random size that pay for one to three things, made before random contacts."""
    rng = np.random.default_rng(seed)
    pairs = sorted(
        {
            (i, int(f))
            for i in range(products)
            for f in rng.choice(things, rng.integers(1, 4), replace=False)
        }
    )
    product, paid = np.array(pairs, np.intp).T
    return Problem(
        size=rng.integers(100, 900, products),
        release=rng.integers(0, contacts + 1, products),
        product=product,
        paid=paid,
        worth=rng.integers(1, 20, things).astype(np.float64),
        budgets=rng.integers(200, 1500, contacts),
        link=LINK,
    )


def value(case: Problem, chosen: tuple[int, ...] | list[int]) -> float:
    """What products pay for together."""
    return float(case.worth[np.unique(case.paid[np.isin(case.product, chosen)])].sum())


def fits(case: Problem, chosen: tuple[int, ...] | list[int]) -> bool:
    """Whether what is made before each contact, and sent from then on, fits what is left."""
    cost, release, tails = case.cost, case.release, case.tails
    if any(release[i] >= len(tails) for i in chosen):
        return False
    return all(
        sum(cost[i] for i in chosen if release[i] >= contact) <= tails[contact]
        for contact in range(len(tails))
    )


def best(case: Problem) -> float:
    """By trying every choice."""
    everything = range(len(case.size))
    choices = (c for n in range(len(case.size) + 1) for c in itertools.combinations(everything, n))
    return max(value(case, c) for c in choices if fits(case, c))


@pytest.mark.parametrize("seed", range(25))
def test_a_small_choice_is_the_best_there_is(seed: int) -> None:
    pytest.importorskip("scipy")
    case = problem(seed)
    found = plan(case)
    chosen = found.chosen.tolist()
    assert fits(case, chosen)
    assert value(case, chosen) == pytest.approx(found.value)
    assert found.exact and found.gap == 0
    assert found.value == pytest.approx(best(case))


@pytest.mark.parametrize("seed", range(25))
def test_no_choice_exceeds_the_bound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow_ground.simulation.oracle.EXACT", 0)
    case = problem(seed)
    greedy: Plan = plan(case)
    assert fits(case, greedy.chosen.tolist())
    assert value(case, greedy.chosen.tolist()) == pytest.approx(greedy.value)
    assert greedy.value <= best(case) + 1e-9 <= greedy.bound + 2e-9


def test_without_contacts_or_truth_there_is_nothing_to_choose() -> None:
    case = problem(0, contacts=1)
    nothing = Problem(
        case.size, case.release * 0 + 1, case.product, case.paid, case.worth, case.budgets, LINK
    )
    assert plan(nothing).value == plan(nothing).bound == 0
    blind = Problem(
        case.size,
        case.release,
        case.product[:0],
        case.paid[:0],
        case.worth,
        case.budgets,
        LINK,
    )
    assert plan(blind).value == 0 and len(plan(blind).chosen) == 0
