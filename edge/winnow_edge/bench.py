"""How fast a bundle runs here: the bare interpreter against the whole flight loop.

Both are measured in turns, round by round, so that whatever else the machine does weighs on both
alike; figures are medians over the rounds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from winnow_edge import host
from winnow_edge.bundle import Bundle
from winnow_edge.errors import SwathError
from winnow_edge.interpreters import Interpreters, cores
from winnow_edge.mission import Instrument, Mission, Tiling
from winnow_edge.pipeline import run_swath
from winnow_edge.runtimes import Classifier
from winnow_edge.sources import Lines, LineSource, open_source
from winnow_edge.store import Store

WARM_UP = 20
"""Invocations before anything is timed: the first ones page in code and memory."""
ROUNDS_MIN, ROUNDS_MAX = 5, 25
SECONDS = 8.0
"""Rounds are added until this much time has gone, within the limits above."""
SPREAD_MAX = 0.25
"""Interquartile range over median of the bare times above which a run says nothing."""


@dataclass(frozen=True)
class BenchResult:
    """Times in milliseconds. `tile_ms` is the flight loop's time per tile with one interpreter,
    `efficiency` is `invoke_ms` / `tile_ms`; rates are with `threads` interpreters."""

    bundle: str
    runtime: str
    runtime_requested: str
    swath: str
    invoke_ms: float
    invoke_min_ms: float
    invoke_p95_ms: float
    invoke_p99_ms: float
    invocations: int
    warm_up: int
    tile_ms: float
    efficiency: float
    threads: int
    tiles_per_s: float
    speed_up: float
    lines_per_s: float
    megapixels_per_s: float
    rounds: int
    tiles: int
    peak_rss_mb: float
    cpu: str
    cores: int
    features: tuple[str, ...]
    governor: str | None
    temperature_c: float | None
    throttling: list[str] | None
    energy_mj_per_tile: float | None
    energy_source: str
    invalid: list[str]

    @property
    def verdict(self) -> str:
        """VALID, or INVALID and why."""
        return f"INVALID: {'; '.join(self.invalid)}" if self.invalid else "VALID"

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        values = {k: _rounded(v) for k, v in asdict(self).items() if k != "invalid"}
        return {**values, "verdict": self.verdict}


class MemorySource:
    """A swath in memory: `pixels` uint8 (lines, samples[, 3]), repeated until it has `lines`."""

    bits = 8

    def __init__(self, pixels: Lines, name: str = "rendered", lines: int | None = None) -> None:
        self.name, self._pixels = name, pixels
        self._end = len(pixels) if lines is None else lines
        self.lines: int | None = self._end
        self.samples = pixels.shape[1]
        self.channels = 3 if pixels.ndim == 3 else 1
        self.truncated: str | None = None
        self.fingerprint: str | None = "memory"
        self.idle: Callable[[], bool] | None = None
        self._at = 0

    def read(self, out: Lines) -> int:
        """See `LineSource.read`."""
        count = min(len(out), self._end - self._at)
        done = 0
        while done < count:
            rows = self._pixels[self._at % len(self._pixels) :][: count - done]
            out[done : done + len(rows)] = rows
            done += len(rows)
            self._at += len(rows)
        return count

    def close(self) -> None:
        """Nothing to release."""


def bench(
    bundle: Bundle,
    *,
    swath: str | None = None,
    samples: int | None = None,
    threads: int = 0,
    runtime: str = "auto",
    seconds: float = SECONDS,
    power_w: float | None = None,
) -> BenchResult:
    """Measure a bundle on `swath`, or on a rendered one of 2,048 samples.

    `power_w` states the board's power where none can be read. Raises what `run_swath` raises.
    """
    spec = bundle.manifest.input
    camera = Instrument(bundle=str(bundle.path), samples=samples)
    # Nothing is screened: every tile's cost is a net's.
    mission = Mission("bench", {"camera": camera}, tiling=Tiling(hop=spec.height // 2))
    make = _sources(bundle, camera, swath)
    with (
        tempfile.TemporaryDirectory(prefix="winnow-bench-") as folder,
        Interpreters(bundle, runtime, 1) as one,
        Store.open(folder, mission=mission) as store,
    ):
        classifier = one.classifiers[0]
        for _ in range(WARM_UP):
            classifier.invoke_only()
        lap = _Lap(mission, bundle, store, make)
        lap(one)
        bare: list[float] = []
        ratios: list[float] = []
        piped: list[float] = []
        joules = host.energy_j()
        started = time.perf_counter()
        while _more(len(piped), started, seconds):
            times = _bare_times(classifier, lap.last_tiles)
            tile_ms = lap(one)
            times += _bare_times(classifier, lap.last_tiles)
            bare += times
            piped.append(tile_ms)
            ratios.append(statistics.median(times) / tile_ms)
        energy, source = _energy(joules, started, len(bare), lap, power_w)
        many = threads or cores()
        rates = [(1000 / ms, lap.lines_per_s(ms)) for ms in piped]
        if many > 1:
            with Interpreters(bundle, runtime, many) as pool:
                lap(pool)
                laps = [lap(pool) for _ in range(max(ROUNDS_MIN, len(piped) // 2))]
                rates = [(1000 / ms, lap.lines_per_s(ms)) for ms in laps]
    tile_ms = statistics.median(piped)
    tiles_per_s = statistics.median(rate for rate, _ in rates)
    quantiles = np.percentile(bare, [0, 25, 50, 75, 95, 99])
    cpu, lines_per_s = host.cpu(), statistics.median(lines for _, lines in rates)
    return BenchResult(
        bundle=bundle.manifest.name,
        runtime=one.actual,
        runtime_requested=one.requested,
        swath=lap.name,
        invoke_ms=float(quantiles[2]),
        invoke_min_ms=float(quantiles[0]),
        invoke_p95_ms=float(quantiles[4]),
        invoke_p99_ms=float(quantiles[5]),
        invocations=len(bare),
        warm_up=WARM_UP,
        tile_ms=tile_ms,
        efficiency=statistics.median(ratios),
        threads=many,
        tiles_per_s=tiles_per_s,
        speed_up=tiles_per_s * tile_ms / 1000,
        lines_per_s=lines_per_s,
        megapixels_per_s=lines_per_s * lap.samples / 1e6,
        rounds=len(piped),
        tiles=lap.last_tiles,
        peak_rss_mb=host.peak_rss_mb(),
        cpu=cpu.model,
        cores=cpu.cores,
        features=cpu.features,
        governor=host.governor(),
        temperature_c=host.temperature_c(),
        throttling=host.throttling(),
        energy_mj_per_tile=energy,
        energy_source=source,
        invalid=_problems(quantiles.tolist(), len(piped)),
    )


class _Lap:
    """Runs the swath once through the flight loop; returns milliseconds per tile."""

    def __init__(
        self, mission: Mission, bundle: Bundle, store: Store, make: Callable[[], LineSource]
    ) -> None:
        self._mission, self._bundle, self._store, self._make = mission, bundle, store, make
        self._count = 0
        self.name, self.samples, self.last_tiles, self._lines = "", 0, 0, 0

    def __call__(self, pool: Interpreters) -> float:
        source = self._make()
        self._count += 1
        try:
            summary = run_swath(
                source,
                self._mission,
                "camera",
                self._bundle,
                self._store,
                interpreters=pool,
                name=f"lap {self._count}",
            )
        finally:
            source.close()
        self.name, self.samples, self._lines = source.name, summary.samples, summary.lines
        self.last_tiles = summary.tally.tiles
        return summary.seconds * 1000 / self.last_tiles

    def lines_per_s(self, tile_ms: float) -> float:
        """Lines per second at so many milliseconds per tile."""
        return self._lines / (tile_ms * self.last_tiles / 1000)


def _sources(bundle: Bundle, camera: Instrument, swath: str | None) -> Callable[[], LineSource]:
    grey = bundle.manifest.input.channels == 1
    if swath == "-":
        raise SwathError("standard input can be read only once", hint="give a file to --swath")
    if swath is not None:
        return lambda: open_source(swath, instrument=camera, grey=grey)
    # Long enough that what a run costs once (its first block, its last commits) weighs little.
    pixels = rendered(512, 2048)
    return lambda: MemorySource(pixels, lines=32 * bundle.manifest.input.height)


def rendered(lines: int, samples: int) -> Lines:
    """Seeded noise, uint8 (lines, samples): octaves of blocks over each other, repeated."""
    side = 512
    rng = np.random.default_rng(1)
    total = np.zeros((side, side), np.float32)
    for octave in (4, 16, 64, 256):
        coarse = rng.random((side // octave, side // octave), np.float32)
        total += np.kron(coarse, np.ones((octave, octave), np.float32)) * octave**0.5
    low, high = total.min(), total.max()
    patch = (40 + 170 * (total - low) / (high - low)).astype(np.uint8)
    return np.tile(patch, (-(-lines // side), -(-samples // side)))[:lines, :samples]


def _bare_times(classifier: Classifier, count: int) -> list[float]:
    times = []
    for _ in range(_burst(count)):
        started = time.perf_counter_ns()
        classifier.invoke_only()
        times.append((time.perf_counter_ns() - started) / 1e6)
    return times


def _burst(tiles: int) -> int:
    """Bare invocations before and after a lap of so many tiles."""
    return min(max(tiles // 4, 10), 500)


def _more(rounds: int, started: float, seconds: float) -> bool:
    if rounds < ROUNDS_MIN:
        return True
    return rounds < ROUNDS_MAX and time.perf_counter() - started < seconds


def _energy(
    joules: float | None, started: float, invocations: int, lap: _Lap, stated_w: float | None
) -> tuple[float | None, str]:
    """Millijoules per tile of the rounds, bare and whole alike, and where the figure is from."""
    rounds = invocations / (2 * _burst(lap.last_tiles))
    tiles = invocations + rounds * lap.last_tiles
    now, watts = host.energy_j(), host.power_w()
    if joules is not None and now is not None and now > joules:
        return (now - joules) * 1000 / tiles, "RAPL package counter"
    seconds = time.perf_counter() - started
    if watts is not None:
        return watts * seconds * 1000 / tiles, "INA power monitor"
    if stated_w is not None:
        return stated_w * seconds * 1000 / tiles, f"stated power of {stated_w:g} W"
    return None, "no counter is readable; state the board's power with --power"


def _problems(quantiles: list[float], rounds: int) -> list[str]:
    """Why the figures are not to be trusted."""
    problems = []
    governor = host.governor()
    if governor is not None and governor != "performance":
        problems.append(f"clock governor is {governor!r}, not 'performance'")
    if now := [words for words in host.throttling() or [] if words.endswith("now")]:
        problems.append(f"the board is held back: {', '.join(now)}")
    spread = (quantiles[3] - quantiles[1]) / quantiles[2] if quantiles[2] else 0.0
    if spread > SPREAD_MAX:
        problems.append(f"times vary too much (interquartile range {spread:.0%} of the median)")
    if rounds < ROUNDS_MIN:
        problems.append(f"only {rounds} rounds")
    return problems


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
