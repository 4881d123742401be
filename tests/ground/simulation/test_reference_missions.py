"""The reference missions: their contacts, schedules and strips fit, from a clean clone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from winnow_edge.mission import load_mission, parse_mission
from winnow_ground.new_mission import write_mission
from winnow_ground.simulation.play import Options, play

MISSIONS = Path(__file__).parents[3] / "missions"
NAMES = ("mars-orbiter", "cubesat", "rover", "drone")


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_mission_brings_something_down(name: str, tmp_path: Path) -> None:
    if name == "cubesat":
        pytest.importorskip("sgp4")
        pytest.importorskip("skyfield")
    mission = load_mission(MISSIONS / f"{name}.toml")
    settings = mission.simulation
    scenes = replace(settings.scenes, count=min(3, settings.scenes.count), lines=256, samples=320)
    schedule = replace(settings.schedule, count=6)
    small = replace(
        mission,
        compute=replace(mission.compute, runtime="fake"),
        simulation=replace(settings, scenes=scenes, schedule=schedule),
    )
    campaign = play(small, Options(out=tmp_path, contacts=8, policies=("fifo",)))
    assert campaign.flown[0].figures["bytes_down"] > 0
    assert campaign.truth == (name != "rover")
    cameras = {seen.instrument for seen in campaign.observations}
    assert cameras == set(mission.instruments)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_reference_mission_is_played_whole(name: str, tmp_path: Path) -> None:
    campaign = play(load_mission(MISSIONS / f"{name}.toml"), Options(out=tmp_path))
    own, fifo = campaign.flown[0], campaign.results["fifo"][0]
    assert own.value > 1.2 * fifo.value
    assert own.bytes.generated > own.bytes.delivered > 0


def test_the_simulation_of_a_new_mission_file_is_one_when_it_is_filled_in() -> None:
    text = write_mission("hirise-windows", None, (1, 2))
    begin = text.index("# [simulation]")
    lines = [line.removeprefix("# ").removeprefix("#") for line in text[begin:].splitlines()]
    mission = parse_mission(text[:begin] + "\n".join(lines))
    assert mission.simulation.schedule.every_s == 3600
    assert set(mission.simulation.replay.share) <= set(mission.classes)
