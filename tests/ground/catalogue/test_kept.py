"""Columns that are kept beside the catalogue: used for its very state alone, and never when they
are damaged."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from winnow_ground.catalogue.columns import Columns
from winnow_ground.catalogue.facets import Query
from winnow_ground.catalogue.held import Numbered
from winnow_ground.catalogue.kept import MAGIC, Beside, beside, settled, state_of
from winnow_ground.catalogue.schema import create, open_catalogue

PUT = (
    "INSERT INTO tile (swath, number, class, posterior, detection, line, sample, lines, samples,"
    " changed) VALUES (?, ?, 1, ?, 1, 0, 0, 64, 64, ?)"
)

LABEL = "INSERT INTO label (tile, person, answer, at) VALUES (1, 'ann', 'nothing', '2026-01-01')"
MOVE = "UPDATE tile SET posterior = 0.9, changed = 2 WHERE id = 3"


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """A catalogue of 40 detections in two swaths, with its columns beside it."""
    path = tmp_path / "c.db"
    with closing(create(path)) as db:
        db.execute("INSERT INTO class (name) VALUES ('crater')")
        db.executemany("INSERT INTO swath (name, sha256) VALUES (?, ?)", [("a", "1"), ("b", "2")])
        db.executemany(PUT, [(1 + n % 2, n, (n % 7) / 10, 1) for n in range(40)])
    assert keep(path)
    return path


@contextmanager
def opened(path: Path) -> Iterator[tuple[Columns, list[float]]]:
    """The columns of a catalogue, and what was told while they were read from its rows: nothing
    where they were kept."""
    told: list[float] = []
    with closing(open_catalogue(path)) as db:
        yield Columns(db, beside=Beside(path), told=told.append), told


def keep(path: Path) -> bool:
    """Keep the columns as soon as the catalogue's times of change let it; whether they are kept."""
    file = Beside(path)
    with closing(open_catalogue(path)) as db:
        columns = Columns(db, beside=file)
        while (found := columns.keepable()) is None:
            time.sleep(0.02)
    return file.save(*found)


def answers(path: Path) -> tuple[list[int], dict[str, dict[str, int]], bool]:
    """What all orders find, and whether the rows were read for it."""
    with opened(path) as (columns, told):
        rows = [columns.find(Query(order=order)).rows for order in ("confidence", "swath")]
        found = columns.find(Query(lowest=0.3))
        return np.concatenate(rows).tolist(), found.facets, bool(told)


def test_kept_columns_answer_as_the_rows_do(catalogue: Path) -> None:
    *kept, read = answers(catalogue)
    assert not read
    beside(catalogue).unlink()
    *anew, read = answers(catalogue)
    assert read
    assert kept == anew


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tile SET posterior = 0.9 WHERE id = 3",
        "DELETE FROM tile WHERE id = 40",
        "DELETE FROM swath WHERE id = 2",
        "UPDATE class SET name = 'spider'",
    ],
)
def test_a_change_by_any_program_is_seen(catalogue: Path, statement: str) -> None:
    change(catalogue, statement)
    *kept, read = answers(catalogue)
    assert read
    beside(catalogue).unlink()
    assert [*kept, True] == [*answers(catalogue)]


def test_a_change_that_lies_in_the_log_is_seen(catalogue: Path) -> None:
    # A writer that is killed leaves the log; nothing of it is in the catalogue's file yet.
    with closing(open_catalogue(catalogue, write=True)) as db:
        before = catalogue.stat().st_mtime_ns
        db.execute("UPDATE tile SET posterior = 0.9, changed = 2 WHERE id = 3")
        assert catalogue.stat().st_mtime_ns == before
        rows, _, read = answers(catalogue)
        assert read
        assert rows[0] == 3


