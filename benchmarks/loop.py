"""Where the flight loop's time goes: processor time per tile of each of its parts.

Processor time of threads, unlike wall time, means something on a machine that does other work too.
One interpreter runs the rendered strip of `winnow-edge bench`; figures are medians over the laps.

    python benchmarks/loop.py [--bundle BUNDLE] [--laps N] [--threads N]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from winnow_edge.board import bench
from winnow_edge.bundle import Bundle, find_bundle, open_bundle
from winnow_edge.loop import collect, interpreters
from winnow_edge.loop import run as pipeline
from winnow_edge.loop.band import Band, Quantizer
from winnow_edge.loop.intake import Intake
from winnow_edge.loop.progress import Progress
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import Compute, Instrument, Mission, Tiling
from winnow_edge.prepare.chain import Chain
from winnow_edge.store import store, writer

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

Times = dict[str, float]


def clocked(spent: Times) -> None:
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


def switches() -> int:
    """How often this thread has gone to sleep: for the interpreter lock, where it is a worker."""
    status = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def beside_nets(bundle: Bundle, classifier: Any, rounds: int) -> float:
    """Microseconds that a worker takes per tile beside its net, with no other thread about."""
    side = bundle.manifest.input.height
    quantizer, classes = Quantizer(bundle.manifest.input), len(bundle.manifest.classes)
    band = Band(
        2048,
        512,
        tile=side,
        hop=side // 2,
        scale=1,
        channels=1,
        nodata=None,
        quantizer=quantizer,
    )
    band.append(bench.rendered(512, 2048))
    more = []
    for origin in list(range(0, 512 - side, side // 2)) * rounds:
        job = interpreters.Job(band.tiles(band.row(origin), band.columns), classes, 1)
        started = time.thread_time()
        job.work(classifier)
        between = time.thread_time()
        for _ in job.tiles:
            classifier.invoke_only()
        bare = time.thread_time() - between
        more.append((between - started - bare) * 1e6 / len(job.tiles))
    return statistics.median(more)


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bundle", default="hirise-landmarks")
    parser.add_argument("--laps", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    bundle = open_bundle(find_bundle(args.bundle))
    camera = Instrument(bundle=str(bundle.path))
    tiling = Tiling(hop=bundle.manifest.input.height // 2)
    mission = Mission("loop", {"camera": camera}, tiling=tiling, compute=Compute(borderline=0.0))
    settings = Settings.of(mission, "camera", bundle)
    pixels, spent, jobs = bench.rendered(512, 2048), defaultdict(float), list[tuple[float, ...]]()
    clocked(spent)
    work = interpreters.Job.work

    def timed(job: interpreters.Job, classifier: Any) -> None:
        slept, started = switches(), time.perf_counter()
        work(job, classifier)
        jobs.append((started, time.perf_counter(), switches() - slept))

    laps: list[Times] = []
    with (
        tempfile.TemporaryDirectory(prefix="winnow-loop-") as folder,
        interpreters.Interpreters(bundle, "litert", args.threads) as pool,
        store.Store.open(folder, mission=mission) as kept,
    ):
        beside = beside_nets(bundle, pool.classifiers[0], args.laps)
        interpreters.Job.work = timed  # type: ignore[method-assign]
        for number in range(args.laps + 1):
            spent.clear()
            jobs.clear()
            lines = Chain(bench.MemorySource(pixels, lines=bench.LINES), camera)
            started, main_s = time.perf_counter(), time.thread_time()
            summary = pipeline.run_swath(lines, settings, kept, pool, name=str(number))
            main_s, ended = time.thread_time() - main_s, time.perf_counter()
            tiles = summary.tally.tiles
            lap = {f"main: {name}": spent[name] * 1e6 / tiles for *_, name in PARTS}
            lap["main: all"] = main_s * 1e6 / tiles
            lap["worker asleep, times"] = sum(slept for *_, slept in jobs) / tiles
            lap["before the first tile, ms"] = (min(job[0] for job in jobs) - started) * 1000
            lap["after the last tile, ms"] = (ended - max(job[1] for job in jobs)) * 1000
            laps.append(lap)
    print(f"{tiles} tiles, {summary.tally.detections} detections; processor time per tile, us")
    print(f"{'worker beside its net (alone)':<45}{beside:8.2f}")
    for name in laps[0]:
        print(f"{name:<45}{statistics.median(lap[name] for lap in laps[1:]):8.2f}")


if __name__ == "__main__":
    main()
