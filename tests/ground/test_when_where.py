"""Times and places on the ground: what comes down, what a report says, what is not believed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from winnow_edge.clock.utc import parse_utc
from winnow_edge.downlink.contact import downlink
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import load_mission
from winnow_edge.place.door import Asked
from winnow_edge.testing import painted_swath, write_probe
from winnow_ground import when_where
from winnow_ground.receive import receive
from winnow_ground.received import load_received
from winnow_ground.report import write_report

MORE = "[link]\ntime_code = true\n[class.bright]\nlatitude = [-90, -71.5]\n"


@pytest.fixture
def down(tmp_path: Path) -> Path:
    """A folder with everything of a swath from latitude -71 to -72 in it; one entry lies."""
    mission = load_mission(write_probe(tmp_path, MORE, camera="line_time_us = 1000"))
    Image.fromarray(painted_swath(300, 120, seed=1)).save(tmp_path / "strip.png")
    entries = [
        {"line": 0, "latitude": -71, "longitude": 200},
        {"line": 150, "latitude": 99, "longitude": 200},
        {"line": 299, "latitude": -72, "longitude": 200},
    ]
    lines = "\n".join(map(json.dumps, entries))
    (tmp_path / "strip.geometry.jsonl").write_text(lines)
    with Flight(mission, tmp_path / "store") as flight:
        start = parse_utc("2022-01-30T14:43:59.182Z")
        flight.run(tmp_path / "strip.png", asked=Asked(start))
        downlink(flight.store, mission, budget_bytes=10**7, out=tmp_path / "packets")
    receive([tmp_path / "packets"], tmp_path / "in")
    return tmp_path / "in"


def test_times_and_places_come_down(down: Path) -> None:
    received = load_received(down)
    tiles = [p for p in received.products if p.tile is not None]
    assert {p.kind for p in tiles} == {"record", "thumbnail", "image"}
    for product in tiles:
        assert product.box is not None
        middle = product.box.line + (product.box.lines - 1) / 2
        assert product.time is not None
        ahead = parse_utc(product.time).ns - parse_utc("2022-01-30T14:43:59.182Z").ns
        assert abs(ahead - middle * 1_000_000) < 600_000
        assert product.latitude == pytest.approx(-71 - middle / 299, abs=1e-3)
        assert product.longitude == pytest.approx(-160, abs=1e-3)
    barred = [p for p in tiles if p.out_of_place]
    assert barred
    assert all(p.kind == "record" and not p.detection for p in barred)
    assert all((p.latitude or 0) > -71.5 for p in barred)
    with (down / "records.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["out_of_place"] == "1" for row in rows) == len(barred)
    assert {row["time"][:20] for row in rows} == {"2022-01-30T14:43:59."}
    assert all(-72 <= float(row["latitude"]) <= -71 for row in rows)
    (reception,) = received.receptions
    assert reception.first_sent is not None
    # The clock of a machine that nobody keeps counts from the store's beginning.
    assert reception.first_sent.startswith(("mission time", "2"))


def test_a_report_says_when_and_where(down: Path) -> None:
    page = write_report(down).page.read_text(encoding="utf-8")
    assert "Seen 2022-01-30t14:43:59.182z" not in page
    assert "Seen 2022-01-30T14:43:59.182Z (as the run was told)" in page
    assert "its places are known by the file beside the swath" in page
    assert "° S, 200.0000° E" in page
    assert "the spacecraft did not believe strip.geometry.jsonl: 1 entries left out" in page
    assert "tiles look like a class that is not at their place or in their season" in page
    assert "Not everything went as it should" in page


@pytest.mark.parametrize(
    "info",
    [
        {"start": 5, "geometry": []},
        {"start": {"utc": 7, "source": None}, "geometry": {"source": 5, "faults": "x"}},
        {"start": {"utc": "\x1b[2J" * 200, "source": "\x1b"}, "geometry": {"faults": [1, "\n"]}},
        {"start": {}, "geometry": {"source": "nobody", "faults": ["f"] * 1000}},
        {"out_of_place": "many"},
        {"out_of_place": -1},
        {"out_of_place": 10**400},
    ],
)
def test_whatever_a_sender_tells_is_words(info: dict[str, Any]) -> None:
    for text in (when_where.of_swath(info), *when_where.faults("swath", info)):
        assert text.isprintable()
        assert len(text) < 1000
    assert len(when_where.faults("swath", info)) <= 6


def test_a_received_json_with_places_that_nobody_has_is_refused(down: Path) -> None:
    path = down / "received.json"
    raw = json.loads(path.read_text())
    for key, value in (("latitude", 95.0), ("longitude", 1e9), ("latitude", np.pi * 100)):
        entry = next(p for p in raw["products"] if "latitude" in p)
        kept, entry[key] = entry[key], value
        path.write_text(json.dumps(raw))
        with pytest.raises(Exception, match=key):
            load_received(down)
        entry[key] = kept
