"""A mission with some of its keys changed, and what is seen and sent under it."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base.progress import Step
from winnow_edge.files import read_small
from winnow_edge.mission import Mission, load_mission, mission_of
from winnow_ground.contacts import ContactPlan, load_plan
from winnow_ground.simulation.boards import measured
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.play import Options, named_swaths, plan_path
from winnow_ground.simulation.result import Result
from winnow_ground.simulation.run import Prepared, simulate
from winnow_ground.simulation.schedule import (
    Sight,
    Sources,
    arranged,
    sights_of,
    sources_of,
)
from winnow_ground.simulation.scores import Scores

Key = tuple[str, ...]
Value = bool | int | float | str | list[int]


def key_of(text: str) -> Key:
    """The key of a mission file that a dotted name means; what has dots or spaces is in quotes.

    Raises ValueError for what is no name of a key.

    >>> key_of('class."dark dune".utility')
    ('class', 'dark dune', 'utility')
    """
    try:
        level: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{text!r} is no key") from error
    key: list[str] = []
    while isinstance(level, dict):
        ((name, level),) = level.items()
        key.append(name)
    return tuple(key)


def key_text(key: Key) -> str:
    """The inverse of `key_of`.

    >>> key_text(("class", "dark dune", "utility"))
    'class."dark dune".utility'
    """
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else json.dumps(part) for part in key)


@dataclass(frozen=True, eq=False)
class World:
    """A mission's file as plain values, everything that can be seen, and its contact plan: all that
    its variants need, on whatever machine they are played."""

    path: Path
    values: dict[str, Any]
    sources: Sources
    sights: tuple[Sight, ...]
    plan: ContactPlan

    @classmethod
    def of(
        cls,
        path: Path,
        cache: Path | None,
        progress: Step,
        changes: Mapping[Key, Value] | None = None,
    ) -> World:
        """The world of a mission file, with some keys changed. Raises what `play` raises for its
        input, MissionError for a key or value of none."""
        values = changed(values_of(path), changes or {})
        mission = measured(mission_of(values, path))
        for key in ("ms_per_tile", "verifier_ms"):
            if (ms := getattr(mission.simulation.board, key)) is not None:
                # What was measured is read here, where its file is.
                values["simulation"].setdefault("board", {})[key] = ms
        plan = load_plan(plan_path(mission, Options()))
        plan.downlinks(mission.simulation.node)
        files = named_swaths(mission)
        sources = sources_of(mission, files, cache=cache, progress=progress)
        return cls(path, values, sources, tuple(sights_of(mission, plan.epoch)), plan)

    @property
    def digest(self) -> str:
        """Stands for all of it, wherever the files lie."""
        plan = self.plan
        known = [
            self.values,
            self.sources.digests,
            [replace(sight, where="") for sight in self.sights],
            [replace(contact, where="") for contact in plan.contacts],
            [plan.ranges, plan.epoch, plan.eclipses],
        ]
        text = json.dumps(known, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def mission(self, changes: Mapping[Key, Value]) -> Mission:
        """The mission with some keys changed. Raises MissionError for a key or value of none."""
        return mission_of(changed(self.values, changes), self.path)

    def play(
        self, mission: Mission, *, seed: int, policy: str = "", cache: Prepared | None = None
    ) -> Result:
        """Play a variant with a seed, by the policy that it flies if no other is named."""
        settings = mission.simulation
        contacts = self.plan.downlinks(settings.node).contacts[: settings.contacts or None]
        until = contacts[-1].end if contacts else 0.0
        sources = _selected(self.sources, mission)
        seen: list[Observation] = arranged(mission, sources, self.sights, until, seed)
        return simulate(
            mission,
            seen,
            contacts,
            seed=seed,
            policy=policy,
            eclipses=self.plan.eclipses,
            cache=cache,
        )


def values_of(path: Path) -> dict[str, Any]:
    """A mission file as plain values. Raises MissionError for one that cannot be flown."""
    load_mission(path)  # which names the lines of what is wrong
    return tomllib.loads(read_small(path).decode("utf-8"))


def changed(values: Mapping[str, Any], changes: Mapping[Key, Value]) -> dict[str, Any]:
    """The values of a mission file with some keys changed."""
    values = copy.deepcopy(dict(values))
    for key, value in changes.items():
        table = values
        for name in key[:-1]:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                break
        else:
            table[key[-1]] = value
    return values


def _selected(sources: Sources, mission: Mission) -> Sources:
    """What a coarser tiling sees of the scores."""
    tiling = mission.tiling
    kept = {
        name: selected(scores, tiling.scales, tiling.hop) for name, scores in sources.kept.items()
    }
    return replace(sources, kept=kept)


def selected(scores: Scores, scales: tuple[int, ...], hop: int | None) -> Scores:
    """The tiles of a swath that some of its scales and a larger hop leave: those at multiples of
    the hop, and those flush with the end."""
    tiles = scores.tiles
    kept = np.isin(tiles["scale"], scales)
    if hop is not None:
        step = hop * tiles["scale"].astype(np.int64)
        for start, size, end in (("line", "lines", "lines"), ("sample", "samples", "samples")):
            flush = tiles[start].astype(np.int64) + tiles[size] >= getattr(scores, end)
            kept &= (tiles[start] % step == 0) | flush
    if kept.all():
        return scores
    number = np.cumsum(kept) - 1
    shows = scores.shows[kept[scores.shows[:, 0]]].copy()
    shows[:, 0] = number[shows[:, 0]]

    def of(values: Any) -> Any:
        return None if values is None else values[kept]

    left = tiles[kept]
    if len(left):
        _, left["row"] = np.unique(left["row"], return_inverse=True)
    return replace(
        scores,
        tiles=left,
        logits=scores.logits[kept],
        second=of(scores.second),
        twice=of(scores.twice),
        shows=shows,
        allowed=of(scores.allowed),
        around=of(scores.around),
    )
