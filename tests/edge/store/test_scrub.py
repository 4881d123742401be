"""Rot is found in idle time, before it is to be sent."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from winnow_edge.store.check import check
from winnow_edge.store.events import events
from winnow_edge.store.scrub import scrub
from winnow_edge.store.store import Store
from winnow_edge.testing import fill, landmark_mission, products_of_tiles

MISSION = landmark_mission()


def test_a_scrub_goes_round_and_gives_up_what_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, MISSION, products_of_tiles(0, 150, MISSION))
    with Store.open(tmp_path, mission=MISSION) as store:
        steps = 1
        while not scrub(store):
            steps += 1
        assert steps > 2
        assert events(store) == {}
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("UPDATE product SET data = zeroblob(bytes) WHERE id = 77")
        db.execute("UPDATE product SET state = 2 WHERE id = 99")  # legal, and never so sealed
    with Store.open(tmp_path, mission=MISSION) as store:
        for _ in range(2):
            while not scrub(store):
                pass
        assert events(store) == {"damaged": {"product": 2}}
        left = {row.id for row in store.products()}
        assert not left & {77, 99}
    assert "77" in caplog.text


@pytest.mark.parametrize("column", ["state", "unheard", "seal", "id", "class", "detection"])
def test_no_bit_of_a_column_changes_unseen(tmp_path: Path, column: str) -> None:
    fill(tmp_path, MISSION, products_of_tiles(0, 4, MISSION))
    change = f"UPDATE product SET {column} = ? WHERE tile = 2"
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as db:
        ((was,),) = db.execute(f"SELECT {column} FROM product WHERE tile = 2").fetchall()
        for bit in range(4, 12):  # lower ones of a number are those of its neighbours
            db.execute(change, (was ^ 1 << bit,))
            with Store.open(tmp_path, mission=MISSION, read_only=True) as store:
                assert not check(store).sound, bit
        db.execute(change, (was,))
    with Store.open(tmp_path, mission=MISSION, read_only=True) as store:
        assert check(store).sound
