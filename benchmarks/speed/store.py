"""The store: its share of a run's time, a million queued products, a quota over ten times as much.

Shares are of the processor's time and of wall time, over a rendered strip and a shipped bundle.
Ranking is what a contact does: the products are read from the store and put in order; its memory is
what that adds to the process. The quota is watched by a thread while ten times as much is written.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from winnow_edge.board.bench import rendered
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import parse_mission
from winnow_edge.products.encode import record_products
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import rank
from winnow_edge.store.store import Store
from winnow_edge.store.writer import SwathWriter
from winnow_edge.testing import begin, landmark_mission, product_of_size

WIDTH = 2048


def share_of_loop(folder: Path, lines: int) -> dict[str, object]:
    """What the commits of a run take."""
    strip = folder / "strip.raw"
    rendered(lines, WIDTH).tofile(strip)
    mission = parse_mission('name = "m"\n[instrument.c]\nbundle = "hirise-landmarks"\n')
    spent = {"wall": 0.0, "cpu": 0.0}
    commit = SwathWriter.commit

    def timed(self: SwathWriter, **block: Any) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        commit(self, **block)
        spent["wall"] += time.perf_counter() - wall
        spent["cpu"] += time.thread_time() - cpu

    SwathWriter.commit = timed  # type: ignore[assignment, method-assign]
    try:
        with Flight(mission, folder / "store") as flight:
            wall, cpu = time.perf_counter(), time.process_time()
            summary = flight.run(strip, samples=WIDTH)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    finally:
        SwathWriter.commit = commit  # type: ignore[method-assign]
    return {
        "what": f"commits of a run of {summary.tally.tiles:,} tiles",
        "value": f"{spent['cpu'] / cpu:.1%} of processor time, {spent['wall'] / wall:.1%} of wall",
    }


def fill_queue(folder: Path, products: int) -> None:
    """A store in which so many records wait."""
    rng, at_once = np.random.default_rng(1), 1000
    with Store.open(folder, mission=landmark_mission("[store]\nquota_mb = 4000")) as store:
        writer = begin(store)
        for block in range(products // at_once):
            first = at_once * block
            records = record_products(
                writer.swath_id, first, line=64 * block, lines=64,
                sample=np.arange(at_once) * 8, samples=np.full(at_once, 64), scale=1,
                class_index=rng.integers(0, 3, at_once).astype(np.uint8),
                posterior=rng.random(at_once),
                flags=((rng.random(at_once) < 0.1) * 2).astype(np.uint8),
            )  # fmt: skip
            writer.commit(products=records, next_tile=first + at_once, next_line=block, pending=b"")


def ranked(folder: Path) -> dict[str, object]:
    """Seconds and megabytes of ranking what waits in a store; a process of its own."""
    mission = landmark_mission("[store]\nquota_mb = 4000")
    with Store.open(folder, mission=mission, read_only=True) as store:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = time.perf_counter(), time.process_time()
        table = store.table()
        order = rank(table, mission.ranking.policy, mission)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "what": f"{len(order):,} products read and ranked",
        "value": f"{cpu:.2f} s of the processor ({wall:.2f} s), {added / 1024:.0f} MB",
    }


def under_quota(folder: Path, quota_mb: float, times: int) -> dict[str, object]:
    """The most that a store takes on the disk while `times` its quota is written."""
    mission = landmark_mission(f"[store]\nquota_mb = {quota_mb}")
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            size = 0
            for file in folder.glob("store*"):
                try:
                    size += file.stat().st_size
                except FileNotFoundError:
                    continue
            most = max(most, size)

    written = tile = 0
    with Store.open(folder, mission=mission) as store:
        writer = begin(store)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            while written < times * quota_mb * 1e6:
                images = [
                    product_of_size(Kind.IMAGE, tile + n, 5000, (tile + n) % 97 / 97)
                    for n in range(10)
                ]
                tile += 10
                writer.commit(products=images, next_tile=tile, next_line=tile, pending=b"")
                written += sum(len(p.data) for p in images)
        finally:
            done.set()
            watcher.join()
    return {
        "what": f"most on the disk of {written:,} bytes under a quota of {quota_mb:g} MB",
        "value": f"{most:,} bytes",
    }


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--ranked", type=Path, metavar="STORE", help="only rank what waits in it")
    args = parser.parse_args()
    if args.ranked:
        print(json.dumps(ranked(args.ranked)))
        return
    with tempfile.TemporaryDirectory(prefix="winnow-store-") as name:
        folder = Path(name)
        rows = [share_of_loop(folder, 512 if args.short else 8192)]
        fill_queue(folder / "queue", 20_000 if args.short else args.products)
        alone = [sys.executable, "-m", "benchmarks.speed.store", "--ranked", folder / "queue"]
        done = subprocess.run(alone, cwd=harness.ROOT, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
        rows.append(under_quota(folder / "quota", 2 if args.short else 16, 10))
    harness.report(args, rows)


if __name__ == "__main__":
    main()
