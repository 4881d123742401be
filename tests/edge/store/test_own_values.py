"""The store's own values: of which mission it is, and numbers that never go back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from winnow_edge.errors import StoreError
from winnow_edge.store.clock import peek, tick
from winnow_edge.store.salvage import salvage
from winnow_edge.store.schema import Meta, seal_of
from winnow_edge.store.store import Store
from winnow_edge.testing import fill, landmark_mission, products_of_tiles

MISSION = landmark_mission()
OTHER = replace(MISSION, name="other")


def changed(folder: Path, *statements: str) -> None:
    """Change the rows of a store behind its back."""
    with closing(sqlite3.connect(folder / "store.db")) as db, db:
        for statement in statements:
            db.execute(statement)


def stocked(folder: Path) -> Path:
    fill(folder, MISSION, products_of_tiles(0, 40, MISSION))
    return folder


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE meta SET value = 'othes' WHERE key = 'mission'",
        "DELETE FROM meta WHERE key = 'mission'",
    ],
)
def test_a_store_that_lost_its_mission_learns_it_from_its_swaths(
    tmp_path: Path, damage: str
) -> None:
    changed(stocked(tmp_path), damage)
    for read_only in (False, True):
        with pytest.raises(StoreError, match="belongs to mission 'probe', not 'other'"):
            Store.open(tmp_path, mission=OTHER, read_only=read_only)
    with Store.open(tmp_path, mission=MISSION) as store:
        assert store.meta(Meta.MISSION) == MISSION.name


def test_a_store_that_nothing_tells_the_mission_of_is_nobodys(tmp_path: Path) -> None:
    lost = ("UPDATE meta SET crc = 0 WHERE key = 'mission'", "DELETE FROM product WHERE kind = 0")
    changed(stocked(tmp_path), *lost)
    for mission in (MISSION, OTHER):
        with pytest.raises(StoreError, match="none of its swaths tells it"):
            Store.open(tmp_path, mission=mission)
    Store.open(tmp_path, mission=None).close()


def test_an_empty_store_that_lost_its_mission_goes_on_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Store.open(tmp_path, mission=MISSION).close()
    changed(tmp_path, "UPDATE meta SET crc = 0 WHERE key = 'mission'")
    with Store.open(tmp_path, mission=MISSION) as store:
        assert store.meta(Meta.MISSION) == MISSION.name
    assert "its mission was damaged" in caplog.text


def test_a_salvage_keeps_damaged_numbers_from_going_back(tmp_path: Path) -> None:
    """Rows that are delivered and forgotten tell no more of what was given out."""
    damage = ("UPDATE meta SET crc = crc + 1 WHERE key LIKE 'next%' OR key = 'mission'",
              "DELETE FROM product WHERE id > 20")  # fmt: skip
    changed(stocked(tmp_path), *damage)
    assert not salvage(tmp_path).anew
    with Store.open(tmp_path, mission=MISSION) as store:
        assert store.number(Meta.NEXT_PRODUCT) > 2**32
        assert store.number(Meta.NEXT_SWATH) > 2**16
        assert store.meta(Meta.MISSION) == MISSION.name


def test_a_salvage_leaps_over_numbers_whose_rows_are_gone(tmp_path: Path) -> None:
    changed(stocked(tmp_path), "DELETE FROM meta WHERE key LIKE 'next%'")
    salvage(tmp_path)
    with Store.open(tmp_path, mission=MISSION) as store:
        assert store.number(Meta.NEXT_PRODUCT) > 2**32
        assert store.number(Meta.NEXT_CONTAINER) == 0  # no contact was ever held


def test_a_swath_that_tells_of_numbers_without_end_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stocked(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        *row, _ = db.execute(
            "SELECT id, name, samples, classes, bundle, digest, fingerprint, info, born,"
            " next_tile, next_line, summary, announcement, crc FROM swath"
        ).fetchone()
        row[7] = '{"lines": 1%s}' % ("0" * 400)
        db.execute("UPDATE swath SET info = ?, crc = ?", (row[7], seal_of(*row)))
    with Store.open(tmp_path, mission=MISSION) as store:
        assert store.swaths() == []
    assert "64 bits" in caplog.text


def test_a_clock_that_tells_of_numbers_without_end_begins_anew(tmp_path: Path) -> None:
    with Store.open(tmp_path, mission=MISSION) as store:
        tick(store)
        with store.transaction():
            kept = store.meta(Meta.CLOCK).replace('"by_s"', "")
            store.set_meta(Meta.CLOCK, kept[:-1] + ', "events": [{"by_s": 1e999}]}')
        assert peek(store).events[-1]["why"] == "what was kept is damaged"
