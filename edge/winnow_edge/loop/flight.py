"""A flight: one mission's store and interpreters, through which swaths go one after the other."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from types import TracebackType

from winnow_edge.bundle import Bundle, find_bundle, open_bundle
from winnow_edge.errors import StoreDamagedError, StoreError, StoreTroubleError
from winnow_edge.files import printable
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import Show, run_swath
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.mission import Mission
from winnow_edge.place.door import Asked, Shape, look
from winnow_edge.prepare.chain import open_lines
from winnow_edge.prepare.repair import LEARN_LINES
from winnow_edge.sources.contract import STDIN
from winnow_edge.store import memory
from winnow_edge.store.clock import tick
from winnow_edge.store.file import explained
from winnow_edge.store.scrub import scrub, trust
from winnow_edge.store.store import Store

log = logging.getLogger(__name__)
BACK_S = 60.0
"""How often a disk that failed for good is tried again."""


class Flight:
    """Runs swaths of one mission into the store in `folder`; a context manager.

    Interpreters are loaded with the first swath and kept while the bundle stays the same. `stop`
    ends the wait for another process that writes the store. Where its disk `fails` for good, the
    store is in memory (`store.memory`); in idle time it goes back to a disk that works again, which
    is asked every `back_s` seconds.
    """

    def __init__(
        self,
        mission: Mission,
        folder: str | os.PathLike[str],
        *,
        stop: Callable[[], bool] = lambda: False,
        fails: bool = False,
        back_s: float = BACK_S,
    ) -> None:
        self.mission, self._folder, self._stop = mission, Path(folder), stop
        self._back_s, self._opened_at = back_s, 0.0
        self.store = self._opened(fails=fails)
        self._interpreters: Interpreters | None = None
        self._settings: dict[str, Settings] = {}

    def run(
        self,
        path: str | os.PathLike[str],
        *,
        instrument: str | None = None,
        samples: int | None = None,
        bits: int | None = None,
        name: str | None = None,
        progress: Show | None = None,
        stop: Callable[[], bool] | None = None,
        link: socket.socket | None = None,
        asked: Asked | None = None,
    ) -> SwathSummary:
        """Open a swath and run it (see `open_lines`, `look` and `run_swath`)."""
        label = printable(
            name or (os.fspath(path) if os.fspath(path) == STDIN else Path(path).name)
        )
        chosen, camera = self.mission.instrument_for(label, instrument)
        settings = self._settings_of(chosen)
        # Opened, and decoded where that must be done at once, before interpreters take memory.
        lines = open_lines(
            path,
            camera,
            settings.manifest.input,
            samples=samples,
            bits=bits,
            link=link,
            memory_mb=self.mission.compute.memory_mb,
        )
        try:
            self._keep_time()
            shape = Shape(lines.samples, lines.lines, camera.line_time_us, camera.frame)
            summary = run_swath(
                lines,
                settings,
                self.store,
                self._pool(settings.bundle),
                name=label if name else printable(lines.name),
                geometry=look(path, shape, asked),
                progress=progress,
                stop=lambda: self._gone() or (stop is not None and stop()),
            )
            self._gone()
        finally:
            lines.close()
        if summary.truncated:
            log.warning("%s: %s", summary.swath, summary.truncated)
        if summary.complete and summary.repaired and not summary.repaired.get("searched", True):
            why = f"it has under {LEARN_LINES} lines"
            log.warning("%s: not searched for dead samples: %s", summary.swath, why)
        return summary

    @property
    def in_memory(self) -> bool:
        """Whether the store is in memory, as its disk failed."""
        return self.store.path.parent != self._folder

    def reopen(self, *, light: bool = False, fails: bool = False) -> None:
        """Open the store anew, after it was busy, or its disk full or failing; `light`: for records
        alone; `fails`: in memory, as the disk fails for good. Raises StoreError; it may then be
        tried again."""
        self._close_store()
        self.store = self._opened(light=light, fails=fails)

    def idle(self, *, thorough: bool = False) -> bool:
        """Read a part of the store while there is nothing else to do; whether that was the last.
        Its end is `thorough` if all of the file is read then. A damaged store is opened anew,
        which mends it. Raises StoreError where it cannot be."""
        if self._stop():
            return True  # the store may be closed, if it could not be opened anew
        if self.in_memory and monotonic() - self._opened_at >= self._back_s:
            self._go_back()
        try:
            ended = scrub(self.store)
            if ended and thorough:
                trust(self.store)
        except StoreDamagedError as error:
            log.warning("%s", error)
            self.reopen()
        except StoreTroubleError as error:
            log.info("not read in idle time: %s", error)  # who has something to write will tell
        else:
            return ended
        return True

    def close(self) -> None:
        """End the interpreters and close the store."""
        if self._interpreters is not None:
            self._interpreters.close()
            self._interpreters = None
        self._close_store()

    def _opened(self, *, light: bool = False, fails: bool = False) -> Store:
        with ExitStack() as stack:
            store = stack.enter_context(
                memory.opened(
                    self._folder, mission=self.mission, fails=fails, light=light, stop=self._stop
                )
            )
            # A path alone: closing a descriptor that can be read would end SQLite's locks
            # (close(2)).
            with explained(store.path):
                self._file = os.open(store.path, os.O_PATH | os.O_CLOEXEC)
            stack.pop_all()
        self._opened_at = monotonic()
        return store

    def _go_back(self) -> None:
        """Back to the disk, if it works again. Raises StoreError."""
        try:
            self.reopen()
        except StoreTroubleError as error:
            log.info("not yet back from memory: %s", error)
            self.reopen(fails=True)

    def _close_store(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:  # a store that could not be opened anew has none
            os.close(file)
        self.store.close()

    def _gone(self) -> bool:
        """False; raises StoreError where the store's file was deleted or replaced under the run,
        which SQLite would go on to fill."""
        try:
            there = os.path.samestat(os.fstat(self._file), self.store.path.stat())
        except FileNotFoundError:
            there = False
        except OSError:
            there = True  # the disk fails, as SQLite will say
        if there:
            return False
        raise StoreError(
            "was deleted or replaced while it was filled",
            where=self.store.path,
            hint="run the swaths of this run again",
        )

    def __enter__(self) -> Flight:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _keep_time(self) -> None:
        """Let the mission clock look at the machine's: restarts and leaps are events. A disk that
        does not take them keeps no swath from being run."""
        try:
            tick(self.store)
        except StoreError as error:
            log.info("the mission clock is not kept: %s", error)

    def _settings_of(self, instrument: str) -> Settings:
        if instrument not in self._settings:
            name = self.mission.instruments[instrument].bundle
            bundle = open_bundle(find_bundle(name, beside=self.mission.path))
            self._settings[instrument] = Settings.of(self.mission, instrument, bundle)
        return self._settings[instrument]

    def _pool(self, bundle: Bundle) -> Interpreters:
        pool = self._interpreters
        if pool is None or pool.bundle.sha256 != bundle.sha256:
            if pool is not None:
                self._interpreters = None
                pool.close()
            compute = self.mission.compute
            wanted = compute.verifier is not False
            pool = Interpreters(bundle, compute.runtime, compute.threads, verifier=wanted)
            self._interpreters = pool
        return pool
