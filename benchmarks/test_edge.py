"""The parts of the flight loop on their own: `make bench` (pytest-benchmark)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_edge.board.bench import MemorySource, rendered
from winnow_edge.bundle import Bundle, find_bundle, open_bundle
from winnow_edge.loop.band import Band, Quantizer, bin_lines
from winnow_edge.loop.decision import Decider
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.merging import Merger
from winnow_edge.loop.run import run_swath
from winnow_edge.loop.screening import value_counts
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import Instrument, Mission, Tiling
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.kinds import Box, Detection
from winnow_edge.store.store import Store

WIDTH = 2048


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(find_bundle("hirise-landmarks"))


@pytest.fixture(scope="module")
def pool(bundle: Bundle) -> Iterator[Interpreters]:
    with Interpreters(bundle, "litert", 1) as one:
        yield one


@pytest.fixture(scope="module")
def lines() -> Any:
    return rendered(1280, WIDTH)


def test_bare_invoke(benchmark: Any, pool: Interpreters) -> None:
    benchmark(pool.classifiers[0].invoke_only)


def test_tile_into_the_interpreter_and_logits_out(benchmark: Any, pool: Interpreters) -> None:
    side = pool.bundle.manifest.input.height
    band = np.zeros((2 * side, WIDTH), np.int8)
    logits = np.empty(len(pool.bundle.manifest.classes), np.int8)
    benchmark(lambda: pool.classifiers[0].infer(band[7 : 7 + side, 99 : 99 + side], logits))


@pytest.mark.parametrize("scale", [2, 4, 10])
def test_box_binning(benchmark: Any, lines: Any, scale: int) -> None:
    benchmark(bin_lines, lines, scale)


def test_band_at_full_scale(benchmark: Any, bundle: Bundle, lines: Any) -> None:
    spec = bundle.manifest.input
    band = Band(
        WIDTH,
        256,
        tile=spec.height,
        hop=spec.height // 2,
        scale=1,
        channels=spec.channels,
        nodata=None,
        quantizer=Quantizer(spec),
    )
    slot = 0

    def block() -> None:
        nonlocal slot
        slot = 1 - slot
        band.start(slot)
        band.append(lines[:256])

    benchmark(block)


def test_screening_a_row_of_tiles(benchmark: Any, bundle: Bundle) -> None:
    side = bundle.manifest.input.height
    rows = np.zeros((side, WIDTH), np.int8)
    benchmark(value_counts, rows, range(0, WIDTH - side + 1, side // 2), -128)


def test_deciding_a_band_of_tiles(benchmark: Any, bundle: Bundle) -> None:
    logits = np.random.default_rng(0).integers(-128, 128, (160, 8), np.int8)
    decider = Decider(bundle.manifest, bundle.manifest.thresholds)
    benchmark(decider.decide, logits[:, : len(bundle.manifest.classes)])


def test_merging_where_everything_is_a_detection(benchmark: Any) -> None:
    """31 detections a row at one scale: the dune field that fills the swath."""
    pixels = np.zeros((1, 1), np.uint8)
    posteriors = np.random.default_rng(0).random((20, 31)).tolist()

    def merge() -> None:
        merger = Merger(0.3)
        for row, values in enumerate(posteriors):
            boxes = [Box(row * 64, column * 64, 128, 128) for column in range(31)]
            merger.add(
                [
                    Detection(row * 31 + n, box, 1, 0, p, pixels)
                    for n, (box, p) in enumerate(zip(boxes, values, strict=True))
                ]
            )
            merger.advance(row * 64 + 1)
        merger.advance(math.inf)

    benchmark(merge)


@pytest.mark.parametrize("scales", [(1,), (1, 2)], ids=["1", "1+2"])
def test_whole_loop_over_1280_lines(
    benchmark: Any, pool: Interpreters, lines: Any, scales: tuple[int, ...], tmp_path: Path
) -> None:
    mission = Mission(
        "bench", {"c": Instrument(bundle="x", nodata=0)}, tiling=Tiling(scales=scales)
    )
    settings = Settings.of(mission, "c", pool.bundle)
    laps = 0
    with Store.open(tmp_path, mission=mission) as store:

        def lap() -> None:
            nonlocal laps
            laps += 1
            chain = Chain(MemorySource(lines), settings.camera)
            run_swath(chain, settings, store, pool, name=f"lap {laps}")

        benchmark.pedantic(lap, rounds=5, warmup_rounds=1)
