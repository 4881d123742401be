"""How fast a bundle runs here: the bare interpreter against the whole flight loop.

Figures are medians over rounds, of which `laps` says how they are timed; what else the machine does
weighs on both parts of a round alike as far as it lasts longer than a round.
"""

from __future__ import annotations

import stat
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from winnow_edge.board import host
from winnow_edge.board.laps import Lap, Round, bare_ms, measure
from winnow_edge.bundle import Bundle
from winnow_edge.errors import SwathError
from winnow_edge.loop.interpreters import Interpreters, cores
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import Instrument, Mission, Tiling
from winnow_edge.prepare.chain import Chain
from winnow_edge.sources.contract import STDIN, Lines
from winnow_edge.sources.open import open_source
from winnow_edge.sources.sockets import is_address
from winnow_edge.store.store import Store

WARM_UP = 20
"""Invocations before anything is timed: the first ones page in code and memory."""
LINES = 3072
"""Lines of the rendered swath, as a short browse strip has: what a swath costs once weighs as
there, and a lap takes about a second."""
TILES_MIN = 32
"""Tiles shown to the net below which a lap tells what a swath costs once, not what a tile does."""
ROUNDS_MIN, ROUNDS_MAX = 5, 25
SECONDS = 10.0
"""Rounds are added until this much time has gone, within the limits above."""
SPREAD_MAX = 0.1
"""Interquartile range of the rounds' efficiencies above which their median says nothing."""
EFFICIENCY_MAX = 1.02
"""No loop is faster than its own invocations: what is above this was not measured alike."""
OTHERS_MAX = 0.05
"""Share of the processor's time that others, or the host of a virtual machine, may take."""


