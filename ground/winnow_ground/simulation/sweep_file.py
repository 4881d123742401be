"""A sweep: which keys of a mission are varied, how far, and the missions that this makes."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base.errors import DataError, MissingExtraError
from winnow_edge.tables import Reader, setting, shortened
from winnow_ground.simulation.variants import Key, Value, key_of

METHODS = ("grid", "random", "latin-hypercube")
MOST = 1_000_000
"""Missions of a sweep."""
_FIXED = (
    ("instrument",), ("tiling", "tile"), ("simulation", "swaths"),
    ("simulation", "replay", "instrument"), ("simulation", "board", "bench"), ("name",),
)  # fmt: skip
"""Keys that are the same in a whole sweep."""
_WORLD = (
    ("products",), ("screening",), ("quick_look",), ("context",), ("simulation", "plan"),
    ("simulation", "scenes"), ("simulation", "replay", "tiles"), ("simulation", "replay", "split"),
    ("simulation", "schedule", "file"),
)  # fmt: skip
"""Keys that scores or contacts depend on: for each of their values these are made anew."""
MOST_WORLDS = 64
"""Combinations of such values in a sweep."""


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        mission: Mission file, relative to this one.
        method: How missions are placed: every combination, at random, or a Latin hypercube.
        samples: Missions at random or of a Latin hypercube.
        seed: Seed of the placement.
        seeds: Runs of each mission, with the mission's seed and those after it.
        vary: Keys of the mission with a list of values, or `{low, high}` with `steps` in a grid,
            and `log = true` for equal factors instead of equal steps.
    """

    mission: str = setting(..., fewest=1)
    vary: dict[str, Any] = setting(..., fewest=1)
    method: str = setting("grid", choices=METHODS)
    samples: int = setting(100, 1, MOST, unit="missions")
    seed: int = setting(1, 0, 2**32 - 1)
    seeds: int = setting(1, 1, 1000)


@dataclass(frozen=True)
class Axis:
    """One key that is varied: a list of `values`, or from `low` to `high`."""

    name: str
    key: Key
    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    steps: int | None = None
    log: bool = False
    whole: bool = False

    @property
    def of_world(self) -> bool:
        """Whether scores or contacts depend on it."""
        return any(self.key[: len(some)] == some for some in _WORLD)

    def at(self, share: float) -> Value:
        """The value at a share, 0 to 1, of the way."""
        if self.values:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        if self.log:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
            return round(value) if self.whole else value
        if self.whole:  # each whole number has as long a way as any other
            return min(int(self.low + share * (self.high - self.low + 1)), int(self.high))
        return self.low + share * (self.high - self.low)

    @property
    def grid(self) -> tuple[Value, ...]:
        """Its values in a grid."""
        if self.values:
            return self.values
        assert self.steps is not None
        shares = np.linspace(0, 1, self.steps).tolist()
        if self.log:
            found: list[Value] = [self.at(share) for share in shares]
        else:
            found = [self.low + share * (self.high - self.low) for share in shares]
        return tuple(dict.fromkeys(round(v) for v in found)) if self.whole else tuple(found)


@dataclass(frozen=True)
class Design:
    """The missions of a sweep: `points` has a value for each of `axes`."""

    sweep: Sweep
    axes: tuple[Axis, ...]
    points: tuple[tuple[Value, ...], ...]
    path: Path

    @property
    def mission(self) -> Path:
        """The mission file."""
        return self.path.parent / self.sweep.mission

    @property
    def digest(self) -> str:
        """Stands for the design, whatever it is called."""
        known = [[axis.name for axis in self.axes], self.points, self.sweep.seeds]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def changes(self, point: tuple[Value, ...]) -> dict[Key, Value]:
        """What a point changes in the mission."""
        return {axis.key: value for axis, value in zip(self.axes, point, strict=True)}

    def world_of(self, point: tuple[Value, ...]) -> tuple[Value, ...]:
        """The values of a point that scores and contacts depend on."""
        pairs = zip(self.axes, point, strict=True)
        return tuple(value for axis, value in pairs if axis.of_world)

    @property
    def worlds(self) -> dict[tuple[Value, ...], dict[Key, Value]]:
        """Every combination of such values, and what it changes in the mission."""
        keys = [axis.key for axis in self.axes if axis.of_world]
        combinations = dict.fromkeys(self.world_of(point) for point in self.points)
        return {some: dict(zip(keys, some, strict=True)) for some in combinations}


