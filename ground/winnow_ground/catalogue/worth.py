"""What classes are worth: the utilities of a mission file."""

from __future__ import annotations

from pathlib import Path

from winnow_edge.mission import load_mission


def utilities_of(path: Path) -> dict[str, float]:
    """The utility of each class that the mission file names. Raises MissionError."""
    return {name: rule.utility for name, rule in load_mission(path).classes.items()}
