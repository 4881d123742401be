"""Swaths that know when and where they were seen: their records, their classes, and the link."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_edge.board.bench import MemorySource
from winnow_edge.clock.utc import parse_utc
from winnow_edge.downlink.contact import downlink
from winnow_edge.downlink.packets import SEQUENCE_MODULO
from winnow_edge.downlink.reader import LinkCounts, read_packets
from winnow_edge.loop import intake
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import run_swath
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.mission import Mission
from winnow_edge.place.door import Asked, Shape, look
from winnow_edge.place.geometry import Geometry
from winnow_edge.place.place import Place
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.encode import decode_picture, decode_record, decode_swath
from winnow_edge.products.kinds import Flag, Kind, TileRecord
from winnow_edge.store.events import events
from winnow_edge.store.store import Store
from winnow_edge.testing import painted_swath, probe_mission

SIDE = 8
LINES, SAMPLES = 160, 48
PIXELS = painted_swath(LINES, SAMPLES, seed=3, squares=24, side=14, grain=8)
START = parse_utc("2022-01-30T14:43:59.182Z")  # Ls 166.2
STEP_US = 870.0


def geometry(folder: Path, *lines: int, **asked: Any) -> Geometry:
    """From latitude -60 at line 0 a tenth of a degree southwards each line, at 200 east."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "strip.geometry.jsonl"
    entries = [{"line": n, "latitude": -60 - n / 10, "longitude": 200} for n in lines]
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return look("-", Shape(SAMPLES, None, STEP_US), Asked(sidecar=file, **asked))


def fly(
    folder: Path, pool: Interpreters, mission: Mission, seen: Geometry | None, **more: Any
) -> SwathSummary:
    with Store.open(folder, mission=mission) as store:
        settings = Settings.of(mission, "camera", pool.bundle)
        lines = Chain(MemorySource(PIXELS, "strip"), settings.camera)
        return run_swath(lines, settings, store, pool, geometry=seen, **more)


def records(folder: Path) -> list[TileRecord]:
    with Store.open(folder, mission=None, read_only=True) as store:
        rows = store.products(kinds=[Kind.RECORD])
        return [decode_record(store.data(row.id)).record for row in rows]


def told(folder: Path) -> dict[str, Any]:
    with Store.open(folder, mission=None, read_only=True) as store:
        return decode_swath(store.data(store.announcements()[1].id))


def contents(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "store.db")) as db, db:
        return db.execute("SELECT id, kind, tile, class, detection, data FROM product").fetchall()


def test_records_and_pictures_tell_when_and_where_their_tile_was_seen(
    tmp_path: Path, pool: Interpreters
) -> None:
    fly(tmp_path, pool, probe_mission(), geometry(tmp_path, 0, 80, 159, start=START))
    found = records(tmp_path)
    assert found
    for record in found:
        middle = record.box.line + (record.box.lines - 1) / 2
        assert record.time is not None
        assert record.place is not None
        assert abs(record.time.ns - START.ns - middle * STEP_US * 1000) < 40_000
        assert record.place.latitude == pytest.approx(-60 - middle / 10, abs=1e-4)
        assert record.place.longitude == pytest.approx(-160, abs=1e-4)
    by_tile = {record.index: record for record in found}
    with Store.open(tmp_path, mission=None, read_only=True) as store:
        pictures = [
            decode_picture(store.data(row.id)).head.record
            for row in store.products(kinds=[Kind.THUMBNAIL, Kind.IMAGE])
        ]
    assert pictures
    for picture in pictures:
        same = by_tile[picture.index]
        assert (picture.time, picture.place) == (same.time, same.place)
    info = told(tmp_path)
    assert info["start"]["utc"] == "2022-01-30T14:43:59.182Z"
    assert (info["line_time_us"], info["geometry"]["source"]) == (STEP_US, "sidecar")


def test_a_swath_of_which_nothing_is_told_is_as_it_always_was(
    tmp_path: Path, pool: Interpreters
) -> None:
    fly(tmp_path / "a", pool, probe_mission(), None)
    fly(tmp_path / "b", pool, probe_mission(), Geometry())
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert {record.time for record in records(tmp_path / "a")} == {None}
    assert not {"start", "geometry", "line_time_us"} & set(told(tmp_path / "a"))


def test_beyond_the_geometry_places_are_not_known(tmp_path: Path, pool: Interpreters) -> None:
    fly(tmp_path, pool, probe_mission(), geometry(tmp_path, 0, 40))
    for record in records(tmp_path):
        middle = record.box.line + (record.box.lines - 1) / 2
        assert (record.place is not None) == (middle <= 40)
        assert record.time is None