@dataclass(frozen=True)
class BenchResult:
    """Times in milliseconds. `tile_ms` is the flight loop's time per tile with one interpreter,
    from opening the swath to closing it; `efficiency` is the mean time of a bare invocation over
    the loop's time per net call, both of the same round (`second_views` of the `tiles` are shown to
    the net twice), and `efficiency_spread` the interquartile range over the rounds.
    `verifier_ms` is a bare invocation of the second stage and `verifier_share` what the `verified`
    detections take of the loop's time with one interpreter (None: there is no second stage).
    Rates are with `threads` interpreters, `speed_up` is theirs over one, `bare_speed_up` that of
    bare invocations: what the cores can give. `others_share` and `stolen_share` say what part of
    the processor's time went to other processes and to the host of a virtual machine."""

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
    efficiency_spread: float
    threads: int
    tiles_per_s: float
    speed_up: float
    bare_speed_up: float
    lines_per_s: float
    megapixels_per_s: float
    rounds: int
    tiles: int
    second_views: int
    detections: int
    verifier_ms: float | None
    verified: int | None
    verifier_share: float | None
    peak_rss_mb: float
    cpu: str
    cores: int
    features: tuple[str, ...]
    governor: str | None
    temperature_c: float | None
    throttling: list[str] | None
    others_share: float | None
    stolen_share: float | None
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

    `power_w` states the board's power where none can be read. Raises SwathError for lines that come
    only once and for fewer than TILES_MIN tiles, and what `run_swath` raises.
    """
    spec = bundle.manifest.input
    camera = Instrument(bundle=str(bundle.path), samples=samples)
    # Nothing is screened: every tile's cost is a net's.
    mission = Mission("bench", {"camera": camera}, tiling=Tiling(hop=spec.height // 2))
    make = _sources(bundle, camera, swath)
    many = threads or cores()
    with (
        tempfile.TemporaryDirectory(prefix="winnow-bench-") as folder,
        Interpreters(bundle, runtime, 1) as one,
        Interpreters(bundle, runtime, many) as pool,
        Store.open(folder, mission=mission) as store,
    ):
        lap = Lap(Settings.of(mission, "camera", bundle), store, make)
        _warm_up(lap, one, pool)
        session = _time(lap, one, pool, seconds)
        energy, source = _energy(session, power_w)
    return _result(bundle, lap, (one, pool), session, (energy, source))


@dataclass(frozen=True)
class _Session:
    """The rounds of a bench, what else the machine did meanwhile, and the energy counter before."""

    rounds: list[Round]
    seconds: float
    taken: host.Taken
    joules: float | None

    @property
    def invocations(self) -> int:
        return sum(r.invocations for r in self.rounds)


def _warm_up(lap: Lap, one: Interpreters, pool: Interpreters) -> None:
    lap(one)
    if lap.shown < TILES_MIN:
        raise SwathError(
            f"shows the net {lap.shown} tiles, too few to time: {TILES_MIN} are needed",
            where=lap.name,
            hint="give a larger file to --swath, or none",
        )
    lap(pool)
    bare_ms(one.classifiers, WARM_UP)


def _time(lap: Lap, one: Interpreters, pool: Interpreters, seconds: float) -> _Session:
    rounds: list[Round] = []
    machine, joules = host.ProcessorTime.now(), host.energy_j()
    started = time.perf_counter()
    while _more(len(rounds), started, seconds):
        rounds.append(measure(lap, one, pool))
    return _Session(rounds, time.perf_counter() - started, machine.since(), joules)


def _result(
    bundle: Bundle,
    lap: Lap,
    interpreters: tuple[Interpreters, Interpreters],
    session: _Session,
    energy: tuple[float | None, str],
) -> BenchResult:
    one, pool = interpreters
    rounds, taken = session.rounds, session.taken
    alone_ms = [ms for r in rounds for ms in r.bare_ms]
    quantiles = np.percentile(alone_ms, [0, 50, 95, 99])
    efficiencies = [r.efficiency for r in rounds]
    efficiency = statistics.median(efficiencies)
    spread = float(np.subtract(*np.percentile(efficiencies, [75, 25])))
    rate = statistics.median(1000 / r.many_ms for r in rounds)
    cpu, lines_per_s = host.cpu(), lap.lines_per_s(1000 / rate)
    return BenchResult(
        bundle=bundle.manifest.name,
        runtime=one.actual,
        runtime_requested=one.requested,
        swath=lap.name,
        invoke_ms=float(quantiles[1]),
        invoke_min_ms=float(quantiles[0]),
        invoke_p95_ms=float(quantiles[2]),
        invoke_p99_ms=float(quantiles[3]),
        invocations=len(alone_ms),
        warm_up=WARM_UP,
        tile_ms=statistics.median(r.tile_ms for r in rounds),
        efficiency=efficiency,
        efficiency_spread=spread,
        threads=pool.threads,
        tiles_per_s=rate,
        speed_up=statistics.median(r.tile_ms / r.many_ms for r in rounds),
        bare_speed_up=statistics.median(r.bare_speed_up for r in rounds),
        lines_per_s=lines_per_s,
        megapixels_per_s=lines_per_s * lap.samples / 1e6,
        rounds=len(rounds),
        tiles=lap.tiles,
        second_views=lap.calls - lap.shown,
        detections=lap.detections,
        **_second_stage(lap, rounds),
        peak_rss_mb=host.peak_rss_mb(),
        cpu=cpu.model,
        cores=cpu.cores,
        features=cpu.features,
        governor=host.governor(),
        temperature_c=host.temperature_c(),
        throttling=host.throttling(),
        others_share=taken.others,
        stolen_share=taken.stolen,
        energy_mj_per_tile=energy[0],
        energy_source=energy[1],
        invalid=problems(efficiency, spread, len(rounds), taken),
    )


def _second_stage(lap: Lap, rounds: Sequence[Round]) -> dict[str, Any]:
    """What the second stage costs; all None where there is none."""
    each = [r.verifier_ms for r in rounds if r.verifier_ms is not None]
    if not each:
        return {"verifier_ms": None, "verified": None, "verifier_share": None}
    shares = [
        lap.verified * r.verifier_ms / (r.tile_ms * lap.shown)
        for r in rounds
        if r.verifier_ms is not None
    ]
    return {
        "verifier_ms": statistics.median(each),
        "verified": lap.verified,
        "verifier_share": statistics.median(shares),
    }


def _sources(bundle: Bundle, camera: Instrument, swath: str | None) -> Callable[[], Chain]:
    grey = bundle.manifest.input.channels == 1
    if swath is not None:
        if _comes_once(swath):
            raise SwathError("can be read only once", where=swath, hint="give a file to --swath")
        return lambda: Chain(open_source(swath, instrument=camera, grey=grey), camera)
    pixels = rendered(512, 2048)
    return lambda: Chain(MemorySource(pixels, lines=LINES), camera)


def _comes_once(swath: str) -> bool:
    """Whether these lines come only once; told without opening, which would take from them."""
    if swath == STDIN or is_address(swath):
        return True
    try:
        mode = Path(swath).stat().st_mode
    except OSError:
        return False  # opening it will say why
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


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


def _more(rounds: int, started: float, seconds: float) -> bool:
    if rounds < ROUNDS_MIN:
        return True
    return rounds < ROUNDS_MAX and time.perf_counter() - started < seconds


def _energy(session: _Session, stated_w: float | None) -> tuple[float | None, str]:
    """Millijoules per tile, counting every invocation as one, and where the figure is from."""
    joules, seconds, invocations = session.joules, session.seconds, session.invocations
    now, watts = host.energy_j(), host.power_w()
    if joules is not None and now is not None and now > joules:
        return (now - joules) * 1000 / invocations, "RAPL package counter"
    if watts is not None:
        return watts * seconds * 1000 / invocations, "INA power monitor"
    if stated_w is not None:
        return stated_w * seconds * 1000 / invocations, f"stated power of {stated_w:g} W"
    return None, "no counter is readable; state the board's power with --power"


def problems(efficiency: float, spread: float, rounds: int, taken: host.Taken) -> list[str]:
    """Why the figures are not to be trusted."""
    problems = []
    governor = host.governor()
    if governor is not None and governor != "performance":
        problems.append(f"clock governor is {governor!r}, not 'performance'")
    if now := [words for words in host.throttling() or [] if words.endswith("now")]:
        problems.append(f"the board is held back: {', '.join(now)}")
    if taken.others is not None and taken.others > OTHERS_MAX:
        problems.append(f"other processes took {taken.others * 100:.0f} % of the processor")
    if taken.stolen is not None and taken.stolen > OTHERS_MAX:
        problems.append(
            f"the host of this virtual machine took {taken.stolen * 100:.0f} % of the processor"
        )
    if spread > SPREAD_MAX:
        problems.append(f"efficiency varies from round to round (interquartile range {spread:.2f})")
    if efficiency > EFFICIENCY_MAX:
        problems.append(f"bare invocations were slower than the loop (efficiency {efficiency:.2f})")
    if rounds < ROUNDS_MIN:
        problems.append(f"only {rounds} rounds")
    return problems


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
