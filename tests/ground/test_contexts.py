"""Contexts come down beside the pictures of their detection, and are counted with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from winnow_edge.downlink.contact import downlink
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import load_mission
from winnow_edge.testing import painted_swath, write_probe
from winnow_ground.findings import find, value_received
from winnow_ground.receive import receive
from winnow_ground.report import write_report
from winnow_ground.truth import Feature


def test_contexts_come_down_and_count(tmp_path: Path) -> None:
    mission = load_mission(write_probe(tmp_path, "[context]\ntimes = 3\nshare = 0.5\n"))
    Image.fromarray(painted_swath(200, 160, seed=2)).save(tmp_path / "strip.png")
    with Flight(mission, tmp_path / "store") as flight:
        flight.run(tmp_path / "strip.png")
        out = downlink(flight.store, mission, budget_bytes=10**7, out=tmp_path / "packets")
    received = receive([tmp_path / "packets"], tmp_path / "in")
    contexts = [p for p in received.products if p.kind == "context"]
    images = {p.tile: p for p in received.products if p.kind == "image"}
    assert len(contexts) == len(images) == out.products["context"] > 0
    for p in contexts:
        assert p.box is not None
        assert p.file is not None
        with Image.open(received.folder / p.file) as picture:
            assert picture.size == (-(-p.box.samples // 3), -(-p.box.lines // 3))
        assert p.box.overlap(images[p.tile].box or p.box) == 1
        assert images[p.tile].posterior == p.posterior
    # Of a detection there is one finding, of its own size.
    found = find(received, None, None, 0.3)
    assert {f.box.lines for f in found} <= {f.box.lines for f in found if f.have == "image"} == {16}
    features = [Feature(received.class_name(p) or "", p.box) for p in images.values() if p.box]
    total, _ = value_received(received, mission, {(received.products[0].store, 1): features})
    alone, _ = value_received(
        receive([tmp_path / "packets"], tmp_path / "again"),
        load_mission(write_probe(tmp_path, "[context]\nshare = 0\n")),
        {(received.products[0].store, 1): features},
    )
    assert np.isclose(total, alone * 1.5)
    page = write_report(received.folder).page.read_text(encoding="utf-8")
    assert "Around detections" in page
