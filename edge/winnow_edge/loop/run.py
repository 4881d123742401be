"""The flight loop: lines in, records and detections out, a block at a time.

The main thread reads a block of lines and hands its tiles to the interpreters (`intake`); while
they work it decides, merges and encodes the block before (`collect`) and commits it (`progress`).
What is committed, and in which order, depends on the swath and the mission alone: not on threads,
nor on whether the lines come from a file or a pipe, nor on how often the run was interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from winnow_edge.errors import SwathError
from winnow_edge.loop.block import Block, Row
from winnow_edge.loop.collect import Collector
from winnow_edge.loop.intake import Intake
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.progress import Progress
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary, Tally, Verified
from winnow_edge.place.geometry import Geometry
from winnow_edge.prepare.chain import Chain
from winnow_edge.store.scrub import idle
from winnow_edge.store.store import Store

Show = Callable[[Tally, int, int | None], None]
"""Called after every block with the counts so far, the lines done and the lines in all if known."""


def run_swath(
    lines: Chain,
    settings: Settings,
    store: Store,
    pool: Interpreters,
    *,
    name: str | None = None,
    geometry: Geometry | None = None,
    progress: Show | None = None,
    stop: Callable[[], bool] | None = None,
) -> SwathSummary:
    """Classify a whole swath into the store.

    `pool` holds interpreters of the settings' bundle; several swaths may go through it, one after
    the other. `name` is the swath's in the store (its file name by default), `geometry` when and
    where it was seen (`place.door.look`; None: nobody knows). `stop` is asked
    between blocks and while no lines come; once it is True the block at hand is committed and the
    summary is not `complete`. A swath that an earlier run left unfinished goes on where it was; one
    that is complete is not run again. Raises SwathError, StoreError and what an interpreter raises.
    """
    if pool.bundle.sha256 != settings.bundle.sha256:
        raise ValueError("the interpreters run another bundle than the settings name")
    if settings.verifier is not None and pool.verifier is None:
        raise ValueError(
            "the interpreters were loaded without the verifier that the settings ask for"
        )
    run = _Run(lines, settings, store, pool, name or lines.name, geometry)
    return run(progress or (lambda tally, done, total: None), stop or (lambda: False))


class _Run:
    """One swath on its way."""

    def __init__(
        self,
        lines: Chain,
        settings: Settings,
        store: Store,
        pool: Interpreters,
        name: str,
        geometry: Geometry | None,
    ) -> None:
        self._lines, self._settings, self._store = lines, settings, store
        self._pool, self._name, self._geometry = pool, name, geometry
        self._collector: Collector | None = None
        if store.swath(name) is not None:
            self._begun()

    def __call__(self, show: Show, stop: Callable[[], bool]) -> SwathSummary:
        started = time.perf_counter()
        if self._collector is not None and (known := self._collector.progress.summary) is not None:
            return SwathSummary.of_earlier_run(known, threads=self._pool.threads)
        intake = Intake(self._lines, self._settings, self._pool)
        running: Block | None = None
        complete = False
        while not complete:
            while not intake.fill():
                # While nothing comes, the block before need not wait to be committed.
                if intake.lines:
                    self._begun()
                if running is not None:
                    self._collect(running)
                    running = None
                else:
                    idle(self._store)
                if stop():
                    break
            if stop():
                break
            if not intake.lines:
                why = f" ({self._lines.truncated})" if self._lines.truncated else ""
                raise SwathError(f"holds no whole line{why}", where=self._name)
            progress = self._begun().progress
            complete = intake.ended
            block = intake.submit(progress)
            if running is not None:
                self._collect(running)
                show(progress.tally, progress.next_line, self._lines.lines)
            running = block
        if running is not None:
            self._collect(running, last=complete)
        return self._summary(intake.lines if complete else None, time.perf_counter() - started)

    def _begun(self) -> Collector:
        """Begins the swath in the store, with its first line: a swath has one of few numbers, and
        a stream that opens and closes again should not use one."""
        if self._collector is None:
            progress = Progress.begin(
                self._store, self._name, self._lines, self._settings, self._geometry
            )
            verifier = self._pool.verifier if self._settings.verifier is not None else None
            self._collector = Collector(
                self._settings, progress, verifier, samples=self._lines.samples
            )
        return self._collector

    def _collect(self, block: Block, *, last: bool = False) -> None:
        """Commit a block; the `last` but for its last row while that is with the interpreters, so
        that little is left to do after it."""
        self._begun().take_looks(block.sections)
        if last:
            self._commit(block.rows[:-1], block)
            self._commit(block.rows[-1:], block, last=True)
        else:
            self._commit(block.rows, block)

    def _commit(self, rows: Sequence[Row], block: Block, *, last: bool = False) -> None:
        collector = self._begun()
        progress = collector.progress
        products = collector.collect(rows, last=last)
        fresh = rows and rows[-1].job is not None
        if last:
            summary = self._summary(block.lines).lasting()
            progress.save(products, block, rows[-1].end if fresh else progress.next_tile, summary)
        elif fresh:
            progress.save(products, block, rows[-1].end)

    def _summary(self, lines: int | None, seconds: float = 0.0) -> SwathSummary:
        """The summary of a swath of so many lines; None: of one that is not complete."""
        lines_of, collector, pool = self._lines, self._collector, self._pool
        done = collector.progress.next_line if collector is not None else 0
        return SwathSummary(
            swath=self._name,
            lines=done if lines is None else lines,
            samples=lines_of.samples,
            tally=collector.progress.tally if collector is not None else Tally(),
            seconds=seconds,
            runtime=pool.actual,
            runtime_requested=pool.requested,
            threads=pool.threads,
            instrument=self._settings.instrument,
            bundle=self._settings.manifest.name,
            truncated=lines_of.truncated,
            stretch=None if lines_of.stretch is None else lines_of.stretch.limits,
            repaired=None if lines_of.repair is None else lines_of.repair.as_json(),
            verdict=collector.judge() if collector is not None and lines is not None else None,
            verified=self._verified(),
            complete=lines is not None,
        )

    def _verified(self) -> Verified | None:
        """What the second stage did; None where there is none."""
        if self._settings.verifier is None:
            return None
        return self._collector.progress.verified if self._collector is not None else Verified()