def test_a_link_to_the_catalogue_sees_its_log(catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(catalogue)
    assert keep(link)
    assert not answers(link)[-1]
    with closing(open_catalogue(catalogue, write=True)) as db:
        db.execute(MOVE)
        rows, _, read = answers(link)
        assert read
        assert rows[0] == 3


@pytest.mark.parametrize("data", [b"x,y\n1,2\n", b"SQLite format 3\0", b"W"])
def test_a_file_of_another_program_is_left_alone(
    catalogue: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = beside(catalogue)
    file.write_bytes(data)
    with closing(open_catalogue(catalogue)) as db:
        columns, kept = Columns(db, beside=Beside(catalogue)), Beside(catalogue)
        while (found := columns.keepable()) is None:
            time.sleep(0.02)
        assert not kept.save(*found)
        assert not kept.save(*found)
    assert file.read_bytes() == data
    assert [str(file) in record.getMessage() for record in caplog.records] == [True]


def test_whoever_may_not_read_the_catalogue_may_not_read_its_columns(catalogue: Path) -> None:
    for mode in (0o600, 0o640):
        catalogue.chmod(mode)
        assert keep(catalogue)
        assert stat.S_IMODE(beside(catalogue).stat().st_mode) == mode


def test_columns_of_other_keys_or_of_a_state_that_is_over_are_not_taken(catalogue: Path) -> None:
    file, state = Beside(catalogue), state_of(catalogue)
    swaths, classes = np.array([1, 2]), np.array([1])
    assert file.load(Numbered(swaths, classes), state) is not None
    assert file.load(Numbered(np.array([1, 3]), classes), state) is None
    assert file.load(Numbered(swaths, np.array([2])), state) is None
    change(catalogue, "UPDATE swath SET lines = 5")
    assert file.load(Numbered(swaths, classes), state) is None


def test_a_swath_that_moves_from_one_degree_to_another_is_found_there(catalogue: Path) -> None:
    with opened(catalogue) as (columns, _):
        for latitude in (-1.0, -2.0):
            change(catalogue, f"UPDATE swath SET latitude = {latitude}, longitude = 0 WHERE id = 1")
            columns.follow()
            box = latitude - 0.5, -1.0, latitude + 0.5, 1.0
            assert columns.find(Query(box=box)).total == 20


def test_another_catalogue_of_the_same_name_is_told_apart(catalogue: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with closing(create(other / "c.db")) as db:
        db.execute("INSERT INTO class (name) VALUES ('crater')")
        db.executemany("INSERT INTO swath (name, sha256) VALUES (?, ?)", [("a", "1"), ("b", "2")])
        db.executemany(PUT, [(1 + n % 2, n, 0.5, 1) for n in range(40)])
    found = catalogue.stat()
    shutil.copyfile(other / "c.db", catalogue)
    os.utime(catalogue, ns=(found.st_atime_ns, found.st_mtime_ns))
    _, facets, read = answers(catalogue)
    assert read
    assert facets["class"] == {"crater": 40}


def damage(path: Path, do: Callable[[bytearray], None]) -> None:
    data = bytearray(path.read_bytes())
    do(data)
    path.write_bytes(data)


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


def flip(data: bytearray) -> None:
    data[-5] ^= 1


def flip_the_header(data: bytearray) -> None:
    data[data.index(b"rows") + 7] ^= 1


def age(data: bytearray) -> None:
    data[data.index(b"\n") - 1] = ord("0")


def empty(data: bytearray) -> None:
    del data[:]


def grow(data: bytearray) -> None:
    data += b"\0" * 20


def claim(data: bytearray) -> None:
    """A whole header whose number of rows is none."""
    told, _, _ = bytes(data[len(MAGIC) : 4096]).partition(b"\n")
    told = json.dumps({**json.loads(told), "rows": "all"}).encode()
    data[:4096] = (MAGIC + told + b"\n%d" % zlib.crc32(told)).ljust(4096)


@pytest.mark.parametrize("do", [claim, cut, flip, flip_the_header, age, empty, grow])
def test_damaged_columns_are_read_anew(catalogue: Path, do: Callable[[bytearray], None]) -> None:
    *kept, _ = answers(catalogue)
    damage(beside(catalogue), do)
    *anew, read = answers(catalogue)
    assert read
    assert anew == kept
    assert keep(catalogue)
    assert [*answers(catalogue)] == [*kept, False]


def test_a_pipe_or_a_folder_in_their_place_holds_up_nothing(catalogue: Path) -> None:
    for make in (os.mkfifo, os.mkdir):
        if beside(catalogue).is_file():
            beside(catalogue).unlink()
        make(beside(catalogue))
        assert answers(catalogue)[-1]
        assert not keep(catalogue)
        if make is os.mkfifo:
            beside(catalogue).unlink()


def test_a_state_is_kept_only_when_a_later_write_would_differ(catalogue: Path) -> None:
    change(catalogue, "UPDATE tile SET posterior = 0.9 WHERE id = 3")
    state = state_of(catalogue)
    assert state is not None
    assert settled(state) is (time.time_ns() - catalogue.stat().st_mtime_ns > 2_500_000_000)
    os.utime(catalogue, ns=(0, time.time_ns() + 10**12))
    state = state_of(catalogue)
    assert state is not None
    assert not settled(state)


def test_new_labels_alone_renew_the_header(catalogue: Path) -> None:
    file, place = Beside(catalogue), beside(catalogue).stat().st_ino
    with closing(open_catalogue(catalogue)) as db:
        columns = Columns(db, beside=file)
        for statement, renewed in [(LABEL, True), (MOVE, False)]:
            change(catalogue, statement)
            assert columns.follow()
            while (found := columns.keepable()) is None:
                time.sleep(0.02)
            assert file.save(*found)
            assert (beside(catalogue).stat().st_ino == place) is renewed
            *kept, read = answers(catalogue)
            assert not read
            assert kept[0][0] == columns.find(Query()).rows[0]
