"""A swath in which nothing is found still brings a picture, and the report shows it."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from PIL import Image

from winnow_edge.downlink.contact import downlink
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import load_mission
from winnow_edge.products.kinds import Box
from winnow_edge.testing import write_probe
from winnow_ground.receive import receive
from winnow_ground.received import load_received
from winnow_ground.report import write_report


def test_a_swath_without_detections_comes_down_as_a_quick_look(tmp_path: Path) -> None:
    mission = load_mission(write_probe(tmp_path))
    y, x = np.mgrid[0:300, 0:200]
    grey = (128 + 20 * np.sin(x / 30 + y / 50)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "plain.png")
    with Flight(mission, tmp_path / "store") as flight:
        assert flight.run(tmp_path / "plain.png").tally.detections == 0
        # A quarter of the records do not fit, but the quick look goes first.
        summary = downlink(flight.store, mission, budget_bytes=6000, out=tmp_path / "c.packets")
    assert (summary.products["quick_look"], summary.left["products"] > 0) == (1, True)
    received = receive([tmp_path / "c.packets"], tmp_path / "down")
    assert load_received(tmp_path / "down").products == received.products
    (look,) = (p for p in received.products if p.kind == "quick_look")
    assert (look.swath, look.box, look.tile, look.detection) == (
        1,
        Box(0, 0, 300, 200),
        None,
        False,
    )
    assert received.products[1] is look  # after the swath's product alone
    picture = tmp_path / "down" / (look.file or "")
    shown = np.asarray(Image.open(picture), np.float64)
    there = np.asarray(Image.fromarray(grey).resize(shown.shape[::-1], Image.Resampling.BOX))
    assert np.abs(shown - there).max() < 24
    page = write_report(tmp_path / "down").page.read_text(encoding="utf-8")
    assert base64.b64encode(picture.read_bytes()).decode() in page
    assert "lines 0–299" in page
