"""Tuning: the settings of a mission that deliver most, found on kept scores.

One key after the other takes the value that brings most, until none brings more (coordinate
ascent). Value is the mission's own all the while: where a class's utility is changed, to be ranked
by, its features are worth what the mission file said. What was chosen on some seeds is judged on
others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from winnow_base.errors import DataError, NetworkError
from winnow_base.progress import Step
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.mission import ClassRule, Mission
from winnow_edge.tables import plain
from winnow_ground.simulation.result import Result
from winnow_ground.simulation.run import Prepared
from winnow_ground.simulation.stats import Mean, mean_of, paired
from winnow_ground.simulation.variants import Key, World

Setting = bool | int | float | str | list[int]
Changes = Mapping[Key, Setting]
Figures = dict[str, float]
THRESHOLDS = (0.3, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 1.0)
FACTORS = (0.1, 0.3, 3.0)
"""What a class's utility is multiplied with, to be ranked by."""
AT_MOST = (10_000, 100_000)
QUOTAS = (0.25, 0.5, 2.0)
"""What the store's quota is multiplied with, to be shown: a larger one is not for the asking."""
POLICIES = ("confidence", "utility-per-byte", "diversity")
ROUNDS = 3
_LEAST_GAIN = 1e-3
"""Share of the value: a change that brings less is left alone."""


@dataclass(frozen=True)
class Tried:
    """One key's values and what each brought, `figures`, a mean over the seeds chosen on; before,
    `held` was its value and `now` the figures. `best` is what was chosen (None: nothing), `gain`
    what that added to the value."""

    key: Key
    values: tuple[Setting, ...]
    figures: tuple[Figures, ...]
    held: Setting | None
    now: Figures
    best: Setting | None
    gain: float


@dataclass(frozen=True)
class Tuned:
    """What was found: `changes` to the mission (none: it delivers most as it is), judged on
    `judged` seeds. `before` and `after` are mean figures there; `value` the mission's, the tuned
    one's, and the difference seed by seed. `held` is what the changed keys were before."""

    mission: str
    changes: dict[Key, Setting]
    held: dict[Key, Setting | None]
    tried: tuple[Tried, ...]
    classes: tuple[str, ...]
    before: Figures
    after: Figures
    value: tuple[Mean, Mean, Mean]
    chosen_on: tuple[int, ...]
    judged_on: tuple[int, ...]
    notes: tuple[str, ...]
    plays: int


def played(world: World, changes: Changes, seeds: Sequence[int]) -> list[Figures]:
    """Figures of a variant for each seed; "worthwhile" is its value by the mission's utilities.

    Raises DataError where no truth is known.
    """
    mission, base, cache = world.mission(changes), world.mission({}), Prepared()
    found = []
    for seed in seeds:
        result = world.play(mission, seed=seed, cache=cache)
        if result.worth is None:
            raise DataError(
                "cannot be tuned: no truth is known of its swaths",
                where=world.path,
                hint="put NAME.truth.json beside each, or replay labelled tiles",
            )
        own = {name: _own_value(result, name, base, mission) for name in result.classes}
        by_class = {f"worthwhile.{name}": value for name, value in own.items()}
        found.append({**result.figures, **by_class, "worthwhile": math.fsum(own.values())})
    return found


def _own_value(result: Result, name: str, base: Mission, mission: Mission) -> float:
    """What came down of a class, by the mission's own utility instead of the variant's."""
    used = _utility(mission, name)
    got = result.figures.get(f"value.{name}", 0.0)
    return got * _utility(base, name) / used if used else 0.0


def _utility(mission: Mission, name: str) -> float:
    rule = mission.classes.get(name)
    return 1.0 if rule is None else rule.utility


