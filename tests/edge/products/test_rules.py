"""Rules between products, one by one and in the ranking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from winnow_edge.mission import Mission
from winnow_edge.products import rules
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import rank
from winnow_edge.products.table import COLUMNS, ProductTable
from winnow_edge.products.worth import density
from winnow_edge.testing import landmark_mission

CRATER, DUNE = 1, 2
NAMES = ("other", "crater", "dark dune")
SIZES = {Kind.RECORD: 24, Kind.THUMBNAIL: 600, Kind.IMAGE: 5000}


def table_of(*detections: tuple[int, int, float], **more: Any) -> ProductTable:
    """Record, thumbnail and image of each detection: (swath, class, posterior)."""
    rows = [
        (3 * tile + n + 1, swath, kind, tile, class_index, posterior, True, 1, 0, size, b"")
        for tile, (swath, class_index, posterior) in enumerate(detections)
        for n, (kind, size) in enumerate(SIZES.items())
    ]
    swaths = {swath for swath, _, _ in detections}
    return ProductTable(np.array(rows, COLUMNS), dict.fromkeys(swaths, NAMES), **more)


def sent(table: ProductTable, mission: Mission) -> list[tuple[int, Kind]]:
    """Tile and kind of the products in the order in which they are sent."""
    rows = table.columns[rank(table, "utility-per-byte", mission)]
    return [(int(row["tile"]), Kind(int(row["kind"]))) for row in rows]


def worth_of(table: ProductTable, mission: Mission) -> rules.Worth:
    return density(table, mission)


def test_without_rules_the_order_is_that_of_worth() -> None:
    table = table_of((1, CRATER, 0.9), (1, DUNE, 0.8), (2, CRATER, 0.6))
    mission = landmark_mission()
    order = rank(table, "utility-per-byte", mission)
    worth = worth_of(table, mission)
    assert (np.diff(worth[order]) <= 0).all()


@pytest.mark.parametrize(("ageing", "first"), [(0.5, 1), (-0.5, 2), (0.0, 1)])
def test_what_waited_longer_is_worth_more_or_less(ageing: float, first: int) -> None:
    table = table_of((1, CRATER, 0.7), (2, CRATER, 0.7), ages={1: 3, 2: 1})
    mission = landmark_mission(f"[ranking]\nageing = {ageing}")
    worth = worth_of(table, mission)
    aged = rules.ageing(table, worth, mission)
    np.testing.assert_allclose(aged, worth * (1 + ageing) ** np.repeat([3, 1], 3))
    assert sent(table, mission)[0] == (first - 1, Kind.RECORD)


def deadline(contacts: int) -> Mission:
    mission = landmark_mission()
    rule = replace(mission.classes["crater"], deadline=contacts)
    return replace(mission, classes={**mission.classes, "crater": rule})


def test_an_earlier_deadline_goes_first_and_a_late_product_last() -> None:
    table = table_of(
        (1, CRATER, 0.7), (2, CRATER, 0.7), (3, CRATER, 0.9), (1, DUNE, 0.5),
        ages={1: 0, 2: 4, 3: 5},
    )  # fmt: skip
    worth, mission = worth_of(table, deadline(5)), deadline(5)
    factors = rules.deadlines(table, worth, mission) / worth
    np.testing.assert_allclose(factors, np.repeat([1.2, 2.0, 0.0, 1.0], 3))
    order = sent(table, mission)
    assert order[0] == (1, Kind.RECORD)
    assert {tile for tile, _ in order[-3:]} == {2}


def test_verdicts_and_precisions_are_shares_of_worth() -> None:
    verdicts = {1: "bad", 2: "hard to identify", 3: "good"}
    table = table_of(*((n, CRATER, 0.7) for n in (1, 2, 3, 4)), verdicts=verdicts)
    mission = landmark_mission("[ranking]\nbad_share = 0.1\nhard_share = 0.5")
    worth = worth_of(table, mission)
    shares = rules.verdicts(table, worth, mission) / worth
    np.testing.assert_allclose(shares, np.repeat([0.1, 0.5, 1, 1], 3))
    rule = replace(mission.classes["crater"], precision=0.25)
    audited = replace(mission, classes={**mission.classes, "crater": rule})
    both = table_of((1, CRATER, 0.7), (1, DUNE, 0.7))
    worth = worth_of(both, audited)
    shares = rules.precisions(both, worth, audited) / worth
    np.testing.assert_allclose(shares, np.repeat([0.25, 1], 3))


def test_a_thumbnail_goes_before_its_image() -> None:
    table = table_of((1, CRATER, 0.9), (1, CRATER, 0.5))
    mission = landmark_mission("[products]\nthumbnail_share = 0.01\nimage_share = 0.94")
    order = sent(table, mission)
    for tile in (0, 1):
        assert order.index((tile, Kind.THUMBNAIL)) < order.index((tile, Kind.IMAGE))
    # Where the thumbnail went before, the image has its own worth.
    alone = table[table.columns["kind"] != Kind.THUMBNAIL]
    worth = worth_of(alone, mission)
    np.testing.assert_array_equal(rules.thumbnails_first(alone, worth), worth)


def with_rule(name: str, **changes: Any) -> Mission:
    mission = landmark_mission()
    rule = replace(mission.classes[name], **changes)
    return replace(mission, classes={**mission.classes, name: rule})


def test_every_class_gets_the_number_that_it_was_promised() -> None:
    table = table_of(*((1, CRATER, 0.9) for _ in range(20)), (1, DUNE, 0.6), (2, DUNE, 0.7))
    order = sent(table, with_rule("dark dune", at_least=1))
    assert order[0] == (21, Kind.THUMBNAIL)
    assert order[1][0] < 20
    assert sent(table, with_rule("dark dune", at_least=5))[:2] == [
        (21, Kind.THUMBNAIL),
        (20, Kind.THUMBNAIL),
    ]


def test_what_is_over_a_class_s_bytes_goes_last() -> None:
    table = table_of(*((1, CRATER, 0.5 + n / 100) for n in range(20)), (1, DUNE, 0.6))
    order = sent(table, with_rule("crater", at_most_bytes=10 * 600))
    pictures = [(tile, kind) for tile, kind in order if kind != Kind.RECORD]
    before = pictures[: pictures.index((20, Kind.IMAGE))]
    assert before == [(tile, Kind.THUMBNAIL) for tile in range(19, 9, -1)] + [(20, Kind.THUMBNAIL)]
    assert len(order) == len(table)


def test_an_empty_table_is_ranked() -> None:
    mission = with_rule("crater", at_least=3, at_most_bytes=10, deadline=2)
    empty = table_of((1, CRATER, 0.5))[:0]
    assert rank(empty, "utility-per-byte", mission).tolist() == []
