"""Folds of a cross-validation: blocks of sols stay together, a source has one fold, files read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from winnow_base.errors import DataError
from winnow_train.crossval.splits import (
    Folds,
    groups,
    make_eras,
    make_folds,
    notices,
    read_folds,
)
from winnow_train.datasets import Tile, TileSet, hold_out
from winnow_train.tasks import Task
from winnow_train.windows.pictures import Picture


def task_of(labels: dict[str, list[int]], classes: tuple[str, ...] = ("a", "b")) -> Task:
    """Tiles by source with their labels."""
    tiles = tuple(
        Tile(Path(f"{source}/{i}.png"), label, "train", source)
        for source, of in labels.items()
        for i, label in enumerate(of)
    )
    truth = np.array([t.label for t in tiles], np.int32)
    return Task(TileSet("msl", classes, tiles, ""), classes, "softmax", truth)


def sols(*numbers: int) -> dict[str, list[int]]:
    return {f"sol {n:04d}": [0, 1] for n in numbers}


def test_consecutive_sols_are_held_out_together() -> None:
    folds = make_folds([task_of(sols(*range(1, 101)))], 5, seed=3, sols=10)
    for first in range(1, 101, 10):
        homes = {folds.fold_of[f"sol {n:04d}"] for n in range(first, first + 10)}
        assert len(homes) == 1
    assert sorted(set(folds.fold_of.values())) == [1, 2, 3, 4, 5]


def test_a_block_begins_with_a_sol_that_has_pictures() -> None:
    assert groups(["sol 0180", "sol 0182", "sol 0195"], 10) == {
        "sol 0180": "sols 180-189",
        "sol 0182": "sols 180-189",
        "sol 0195": "sols 195-204",
    }


def test_eras_are_equal_spans_of_sols_with_blocks_of_their_own() -> None:
    folds = make_eras([task_of(sols(1, 4, 9, 10, 11, 28, 30))], 3, sols=5)
    assert folds.fold_of == {
        **dict.fromkeys(("sol 0001", "sol 0004", "sol 0009", "sol 0010"), 1),
        "sol 0011": 2,
        **dict.fromkeys(("sol 0028", "sol 0030"), 3),
    }
    assert folds.group_of["sol 0009"] == folds.group_of["sol 0010"] == "sols 9-13"
    assert folds.group_of["sol 0011"] == "sols 11-15"  # a block ends where its era ends


def test_an_era_whose_sols_all_taught_the_teacher_is_refused() -> None:
    task = task_of(sols(1, 15, 29, 30))
    folds = make_eras([task], 2, sols=2, never=("sol 0015",))
    assert folds.fold_of["sol 0015"] == 0 and folds.fold_of["sol 0001"] == 1
    with pytest.raises(DataError, match="no tile to judge is in era 1"):
        make_eras([task], 2, sols=2, never=("sol 0001", "sol 0015"))


def test_an_era_without_pictures_is_refused() -> None:
    with pytest.raises(DataError, match="no tile to judge is in era 2, 3"):
        make_eras([task_of(sols(1, 2, 100))], 4)


def test_sources_that_are_no_sols_have_no_eras() -> None:
    with pytest.raises(DataError, match="ESP_011289_1950 is no sol"):
        make_eras([task_of({"ESP_011289_1950": [0], "PSP_005038_1935": [1]})], 2)


def test_observations_are_groups_of_their_own() -> None:
    names = ["ESP_011289_1950", "PSP_005038_1935"]
    assert groups(names, 10) == {n: n for n in names}


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(DataError, match="2 blocks of sols are too few for 3 folds"):
        make_folds([task_of(sols(1, 2, 3, 11, 12))], 3, seed=0, sols=10)


def test_too_few_sources_are_refused() -> None:
    with pytest.raises(DataError, match="2 sources are too few for 3 folds"):
        make_folds([task_of({"ESP_011289_1950": [0], "PSP_005038_1935": [1]})], 3, seed=0)


def test_a_fold_without_a_class_is_said() -> None:
    task = task_of({"x1": [0, 1], "x2": [0], "x3": [0]})
    folds = make_folds([task], 3, seed=0)
    home = folds.fold_of["x1"]
    others = ", ".join(str(f) for f in folds.numbers if f != home)
    assert notices(task, folds) == [
        f"no tile of b in fold {others}",
        f"b is in fold {home} alone: its nets never saw one",
    ]


def test_folds_are_read_as_they_were_written(tmp_path: Path) -> None:
    task = task_of(sols(*range(1, 60)))
    made = make_folds([task], 3, seed=1)
    path = tmp_path / "folds.csv"
    path.write_text(made.as_csv())
    assert read_folds(path, [task]) == made


def test_fold_0_trains_every_net(tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    path.write_text("source,fold\nx1,0\nx2,1\n")
    folds = read_folds(path, [task_of({"x1": [0, 1], "x2": [0]})])
    assert (folds.count, folds.held(1)) == (1, frozenset({"x2"}))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("x1,,1\nx2,,2\nx1,,2\n", "x1 is in folds 1 and 2"),
        ("x1,g,1\nx2,g,2\n", "g is in folds 1 and 2"),
        ("x1,,1\n", "x2 of msl has no fold"),
        ("x1,,1\nx2,,3\n", "the folds that hold tiles are 1, 3"),
        ("x1,,1\nx2,,one\n", "names no source and fold"),
        ("x1,,1\nx2,,1\n", "one fold holds every source"),
        ("x1,,0\nx2,,0\n", "the folds that hold tiles are none"),
    ],
)
def test_a_bad_fold_file_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    path = tmp_path / "folds.csv"
    path.write_text("source,group,fold\n" + rows)
    with pytest.raises(DataError, match=said):
        read_folds(path, [task_of({"x1": [0], "x2": [1]})])


def test_held_sources_become_val_and_a_test_set_stays_unseen() -> None:
    tiles = tuple(
        Tile(Path(f"{i}.png"), 0, split, source)
        for i, (split, source) in enumerate(
            [("train", "x1"), ("val", "x2"), ("train", "x3"), ("test", "x4")]
        )
    )
    found = hold_out(TileSet("folder", ("a",), tiles, ""), {"x1"})
    assert [(t.source, t.split) for t in found.tiles] == [
        ("x1", "val"),
        ("x2", "train"),
        ("x3", "train"),
    ]


def test_folds_know_what_each_holds() -> None:
    folds = Folds(2, {"x1": 1, "x2": 2, "x3": 1}, {"x1": "x1", "x2": "x2", "x3": "x3"})
    assert folds.held(1) == {"x1", "x3"}


def test_pictures_are_held_out_with_the_tiles_of_their_source() -> None:
    task = task_of({f"ESP_01{n:04d}_1950": [n % 2] for n in range(6)})
    scenes = [
        Picture(Path(f"scenes/{name}.png"), name, (), (), None)
        for name in ("ESP_010001_1950", "a", "b", "c")
    ]
    folds = make_folds([task], 3, seed=0, pictures=scenes)
    assert {"a", "b", "c"} <= folds.fold_of.keys()
    assert {folds.fold_of[p.source] for p in scenes} == {1, 2, 3}
    assert len(folds.fold_of) == 9
    assert set(make_folds([task], 3, seed=0).fold_of) == set(task.tiles.sources)
