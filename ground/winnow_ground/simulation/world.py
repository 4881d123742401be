"""What happens to a spacecraft, whatever it decides, and what was looked at on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from winnow_edge.mission import Mission
from winnow_ground.contacts import Contact
from winnow_ground.simulation.decide import Made
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.power import Sun


@dataclass
class Series:
    """What was there at `time`, in seconds: octets on the disk, joules in the battery, tiles that
    wait for the computer, degrees Celsius of the board."""

    time: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    charge: list[float] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    celsius: list[float] = field(default_factory=list)


@dataclass
class World:
    """What happens to a spacecraft, whatever it decides: `made` are the products of each
    observation."""

    mission: Mission
    observations: Sequence[Observation]
    made: Sequence[Made]
    contacts: Sequence[Contact]
    sun: Sun
    seed: int
    until: float
