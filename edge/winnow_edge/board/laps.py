"""What `bench` times: laps of the flight loop, and bursts of bare invocations between them.

A round is a burst of bare invocations on one interpreter, a lap of the loop over the whole swath on
the same interpreter, and another burst: together as many invocations as the lap has net calls.
Nothing else runs during a lap, so what the main thread does costs what it costs in flight. A burst
and a lap with all interpreters at once end the round.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import run_swath
from winnow_edge.loop.settings import Settings
from winnow_edge.prepare.chain import Chain
from winnow_edge.runtimes import Classifier
from winnow_edge.store.store import Store

VERIFICATIONS = 10
"""Bare invocations of the second stage in a round: few detections are verified in a lap."""


@dataclass(frozen=True)
class Round:
    """Milliseconds of every bare invocation, and per tile of the loop on one interpreter and on
    many; `calls_per_tile` of the net in the loop, `invocations` in all; `verifier_ms` of a bare
    invocation of the second stage (None: there is none)."""

    bare_ms: list[float]
    tile_ms: float
    many_ms: float
    bare_speed_up: float
    calls_per_tile: float
    invocations: int
    verifier_ms: float | None = None

    @property
    def efficiency(self) -> float:
        """Means, as what takes time now and then is part of the loop's time too."""
        return statistics.mean(self.bare_ms) * self.calls_per_tile / self.tile_ms


def measure(lap: Lap, one: Interpreters, pool: Interpreters) -> Round:
    """One round; `lap` ran before, as its tiles say how many bare invocations there are."""
    # The input holds the last tile of a lap; int8 kernels take the same time for any pixels.
    half, each, every = lap.calls // 2, max(lap.shown // 8, 10), pool.classifiers
    alone = bare_ms(one.classifiers, half)
    tile_ms = lap(one)
    alone += bare_ms(one.classifiers, half)
    together = bare_ms(every, each)
    many_ms = lap(pool)
    second_ms = None
    if one.verifier is not None:
        second_ms = statistics.mean(_timed_ms(one.verifier.invoke_only, VERIFICATIONS))
    # n at once, each taking so long, are n in that time.
    speed_up = statistics.mean(alone) / statistics.mean(together) * len(every)
    invocations = 2 * half + len(together) + 2 * lap.calls
    calls_per_tile = lap.calls / lap.shown
    return Round(alone, tile_ms, many_ms, speed_up, calls_per_tile, invocations, second_ms)


def bare_ms(classifiers: Sequence[Classifier], count: int) -> list[float]:
    """Milliseconds of so many bare invocations on each of the classifiers, all at once, each in a
    thread of its own as in the loop."""
    taken_ms: list[float] = []

    def work(classifier: Classifier) -> None:
        taken_ms.extend(_timed_ms(classifier.invoke_only, count))

    threads = [threading.Thread(target=work, args=(c,)) for c in classifiers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken_ms


def _timed_ms(invoke: Callable[[], None], count: int) -> list[float]:
    """Milliseconds of so many invocations."""
    clock, taken_ns = time.perf_counter_ns, []
    for _ in range(count // 4):  # a new thread's first ones may be half as slow again
        invoke()
    for _ in range(count):
        started = clock()
        invoke()
        taken_ns.append(clock() - started)
    return [ns / 1e6 for ns in taken_ns]


class Lap:
    """Runs the swath once through the flight loop; returns milliseconds per tile shown to the net.

    The clock runs from opening the swath, where some formats are decoded, to closing it.
    """

    def __init__(self, settings: Settings, store: Store, make: Callable[[], Chain]) -> None:
        self._settings, self._store, self._make = settings, store, make
        self._count = 0
        self.name, self.samples, self._lines = "", 0, 0
        self.tiles = self.shown = self.calls = self.detections = self.verified = 0

    def __call__(self, pool: Interpreters) -> float:
        self._count += 1
        started = time.perf_counter()
        lines = self._make()
        try:
            name = f"lap {self._count}"
            summary = run_swath(lines, self._settings, self._store, pool, name=name)
        finally:
            lines.close()
        seconds = time.perf_counter() - started
        self.name, self.samples, self._lines = lines.name, summary.samples, summary.lines
        self.tiles, self.detections = summary.tally.tiles, summary.tally.detections
        self.verified = summary.verified.verified if summary.verified is not None else 0
        self.shown = self.tiles - summary.tally.screened
        self.calls = self.shown + summary.tally.second_views
        return seconds * 1000 / max(self.shown, 1)

    def lines_per_s(self, tile_ms: float) -> float:
        """Lines per second at so many milliseconds per tile."""
        return self._lines / (tile_ms * self.shown / 1000)
