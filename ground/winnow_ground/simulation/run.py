"""One run: a mission, what it sees, its contacts, a seed and a policy give a result.

The same arguments give the same result, and no file is written. The link, the failures and the
audit depend on the seed alone, so that policies meet the same luck (common random numbers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.errors import DataError
from winnow_edge.mission import Mission
from winnow_ground.contacts import Contact
from winnow_ground.simulation import oracle
from winnow_ground.simulation.boards import Computer, computer
from winnow_ground.simulation.contact import Radio
from winnow_ground.simulation.decide import Made, decide, thresholds_of
from winnow_ground.simulation.ground_side import Ground
from winnow_ground.simulation.instead import images_of, never_wrong, side_by_side
from winnow_ground.simulation.judge import SHARED, Features, Floats, Judge, paid_by
from winnow_ground.simulation.loop import Loop
from winnow_ground.simulation.observation import Observation
from winnow_ground.simulation.onboard import OnBoard, Worth
from winnow_ground.simulation.policies import (
    WITH_TRUTH,
    WITHOUT_NET,
    ByKey,
    Ranker,
    checked,
    flown,
    ranker,
    without_rules,
)
from winnow_ground.simulation.power import Sun
from winnow_ground.simulation.result import Result, result_of
from winnow_ground.simulation.scores import Scores
from winnow_ground.simulation.world import World

Integers = npt.NDArray[np.int64]


@dataclass
class Prepared:
    """Decisions that several runs share: they depend on scores and on few keys of the mission."""

    _made: dict[Any, tuple[Scores, Made]] = field(default_factory=dict)

    def decide(self, seen: Observation, mission: Mission) -> Made:
        """`decide.decide`, once for everything that it depends on."""
        scores = seen.scores
        key = (
            id(scores),
            seen.name if mission.audit.share else "",
            tuple(sorted(thresholds_of(scores, mission).items())),
            (mission.tiling.merge, mission.audit, mission.ask),
        )
        if key not in self._made:
            # The scores are kept, so that their number stands for them alone.
            self._made[key] = scores, decide(scores, mission, seen.name)
        return self._made[key][1]


def simulate(
    mission: Mission,
    observations: Sequence[Observation],
    contacts: Sequence[Contact],
    *,
    seed: int = 0,
    policy: str = "",
    eclipses: Sequence[tuple[float, float]] | None = None,
    cache: Prepared | None = None,
    database: Path | None = None,
) -> Result:
    """Play one policy of `policies.ALL` ("": the one that the mission flies).

    `contacts` and `eclipses` (None: as `[simulation.power]` says) are in seconds from one epoch,
    ascending. `cache` is shared between runs; what is on the ground stays in `database`, if one is
    named. Raises DataError for a policy that there is not, AssertionError where bytes are not
    conserved.
    """
    (name,) = checked((policy or flown(mission),), mission.path)
    world = _world(mission, observations, contacts, seed, eclipses, cache or Prepared(), name)
    if name not in WITH_TRUTH:
        play = ranker(name, mission, seed)
        return _played(name, world, play, None, database)
    if not Features(mission, world.made).known:
        raise DataError(
            f"the policy {name} needs the truth of every swath",
            where=mission.path,
            hint="put NAME.truth.json beside each, or leave the policy out",
        )
    found, key = _foresee(name, world)
    result = _played(name, world, ByKey(key), lambda board, places: key(board)[places], database)
    return replace(result, bound=found.bound, exact=found.exact)


def _world(
    mission: Mission,
    observations: Sequence[Observation],
    contacts: Sequence[Contact],
    seed: int,
    eclipses: Sequence[tuple[float, float]] | None,
    cache: Prepared,
    policy: str,
) -> World:
    observations = sorted(observations, key=lambda seen: seen.start)
    made = [cache.decide(seen, mission) for seen in observations]
    if policy == "perfect-net":
        made = [never_wrong(one) for one in made]
    elif policy in WITHOUT_NET:
        made = _without_net(made, sum(c.budget_bytes for c in contacts), policy)
    until = max(
        [0.0]
        + [contact.end + contact.light_seconds for contact in contacts]
        + [seen.end for seen in observations]
    )
    sun = Sun.of(mission.simulation.power, until, eclipses)
    return World(mission, observations, made, contacts, sun, seed, until)


def _without_net(made: Sequence[Made], budget: int, policy: str) -> list[Made]:
    """Images of tiles side by side: all, or as many as the contacts carry, evenly spaced."""
    tiles = [side_by_side(one.scores) for one in made]
    step = 1
    if policy == "evenly-spaced":
        pairs = zip(made, tiles, strict=True)
        total = sum(int(one.scores.tiles["image"][some].sum()) for one, some in pairs)
        step = max(1, math.ceil(1.03 * total / max(budget, 1)))
    return [images_of(one, some[::step]) for one, some in zip(made, tiles, strict=True)]


def _played(
    name: str, world: World, play: Ranker, worth: Worth | None, database: Path | None = None
) -> Result:
    loop, judge = _loop(name, world, play, worth, Ground(database))
    with loop.ground:
        loop.run()
        return result_of(name, world, loop, judge)


def _loop(
    name: str, world: World, play: Ranker, worth: Worth | None, ground: Ground
) -> tuple[Loop, Judge]:
    mission = world.mission
    board = OnBoard(mission, worth)
    features = Features(mission, world.made)
    judge = Judge(mission, features, board, whole=name in WITHOUT_NET)
    radio = Radio(mission, board, play, world.seed)
    works = Computer() if name in WITHOUT_NET else computer(mission.simulation.board)

    def delivered(new: list[int], held: Any) -> None:
        held.value = judge.receive(new, held.start + held.seconds + held.light_s, held.number)

    return Loop(world, board, radio, ground, works, delivered), judge


@dataclass(frozen=True)
class _Key:
    """What an oracle has planned: a key for each product of each observation, from `first` on, the
    higher the sooner it goes; 0 for what is not planned."""

    keys: Floats
    first: Integers

    def __call__(self, board: OnBoard) -> Floats:
        observation = np.array([0, *(swath.observation for swath in board.swaths)])
        local = board.local
        at = self.first[observation[board.columns["swath"]]] + np.maximum(local, 0)
        return np.where(local >= 0, self.keys[at], 0.0)


def _foresee(name: str, world: World) -> tuple[oracle.Plan, _Key]:
    """Plan with all knowledge; a run with another policy tells when products are made."""
    plain = without_rules(world.mission)
    free = replace(plain, store=replace(plain.store, quota_mb=1e6))
    play = ranker("fifo", free, world.seed)
    loop, judge = _loop(name, replace(world, mission=free), play, None, Ground())
    with loop.ground:
        loop.run()
    first = np.cumsum([0, *(len(made.columns) for made in world.made)])
    made_at = np.full(int(first[-1]), np.inf)
    for swath in loop.board.swaths:
        there = np.flatnonzero(swath.placed >= 0)
        made_at[first[swath.observation] + there] = loop.board.made_at[swath.placed[there]]
    budgets, starts = [], []
    for held, contact in zip(loop.held, world.contacts, strict=True):
        budgets.append(contact.budget_bytes - held.lacking_bytes if held.held else 0)
        starts.append(held.start)
    features, empty = judge.features, [np.empty(0, np.intp)]
    kinds = [made.columns["kind"][made.product].astype(np.intp) for made in world.made]
    shows = [
        (made.feature + features.first[n]) * len(SHARED) + paid_by(kind)
        for n, (made, kind) in enumerate(zip(world.made, kinds, strict=True))
        if features.known
    ]
    found = oracle.plan(
        oracle.Problem(
            size=np.concatenate([made.columns["bytes"] for made in world.made]).astype(np.int64),
            release=oracle.releases(made_at, starts),
            product=np.concatenate(
                empty + [made.product + first[n] for n, made in enumerate(world.made)]
            ),
            paid=np.concatenate(empty + shows),
            worth=np.outer(features.utility, features.shares).ravel(),
            budgets=np.array(budgets, np.int64),
            link=world.mission.link,
        )
    )
    keys = np.zeros(int(first[-1]))
    keys[found.chosen] = np.arange(len(found.chosen), 0, -1)
    return found, _Key(keys, first)
