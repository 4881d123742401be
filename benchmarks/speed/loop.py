"""Where the flight loop's time goes: processor time per tile of each part of the main thread.

Processor time of threads, unlike wall time, means something on a machine that does other work too.
One interpreter runs the rendered strip of `winnow-edge bench`; figures are medians over the laps.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.rig import flying
from winnow_edge.board import bench
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.loop import collect, interpreters
from winnow_edge.loop.intake import Intake
from winnow_edge.loop.progress import Progress
from winnow_edge.prepare.chain import Chain
from winnow_edge.store import writer

PARTS: tuple[tuple[type, str, str], ...] = (
    (Progress, "begin", "beginning the swath"),
    (Intake, "fill", "reading lines"),
    (Intake, "submit", "quantizing, screening, submitting"),
    (interpreters.Job, "wait", "waiting"),
    (collect.Decider, "decide", "decisions"),
    (collect.Collector, "collect", "records, merging and pictures"),
    (Progress, "save", "state of the swath"),
    (writer.SwathWriter, "commit", "store: rows, commits, syncs"),
)
"""What the main thread does; what a part calls that is a part itself is not counted in it."""


def clocked(spent: dict[str, float]) -> None:
    """Add the main thread's processor time in every part to `spent`, in seconds."""
    inner = [0.0]

    def wrap(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            inner.append(0.0)
            started = time.thread_time()
            try:
                return function(*args, **named)
            finally:
                taken = time.thread_time() - started
                spent[name] += taken - inner.pop()
                inner[-1] += taken

        return call

    for owner, function, name in PARTS:
        setattr(owner, function, wrap(getattr(owner, function), name))


def watched(jobs: list[tuple[float, float, int]]) -> None:
    """Add start, end and number of sleeps of every job of a worker to `jobs`."""
    work = interpreters.Job.work

    def sleeps() -> int:
        """How often this thread has gone to sleep: for the interpreter lock, in a worker."""
        status = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text()
        return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])

    def timed(job: interpreters.Job, classifier: Any) -> None:
        slept, started = sleeps(), time.perf_counter()
        work(job, classifier)
        jobs.append((started, time.perf_counter(), sleeps() - slept))

    interpreters.Job.work = timed  # type: ignore[method-assign]


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--bundle", default="hirise-landmarks")
    parser.add_argument("--laps", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    pixels, spent, jobs = bench.rendered(512, 2048), defaultdict(float), []
    clocked(spent)
    watched(jobs)
    laps: list[dict[str, float]] = []
    with flying(open_bundle(find_bundle(args.bundle)), threads=args.threads) as (camera, fly):
        for _ in range(1 + (2 if args.short else args.laps)):
            spent.clear()
            jobs.clear()
            lines = Chain(bench.MemorySource(pixels, lines=bench.LINES), camera)
            started, main_s = time.perf_counter(), time.thread_time()
            tally = fly(lines).tally
            main_s, ended = time.thread_time() - main_s, time.perf_counter()
            lap = {f"{name}, us": spent[name] * 1e6 / tally.tiles for *_, name in PARTS}
            lap["main thread in all, us"] = main_s * 1e6 / tally.tiles
            lap["worker asleep, times"] = sum(slept for *_, slept in jobs) / tally.tiles
            lap["before the first tile, ms a lap"] = (min(j[0] for j in jobs) - started) * 1000
            lap["after the last tile, ms a lap"] = (ended - max(j[1] for j in jobs)) * 1000
            laps.append(lap)
    middle = {name: statistics.median(lap[name] for lap in laps[1:]) for name in laps[0]}
    notes = [f"{tally.tiles} tiles, {tally.detections} detections a lap"]
    harness.report(args, [{"part": n, "per tile": value} for n, value in middle.items()], notes)


if __name__ == "__main__":
    main()
