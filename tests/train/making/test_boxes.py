"""Boxes in COCO files, CSV files and truth files, cut to tiles; and files that are none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.running import Done, winnow
from tests.train.making.test_new_data import index_of, refused, save, scene
from winnow_base.errors import DataError
from winnow_train.datasets import read_dataset
from winnow_train.making.coco import read_coco
from winnow_train.making.table import read_table

SIDE, DISC = 256, 24


def field(seed: int) -> tuple[np.ndarray, list[list[int]]]:
    """A picture uint8 [256, 256] with bright discs, and their boxes [x, y, width, height]."""
    rng = np.random.default_rng(seed)
    pixels = np.clip(scene(seed, SIDE) // 3 + 10, 1, 110)
    boxes = []
    y, x = np.mgrid[:SIDE, :SIDE]
    for row in (50, 130):
        left, top = int(rng.integers(20, 200)), row
        inside = (x - left - 12) ** 2 + (y - top - 12) ** 2 <= 130
        pixels[inside] = 230
        boxes.append([left, top, DISC, DISC])
    return pixels.astype(np.uint8), boxes


@pytest.fixture
def scenes(tmp_path: Path) -> dict[str, list[list[int]]]:
    """Five pictures in tmp_path/scenes, with their boxes by name."""
    found = {}
    for n in range(5):
        pixels, found[f"scene_{n}.png"] = field(n)
        save(tmp_path / "scenes" / f"scene_{n}.png", pixels)
    return found


def coco(boxes: dict[str, list[list[int]]], **changed: Any) -> dict[str, Any]:
    names = list(boxes)
    images = [{"id": n, "file_name": f, "width": SIDE, "height": SIDE} for n, f in enumerate(names)]
    annotations = [
        {"id": 10 * n + k, "image_id": n, "category_id": 7, "bbox": box}
        for n, f in enumerate(names)
        for k, box in enumerate(boxes[f])
    ]
    categories = [{"id": 7, "name": "disc"}, {"id": 8, "name": "unused"}]
    return {"images": images, "annotations": annotations, "categories": categories, **changed}


def cut(path: Path, out: Path, *more: object) -> Done:
    # Discs on dark ground are much alike, whatever the ground.
    options = ("--tile", 48, "--scales", "1,2", "--drop-duplicates")
    return winnow("new", "data", path, *options, "--out", out, *more)


def test_three_formats_say_the_same(scenes: dict[str, list[list[int]]], tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    (tmp_path / "c.json").write_text(json.dumps(coco(scenes)))
    lines = [f"{f};disc;{';'.join(map(str, box))}" for f, some in scenes.items() for box in some]
    text = "\n".join(["\ufeffFile;Class;x;y;width;height", *lines])
    (tmp_path / "l.csv").write_text(text, encoding="utf-8")
    for name, some in scenes.items():
        features = [
            {"class": "disc", "sample": x, "line": y, "samples": w, "lines": h}
            for x, y, w, h in some
        ]
        truth = {"lines": SIDE, "samples": SIDE, "features": features}
        (folder / name.replace(".png", ".truth.json")).write_text(json.dumps(truth))
    outs = []
    for given_path in (tmp_path / "c.json", tmp_path / "l.csv", folder):
        out = tmp_path / f"set-{len(outs)}"
        more = () if given_path == folder else ("--pictures", folder)
        done = cut(given_path, out, *more)
        assert done.returncode == 0, done.stderr
        outs.append({r["file"]: (out / r["file"]).read_bytes() for r in index_of(out)})
    assert outs[0] == outs[1] == outs[2]
    found = read_dataset("folder", tmp_path / "set-0")
    assert found.classes == ("disc", "none")
    assert len(found.split("val").sources) == 1
    for tile in found.tiles:
        with Image.open(tile.path) as image:
            bright = np.asarray(image) > 180
        middle = bright[24 - 5 : 24 + 5, 24 - 5 : 24 + 5]
        assert bright.any() == (found.classes[tile.label] == "disc")
        assert not bright.any() or bright.sum() > 80 or middle.any()


def test_ground_without_boxes_and_small_pictures(
    scenes: dict[str, list[list[int]]], tmp_path: Path
) -> None:
    folder = tmp_path / "scenes"
    save(folder / "empty.png", scene(77, SIDE))
    save(folder / "tiny.png", scene(78, 20))
    extra = [
        {"id": 50, "file_name": "empty.png"}, {"id": 51, "file_name": "sub/dir/tiny.png"}
    ]  # fmt: skip
    table = coco(scenes)
    (folder / "c.json").write_text(json.dumps({**table, "images": [*table["images"], *extra]}))
    done = winnow("new", "data", folder / "c.json", "--tile", 48, "--background", "plain")
    assert done.returncode == 0, done.stderr
    assert "1 pictures are smaller than a tile of 48 pixels" in done.stdout
    assert "categories without a box: unused" in done.stdout
    told = json.loads(winnow("new", "data", folder / "c.json", "--tile", 48, "--json").stdout)
    assert "empty" in told["sources"]["train"] + told["sources"]["val"]
    assert "tiny" not in told["sources"]["train"] + told["sources"]["val"]
    far = winnow("new", "data", folder / "c.json", "--tile", 512)
    refused(far, "there is no tile", "--tile and --scales")


def one(key: str, number: int, **changed: Any) -> Any:
    """Change one entry of a COCO table."""

    def change(table: dict[str, Any]) -> None:
        table[key][number] |= changed

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (one("annotations", 3, bbox=[1, 2, 3]), "annotations[3]: `bbox` must be"),
        (one("annotations", 3, bbox=[1, 2, 0, 9]), "no box may be empty"),
        (one("annotations", 3, bbox=[1, math.nan, 3, 9]), "`bbox` must be"),
        (one("annotations", 3, bbox=[1, 10**400, 3, 9]), "`bbox` must be"),
        (one("annotations", 3, bbox=["1", 2, 3, 9]), "`bbox` must be"),
        (one("annotations", 3, bbox=[900, 2, 3, 9]), "lies outside of its 256 lines"),
        (one("annotations", 3, bbox=[0, 0, 3000, 3000]), "by more than half"),
        (one("annotations", 3, bbox=[-60, 2, 50, 9]), "lies outside of its 256 lines"),
        (one("annotations", 0, image_id=99), "`image_id` 99 is no image"),
        (one("annotations", 0, category_id=None), "`category_id` is 'None', must be a whole"),
        (one("images", 1, id=0), "images[1]: `id` 0 is there twice"),
        (one("images", 1, file_name=5), "`file_name` is '5', must be a name"),
        (one("images", 1, file_name="../c.json"), "names 1 of 5 pictures that are not in"),
        (one("images", 1, file_name="a\0b.png"), "names 1 of 5 pictures that are not in"),
        (one("images", 1, file_name="x" * 5000), "names 1 of 5 pictures that are not in"),
        (one("images", 1, width=300), "its labels speak of 256 x 300"),
        (lambda t: t.update(images=[]), "`image_id` 0 is no image"),
        (lambda t: t.update(images=[], annotations=[]), "there is no picture that can be read"),
        (lambda t: t.update(categories=[3]), "`categories` must be a list of tables"),
        (lambda t: t.pop("images"), "is no COCO file of boxes"),
    ],
)
def test_coco_files_that_are_wrong(
    change: Any, says: str, scenes: dict[str, list[list[int]]], tmp_path: Path
) -> None:
    table = coco(scenes)
    change(table)
    (tmp_path / "c.json").write_text(json.dumps(table))
    done = winnow("new", "data", tmp_path / "c.json", "--pictures", tmp_path / "scenes")
    refused(done, says)


def test_a_coco_file_of_another_folder(scenes: dict[str, list[list[int]]], tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(coco(scenes)))
    done = winnow("new", "data", tmp_path / "c.json")
    refused(done, "names 5 of 5 pictures that are not in", "'scene_0.png'", "--pictures")
    for text in ("", "[" * 100_000, "\x00", '{"images": 1', "[]"):
        (tmp_path / "c.json").write_text(text)
        refused(winnow("new", "data", tmp_path / "c.json"), "is no")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("file,class\n", "holds no row"),
        ("name,class\nscene_0.png,a\n", "has no column `file`"),
        ("file\nscene_0.png\n", "has no column `class`"),
        ("file,class,class\nscene_0.png,a,b\n", "names a column twice"),
        ("file,class\nscene_0.png\n", "l.csv:2: has 1 fields, the first row 2"),
        ("file,class\n,a\n", "l.csv:2: names no file"),
        ("file,class\nscene_0.png,\n", "l.csv:2: has no class"),
        ("file,class\nscene_0.png,a\nscene_0.png,b\n", "is labelled twice, differently"),
        ("file,class,source\nscene_0.png,a,p\nscene_0.png,a,q\n", "has two sources"),
        ("file,class\nother.png,a\n", "names 1 of 1 pictures that are not in"),
        ("file,class,x,y,width,height\nscene_0.png,a,1,2,x,4\n", "must be numbers"),
        ("file,class,x,y,width,height\nscene_0.png,a,1,2,inf,4\n", "is empty or none"),
        ("file,class,xmin,ymin,xmax,ymax\nscene_0.png,a,9,2,3,4\n", "is empty or none"),
        ("file,class,x,y,width,height\nscene_0.png,,1,2,3,4\n", "has a box and no class"),
        (
            "file,class,x,y,width,height\nscene_0.png,a,1,2,3,4\nscene_0.png,a,,,,\n",
            "has a class and no box",
        ),
        ('file,class\n"scene_0.png,a\n', "is no CSV file"),
    ],
)
def test_tables_that_are_wrong(
    text: str, says: str, scenes: dict[str, list[list[int]]], tmp_path: Path
) -> None:
    (tmp_path / "l.csv").write_text(text)
    refused(winnow("new", "data", tmp_path / "l.csv", "--pictures", tmp_path / "scenes"), says)


def test_other_files_and_mixtures_are_refused(
    scenes: dict[str, list[list[int]]], tmp_path: Path
) -> None:
    (tmp_path / "l.txt").touch()
    refused(winnow("new", "data", tmp_path / "l.txt"), "is no folder, COCO file")
    (tmp_path / "l.csv").write_bytes(b"file,class\n\xff\xfe,a\n")
    refused(winnow("new", "data", tmp_path / "l.csv"), "is not UTF-8 text")
    refused(winnow("new", "data", tmp_path / "l.csv", "--pictures", tmp_path / "no"), "no such")
    (tmp_path / "l.csv").write_text("file,class\nscene_0.png,a\n")
    (tmp_path / "c.json").write_text(json.dumps(coco(scenes)))
    both = (tmp_path / "c.json", tmp_path / "l.csv", "--pictures", tmp_path / "scenes")
    refused(winnow("new", "data", *both), "some of the pictures have boxes, some have classes")
    twice = (tmp_path / "c.json", tmp_path / "c.json", "--pictures", tmp_path / "scenes")
    refused(winnow("new", "data", *twice), "is given twice")
    for scales in ("", "0", "1,65", "x", "1;2"):
        done = winnow("new", "data", tmp_path / "c.json", "--scales", scales)
        assert done.returncode == 2


@given(st.text(max_size=300))
def test_any_text_is_a_table_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name, read in (("l.csv", read_table), ("c.json", read_coco)):
        (folder / name).write_text(text, encoding="utf-8", errors="replace", newline="")
        try:
            read(folder / name, folder)
        except DataError as error:
            assert "\n" not in str(error)
