"""Small real stores, made through the edge's own API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from winnow_edge.downlink.contact import DownlinkSummary, downlink
from winnow_edge.mission import Mission, parse_mission
from winnow_edge.products.encode import detection_products
from winnow_edge.products.kinds import NO_CLASS, Box, Detection, Flag, TileRecord
from winnow_edge.store.store import Store
from winnow_edge.store.writer import begin_swath
from winnow_edge.testing import finish, record_product

CLASSES = ("other", "crater", "dark dune", "impact ejecta")
MISSION = """\
name = "small"
[instrument.camera]
bundle = "hirise-landmarks"
[class.crater]
utility = 1.0
[class."impact ejecta"]
utility = 20.0
[link]
packet_bytes = 512
container_bytes = 4096
"""


@dataclass
class Flown:
    """A store with swaths in it, and how to hold contacts with it."""

    folder: Path
    mission: Mission

    def add_swath(self, name: str = "ESP_1", seed: int = 0, rows: int = 12, **info: object) -> None:
        """A swath of 8 x `rows` tiles of 64 pixels, a quarter of them detections."""
        rng = np.random.default_rng(seed)
        samples, lines = 512, 64 * rows
        with Store.open(self.folder, mission=self.mission) as store:
            writer = begin_swath(
                store,
                name,
                samples=samples,
                classes=CLASSES,
                bundle="b",
                digest="d",
                fingerprint=str(seed),
                info={"instrument": "camera", **info},
            )
            for row in range(rows):
                products = []
                for column in range(8):
                    index = row * 8 + column
                    box = Box(64 * row, 64 * column, 64, 64)
                    screened = index % 17 == 3
                    found = not screened and rng.random() < 0.25
                    kind = int(rng.choice([1, 1, 1, 2, 2, 3])) if found else 0
                    record = TileRecord(
                        index,
                        box,
                        1,
                        NO_CLASS if screened else kind,
                        0.0 if screened else float(rng.uniform(0.9, 1.0)),
                        Flag.SCREENED if screened else Flag.DETECTION if found else Flag.NONE,
                    )
                    products.append(record_product(record, writer.swath_id))
                    if found:
                        pixels = rng.integers(0, 256, (64, 64), dtype=np.uint8)
                        detection = Detection(index, box, 1, kind, record.posterior, pixels)
                        products += detection_products(
                            detection, self.mission.products, writer.swath_id
                        )
                writer.commit(
                    products=products,
                    next_tile=8 * (row + 1),
                    next_line=64 * (row + 1),
                    pending=b"",
                )
            finish(writer, {"lines": lines, "tiles": 8 * rows, "screened": 0})

    def contact(
        self, out: Path, budget_bytes: int = 20_000, policy: str | None = None
    ) -> DownlinkSummary:
        """Hold a contact into the packet file `out`."""
        with Store.open(self.folder, mission=self.mission) as store:
            return downlink(store, self.mission, budget_bytes=budget_bytes, out=out, policy=policy)

    def with_link(self, **values: float) -> Flown:
        """The same store under another [link]."""
        link = replace(self.mission.link, **values)  # type: ignore[arg-type]
        return Flown(self.folder, replace(self.mission, link=link))


@pytest.fixture
def fly(tmp_path: Path) -> Callable[..., Flown]:
    """Makes a store with one swath of 96 tiles in `tmp_path/store`."""

    def make(text: str = MISSION, **swath: object) -> Flown:
        file = tmp_path / "mission.toml"
        file.write_text(text)
        flown = Flown(tmp_path / "store", parse_mission(text, file))
        flown.add_swath(**swath)  # type: ignore[arg-type]
        return flown

    return make
