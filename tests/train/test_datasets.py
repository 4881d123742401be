"""Readers of the published formats, on small folders written here and on the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from winnow_base.errors import DataError, RecipeError
from winnow_train.data.listing import read_listing
from winnow_train.datasets import read_dataset, refuse_leakage, source_of, split_of
from winnow_train.recipe import Data
from winnow_train.tasks import make_task, refuse_empty_classes
from winnow_train.tiles import decode, decode_all

V3_CLASSES = "0,other\n1,crater\n2,dark dune\n"


def write_tile(path: Path, value: int = 100, size: tuple[int, int] = (20, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


def write_v3(root: Path, rows: list[str], *, folder: str = "hirise-map-proj-v3") -> Path:
    home = root / folder
    home.mkdir(parents=True)
    images = folder.replace("hirise-", "")
    (home / f"landmarks_{images}_classmap.csv").write_text(V3_CLASSES)
    (home / f"labels-{images}_train_val_test.txt").write_text("".join(r + "\n" for r in rows))
    for row in rows:
        write_tile(home / images / row.split()[0])
    return home


GOOD = [
    "ESP_011623_2100_RED-0001-fv.jpg 0 train",
    "ESP_011623_2100_RED-0015-r270.jpg 1 train",
    "PSP_001414_1780_RED-0002.jpg 2 val",
]


def test_v3_reads_names_labels_sets_and_sources(tmp_path: Path) -> None:
    write_v3(tmp_path, GOOD)
    found = read_dataset("hirise-v3", tmp_path)
    assert found.classes == ("other", "crater", "dark dune")
    assert [(t.label, t.split, t.source) for t in found.tiles] == [
        (0, "train", "ESP_011623_2100"),
        (1, "train", "ESP_011623_2100"),
        (2, "val", "PSP_001414_1780"),
    ]
    assert found.counts()["train"] == {"other": 1, "crater": 1, "dark dune": 0}


def test_v3_2_folder_and_repeated_rows(tmp_path: Path) -> None:
    write_v3(tmp_path, [*GOOD, GOOD[0], GOOD[2]], folder="hirise-map-proj-v3_2")
    assert len(read_dataset("hirise-v3", tmp_path).tiles) == 3


def test_order_of_the_label_file_does_not_matter(tmp_path: Path) -> None:
    write_v3(tmp_path / "a", GOOD)
    write_v3(tmp_path / "b", GOOD[::-1])
    first, second = (read_dataset("hirise-v3", tmp_path / d) for d in "ab")
    assert [t.path.name for t in first.tiles] == [t.path.name for t in second.tiles]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([*GOOD, "ESP_011623_2100_RED-0001-fv.jpg 1 train"], "labelled twice"),
        ([*GOOD, "ESP_011623_2100_RED-0099.jpg 1 val"], "is in two sets"),
        ([*GOOD, "ESP_099999_2100_RED-0099.jpg 9 val"], "unknown class id '9'"),
        ([*GOOD, "ESP_099999_2100_RED-0099.jpg x val"], "unknown class id 'x'"),
        ([*GOOD, "ESP_099999_2100_RED-0099.jpg 1 holdout"], "no set is called 'holdout'"),
        ([*GOOD, "ESP_099999_2100_RED-0099.jpg 1"], "expected 3 columns"),
        ([*GOOD, "tile0099.jpg 1 val"], "names no HiRISE observation"),
    ],
)
def test_bad_label_rows_are_refused(tmp_path: Path, rows: list[str], says: str) -> None:
    write_v3(tmp_path, rows)
    with pytest.raises(DataError, match=says):
        read_dataset("hirise-v3", tmp_path)


def test_absent_tile_is_named_and_counted(tmp_path: Path) -> None:
    home = write_v3(tmp_path, GOOD)
    (home / "map-proj-v3" / "PSP_001414_1780_RED-0002.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 tiles that are absent.*PSP_001414_1780_RED-0002"):
        read_dataset("hirise-v3", tmp_path)


def test_a_source_split_between_two_data_sets_is_leakage(tmp_path: Path) -> None:
    write_v3(tmp_path / "a", GOOD)
    write_v3(tmp_path / "b", ["PSP_001414_1780_RED-0007.jpg 1 train"])
    sets = [read_dataset("hirise-v3", tmp_path / d) for d in "ab"]
    with pytest.raises(DataError, match="PSP_001414_1780 is in two sets"):
        refuse_leakage(sets)


def test_a_tile_of_version_3_with_the_picture_of_version_1_is_left_out(tmp_path: Path) -> None:
    home = write_v3(tmp_path, GOOD)
    first = write_v3(tmp_path, GOOD[:2], folder="hirise-map-proj-v1")
    # Same name and same bytes: a copy. Same name, another picture: the tile that the label is of.
    write_tile(first / "map-proj-v1" / GOOD[1].split()[0], value=101)
    (first / "map-proj-v1").rename(first / "map-proj")
    found = read_dataset("hirise-v3", tmp_path)
    assert found.left_out == (GOOD[0].split()[0],)
    assert [t.path.name for t in found.tiles] == [row.split()[0] for row in GOOD[1:]]
    assert (home / "map-proj-v3" / GOOD[0].split()[0]).is_file()


def test_one_split_may_be_all_there_is(tmp_path: Path) -> None:
    write_v3(tmp_path, GOOD[2:])
    found = read_dataset("hirise-v3", tmp_path)
    assert len(found.split("val").tiles) == 1
    with pytest.raises(DataError, match=r"no tile in the set 'train'.*holds val"):
        found.split("train")


def test_msl_splits_by_sol_and_keeps_published_ids(tmp_path: Path) -> None:
    home = tmp_path / "msl-images"
    home.mkdir()
    (home / "msl_synset_words-indexed.txt").write_text("0       apxs\n1       apxs cal target\n")
    (home / "val-calibrated-shuffled.txt").write_text(
        "calibrated/0292MH0002820010103587C00_DRCL.JPG 1\n"
    )
    write_tile(home / "calibrated" / "0292MH0002820010103587C00_DRCL.JPG")
    found = read_dataset("msl", tmp_path)
    assert found.classes == ("apxs", "apxs cal target")
    assert [(t.label, t.split, t.source) for t in found.tiles] == [(1, "val", "sol 0292")]


def test_folder_of_classes_with_and_without_sets(tmp_path: Path) -> None:
    for split, name in (("train", "siteA_1.png"), ("val", "siteB_1.png")):
        write_tile(tmp_path / "sets" / split / "ice" / name)
    found = read_dataset("folder", tmp_path / "sets")
    assert [(t.split, t.source) for t in found.tiles] == [("train", "siteA"), ("val", "siteB")]
    for i in range(30):
        write_tile(tmp_path / "flat" / "rock" / f"site{i}_1.png")
        write_tile(tmp_path / "flat" / "rock" / f"site{i}_2.png")
    flat = read_dataset("folder", tmp_path / "flat")
    assert {t.split for t in flat.tiles} == {"train", "val"}
    assert all(t.split == split_of(t.source) for t in flat.tiles)


@pytest.mark.parametrize("name", ["hirise-v1", "hirise-v3", "msl", "folder"])
def test_an_empty_root_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError):
        read_dataset(name, tmp_path)


def test_unreadable_images_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    write_tile(tmp_path / "cut.jpg", size=(64, 64))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:300])
    with pytest.raises(DataError, match=r"empty\.jpg: the image is empty"):
        decode(tmp_path / "empty.jpg", 1)
    for name in ("text.jpg", "cut.jpg", "absent.jpg"):
        with pytest.raises(DataError, match=name):
            decode(tmp_path / name, 1)


def test_classes_can_be_dropped_merged_and_made_multi_label(tmp_path: Path) -> None:
    write_v3(tmp_path, GOOD)
    found = read_dataset("hirise-v3", tmp_path)
    task = make_task(found, Data(dataset="hirise-v3", drop=("other",)), "softmax")
    assert task.classes == ("crater", "dark dune")
    assert task.truth.tolist() == [0, 1]
    merged = Data(dataset="hirise-v3", map={"dune": ("dark dune",), "rest": ("*",)})
    assert make_task(found, merged, "softmax").truth.tolist() == [1, 1, 0]
    pair = Data(dataset="hirise-v3", map={"crater": ("crater",), "dune": ("dark dune",)})
    assert make_task(found, pair, "sigmoid").truth.tolist() == [[0, 0], [1, 0], [0, 1]]
    with pytest.raises(RecipeError, match="'volcano'"):
        make_task(found, Data(dataset="hirise-v3", drop=("volcano",)), "softmax")


def test_a_class_without_training_tile_is_refused(tmp_path: Path) -> None:
    write_v3(tmp_path, GOOD)
    found = read_dataset("hirise-v3", tmp_path)
    with pytest.raises(DataError, match="no training tile of dark dune"):
        refuse_empty_classes(make_task(found, Data(dataset="hirise-v3"), "softmax"))
    kept = make_task(found, Data(dataset="hirise-v3", drop=("dark dune",)), "softmax")
    with pytest.raises(DataError, match="no tile in the set 'val'"):
        refuse_empty_classes(kept)


def test_source_of_names() -> None:
    assert source_of("PSP_001414_1780_RED-0002.jpg") == "PSP_001414_1780"
    assert source_of("0077ML0005780000102730I01_DRCL.JPG") == "sol 0077"


@pytest.mark.data
def test_the_real_sets(mars_data: Path) -> None:
    sizes = {}
    for name in ("hirise-v1", "hirise-v3", "msl"):
        found = read_dataset(name, mars_data)
        sizes[name] = [len(found.split(s).tiles) for s in ("train", "val")]
        tile = decode_all([found.tiles[0].path], 1)[0]
        assert tile.dtype == np.uint8
        assert tile.ndim == 3
    # The sets grow; what was there in the first copies stays.
    first = {"hirise-v1": [2650, 590], "hirise-v3": [3478, 866], "msl": [3746, 1640]}
    assert all(np.all(np.array(sizes[name]) >= first[name]) for name in first)
    refuse_leakage([read_dataset(n, mars_data) for n in ("hirise-v1", "hirise-v3")])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"0,other\n1,\xffcrater\n", "is not UTF-8 text"),
        (b"0,other\n1," + b"x" * 200_000, "field larger than field limit"),
        (b"0,other\n1\n", ":2: class 1 has no name"),
        ("²,crater\n".encode(), "no class"),
        (b"9" * 5000 + b",crater\n", "no class"),
        (b"", "no class"),
    ],
)
def test_a_class_map_that_is_none_is_refused_in_one_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    home = write_v3(tmp_path, GOOD)
    next(home.glob("*classmap.csv")).write_bytes(content)
    for read in (read_dataset, read_listing):
        with pytest.raises(DataError, match=words) as refused:
            read("hirise-v3", tmp_path)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("ESP_011623_2100_RED-0001-fv.jpg ² train", "unknown class id"),
        (f"ESP_011623_2100_RED-0001-fv.jpg {'9' * 5000} train", "unknown class id"),
        (f"ESP_011623_2100_{'x' * 5000}/a.jpg 1 train", "tiles that are absent"),
        ("ESP_011623_2100_RED-0001/\0/a.jpg 1 train", "tiles that are absent"),
    ],
)
def test_a_label_that_is_none_is_refused_in_one_line(tmp_path: Path, row: str, words: str) -> None:
    home = write_v3(tmp_path, GOOD)
    next(home.glob("labels-*")).write_text(row, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_dataset("hirise-v3", tmp_path)
    listing = read_listing("hirise-v3", tmp_path)
    assert len(listing.unknown_ids) + len(listing.malformed) + len(listing.rows) == 1


def test_the_class_names_of_the_rover_set_are_checked(tmp_path: Path) -> None:
    home = tmp_path / "msl-images"
    home.mkdir()
    (home / "msl_synset_words-indexed.txt").write_bytes("0 apxs\n² drill\n1 \n".encode())
    for read in (read_dataset, read_listing):
        with pytest.raises(DataError, match=":3: class 1 has no name"):
            read("msl", tmp_path)
