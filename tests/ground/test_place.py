"""`winnow place`: geometry that the board did not have, for what has come down."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.running import winnow
from winnow_edge.clock.utc import parse_utc
from winnow_edge.downlink.contact import downlink
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import load_mission
from winnow_edge.place.door import Asked
from winnow_edge.testing import painted_swath, write_probe
from winnow_ground.receive import receive
from winnow_ground.received import load_received
from winnow_ground.report import write_report

START = "2022-01-30T14:43:59.182Z"
ENTRIES = [
    {"line": 0, "latitude": -71, "longitude": 200, "altitude_m": 300_000},
    {"line": 299, "latitude": -72, "longitude": 200, "altitude_m": 301_500},
]


@pytest.fixture
def down(tmp_path: Path) -> Path:
    """Two swaths of which the board knew no place, received into `in`."""
    mission = load_mission(write_probe(tmp_path))
    with Flight(mission, tmp_path / "store") as flight:
        for number, name in enumerate(("strip.png", "other.png")):
            Image.fromarray(painted_swath(300, 120, seed=number)).save(tmp_path / name)
            flight.run(tmp_path / name)
        downlink(flight.store, mission, budget_bytes=10**7, out=tmp_path / "packets")
    receive([tmp_path / "packets"], tmp_path / "in")
    return tmp_path


def geometry(folder: Path, name: str = "strip.geometry.jsonl", text: str | None = None) -> Path:
    file = folder / name
    file.write_text(text if text is not None else "".join(f"{json.dumps(e)}\n" for e in ENTRIES))
    return file


def test_what_has_come_down_gets_its_place_and_time(down: Path) -> None:
    more = ("--start", START, "--line-time", "1000", "--json")
    done = winnow("place", down / "in", geometry(down), *more)
    assert (done.returncode, done.stderr) == (0, "")
    received = load_received(down / "in")
    tiles = [p for p in received.products if p.tile is not None and p.swath == 1]
    counts = json.loads(done.stdout)
    assert counts == {
        "swath": "strip.png", "products": len(tiles), "times": len(tiles), "places": len(tiles),
        "faults": [],
    }  # fmt: skip
    for product in tiles:
        assert product.box is not None
        middle = product.box.line + (product.box.lines - 1) / 2
        assert product.latitude == pytest.approx(-71 - middle / 299, abs=1e-3)
        assert product.longitude == pytest.approx(-160, abs=1e-3)
        assert product.time is not None
        ahead = parse_utc(product.time).ns - parse_utc(START).ns
        assert abs(ahead - middle * 1_000_000) < 600_000
    others = [p for p in received.products if p.swath == 2]
    assert {p.latitude for p in others} == {None}
    with (down / "in" / "records.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all((row["latitude"] != "") == (row["swath"] == "strip.png") for row in rows)
    page = write_report(down / "in").page.read_text(encoding="utf-8")
    assert "its places are known by a file that the ground had" in page
    assert "seen from 300,000 to 301,500 m up" in page


def test_what_came_down_placed_stays_so_and_what_comes_later_is_placed_again(
    tmp_path: Path,
) -> None:
    mission = load_mission(write_probe(tmp_path))
    Image.fromarray(painted_swath(300, 120, seed=1)).save(tmp_path / "strip.png")
    with Flight(mission, tmp_path / "store") as flight:
        flight.run(tmp_path / "strip.png", asked=Asked(start=parse_utc(START)))
        for n in (1, 2):
            out = tmp_path / f"{n}.packets"
            downlink(flight.store, mission, budget_bytes=4000, out=out)
            receive([out], tmp_path / "in")
            received = load_received(tmp_path / "in")
            waiting = [p for p in received.products if p.tile is not None and p.latitude is None]
            done = winnow("place", tmp_path / "in", geometry(tmp_path), "--json")
            assert json.loads(done.stdout)["places"] == len(waiting) > 0
    again = winnow("place", tmp_path / "in", geometry(tmp_path), "--json")
    assert json.loads(again.stdout)["places"] == 0
    assert "got a time, 0 a place" in winnow("place", tmp_path / "in", geometry(tmp_path)).stdout


@pytest.mark.parametrize(
    ("name", "text", "more", "code", "says"),
    [
        ("strip.geometry.jsonl", "", (), 3, "tells nothing that makes sense"),
        ("strip.geometry.jsonl", "\x00\n" * 9, (), 3, "tells nothing that makes sense"),
        ("strip.png", None, (), 3, "is no geometry; its name ends with"),
        ("nobody.geometry.jsonl", None, (), 3, "which swath is nobody.geometry.jsonl about?"),
        ("strip.geometry.jsonl", None, ("--swath", "x"), 3, "it has: other.png, strip.png"),
        ("strip.geometry.jsonl", None, ("--start", "noon"), 2, "'noon' is no UTC"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    down: Path, name: str, text: str | None, more: tuple[str, ...], code: int, says: str
) -> None:
    before = (down / "in" / "received.json").read_bytes()
    done = winnow("place", down / "in", geometry(down, name, text), *more)
    assert done.returncode == code
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert (down / "in" / "received.json").read_bytes() == before


def test_missing_files_are_refused(down: Path) -> None:
    for folder, file in (("in", down / "none.geometry.jsonl"), ("nowhere", geometry(down))):
        done = winnow("place", down / folder, file, "--swath", "strip.png")
        assert done.returncode == 3
        assert len(done.stderr.splitlines()) == 1
