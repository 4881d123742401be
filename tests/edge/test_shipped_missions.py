"""Every mission file of the repository is one, and fits the bundle that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import load_mission

MISSIONS = sorted((Path(__file__).parents[2] / "missions").glob("*.toml"))


@pytest.mark.parametrize("path", MISSIONS, ids=lambda path: path.stem)
def test_a_shipped_mission_fits_its_bundles(path: Path) -> None:
    mission = load_mission(path)
    for name, instrument in mission.instruments.items():
        bundle = open_bundle(find_bundle(instrument.bundle, beside=path))
        settings = Settings.of(mission, name, bundle)  # raises for a class that no bundle has
        assert (settings.verdict_class is None) == (mission.verdict.class_name == "")
