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
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.errors import OutputError
from winnow_edge.products.kinds import Box
from winnow_train.datasets import TileSet, read_dataset
from winnow_train.turn.origins import learned_strips
from winnow_train.turn.plan import Flying, Settings, run_name
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
    (why,) = again.left_out
    assert why.startswith("was there before with the same pixels and another label")
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


def old_of_site(tmp_path: Path, swath: str, split: str) -> TileSet:
    """Old tiles of which one, of the source `site7`, has the pixels of `new_tile(0, swath)`."""
    tile = new_tile(tmp_path, 0, swath)
    assert tile.picture is not None
    with Image.open(tile.picture) as image:
        pixels = np.asarray(image)[:32, 8:40]
    for where, source in (("train", "a"), ("val", "b"), (split, "site7")):
        for number, kind in enumerate(("rock", "sand")):
            folder = tmp_path / "site" / where / kind
            folder.mkdir(parents=True, exist_ok=True)
            own = (
                pixels
                if (source, kind) == ("site7", "sand")
                else noise(ord(source[0]), 32 + number)
            )
            Image.fromarray(own).save(folder / f"{source}-00000{number}.png")
    return read_dataset("folder", tmp_path / "site")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_picture_of_the_old_tiles_stays_in_their_set_under_any_name(
    split: str, tmp_path: Path
) -> None:
    swath = "site7_0000.png"
    old = old_of_site(tmp_path, swath, split)
    new = [new_tile(tmp_path, n, swath) for n in (0, 1)] + [new_tile(tmp_path, 2, "q.png")]
    found = made(tmp_path, old, new)
    assert found.sets["site7_0000"] == split and found.alike == {"site7_0000": "site7"}
    tiles = read_dataset("folder", found.folder).tiles
    assert {t.split for t in tiles if t.source.startswith("site7_")} <= {split} - {"test"}
    seen = [(t.split, t.path.read_bytes()) for t in tiles]
    assert len(seen) == len({data for _, data in seen}) == (5 if split == "test" else 8)


def test_a_picture_that_the_index_names_stays_in_its_set(tmp_path: Path) -> None:
    swath = next(f"s{n}.png" for n in range(99) if split_new([f"s{n}.png"], None)[f"s{n}"] == "val")
    data = tmp_path / "site"
    old = old_of_site(tmp_path, swath, "train")
    (data / "index.csv").write_text(
        "file,picture,source,line,sample,lines,samples,scale\n"
        f"train/sand/site7-000001.png,north/{swath},north,0,8,32,32,1\n"
    )
    found = make_set(tmp_path / "turn", old, [new_tile(tmp_path, 9, swath)], "x", QUIET, data=data)
    assert set(found.sets.values()) == {"train"}
    # The turn's own set says so to the next one, and of which strips train has tiles.
    strips = tmp_path / "strips"
    strips.mkdir()
    (tmp_path / "swaths" / swath).rename(strips / "renamed.png")
    Image.fromarray(noise(99)).save(strips / "unseen.png")
    Image.fromarray(noise(98)).save(strips / swath)
    assert learned_strips(found.folder, strips) == {"renamed.png", swath}


def test_copies_among_new_pictures_are_in_one_set(old: TileSet, tmp_path: Path) -> None:
    first = new_tile(tmp_path, 1, "s.png")
    assert first.picture is not None
    for number in range(12):
        (tmp_path / "swaths" / f"copy{number}.png").write_bytes(first.picture.read_bytes())
    copies = [new_tile(tmp_path, 1, f"copy{n}.png", "sand") for n in range(12)]
    found = made(tmp_path, old, [first, *copies])
    assert len(found.fresh) == len(set(found.sets.values())) == 1
    (why,) = found.left_out
    assert "which came first with another label" in why and found.left_out[why] == 12


def test_numbers_of_another_catalogue_come_again(old: TileSet, tmp_path: Path) -> None:
    first = made(tmp_path, old, [new_tile(tmp_path, 1, "s.png")])
    first.folder.rename(tmp_path / "base")
    other = NewTile(1, "rock", "s.png", None, tmp_path / "swaths" / "s.png", Box(40, 40, 32, 32), 1)
    again = made(tmp_path, read_dataset("folder", tmp_path / "base"), [other])
    assert len(read_dataset("folder", again.folder).tiles) == 6


def test_another_label_or_picture_of_any_set_is_another_run(old: TileSet, tmp_path: Path) -> None:
    flying = Flying.of(open_bundle(find_bundle("hirise-landmarks")))
    recipe = flying.recipe_of_turn(old, Settings(), tmp_path)

    def name(*new: NewTile) -> str:
        return run_name(recipe, read_dataset("folder", made(tmp_path, old, new).folder))

    one, two = (new_tile(tmp_path, n, "b.png") for n in (1, 2))
    names = [name(one), name(one, two), name(one)]
    Image.fromarray(noise(7, 32)).save(tmp_path / "old" / "val" / "rock" / "b-000001.png")
    assert names[0] == names[2] and len({*names, name(one)}) == 3
