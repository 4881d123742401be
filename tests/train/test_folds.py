"""Folds of sources: each source once, each class everywhere, whatever the order they come in."""

from __future__ import annotations

import pytest

from winnow_base.errors import DataError
from winnow_train.folds import assign

SOURCES = {
    **{f"plain-{i}": {"other": 10 + i} for i in range(20)},
    **{f"both-{i}": {"other": 3, "crater": 5 + i} for i in range(6)},
    **{f"rare-{i}": {"spider": 2 + i, "other": 1} for i in range(3)},
}


def test_every_source_gets_one_fold_and_every_fold_every_class() -> None:
    homes = assign(SOURCES, 3, seed=1)
    assert homes.keys() == SOURCES.keys()
    for fold in range(3):
        classes = {c for s, f in homes.items() if f == fold for c in SOURCES[s]}
        assert classes == {"other", "crater", "spider"}


def test_folds_share_the_tiles_of_a_class_evenly() -> None:
    homes = assign(SOURCES, 3, seed=1)
    other = [sum(SOURCES[s].get("other", 0) for s, f in homes.items() if f == n) for n in range(3)]
    assert max(other) - min(other) <= 29  # the largest source of the class


def test_the_order_of_the_sources_makes_no_difference_and_the_seed_does() -> None:
    backwards = dict(reversed(SOURCES.items()))
    assert assign(backwards, 3, seed=7) == assign(SOURCES, 3, seed=7)
    assert assign(SOURCES, 3, seed=7) != assign(SOURCES, 3, seed=8)


def test_a_class_in_too_few_sources_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="no tile of 'spider': it is in 3 sources"):
        assign(SOURCES, 4, seed=1)


@pytest.mark.parametrize("folds", [0, 1, 30])
def test_more_folds_than_sources_or_fewer_than_two_are_refused(folds: int) -> None:
    with pytest.raises(DataError, match="29 sources do not make"):
        assign(SOURCES, folds, seed=1)


def test_sources_without_any_class_are_spread_too() -> None:
    homes = assign({**SOURCES, "empty-1": {}, "empty-2": {"crater": 0}}, 3, seed=1)
    assert {"empty-1", "empty-2"} <= homes.keys()
