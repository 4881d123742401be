"""Kappas are those that were published; people of a set are compared on what they share."""

from __future__ import annotations

import pytest

from tests.ground.labelling.conftest import Labelled
from winnow_ground.labelling.agreement import agreement, cohen, fleiss

DIAGNOSES = """
0 0 0 6 0  0 3 0 0 3  0 1 4 0 1  0 0 0 0 6  0 3 0 3 0  2 0 4 0 0  0 0 4 0 2  2 0 3 1 0
2 0 0 4 0  0 0 0 0 6  1 0 0 5 0  1 1 0 4 0  0 3 3 0 0  1 0 0 5 0  0 2 0 3 1  0 0 5 0 1
3 0 0 1 2  5 1 0 0 0  0 2 0 4 0  1 0 2 0 3  0 0 0 0 6  0 1 0 5 0  0 2 0 1 3  2 0 0 4 0
1 0 0 4 1  0 5 0 1 0  4 0 0 0 2  0 2 0 4 0  1 0 5 0 0  0 0 0 0 6
"""
"""Fleiss 1971, table 1: thirty patients, six psychiatrists each; depression, personality disorder,
schizophrenia, neurosis, other."""


def patients() -> list[dict[str, int]]:
    counts = [int(n) for n in DIAGNOSES.split()]
    names = ("depression", "personality", "schizophrenia", "neurosis", "other")
    rows = [counts[i : i + 5] for i in range(0, len(counts), 5)]
    return [{name: n for name, n in zip(names, row, strict=True) if n} for row in rows]


def pairs(table: list[list[int]]) -> list[tuple[str, str]]:
    return [
        (str(row), str(column))
        for row, counts in enumerate(table)
        for column, count in enumerate(counts)
        for _ in range(count)
    ]


def test_fleiss_kappa_is_the_one_of_his_paper() -> None:
    rows = patients()
    # The shares that the paper gives beside the table: the data were copied rightly.
    shares = [sum(row.get(name, 0) for row in rows) / 180 for name in ("depression", "neurosis")]
    assert shares == pytest.approx([0.144, 0.306], abs=5e-4)
    agreed, kappa = fleiss(rows)
    assert agreed == pytest.approx(0.556, abs=5e-4)
    assert kappa == pytest.approx(0.430, abs=5e-4)


@pytest.mark.parametrize(
    ("table", "agreed", "kappa"),
    [
        # Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 2003, table 18.1.
        ([[75, 1, 4], [5, 4, 1], [0, 0, 10]], 0.89, 0.68),
        # Cohen, Psychological Bulletin 70, 1968, table 1: shares of 200.
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], 0.70, 0.49),
    ],
)
def test_cohens_kappa_is_the_one_of_books(
    table: list[list[int]], agreed: float, kappa: float
) -> None:
    share, value = cohen(pairs(table))
    assert share == pytest.approx(agreed, abs=5e-3)
    assert value == pytest.approx(kappa, abs=5e-3)


def test_kappas_at_their_ends() -> None:
    assert cohen([("a", "a"), ("b", "b")]) == (1.0, 1.0)
    assert cohen([("a", "b"), ("b", "a")]) == (0.0, -1.0)
    assert cohen([("a", "a")] * 9) == (1.0, None)
    assert fleiss([{"a": 3}, {"b": 2}]) == (1.0, 1.0)
    assert fleiss([{"a": 2}, {"a": 5}]) == (1.0, None)
    with pytest.raises(ValueError, match="no tile"):
        cohen([])
    with pytest.raises(ValueError, match="fewer than two"):
        fleiss([{"a": 1}])


def test_people_are_compared_on_the_tiles_they_share(labelled: Labelled) -> None:
    one = labelled.set()
    tiles = labelled.tiles()
    assert agreement(labelled.db, one).pairs == {}
    for tile in tiles[:8]:
        labelled.says("ann", tile, "crater" if tile % 2 else "nothing")
        labelled.says("bob", tile, "crater" if tile % 2 else "nothing")
    for tile in tiles[4:10]:
        labelled.says("cid", tile, "later" if tile == tiles[4] else "unsure")
    told = agreement(labelled.db, one)
    assert told.people == {"ann": 8, "bob": 8, "cid": 5}
    ann_bob = told.pairs["ann", "bob"]
    assert (ann_bob.tiles, ann_bob.value, ann_bob.low) == (8, 1.0, 1.0)
    assert told.pairs["ann", "cid"].tiles == 3
    assert told.all is not None and told.all.tiles == 8
    assert told.all.low is not None and told.all.high is not None
    assert told.all.low <= (told.all.value or 0) <= told.all.high < 1
    assert agreement(labelled.db, one) == told
