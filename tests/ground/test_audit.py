"""The audit from the board to the estimate: what is missed, with an interval that holds it."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from winnow_base.errors import DataError
from winnow_cli.app import app
from winnow_edge.downlink.contact import downlink
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import load_mission
from winnow_edge.products.audit import drawn
from winnow_edge.products.encode import HEAD, decode_record
from winnow_edge.products.kinds import Flag, Kind
from winnow_edge.testing import painted_swath, write_probe
from winnow_ground.audit import Audited, audited, estimate, interval, missing, read_sheet
from winnow_ground.receive import receive
from winnow_ground.report import write_report

AUDIT = "[audit]\nshare = 0.2\nseed = 5\nbytes = 1_000_000\n[ask]\nposterior = 0.4\nbytes = 2000\n"


def fly(folder: Path, more: str = AUDIT) -> Path:
    """Fly a painted swath, bring everything down into `folder`/down; the mission file."""
    path = write_probe(folder, more)
    mission = load_mission(path)
    np.ascontiguousarray(painted_swath(400, 160, seed=3, grain=60)).tofile(folder / "strip.raw")
    with Flight(mission, folder / "store") as flight:
        flight.run(folder / "strip.raw", samples=160)
        downlink(flight.store, mission, budget_bytes=10**7, out=folder / "c.packets")
    receive([folder / "c.packets"], folder / "down")
    return path


def test_the_ground_repeats_the_draw_and_estimates_what_is_missed(tmp_path: Path) -> None:
    mission = fly(tmp_path)
    received = receive([tmp_path / "c.packets"], tmp_path / "again")
    (info,) = received.swaths.values()
    tiles = {p.tile for p in received.products if p.kind == "audit"}
    wanted = np.flatnonzero(drawn(5, "strip.raw", 0, info["tiles"], 0.2))
    assert tiles == set(wanted.tolist())
    assert info["audit"] == {
        "tiles": len(tiles),
        "bytes": sum(p.bytes for p in received.products if p.kind == "audit"),
        "until": None,
    }
    assert missing(received, load_mission(mission)) == (len(tiles), 0)
    # What the net said of a tile is with its picture, as in its record.
    records = {p.tile: p for p in received.products if p.kind == "record"}
    for p in received.products:
        if p.kind in ("audit", "question"):
            record = records[p.tile]
            assert (p.class_index, p.posterior, p.box) == (
                record.class_index, record.posterior, record.box,
            )  # fmt: skip
            assert (tmp_path / "again" / (p.file or "")).is_file()

    runner = CliRunner()
    sheet = tmp_path / "down" / "audit.csv"
    asked = runner.invoke(app, ["audit", str(tmp_path / "down"), "--mission", str(mission)])
    assert asked.exit_code == 0, asked.output
    assert f"{len(tiles)} tiles were drawn; {len(tiles)} of them have come down" in asked.output
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # Every tile shows something dark; what was detected as dark was found.
    found = sum(row["detection"] == "1" and row["class"] == "dark" for row in rows)
    for row in rows:
        row["shows"] = "dark"
    with sheet.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    told = runner.invoke(app, ["audit", str(tmp_path / "down"), "--labels", str(sheet), "--json"])
    assert told.exit_code == 0, told.output
    dark = next(one for one in json.loads(told.output)["classes"] if one["class"] == "dark")
    assert (dark["found"], dark["missed"]) == (found, len(tiles) - found)
    assert dark["recall"][0] == pytest.approx(found / len(tiles))
    # Pictures of the audit are no detections: the report counts none of them.
    report = write_report(tmp_path / "down")
    pictured = {p.tile for p in received.products if p.kind in ("image", "thumbnail")}
    page = report.page.read_text(encoding="utf-8")
    assert f"{len(pictured)} detections" in page
    assert "What is this?" in page
    drawn_first = next(p for p in received.products if p.kind == "audit")
    picture = (tmp_path / "again" / (drawn_first.file or "")).read_bytes()
    assert base64.b64encode(picture).decode() in page


def test_a_quota_ends_the_audit_and_says_where(tmp_path: Path) -> None:
    fly(tmp_path, "[audit]\nshare = 0.5\nbytes = 9000\n")
    received = receive([tmp_path / "c.packets"], tmp_path / "again")
    (info,) = received.swaths.values()
    until = info["audit"]["until"]
    assert 0 < info["audit"]["bytes"] <= 9000
    assert 0 < until < info["tiles"]
    tiles = {p.tile for p in received.products if p.kind == "audit"}
    assert tiles == set(np.flatnonzero(drawn(0, "strip.raw", 0, until, 0.5)).tolist())


def test_questions_are_tiles_between_the_limits(tmp_path: Path) -> None:
    mission = load_mission(fly(tmp_path))
    with Flight(mission, tmp_path / "store") as flight:
        store = flight.store
        asked = list(store.products(kinds=(Kind.QUESTION,)))
        assert asked
        assert sum(p.bytes for p in asked) <= 2000
        for p in asked:
            record = decode_record(store.data(p.id)[: HEAD.size]).record
            assert 0.4 <= record.posterior < 0.9
            assert not record.flags & (Flag.DETECTION | Flag.SCREENED)
        classes = store.swaths()[0].classes
        assert {classes[p.class_index] for p in asked} <= {"dark", "bright"}


@pytest.mark.parametrize(("share", "recall"), [(0.05, 0.9), (0.02, 0.5), (0.3, 0.97)])
def test_recall_lies_in_its_interval_in_93_of_100_draws(share: float, recall: float) -> None:
    rng = np.random.default_rng(17)
    tiles = 60_000
    shows = rng.random(tiles) < share
    detected = np.where(shows, rng.random(tiles) < recall, rng.random(tiles) < 0.01)
    true = (detected & shows).sum() / shows.sum()
    missed = (shows & ~detected).sum() / tiles
    held = both = 0
    for seed in range(200):
        chosen = np.flatnonzero(drawn(seed, "strip", 0, tiles, 0.01))
        sample = [
            Audited("crater" if detected[n] else None, frozenset({"crater"} if shows[n] else ()))
            for n in chosen
        ]
        (crater,) = estimate(sample)
        assert crater.recall is not None
        held += crater.recall[1] <= true <= crater.recall[2]
        both += crater.missed_share[1] <= missed <= crater.missed_share[2]
    assert held >= 186
    assert both >= 186


def test_intervals_are_those_of_the_tables() -> None:
    # Clopper and Pearson's, as R's binom.test gives them.
    for hits, trials, low, high in (
        (0, 10, 0.0, 0.3084971), (10, 10, 0.6915029, 1.0), (1, 20, 0.001265089, 0.2487328),
        (50, 100, 0.3983211, 0.6016789), (300, 1000, 0.2717211, 0.3294617),
    ):  # fmt: skip
        assert interval(hits, trials) == pytest.approx((low, high), abs=2e-6)
    with pytest.raises(ValueError, match="no share"):
        interval(0, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tile,shows\n1,dark\n", "sheet.csv:2: has no whole numbers"),
        ("store,swath,tile,shows\n1,x,3,dark\n", "sheet.csv:2: has no whole numbers"),
        ("store,swath,tile\n1,2,3\n", "sheet.csv:2: has no whole numbers"),
    ],
)
def test_a_bad_sheet_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "sheet.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        read_sheet(tmp_path / "sheet.csv")
    with pytest.raises(DataError, match="No such file"):
        read_sheet(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\0")
    with pytest.raises(DataError, match="is no table"):
        read_sheet(tmp_path / "bytes.csv")


def test_a_class_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    fly(tmp_path)
    received = receive([tmp_path / "c.packets"], tmp_path / "again")
    (p, *_) = (p for p in received.products if p.kind == "audit")
    assert p.tile is not None
    with pytest.raises(DataError, match="'craters', no class"):
        audited(received, {(p.store, p.swath, p.tile): frozenset({"craters"})})
