"""What training reads: label files of data sets, labels of people, recipes, model descriptions."""

from __future__ import annotations

import contextlib
import json
import random
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import mutate
from tests.fuzz.door import Door
from winnow_base.errors import DataError
from winnow_train.data.listing import read_listing
from winnow_train.datasets import read_dataset
from winnow_train.making.coco import read_coco
from winnow_train.making.labels import Labels
from winnow_train.making.table import read_table
from winnow_train.recipe import RECIPE_FOLDERS, read_recipe
from winnow_train.windows.pictures import read_looks

_TILES = [f"ESP_01128{n}_1950_RED-010{n}.jpg" for n in range(4)]
_ROVER = [f"calibrated/007{n}ML0005780000102730I01_DRCL.JPG" for n in range(3)]
_SETS = {
    "hirise-v1": (
        "hirise-map-proj-v1",
        {
            "x_classmap.csv": "0,other\n1,crater\n2,dark dune\n5,impact ejecta\n",
            "labels-map-proj.txt": "".join(f"{t} {n % 3}\n" for n, t in enumerate(_TILES)),
        },
    ),
    "hirise-v3": (
        "hirise-map-proj-v3",
        {
            "x_classmap.csv": "0,other\n1,crater\n2,dark dune\n",
            "labels-map-proj_v3_2_train_val_test.txt": "".join(
                f"{t} {n % 3} {('train', 'val')[n % 2]}\n" for n, t in enumerate(_TILES)
            ),
        },
    ),
    "msl": (
        "msl-images",
        {
            "msl_synset_words-indexed.txt": "0 apxs\n1 drill holes\n2 ground\n",
            "train-calibrated-shuffled.txt": "".join(f"{t} {n}\n" for n, t in enumerate(_ROVER)),
        },
    ),
    "folder": ("", {"PROVENANCE.json": '{"attribution": "x", "licence": "CC0"}'}),
}
_WORDS = (
    *(
        b"train",
        b"val",
        b"test",
        b" ",
        b"\n",
        b"\t",
        b",",
        b'"',
        b"0",
        b"9" * 5000,
        b"\xc2\xb2",
        b"-1",
    ),
    *(
        b"\xff",
        b"\0",
        b"\xef\xbb\xbf",
        b"../",
        b"/",
        b"\xe2\x80\xa8",
        b"ESP_011289_1950_RED-0101.jpg",
    ),
    *(b"x" * 200_000, b"\r", b"\x0c", b"1,crater", b"\n" * 300, b"crater" * 100),
)


def labels_door(folder: Path) -> Door:
    """The files of published sets and of a folder per class, beside tiles that are there."""
    choices: list[tuple[str, str]] = []
    for name, (home, files) in _SETS.items():
        place = folder / name / home
        for tile in _TILES if name.startswith("hirise") else _ROVER if name == "msl" else ():
            (place / tile).parent.mkdir(parents=True, exist_ok=True)
            (place / tile).touch()
        if name == "folder":
            for kind in ("crater", "other"):
                (place / kind).mkdir(parents=True)
                (place / kind / f"{kind}_1.png").touch()
        choices += [(name, file) for file in files]

    def damaged(rng: random.Random) -> tuple[str, str, bytes]:
        name, file = rng.choice(choices)
        return name, file, mutate.octets(rng, [_SETS[name][1][file].encode()], _WORDS)

    def enter(content: tuple[str, str, bytes]) -> None:
        name, changed, data = content
        home, files = _SETS[name]
        for file, text in files.items():
            (folder / name / home / file).write_text(text, encoding="utf-8")
        (folder / name / home / changed).write_bytes(data)
        with contextlib.suppress(DataError):
            read_listing(name, folder / name)
        read_dataset(name, folder / name).counts()

    plain = [(name, file, _SETS[name][1][file].encode()) for name, file in choices]
    return Door(enter, plain, damaged)


def own_door(folder: Path) -> Door:
    """CSV tables and COCO files of people, with the pictures that they name."""
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    tables = [
        b"file,class\na.png,crater\nb.png,other\n",
        b"file;class;x;y;width;height\na.png;crater;1;2;3.5;4\nb.png;;;;;\n",
        b"image\tlabel\txmin\tymin\txmax\tymax\tsource\na.png\tcrater\t1\t2\t30\t40\ts\n",
    ]
    box = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3.5, 4]}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}],
        "annotations": [box, {**box, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 3, "name": "crater"}],
    }
    words = (
        *_WORDS,
        b"file",
        b"class",
        b";",
        b"nan",
        b"1e400",
        b"1e308",
        b"inf",
        b"a.png",
        b"xmax",
    )

    def damaged(rng: random.Random) -> tuple[bool, bytes]:
        if rng.randrange(2):
            return True, mutate.json_bytes(rng, [coco], (b"NaN",))
        return False, mutate.octets(rng, tables, words)

    def enter(content: tuple[bool, bytes]) -> None:
        boxes, data = content
        path = folder / ("labels.json" if boxes else "labels.csv")
        path.write_bytes(data)
        found: Labels = (read_coco if boxes else read_table)(path, folder)
        _ = found.boxed

    plain = [(True, json.dumps(coco).encode()), *((False, table) for table in tables)]
    return Door(enter, plain, damaged)


def looks_door(folder: Path) -> Door:
    """What people saw in pictures, by patterns of names; asked for a picture's name."""
    box = {"class": "crater", "line": 1, "sample": 2.5, "lines": 30, "samples": 40, "field": True}
    entry = {"absent": ["spider"], "features": [box], "complete": 20, "source": "a", "credit": "x"}
    values = {"pictures": {"a*": entry, "*.jpg": {"absent": ["crater"]}, "[": {}}}
    path = folder / "looks.json"

    def enter(data: bytes) -> None:
        path.write_bytes(data)
        looks = read_looks(path)
        for name in ("a.jpg", "b.png"):
            found = looks.of(name)
            assert all(feature.box.lines >= 1 for feature in found.features)

    plain = [json.dumps(values).encode()]
    return Door(enter, plain, lambda rng: mutate.json_bytes(rng, [values], (b"NaN",)))


def recipe_door(folder: Path) -> Door:
    path = folder / "recipe.toml"
    plain: Sequence[bytes] = [p.read_bytes() for p in sorted(RECIPE_FOLDERS[1].glob("*.toml"))[:4]]
    values = [tomllib.loads(data.decode()) for data in plain]
    words = (b"[", b"]", b"=", b'"', b"\n", b"nan", b"inf", b"9" * 5000, b"[" * 3000, b"\\ud800")

    def damaged(rng: random.Random) -> bytes:
        if rng.randrange(2):
            return mutate.octets(rng, plain, words)
        return mutate.toml(mutate.tree(rng, values)).encode("utf-8", "surrogatepass")

    def enter(data: bytes) -> None:
        path.write_bytes(data)
        read_recipe(path)

    return Door(enter, plain, damaged)
