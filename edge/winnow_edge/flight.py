"""A flight: one mission's store and interpreters, through which swaths go one after the other."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from winnow_edge.bundle import Bundle, find_bundle, open_bundle
from winnow_edge.interpreters import Interpreters
from winnow_edge.mission import Mission
from winnow_edge.pipeline import Progress, run_swath
from winnow_edge.sources import STDIN, LineSource, open_source
from winnow_edge.sources.frame import FrameSource
from winnow_edge.sources.repair import LEARN_LINES
from winnow_edge.store import Store
from winnow_edge.summary import SwathSummary

log = logging.getLogger(__name__)


class Flight:
    """Runs swaths of one mission into the store in `folder`; a context manager.

    Interpreters are loaded with the first swath and kept while the bundle stays the same.
    """

    def __init__(self, mission: Mission, folder: str | os.PathLike[str]) -> None:
        self.mission = mission
        self.store = Store.open(Path(folder), mission=mission)
        self._interpreters: Interpreters | None = None
        self._bundles: dict[str, Bundle] = {}

    def run(
        self,
        path: str | os.PathLike[str],
        *,
        instrument: str | None = None,
        samples: int | None = None,
        bits: int | None = None,
        name: str | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
        link: socket.socket | None = None,
    ) -> SwathSummary:
        """Open a swath and run it (see `open_source` and `run_swath`)."""
        label = name or (os.fspath(path) if os.fspath(path) == STDIN else Path(path).name)
        chosen, camera = self.mission.instrument_for(label, instrument)
        bundle = self._bundle(camera.bundle)
        # Opened, and decoded where that must be done at once, before interpreters take memory.
        source: LineSource = open_source(
            path,
            instrument=camera,
            samples=samples,
            bits=bits,
            grey=bundle.manifest.input.channels == 1,
            link=link,
        )
        try:
            if camera.frame:
                size = bundle.manifest.input
                source = FrameSource(source, size.height, size.width)
            pool = self._pool(bundle)
            summary = run_swath(
                source,
                self.mission,
                chosen,
                bundle,
                self.store,
                interpreters=pool,
                name=name,
                progress=progress,
                stop=stop,
            )
        finally:
            source.close()
        if summary.truncated:
            log.warning("%s: %s", summary.swath, summary.truncated)
        if summary.complete and summary.repaired and not summary.repaired.get("searched", True):
            why = f"it has under {LEARN_LINES} lines"
            log.warning("%s: not searched for dead samples: %s", summary.swath, why)
        return summary

    def close(self) -> None:
        """End the interpreters and close the store."""
        if self._interpreters is not None:
            self._interpreters.close()
            self._interpreters = None
        self.store.close()

    def __enter__(self) -> Flight:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _bundle(self, name: str) -> Bundle:
        if name not in self._bundles:
            self._bundles[name] = open_bundle(find_bundle(name, beside=self.mission.path))
        return self._bundles[name]

    def _pool(self, bundle: Bundle) -> Interpreters:
        pool = self._interpreters
        if pool is None or pool.bundle.sha256 != bundle.sha256:
            if pool is not None:
                self._interpreters = None
                pool.close()
            compute = self.mission.compute
            pool = Interpreters(bundle, compute.runtime, compute.threads)
            self._interpreters = pool
        return pool
