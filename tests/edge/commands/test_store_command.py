"""`winnow-edge store`: list, show, export, check, vacuum and salvage, as a user types them."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from winnow_edge.cli import main
from winnow_edge.products.kinds import Kind
from winnow_edge.store.check import check
from winnow_edge.store.schema import StoredSwath
from winnow_edge.store.store import Store
from winnow_edge.testing import begin, finish, landmark_mission, products_of_tiles

MISSION = landmark_mission()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a complete swath and one that is under way."""
    folder = tmp_path / "store"
    with Store.open(folder, mission=MISSION) as opened:
        writer = begin(opened, "strip.jpg")
        writer.commit(
            products=products_of_tiles(0, 40, MISSION), next_tile=40, next_line=64, pending=b""
        )
        finish(writer, {"lines": 64, "tiles": 40, "by_class": {"crater": 10}})
        begin(opened, "\x1bpass-2")
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What a command prints on standard output."""
    assert main(["store", *map(str, arguments)]) == code
    return capsys.readouterr().out


def told(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(capsys, *arguments, "--json", code=code))
    return found


def change(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / "store.db")) as db, db:
        db.execute(sql)


def test_list_and_show(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = told(capsys, "list", store)["swaths"]
    assert (first["swath"], first["complete"], first["lines"]) == ("strip.jpg", True, 64)
    assert first["on_board"] == {**first["on_board"], "record": 40, "thumbnail": 10, "image": 10}
    assert second["complete"] is False
    text = said(capsys, "list", store)
    assert "40 records, 10 thumbnails, 10 images" in text
    assert "\x1b" not in text

    whole = told(capsys, "show", store)
    assert (whole["mission"], whole["swaths"], whole["contacts"]) == ("probe", 2, 0)
    assert whole["disk_bytes"] >= whole["data_bytes"] > 0
    by_name, by_number = told(capsys, "show", store, "strip.jpg"), told(capsys, "show", store, "1")
    assert by_name == by_number
    assert by_name["summary"]["by_class"] == {"crater": 10}
    assert "strip.jpg" in said(capsys, "show", store, "1")
    assert "mission" in said(capsys, "show", store)


def test_show_a_product(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(store, mission=None, read_only=True) as opened:
        image = next(opened.products(kinds=(Kind.IMAGE,)))
    found = told(capsys, "show", store, "--product", image.id)
    assert (found["kind"], found["tile"], found["class"]) == ("image", image.tile_index, "crater")
    change(store, f"UPDATE product SET data = zeroblob(bytes) WHERE id = {image.id}")
    found = told(capsys, "show", store, "--product", image.id, code=3)
    assert found["sound"] is False


@pytest.mark.parametrize("number", [-1, 0, 999, 2**63 - 1, 2**63, 10**30])
def test_a_product_that_no_store_has_is_one_line(
    store: Path, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    assert main(["store", "show", str(store), f"--product={number}"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert f"holds no product {number}; `winnow-edge store export`" in line


def test_a_folder_by_the_name_of_a_store_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store.db").mkdir()
    for command in (
        ("store", "vacuum", tmp_path),
        ("time", "set", "2030-01-01", "--store", tmp_path),
    ):
        assert main([str(word) for word in command]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert "store.db: is a folder or device, not the file of a store; move it away" in line
    assert [path.name for path in tmp_path.iterdir()] == ["store.db"]


def test_export(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "files"
    counts = told(capsys, "export", store, "--out", out)
    assert (counts["record"], counts["image"], counts["damaged"]) == (40, 10, 0)
    rows = list(csv.DictReader(io.StringIO((out / "records.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 40
    assert rows[8]["tile"] == "8"
    assert (rows[8]["line"], rows[8]["class"], rows[8]["detection"]) == ("64", "crater", "True")
    for kind in ("images", "thumbnails"):
        files = list((out / kind).iterdir())
        assert len(files) == 10
        for file in files:
            with Image.open(file) as picture:
                picture.load()
    assert json.loads(next(out.glob("swath-1-*.json")).read_bytes())["swath"] == "strip.jpg"
    assert told(capsys, "export", store, "--out", tmp_path / "2", "--swath", "2")["image"] == 0


def test_export_leaves_out_what_is_damaged(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(store, "UPDATE product SET data = zeroblob(bytes) WHERE kind = 3 AND tile = 4")
    counts = told(capsys, "export", store, "--out", tmp_path / "files", code=3)
    assert (counts["image"], counts["damaged"]) == (9, 1)


def test_check(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "check", store)
    assert (found["sound"], found["products"]) == (True, 62)
    assert said(capsys, "check", store).endswith("sound\n")
    change(store, "UPDATE product SET posterior = 0.25 WHERE id = 5")
    found = told(capsys, "check", store, code=3)
    assert found["damaged"] == [5]
    assert "damaged: 1 product: 5" in said(capsys, "check", store, code=3)


def test_vacuum_gives_pages_back(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = told(capsys, "check", store)["products"]
    with closing(sqlite3.connect(store / "store.db")) as db, db:
        db.execute("CREATE TABLE ballast AS SELECT zeroblob(2000000) AS x")
        db.execute("DROP TABLE ballast")
    sizes = told(capsys, "vacuum", store)
    assert sizes["after"] < sizes["before"] - 1_000_000
    assert told(capsys, "check", store)["products"] == before


def test_vacuum_beside_a_reader_says_that_it_is_not_done(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(store / "store.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM product").fetchone()
        assert main(["store", "vacuum", str(store)]) == 6
    assert "another process uses the store" in capsys.readouterr().err
    told(capsys, "vacuum", store)


def test_check_looks_at_one_moment(store: Path) -> None:
    class Slow(Store):
        def swaths(self) -> list[StoredSwath]:
            known = super().swaths()
            with Store.open(store, mission=landmark_mission()) as other:
                begin(other, f"swath {len(other.swaths())}")
            return known

    with Slow.open(store, mission=None, read_only=True) as opened:
        assert check(opened).sound
        assert len(Store.swaths(opened)) == 3


def test_salvage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = store / "store.db"
    content = bytearray(path.read_bytes())
    content[3 * 4096 : 5 * 4096] = bytes(8192)
    path.write_bytes(content)
    assert told(capsys, "check", store, code=3)["faults"]
    text = said(capsys, "check", store, code=3)
    assert f"next: winnow-edge store salvage {store}" in text
    text = said(capsys, "salvage", store)
    assert "kept     2 swaths" in text
    assert f"the damaged file is {store}/store.db.damaged" in text
    assert told(capsys, "check", store)["sound"] is True
    text = said(capsys, "salvage", store)
    assert "that of an earlier salvage is deleted" in text
    assert (store / "store.db.damaged").exists()
    assert not (store / "store.db.damaged.2").exists()


@pytest.mark.parametrize("task", ["list", "show", "export", "check", "vacuum", "salvage"])
def test_what_is_no_store_is_one_line(
    tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--out", str(tmp_path / "out")] if task == "export" else []
    (tmp_path / "empty").mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "store.db").write_bytes(b"no database " * 1000)
    for folder in (tmp_path / "nowhere", tmp_path / "empty", other, other / "store.db"):
        assert main(["store", task, str(folder), *more]) == 3
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith("winnow-edge: ")
        assert error.count("\n") == 1


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["store", "--help"])
    text = capsys.readouterr().out
    for task in ("list", "show", "export", "check", "vacuum", "salvage"):
        assert f"winnow-edge store {task} winnow-store" in text
