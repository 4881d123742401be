"""Every mission file of the repository is one, and fits the bundle that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.decision import thresholds_of
from winnow_edge.mission import load_mission
from winnow_edge.verdict import class_of

MISSIONS = sorted((Path(__file__).parents[2] / "missions").glob("*.toml"))


@pytest.mark.parametrize("path", MISSIONS, ids=lambda path: path.stem)
def test_a_shipped_mission_fits_its_bundles(path: Path) -> None:
    mission = load_mission(path)
    for instrument in mission.instruments.values():
        bundle = open_bundle(find_bundle(instrument.bundle, beside=path))
        manifest = bundle.manifest
        thresholds_of(mission, bundle)  # raises for a class that no bundle has
        named = class_of(mission, manifest.classes, manifest.name)
        assert (named is None) == (mission.verdict.class_name == "")
