"""Ranking: orders by policy, values, and tables read from a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.mission import POLICIES
from winnow_edge.products.kinds import Kind, Product
from winnow_edge.products.ranking import order_by, rank
from winnow_edge.products.table import COLUMNS, ProductTable
from winnow_edge.products.worth import utilities, utility
from winnow_edge.store.store import Store
from winnow_edge.testing import LANDMARKS, fill, landmark_mission, products_of_tiles

CLASSES = {1: ("other", "crater", "dark dune"), 2: ("dark dune", "crater")}

rows = st.lists(
    st.tuples(
        st.sampled_from([1, 2]),
        st.sampled_from([kind for kind in Kind if kind is not Kind.BACKGROUND]),
        st.sampled_from([0, 1, 2, 255]),
        st.floats(0, 1, width=32),
        st.booleans(),
        st.integers(20, 9000),
    ),
    max_size=60,
)


def table_of(given_rows: list[tuple[int, Kind, int, float, bool, int]]) -> ProductTable:
    table = np.zeros(len(given_rows), COLUMNS)
    for n, (swath, kind, cls, posterior, detection, size) in enumerate(given_rows):
        table[n] = (n + 1, swath, kind, n, cls, posterior, detection, 1, 0, size, b"")
    return ProductTable(table, CLASSES)


@given(rows, st.sampled_from(POLICIES))
def test_every_policy_orders_every_product_once(given_rows: list[Any], policy: str) -> None:
    table = table_of(given_rows)
    order = rank(table, policy, landmark_mission())
    assert sorted(order.tolist()) == list(range(len(table)))


@given(rows)
def test_values_are_those_of_products(given_rows: list[Any]) -> None:
    mission, table = landmark_mission(), table_of(given_rows)
    got = utilities(table, mission)
    for worth, (swath, kind, cls, posterior, detection, _) in zip(got, given_rows, strict=True):
        product = Product(kind, 0, cls, posterior, detection, b"")
        assert worth == pytest.approx(utility(product, mission, CLASSES[swath]), rel=1e-6)


def test_orders_of_the_policies() -> None:
    made = [
        (1, Kind.RECORD, 1, 0.99, False, 24),  # 0 background, sure of itself
        (1, Kind.RECORD, 2, 0.9, True, 24),  # 1 dark dune (utility 2)
        (1, Kind.IMAGE, 2, 0.9, True, 4000),  # 2
        (1, Kind.RECORD, 1, 0.6, True, 24),  # 3 crater (utility 10)
        (1, Kind.THUMBNAIL, 1, 0.6, True, 400),  # 4
        (1, Kind.IMAGE, 1, 0.6, True, 4000),  # 5
    ]
    table, mission = table_of(made), landmark_mission()
    assert rank(table, "fifo", mission).tolist() == [0, 1, 2, 3, 4, 5]
    assert rank(table, "confidence", mission).tolist() == [1, 2, 3, 4, 5, 0]
    assert rank(table, "utility-per-byte", mission).tolist() == [3, 4, 1, 5, 2, 0]


def test_what_was_not_heard_of_counts_half() -> None:
    table = table_of([(1, Kind.RECORD, 1, p, True, 24) for p in (0.9, 0.5, 0.4)])
    table.columns["unheard"][0] = 1
    assert rank(table, "utility-per-byte", landmark_mission()).tolist() == [1, 0, 2]
    assert rank(table, "confidence", landmark_mission()).tolist() == [1, 2, 0]
    assert rank(table, "fifo", landmark_mission()).tolist() == [0, 1, 2]


def test_equals_go_in_order_of_acquisition() -> None:
    table = table_of([(1, Kind.RECORD, 1, 0.5, True, 24)] * 50)
    shuffled = table[np.random.default_rng(0).permutation(50)]
    for policy in POLICIES:
        order = rank(shuffled, policy, landmark_mission())
        assert shuffled.columns["id"][order].tolist() == list(range(1, 51))


def test_an_order_of_ones_own() -> None:
    table = table_of([(1, Kind.RECORD, 1, p, True, 24) for p in (0.1, 0.9, 0.5)])
    assert order_by(table, table.columns["posterior"].astype(float)).tolist() == [1, 2, 0]


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'lucky'.*fifo"):
        rank(table_of([]), "lucky", landmark_mission())


def test_a_table_reads_what_the_store_holds(tmp_path: Path) -> None:
    mission = landmark_mission()
    fill(tmp_path, mission, products_of_tiles(0, 40, mission))
    with Store.open(tmp_path, mission=mission) as store:
        table = store.table()
        stored = list(store.products())
    assert len(table) == len(stored) == 61
    for row, product in zip(table.columns, stored, strict=True):
        assert (row["id"], row["swath"], row["kind"]) == (product.id, product.swath, product.kind)
        assert (row["tile"], row["class_index"]) == (product.tile_index, product.class_index)
        assert (row["detection"], row["bytes"]) == (product.detection, product.bytes)
        assert row["posterior"] == pytest.approx(product.posterior, abs=1e-7)
    assert table.classes == {1: LANDMARKS}
