"""The flight loop over a bundle with a scratch store, as several benchmarks fly it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from itertools import count

from winnow_edge.bundle import Bundle
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.run import SwathSummary, run_swath
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import Compute, Instrument, Mission, Tiling
from winnow_edge.prepare.chain import Chain
from winnow_edge.store.store import Store


@contextlib.contextmanager
def flying(
    bundle: Bundle, *, threads: int = 1, scales: tuple[int, ...] = (1,), nodata: int | None = None
) -> Iterator[tuple[Instrument, Callable[[Chain], SwathSummary]]]:
    """The camera, and a function that runs its lines as the next swath; no second views."""
    camera = Instrument(bundle=str(bundle.path), nodata=nodata)
    tiling, once = Tiling(scales=scales), Compute(borderline=0.0)
    mission = Mission("benchmark", {"camera": camera}, tiling=tiling, compute=once)
    settings, numbers = Settings.of(mission, "camera", bundle), count()
    with (
        tempfile.TemporaryDirectory(prefix="winnow-benchmark-") as folder,
        Interpreters(bundle, "litert", threads) as pool,
        Store.open(folder, mission=mission) as store,
    ):
        yield camera, lambda lines: run_swath(lines, settings, store, pool, name=f"{next(numbers)}")