def test_detections_of_a_class_are_made_only_where_it_is(
    tmp_path: Path, pool: Interpreters
) -> None:
    seen = geometry(tmp_path, 0, 80, 159, start=START)
    free = fly(tmp_path / "free", pool, probe_mission(), seen)
    bound = probe_mission("[class.bright]\nlatitude = [-90, -68]\n")
    summary = fly(tmp_path / "bound", pool, bound, seen)
    assert summary.tally.by_class["dark"] == free.tally.by_class["dark"]
    assert 0 < summary.tally.by_class["bright"] < free.tally.by_class["bright"]
    barred = 0
    pairs = zip(records(tmp_path / "free"), records(tmp_path / "bound"), strict=True)
    for before, after in pairs:
        assert (before.box, before.class_index, before.posterior) == (
            after.box, after.class_index, after.posterior,
        )  # fmt: skip
        outside = before.place is not None and before.place.latitude > -68
        if before.flags & Flag.DETECTION and before.class_index == 2 and outside:
            assert after.flags == Flag.OUT_OF_PLACE | Flag.TIMED | Flag.PLACED
            barred += 1
        else:
            assert not after.flags & Flag.OUT_OF_PLACE
            assert after.flags & Flag.DETECTION == before.flags & Flag.DETECTION
    assert barred == summary.tally.out_of_place > 0
    with Store.open(tmp_path / "bound", mission=bound, read_only=True) as store:
        heavy = store.products(kinds=[Kind.THUMBNAIL, Kind.IMAGE])
        places = [decode_picture(store.data(row.id)).head.record for row in heavy]
    assert all(p.place and p.place.latitude <= -68 for p in places if p.class_index == 2)
    assert told(tmp_path / "bound")["out_of_place"] == barred


@pytest.mark.parametrize(
    ("season", "start", "found"),
    [
        ("[160, 360]", START, True),
        ("[0, 160]", START, False),
        ("[330, 40]", START, False),  # over the new year
        ("[330, 170]", START, True),
        ("[0, 160]", None, True),  # nobody knows the season
    ],
)
def test_detections_of_a_class_are_made_only_in_its_season(
    tmp_path: Path, pool: Interpreters, season: str, start: Any, found: bool
) -> None:
    mission = probe_mission(f"[class.bright]\nseason = {season}\n")
    summary = fly(tmp_path, pool, mission, geometry(tmp_path, 0, start=start))
    assert ("bright" in summary.tally.by_class) == found
    assert (summary.tally.out_of_place == 0) == found


def test_where_places_are_not_known_nothing_is_barred(tmp_path: Path, pool: Interpreters) -> None:
    mission = probe_mission("[class.bright]\nlatitude = [80, 90]\n")
    summary = fly(tmp_path, pool, mission, geometry(tmp_path, 0, 40))
    assert summary.tally.by_class["bright"] > 0
    assert summary.tally.out_of_place > 0


@pytest.mark.parametrize("lines", [(0,), (4000, 4100)])
def test_a_place_that_nobody_can_trust_bars_nothing(
    tmp_path: Path, pool: Interpreters, lines: tuple[int, ...]
) -> None:
    mission = probe_mission("[class.bright]\nlatitude = [80, 90]\n")
    summary = fly(tmp_path, pool, mission, geometry(tmp_path, *lines))
    assert summary.tally.by_class["bright"] > 0
    assert summary.tally.out_of_place == 0
    assert {record.place for record in records(tmp_path)} == {None}


@pytest.mark.parametrize("camera", ["", 'start = "clock"\n'])
def test_lines_have_times_where_the_start_is_not_known(
    tmp_path: Path, pool: Interpreters, camera: str
) -> None:
    file = tmp_path / "strip.geometry.jsonl"
    seconds = ((40, "00"), (120, "08"))
    entries = [{"line": n, "utc": f"2022-01-30T14:44:{s}Z"} for n, s in seconds]
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    seen = look("-", Shape(SAMPLES, LINES, None), Asked(sidecar=file))
    fly(tmp_path, pool, probe_mission(camera=camera), seen)
    first = parse_utc("2022-01-30T14:44:00Z").ns
    for record in records(tmp_path):
        middle = record.box.line + (record.box.lines - 1) / 2
        assert (record.time is not None) == (40 <= middle <= 120)
        if record.time is not None:
            assert record.time.tai
            assert abs(record.time.ns - first - (middle - 40) * 10**8) < 100_000
    assert told(tmp_path).get("start", {}).get("source") == ("clock" if camera else None)


