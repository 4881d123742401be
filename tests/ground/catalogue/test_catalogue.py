"""The catalogue: receptions go in once, searches count as SQL does, what leaves can be read."""

from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.running import Done, winnow
from winnow_base.errors import CatalogueError
from winnow_ground.catalogue.add import add_reception
from winnow_ground.catalogue.schema import create, open_catalogue
from winnow_ground.receive import receive
from winnow_ground.received import load_received

Fly = Callable[..., Any]


@pytest.fixture
def reception(fly: Fly, tmp_path: Path) -> Path:
    """What a contact of 20 kB brought of a swath with 96 tiles."""
    fly(name="ESP_1", instrument="camera").contact(tmp_path / "pass.bin", 20_000)
    receive([tmp_path / "pass.bin"], tmp_path / "in")
    return tmp_path / "in"


def search(catalogue: Path, *arguments: object) -> dict[str, Any]:
    done = winnow("catalogue", "search", catalogue, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_one_line(done: Done, *words: str) -> None:
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_what_came_down_is_there_once(reception: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "mars.db"
    done = winnow("catalogue", "add", reception, reception, "--to", catalogue, "--json")
    first, again = json.loads(done.stdout)
    received = load_received(reception)
    tiles = {p.tile for p in received.products if p.tile is not None}
    assert (first["swaths"], first["tiles"]) == (1, len(tiles))
    assert first["products"] == len(received.products)
    assert (again["swaths"], again["tiles"], again["products"]) == (0, 0, 0)


def test_a_search_finds_what_the_reception_says(reception: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "mars.db"
    received = load_received(reception)
    add_reception(catalogue, received)
    best = {p.tile: p for p in received.products if p.detection}
    craters = {t for t, p in best.items() if received.class_name(p) == "crater"}
    found = search(catalogue, "--class", "crater", "--most", 1000)
    assert found["detections"] == len(found["listed"]) == len(craters)
    # The facet of the classes counts what choosing another class would bring.
    assert sum(found["facets"]["class"].values()) == len(best)
    listed = [one["posterior"] for one in found["listed"]]
    assert listed == sorted(listed, reverse=True)
    pictures = [one["picture"] for one in found["listed"] if one["have"] != "record"]
    assert pictures and all(Path(path).is_file() for path in pictures)


def test_a_picture_that_comes_later_joins_its_record(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    catalogue = tmp_path / "mars.db"
    flown.contact(tmp_path / "a", 4_000, policy="fifo")
    add_reception(catalogue, receive([tmp_path / "a"], tmp_path / "in"))
    before = search(catalogue, "--most", 1000)["listed"]
    flown.contact(tmp_path / "b", 1_000_000)
    add_reception(catalogue, receive([tmp_path / "b"], tmp_path / "in"))
    after = {one["id"]: one for one in search(catalogue, "--most", 1000)["listed"]}
    assert {one["id"] for one in before} < set(after)
    assert {one["have"] for one in after.values()} == {"image"}


def test_labels_and_requests_outlive_a_second_reception(reception: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "mars.db"
    add_reception(catalogue, load_received(reception))
    db = open_catalogue(catalogue, write=True)
    db.execute("INSERT INTO label (tile, person, answer, at) VALUES (1, 'ann', 'nothing', 'now')")
    db.execute(
        "INSERT INTO request (swath, line, sample, lines, samples, person, at)"
        " VALUES (1, 0, 0, 64, 64, 'ann', 'now')"
    )
    db.close()
    add_reception(catalogue, load_received(reception))
    told = json.loads(winnow("catalogue", "info", catalogue, "--json").stdout)
    assert (told["label"], told["request"]) == (1, 1)


@pytest.mark.parametrize("form", [".csv", ".json", ".coco.json", ".stac.json"])
def test_what_is_found_leaves_in_forms_that_others_read(
    form: str, reception: Path, tmp_path: Path
) -> None:
    catalogue, out = tmp_path / "mars.db", tmp_path / f"found{form}"
    add_reception(catalogue, load_received(reception))
    found = search(catalogue, "--most", 1, "--out", out)
    text = out.read_text()
    if form == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
        assert len(rows) == found["detections"]
        assert {row["class"] for row in rows} == set(found["facets"]["class"])
    elif form == ".json":
        assert len(json.loads(text)) == found["detections"]
    elif form == ".coco.json":
        told = json.loads(text)
        names = {row["id"]: row["name"] for row in told["categories"]}
        assert {names[row["category_id"]] for row in told["annotations"]} == set(names.values())
        (image,) = told["images"]
        for row in told["annotations"]:
            x, y, width, height = row["bbox"]
            assert x + width <= image["width"] and y + height <= image["height"]
    else:
        (item,) = json.loads(text)["features"]
        assert sum(item["properties"]["winnow:detections"].values()) == found["detections"]


def test_names_stay_names(fly: Fly, tmp_path: Path) -> None:
    name = "=cmd|' /C calc'!A0<script>\"\n../x"
    fly(name=name).contact(tmp_path / "pass.bin", 20_000)
    catalogue, out = tmp_path / "mars.db", tmp_path / "found.csv"
    add_reception(catalogue, receive([tmp_path / "pass.bin"], tmp_path / "in"))
    search(catalogue, "--out", out, "--text", "CALC")
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert rows and all(row["swath"].startswith("'=cmd|") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--class", "dragon"), ("no class is called 'dragon'", "known: ")),
        (("--bundle", "x"), ("no bundle is called 'x'",)),
        (("--out", "found.xml"), ("no form that is known", ".coco.json")),
    ],
)
def test_what_is_not_known_is_one_line(
    arguments: tuple[str, str], words: tuple[str, ...], reception: Path, tmp_path: Path
) -> None:
    add_reception(tmp_path / "mars.db", load_received(reception))
    in_one_line(winnow("catalogue", "search", tmp_path / "mars.db", *arguments), *words)


def test_files_that_are_no_catalogue_are_refused_and_stay(reception: Path, tmp_path: Path) -> None:
    received = load_received(reception)
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but much longer than the head of one\n" * 50)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db, db:
        db.execute("CREATE TABLE mine (a)")
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(CatalogueError, match="is no catalogue"):
            add_reception(path, received)
        in_one_line(winnow("catalogue", "info", path), "is no catalogue")
        assert path.read_bytes() == before
    in_one_line(winnow("catalogue", "info", tmp_path / "none.db"), "is not there")
    in_one_line(winnow("catalogue", "info", tmp_path), "is no catalogue")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    create(tmp_path / "mars.db").close()
    with closing(sqlite3.connect(tmp_path / "mars.db")) as db, db:
        db.execute("PRAGMA user_version = 9")
    in_one_line(winnow("catalogue", "info", tmp_path / "mars.db"), "schema 9", "the program")


def test_on_a_disk_that_is_read_only_a_catalogue_is_searched(
    reception: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cd"
    folder.mkdir()
    add_reception(folder / "mars.db", load_received(reception))
    code = f"""
import os, pathlib, sys
from winnow_ground.catalogue.schema import open_catalogue
path = pathlib.Path({str(folder / "mars.db")!r})
found = os.statvfs(path)
read_only = os.statvfs_result((*found[:8], found.f_flag | os.ST_RDONLY, found.f_namemax))
os.statvfs = lambda _: read_only  # as on a disk that nobody can write to, root included
db = open_catalogue(path)
print(db.execute("SELECT count(*) FROM swath").fetchone()[0], sorted(os.listdir(path.parent)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 ['mars.db']\n"


def test_a_folder_that_this_user_alone_cannot_write_may_change(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    path = tmp_path / "theirs" / "mars.db"
    create(path).close()
    code = f"""
import os, pathlib
from winnow_ground.catalogue.schema import open_catalogue
path = pathlib.Path({str(path)!r})
os.access = lambda *_: False  # as where somebody else owns the folder
db = open_catalogue(path)
print(db.execute("SELECT count(*) FROM class").fetchone()[0], flush=True)
input()
print(db.execute("SELECT count(*) FROM class").fetchone()[0])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "0\n"
        with closing(create(path)) as owner:
            owner.execute("INSERT INTO class (name) VALUES ('crater')")
        assert reader.communicate("\n")[0] == "1\n"


def test_many_may_make_a_catalogue_at_once(tmp_path: Path) -> None:
    ready = threading.Barrier(4)

    def made(path: Path) -> str:
        ready.wait(60)
        with closing(create(path)) as db:
            return str(db.execute("PRAGMA journal_mode").fetchone()[0])

    with ThreadPoolExecutor(4) as pool:
        for number in range(40):
            assert set(pool.map(made, [tmp_path / f"{number}.db"] * 4)) == {"wal"}


def test_two_at_once_both_come_in(fly: Fly, tmp_path: Path) -> None:
    flown = fly()
    folders = []
    for number in range(2):
        flown.contact(tmp_path / f"{number}", 8_000)
        receive([tmp_path / f"{number}"], tmp_path / f"in-{number}")
        folders.append(tmp_path / f"in-{number}")
    catalogue = tmp_path / "mars.db"
    command = [str(Path(sys.executable).parent / "winnow"), "catalogue", "add"]
    runs = [subprocess.Popen([*command, str(folder), "--to", str(catalogue)]) for folder in folders]
    assert [run.wait() for run in runs] == [0, 0]
    want = {p.id for folder in folders for p in load_received(folder).products}
    db = open_catalogue(catalogue)
    assert {number for (number,) in db.execute("SELECT number FROM product")} == want
    db.close()
