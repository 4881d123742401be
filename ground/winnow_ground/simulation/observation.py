"""An observation: a swath that is taken at a time."""

from __future__ import annotations

from dataclasses import dataclass

from winnow_ground.simulation.scores import Scores


@dataclass(frozen=True)
class Observation:
    """`start` is when its first line is taken, in seconds from the epoch of the contacts, and
    `seconds` how long until its last one is; `instrument` is the mission's ("": the first that
    matches `name`)."""

    name: str
    start: float
    seconds: float
    scores: Scores
    instrument: str = ""

    @property
    def end(self) -> float:
        """When its last line is taken."""
        return self.start + self.seconds