def load_sweep(path: Path) -> Design:
    """Read a sweep file and place its missions. Raises DataError with the line of what is wrong,
    MissingExtraError without `scipy`."""
    reader = Reader.open(path, DataError)
    sweep = reader.table(Sweep, reader.parse())
    axes = tuple(_axis(name, value, sweep, reader) for name, value in sweep.vary.items())
    if sweep.method == "grid":
        count = math.prod(len(axis.grid) for axis in axes)
        if count > MOST:
            said = f"a grid of {count:,} missions, legal is up to {MOST:,}"
            raise reader.refusal(("vary",), said, "vary fewer keys, or in fewer steps")
        points: Iterator[tuple[Value, ...]] = itertools.product(*(axis.grid for axis in axes))
    else:
        points = _sampled(sweep, axes)
    design = Design(sweep, axes, tuple(points), path)
    if len(design.worlds) > MOST_WORLDS:
        said = f"{len(design.worlds):,} combinations of values that scores or contacts depend on"
        names = ", ".join(axis.name for axis in axes if axis.of_world)
        raise reader.refusal(
            ("vary",), f"{said}, legal is up to {MOST_WORLDS}", f"give few values of {names}"
        )
    return design


def _sampled(sweep: Sweep, axes: tuple[Axis, ...]) -> Iterator[tuple[Value, ...]]:
    if sweep.method == "random":
        shares = np.random.default_rng(sweep.seed).random((sweep.samples, len(axes)))
    else:
        try:
            from scipy.stats import qmc
        except ImportError:
            raise MissingExtraError(
                "scipy is not installed", hint="pip install 'winnow-ground[sweep]'"
            ) from None
        shares = qmc.LatinHypercube(len(axes), rng=sweep.seed).random(sweep.samples)
    for row in shares.tolist():
        yield tuple(axis.at(share) for axis, share in zip(axes, row, strict=True))


def _axis(name: str, given: Any, sweep: Sweep, reader: Reader) -> Axis:
    at = ("vary", name)
    try:
        key = key_of(name)
    except ValueError as error:
        raise reader.refusal(at, f"{error} of a mission file", "e.g. ranking.policy") from error
    for fixed in _FIXED:
        if key[: len(fixed)] == fixed:
            raise reader.refusal(at, f"`{name}` cannot be varied", "make a sweep for each value")
    if isinstance(given, list):
        if not given or not all(isinstance(v, bool | int | float | str) for v in given):
            raise reader.refusal(at, f"`vary.{name}` must be a list of numbers or texts")
        return Axis(name, key, values=tuple(given))
    if not isinstance(given, dict):
        raise reader.refusal(at, f"`vary.{name}` must be a list of values or {{low, high}}")
    span = reader.table(_Span, given, at)
    whole = type(given["low"]) is int and type(given["high"]) is int
    if not span.low < span.high or (span.log and span.low <= 0):
        over = " over 0" if span.log else ""
        said = f"`vary.{name}` goes from {span.low:g} to {span.high:g}"
        raise reader.refusal(at, said, f"give low{over} and a higher high")
    if sweep.method == "grid" and span.steps is None:
        raise reader.refusal(at, f"`vary.{name}` has no steps", "a grid needs steps, or a list")
    return Axis(
        name, key, low=span.low, high=span.high, steps=span.steps, log=span.log, whole=whole
    )


@dataclass(frozen=True)
class _Span:
    """How far a key is varied."""

    low: float = setting(..., -1e15, 1e15)
    high: float = setting(..., -1e15, 1e15)
    steps: int | None = setting(None, 2, 10_000)
    log: bool = setting(False)


def shown(value: Value) -> str:
    """A value for people."""
    return f"{value:.4g}" if isinstance(value, float) else shortened(str(value), 40)