class _Search:
    """Coordinate ascent over the keys of a mission."""

    def __init__(self, world: World, seeds: Sequence[int], workers: int, progress: Step) -> None:
        self.world, self.seeds, self.progress = world, tuple(seeds), progress
        self.workers, self.plays = workers, 0
        self.tried: list[Tried] = []

    def run(self, most: int) -> dict[Key, Setting]:
        """The changes that bring most, within about so many plays."""
        with _players(self.world, self.workers) as play:
            changes: dict[Key, Setting] = {}
            (best,) = self._figures(play, [changes])
            for _ in range(ROUNDS):
                before = best["worthwhile"]
                for key, values in self._keys():
                    if self.plays >= most:
                        break
                    changes, best = self._try(play, changes, key, values, best)
                    self.progress("playing missions", min(self.plays, most), most)
                gain = best["worthwhile"] - before
                if self.plays >= most or gain <= _LEAST_GAIN * abs(before):
                    break
            quota = self.world.mission(changes).store.quota_mb
            some = [quota * factor for factor in QUOTAS if 0.5 <= quota * factor <= 1e6]
            self._try(play, changes, ("store", "quota_mb"), some, best, choose=False)
        return changes

    def _try(
        self,
        play: _Play,
        changes: dict[Key, Setting],
        key: Key,
        values: Sequence[Setting],
        now: Figures,
        *,
        choose: bool = True,
    ) -> tuple[dict[Key, Setting], Figures]:
        """Changes with the best value of a key, and what they bring; as before where none is
        better, or where none is to be chosen."""
        held = self.value_of(key, changes)
        values = [value for value in values if value != held]
        options = [{**changes, key: value} for value in values]
        figures = self._figures(play, options)
        means = [one["worthwhile"] for one in figures]
        top = int(np.argmax(means))
        gain = means[top] - now["worthwhile"]
        better = choose and gain > _LEAST_GAIN * abs(now["worthwhile"])
        self.tried.append(
            Tried(
                key=key,
                values=tuple(values),
                figures=tuple(figures),
                held=held,
                now=now,
                best=values[top] if better else None,
                gain=gain if better else 0.0,
            )
        )
        return (options[top], figures[top]) if better else (changes, now)

    def _figures(self, play: _Play, options: Sequence[Changes]) -> list[Figures]:
        self.plays += len(options) * len(self.seeds)
        return [_mean_figures(some) for some in play([(one, self.seeds) for one in options])]

    def value_of(self, key: Key, changes: Changes) -> Setting | None:
        """What a key is in the mission with some changes; None where it is left open."""
        mission = self.world.mission(changes)
        if key[0] != "class":
            value: Setting | tuple[int, ...] | None = getattr(getattr(mission, key[0]), key[1])
        else:
            value = getattr(mission.classes.get(key[1], ClassRule()), key[2])
            if value is None and key[2] == "threshold":
                value = self.classes.get(key[1])
        return list(value) if isinstance(value, tuple) else value

    def _keys(self) -> Iterator[tuple[Key, list[Setting]]]:
        """Every key that is tuned, with its values."""
        mission = self.world.mission({})
        yield ("ranking", "policy"), [p for p in POLICIES if p != mission.ranking.policy]
        if len(scales := mission.tiling.scales) > 1:
            yield ("tiling", "scales"), [[s for s in scales if s != left] for left in scales]
        if mission.tiling.hop is not None and self.world.sources.kept:
            hop, tile = mission.tiling.hop, _tile(mission)
            if larger := [hop * n for n in (2, 4) if hop * n <= tile]:
                yield ("tiling", "hop"), list(larger)
        for name in self.classes:
            yield ("class", name, "threshold"), list(THRESHOLDS)
        for name in self.classes:
            if utility := _utility(mission, name):
                yield ("class", name, "utility"), [utility * factor for factor in FACTORS]
        for name in self.classes:
            yield ("class", name, "at_most_bytes"), list(AT_MOST)

    @cached_property
    def classes(self) -> dict[str, float]:
        """Classes that can be detections, with the threshold that their bundle has."""
        mission, found = self.world.mission({}), dict[str, float]()
        for camera in mission.instruments.values():
            manifest = open_bundle(find_bundle(camera.bundle, beside=mission.path)).manifest
            for name in manifest.classes:
                if name in manifest.thresholds:
                    found.setdefault(name, manifest.thresholds[name])
        return found


def _tile(mission: Mission) -> int:
    if mission.tiling.tile is not None:
        return mission.tiling.tile
    camera = next(iter(mission.instruments.values()))
    return open_bundle(find_bundle(camera.bundle, beside=mission.path)).manifest.input.width


def tune(
    path: Path,
    *,
    seeds: int = 2,
    judges: int = 5,
    most: int = 400,
    workers: int = 1,
    cache: Path | None = None,
    progress: Step = lambda what, done, total: None,
) -> Tuned:
    """Find the settings of a mission file that deliver most, and judge them.

    `seeds` are chosen on, `judges` others are judged on; about `most` missions are played by
    `workers` processes. Raises DataError where no truth is known, and what `play` raises.
    """
    world = World.of(path, cache, progress)
    first = world.mission({}).simulation.seed
    chosen_on = tuple(range(first, first + seeds))
    judged_on = tuple(range(first + seeds, first + seeds + judges))
    search = _Search(world, chosen_on, workers, progress)
    changes = search.run(most)
    before, after = played(world, {}, judged_on), played(world, changes, judged_on)
    values = [[one["worthwhile"] for one in figures] for figures in (before, after)]
    difference = paired(values[1], values[0])
    notes = []
    if world.sources.labelled is None:
        notes.append(
            "the swaths judged on are those chosen on; only losses and failures are others: "
            "judge on swaths held back, or replay labelled tiles"
        )
    if changes and difference.low <= 0:
        notes.append("on the seeds judged on the gain is within chance")
    if changes and difference.mean <= 0:
        notes.append("so the mission file is left as it is")
        changes, after = {}, before
        values[1], difference = values[0], paired(values[0], values[0])
    return Tuned(
        mission=world.mission({}).name,
        changes=changes,
        held={key: search.value_of(key, {}) for key in changes},
        tried=tuple(search.tried),
        classes=tuple(search.classes),
        before=_mean_figures(before),
        after=_mean_figures(after),
        value=(mean_of(values[0]), mean_of(values[1]), difference),
        chosen_on=chosen_on,
        judged_on=judged_on,
        notes=tuple(notes),
        plays=search.plays + 2 * judges,
    )


def _mean_figures(some: Sequence[Figures]) -> Figures:
    names = dict.fromkeys(name for one in some for name in one)
    return {name: float(np.mean([one[name] for one in some if name in one])) for name in names}


_Play = Callable[[Sequence[tuple[Changes, tuple[int, ...]]]], list[list[Figures]]]
_HELD: list[World] = []
"""The world of a worker process."""


def _hold(world: World) -> None:
    _HELD[:] = [world]


def _played_there(task: tuple[Changes, tuple[int, ...]]) -> list[Figures]:
    return played(_HELD[0], *task)


@contextmanager
def _players(world: World, workers: int) -> Iterator[_Play]:
    """Plays variants, in worker processes where there are several."""
    if workers == 1:
        yield lambda tasks: [played(world, *task) for task in tasks]
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_hold, initargs=(world,)
    )
    try:
        with pool:
            yield lambda tasks: list(pool.map(_played_there, tasks))
    except BrokenProcessPool as error:
        raise NetworkError(
            "a process that played missions died", hint="it may lack memory: give --workers 1"
        ) from error


def value_text(value: Setting) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool | str):
        return f'"{value}"' if isinstance(value, str) else str(value).lower()
    return plain(value) if isinstance(value, int | float) else str(value)
