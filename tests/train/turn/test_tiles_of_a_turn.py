"""The data set of a turn: sources stay in their sets, new labels win, nothing unseen is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_edge.errors import OutputError
from winnow_edge.products.kinds import Box
from winnow_train.datasets import TileSet, read_dataset
from winnow_train.turn.tiles import Made, NewTile, fresh_rows, make_set, source_of_swath, split_new

QUIET = Progress(quiet=True)


def noise(seed: int, side: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, (side, side), dtype=np.uint8)


@pytest.fixture
def old(tmp_path: Path) -> TileSet:
    """Two classes from three sources, one of each set."""
    for split, source in (("train", "a"), ("val", "b"), ("test", "c")):
        for number, kind in enumerate(("rock", "sand")):
            folder = tmp_path / "old" / split / kind
            folder.mkdir(parents=True)
            Image.fromarray(noise(ord(source) + number, 32)).save(folder / f"{source}-000001.png")
    return read_dataset("folder", tmp_path / "old")


def new_tile(tmp_path: Path, number: int, swath: str, kind: str = "rock") -> NewTile:
    """A tile of 32 pixels in a picture of its swath."""
    picture = tmp_path / "swaths" / swath
    picture.parent.mkdir(exist_ok=True)
    if not picture.is_file():
        Image.fromarray(noise(sum(swath.encode()))).save(picture)
    return NewTile(number, kind, swath, None, picture, Box(number % 32, 8, 32, 32), 1)


def made(tmp_path: Path, old: TileSet, new: Sequence[NewTile]) -> Made:
    return make_set(tmp_path / "turn", old, new, "labelled by Ann", QUIET)


def test_what_the_bundle_knows_stays_where_it_was(old: TileSet) -> None:
    sets = split_new(["a.png", "b.png", "c.png"], old)
    assert sets == {"a": "train", "b": "val", "c": "test"}


def test_new_sources_have_a_set_for_good_and_one_judges() -> None:
    names = [f"strip-{n}.png" for n in range(40)]
    sets = split_new(names, None)
    assert set(sets.values()) == {"train", "val"}
    more = split_new([*names, *(f"other-{n}.png" for n in range(40))], None)
    assert {source: more[source] for source in sets} == sets
    for two in (["x.png", "y.png"], ["ESP_011289_1950_RED.jpg", "ESP_011290_1950_RED.jpg"]):
        assert sorted(split_new(two, None).values()) == ["train", "val"]
    assert len(split_new(["one.png"], None)) == 1


@pytest.mark.parametrize(
    "name", ["scene-7.png", "ESP_011289_1950_RED.jpg", "ä<b>.png", "a b_1.jpg"]
)
def test_a_source_is_read_again_from_the_tiles_it_gave(
    name: str, old: TileSet, tmp_path: Path
) -> None:
    found = made(tmp_path, old, [new_tile(tmp_path, 7, name)])
    (file,) = found.fresh
    tiles = read_dataset("folder", found.folder).tiles
    (tile,) = [t for t in tiles if t.path == found.folder / file]
    assert {tile.source} == set(found.sets) == {source_of_swath(name)}
    # In a next turn it stays in its set.
    assert split_new([name], read_dataset("folder", found.folder)) == found.sets


def test_old_and_new_are_there_and_what_is_held_back_is_not(old: TileSet, tmp_path: Path) -> None:
    new = [new_tile(tmp_path, n, swath) for n, swath in enumerate(("a.png", "b.png", "c.png"))]
    found = made(tmp_path, old, new)
    tiles = read_dataset("folder", found.folder)
    assert {t.split for t in tiles.tiles} == {"train", "val"}
    assert len(tiles.tiles) == 4 + 2 and len(found.fresh) == 2
    assert found.left_out == {"its source is of the test set": 1}
    assert found.counts == {"rock": 2}
    rows = fresh_rows([t.path for t in tiles.tiles], found)
    assert rows.sum() == 2
    assert all(t.source in "ab" for t in tiles.tiles)
    said = json.loads((found.folder / "PROVENANCE.json").read_text())
    assert "2 tiles: labelled by Ann" in said["attribution"]


def test_pixels_are_those_of_the_box_binned(old: TileSet, tmp_path: Path) -> None:
    picture = new_tile(tmp_path, 1, "a.png").picture
    tile = NewTile(1, "rock", "a.png", None, picture, Box(16, 32, 64, 64), 2)
    found = made(tmp_path, old, [tile])
    (file,) = found.fresh
    with Image.open(found.folder / file) as image:
        pixels = np.asarray(image).astype(int)
    part = noise(sum(b"a.png"))[16:80, 32:96].astype(int)
    mean = part.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert pixels.shape == (32, 32) and np.abs(pixels - mean).max() <= 1


def test_a_label_that_changed_takes_the_place_of_the_old_one(old: TileSet, tmp_path: Path) -> None:
    first = made(tmp_path, old, [new_tile(tmp_path, 1, "a.png", "rock")])
    base = tmp_path / "base"
    first.folder.rename(base)
    again = made(tmp_path, read_dataset("folder", base), [new_tile(tmp_path, 1, "a.png", "sand")])
    assert again.left_out == {"was there before with the same pixels": 1}
    (file,) = again.fresh
    assert file.startswith("train/sand/")
    assert len(read_dataset("folder", again.folder).tiles) == 5


def test_a_turn_takes_the_place_of_its_own_folder_alone(old: TileSet, tmp_path: Path) -> None:
    new = [new_tile(tmp_path, 1, "a.png")]
    made(tmp_path, old, new)
    made(tmp_path, old, new)
    (tmp_path / "turn" / "PROVENANCE.json").unlink()
    with pytest.raises(OutputError, match="not of this command"):
        made(tmp_path, old, new)
    assert (tmp_path / "turn" / "train").is_dir()


def test_a_picture_that_is_none_is_said_in_a_line(old: TileSet, tmp_path: Path) -> None:
    tile = new_tile(tmp_path, 1, "a.png")
    assert tile.picture is not None
    tile.picture.write_bytes(b"<html>")
    with pytest.raises(DataError, match="no picture that can be decoded"):
        made(tmp_path, old, [tile])
    with pytest.raises(DataError, match="no labelled tile"):
        made(tmp_path, old, [new_tile(tmp_path, 1, "c.png")])