class Power:
    """Fails after so many blocks."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_an_interrupted_swath_ends_as_one_that_was_not(
    tmp_path: Path, pool: Interpreters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "BLOCK_LINES", 16)
    mission = probe_mission("[class.bright]\nlatitude = [-90, -68]\n")
    seen = geometry(tmp_path, 0, 80, 159, start=START)
    fly(tmp_path / "whole", pool, mission, seen)
    for blocks in range(6):
        with pytest.raises(KeyboardInterrupt):
            fly(tmp_path / "cut", pool, mission, seen, progress=Power(blocks))
    fly(tmp_path / "cut", pool, mission, seen)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_geometry_that_changes_gives_no_places(
    tmp_path: Path, pool: Interpreters, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(intake, "BLOCK_LINES", 16)
    with pytest.raises(KeyboardInterrupt):
        fly(tmp_path, pool, probe_mission(), geometry(tmp_path, 0, 159), progress=Power(2))
    done = len(records(tmp_path))
    fly(tmp_path, pool, probe_mission(), geometry(tmp_path / "two", 0, 100, 159))
    places = [record.place for record in records(tmp_path)]
    assert None not in places[:done]
    assert places[done:] == [None] * (len(places) - done)
    assert "is not what it was" in caplog.text


def test_geometry_that_comes_late_counts_from_then_on(
    tmp_path: Path, pool: Interpreters, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(intake, "BLOCK_LINES", 16)
    with pytest.raises(KeyboardInterrupt):
        fly(tmp_path, pool, probe_mission(), None, progress=Power(2))
    done = len(records(tmp_path))
    fly(tmp_path, pool, probe_mission(), geometry(tmp_path, 0, 100, 159, start=START))
    found = records(tmp_path)
    assert [record.place for record in found[:done]] == [None] * done
    assert len(found) > done > 0
    for record in found[done:]:
        middle = record.box.line + (record.box.lines - 1) / 2
        assert record.place is not None
        assert record.time is not None
        assert record.place.latitude == pytest.approx(-60 - middle / 10, abs=1e-4)
    assert "geometry came late: the first lines have no places" in caplog.text
    # The ground is told with the counts.
    info = told(tmp_path)
    assert info["start"]["utc"] == "2022-01-30T14:43:59.182Z"
    assert "came late" in info["geometry"]["faults"][-1]


def test_geometry_of_a_complete_swath_is_refused_in_a_line(
    tmp_path: Path, pool: Interpreters, caplog: Any
) -> None:
    fly(tmp_path, pool, probe_mission(), None)
    before = contents(tmp_path)
    fly(tmp_path, pool, probe_mission(), geometry(tmp_path, 0, 159))
    (line,) = caplog.messages
    assert line.endswith("`winnow place` on the ground uses the file")
    assert contents(tmp_path) == before
    caplog.clear()
    fly(tmp_path, pool, probe_mission(), None)
    assert not caplog.messages


def test_the_ground_is_told_how_high_the_camera_flew(tmp_path: Path, pool: Interpreters) -> None:
    file = tmp_path / "strip.geometry.jsonl"
    entries = [
        {"line": n, "latitude": 1, "longitude": 2, "altitude_m": 120 + n} for n in (0, 80, 159)
    ]
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    fly(tmp_path, pool, probe_mission(), look("-", Shape(SAMPLES, None, None), Asked(sidecar=file)))
    assert told(tmp_path)["geometry"]["altitude_m"] == [120, 279]


def test_a_live_camera_starts_by_the_mission_clock(tmp_path: Path, pool: Interpreters) -> None:
    mission = probe_mission(camera='start = "clock"\nline_time_us = 870\n')
    seen = look("-", Shape(SAMPLES, None, STEP_US))
    fly(tmp_path, pool, mission, seen)
    info = told(tmp_path)
    assert info["start"]["source"] == "clock"
    times = [record.time for record in records(tmp_path)]
    assert all(time is not None for time in times)
    # A second look at the complete swath changes nothing.
    fly(tmp_path, pool, mission, seen)
    assert told(tmp_path) == info


def test_what_is_sent_and_in_which_order_does_not_hang_on_the_time(
    tmp_path: Path, pool: Interpreters
) -> None:
    mission = probe_mission(
        "[link]\ntime_code = true\npacket_bytes = 128\n[store]\nquota_mb = 0.6\n"
    )
    sent = []
    for name, start in (("now", START), ("later", parse_utc("2061-07-28T14:43:59.182Z"))):
        folder = tmp_path / name
        seen = look("-", Shape(SAMPLES, None, STEP_US), Asked(start, Place(-71.0, 5.0)))
        for again in range(4):
            fly(folder, pool, mission, seen, name=f"strip-{again}")
        with Store.open(folder, mission=mission) as store, (folder / "out").open("wb") as out:
            dropped = events(store)
            assert {"compacted", "evicted"} <= dropped.keys()
            summary = downlink(store, mission, budget_bytes=6000, out=out)
        assert summary.bytes <= 6000
        assert (folder / "out").stat().st_size == summary.bytes
        with (folder / "out").open("rb") as stream:
            packets = list(read_packets(stream, LinkCounts()))
        assert len(packets) == summary.packets
        times = [packet.time for packet in packets]
        assert all(time is not None for time in times)
        assert [time.ns for time in times if time] == sorted(time.ns for time in times if time)
        counts = [(p.count - packets[0].count) % SEQUENCE_MODULO for p in packets]
        assert counts == list(range(len(packets)))
        with closing(sqlite3.connect(folder / "store.db")) as db, db:
            order = db.execute("SELECT products FROM container ORDER BY id").fetchall()
            kept = db.execute("SELECT id, state, data IS NULL FROM product").fetchall()
        sent.append((order, kept, dropped, summary.products, np.float64(summary.value)))
    assert sent[0] == sent[1]
