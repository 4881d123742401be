"""Sources dealt out to train and val."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_base.errors import DataError
from winnow_train.datasets import source_of
from winnow_train.making.naming import file_stems
from winnow_train.making.split import split_sources

TILES = st.lists(
    st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(["crater", "dune", "none"])),
    min_size=2,
    max_size=80,
)


@given(TILES, st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 3))
def test_train_keeps_every_class_and_val_is_never_empty(
    tiles: list[tuple[str, str]], share: float, seed: int
) -> None:
    try:
        sets = split_sources(tiles, share, seed)
    except DataError:
        homes = {c: {s for s, k in tiles if k == c} for _, c in tiles}
        sources = {s for s, _ in tiles}
        alone = {next(iter(some)) for some in homes.values() if len(some) == 1}
        assert len(sources) == 1 or alone == sources
        return
    assert set(sets) == {s for s, _ in tiles}
    assert set(sets.values()) == {"train", "val"}
    assert {c for s, c in tiles if sets[s] == "train"} == {c for _, c in tiles}
    assert sets == split_sources(tiles[::-1], share, seed)


def test_val_has_about_its_share_of_every_class() -> None:
    tiles = [(f"s{n}", c) for n in range(20) for c in ("a", "b") for _ in range(n + 1)]
    sets = split_sources(tiles, 0.2, 1)
    held = Counter(c for s, c in tiles if sets[s] == "val")
    for name in ("a", "b"):
        assert held[name] / 210 == pytest.approx(0.2, abs=0.02)


@given(st.sets(st.text(max_size=100), min_size=1, max_size=8))
def test_every_source_is_read_back_from_its_files(sources: set[str]) -> None:
    stems = file_stems(sources)
    assert len({stem.casefold() for stem in stems.values()}) == len(sources)
    for stem in stems.values():
        assert source_of(f"{stem}-000012.png") == stem
        assert len(stem.encode()) < 120
        assert "/" not in stem
        assert not stem.startswith(".")
