"""Catalogues of earlier schemas are brought to this one when they are opened, losing nothing.

`golden/schema-N.db.gz` was written by the code of that schema: a reception of one swath, five
labels of two people, one of them withdrawn, and a request.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.running import winnow
from winnow_base.errors import CatalogueError
from winnow_ground.catalogue.schema import VERSION, create, open_catalogue

GOLDEN = sorted((Path(__file__).parent / "golden").glob("schema-*.db.gz"))
Rows = dict[str, list[tuple[object, ...]]]


def unpacked(golden: Path, folder: Path) -> Path:
    path = folder / "old.db"
    path.write_bytes(gzip.decompress(golden.read_bytes()))
    return path


def rows_of(path: Path, columns: dict[str, list[str]] | None = None) -> Rows:
    """The rows of all tables, of the columns that are named or all."""
    with closing(sqlite3.connect(path)) as db:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'")
        ]
        named = columns or {table: columns_of(db, table) for table in tables}
        return {
            table: db.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY 1, 2").fetchall()
            for table, names in named.items()
        }


def columns_of(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def shape_of(path: Path) -> dict[str, object]:
    """Tables, columns, references, indices and views, whatever text made them."""
    with closing(sqlite3.connect(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        shape: dict[str, object] = {"version": version}
        for kind, name in db.execute(
            "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY 2"
        ).fetchall():
            pragmas = ("table_info", "foreign_key_list", "index_list", "index_info")
            shape[f"{kind} {name}"] = [
                sorted(row[1:] for row in db.execute(f"PRAGMA {pragma}({name})"))
                for pragma in pragmas
            ]
        return shape


def test_there_is_a_catalogue_of_every_earlier_schema() -> None:
    assert [p.name for p in GOLDEN] == [f"schema-{n}.db.gz" for n in range(1, VERSION)]


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda p: p.name)
def test_an_older_catalogue_becomes_one_of_this_schema_with_all_its_rows(
    golden: Path, write: bool, tmp_path: Path
) -> None:
    path = unpacked(golden, tmp_path)
    before = rows_of(path)
    with closing(sqlite3.connect(path)) as db:
        columns = {table: columns_of(db, table) for table in before}
    open_catalogue(path, write=write).close()
    assert rows_of(path, columns) == before
    assert len(before["label"]) == 5
    create(tmp_path / "new.db").close()
    assert shape_of(path) == shape_of(tmp_path / "new.db")


def test_two_programs_that_open_an_old_catalogue_at_once_both_can(tmp_path: Path) -> None:
    path = unpacked(GOLDEN[0], tmp_path)
    command = [
        str(Path(sys.executable).parent / "winnow"),
        "catalogue",
        "info",
        str(path),
        "--json",
    ]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [json.loads(run.communicate()[0]) for run in runs]
    assert [one["label"] for one in told] == [5, 5]


def test_an_old_catalogue_in_use_is_one_line_and_stays(tmp_path: Path) -> None:
    path = unpacked(GOLDEN[0], tmp_path)
    code = f"""
import pathlib
from winnow_base.errors import CatalogueError
from winnow_ground.catalogue import schema
schema.BUSY_S = 0.1
try:
    schema.open_catalogue(pathlib.Path({str(path)!r}))
except CatalogueError as error:
    print(error)
"""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "in use by another process" in done.stdout, done.stderr
    assert shape_of(path)["version"] == 1


def test_a_step_that_fails_leaves_the_catalogue_as_it_was(tmp_path: Path) -> None:
    path = unpacked(GOLDEN[0], tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE decision (mine TEXT)")
    before = shape_of(path)
    with pytest.raises(CatalogueError, match="decision"):
        open_catalogue(path, write=True)
    assert shape_of(path) == before
    assert winnow("catalogue", "info", path).returncode == 3
