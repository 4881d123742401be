"""Parts of the flight loop, each alone: medians of wall time of a call."""

from __future__ import annotations

import math
from itertools import count

import numpy as np

from benchmarks import harness
from benchmarks.rig import flying
from winnow_edge.board.bench import MemorySource, rendered
from winnow_edge.bundle import Bundle, find_bundle, open_bundle
from winnow_edge.loop.band import Band, Quantizer, bin_lines
from winnow_edge.loop.decision import Decider
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.loop.merging import Merger
from winnow_edge.loop.screening import value_counts
from winnow_edge.prepare.chain import Chain
from winnow_edge.products.kinds import Box, Detection

WIDTH = 2048


def of_the_net(pool: Interpreters) -> dict[str, harness.Way]:
    """One tile, bare and with what goes in and out."""
    side = pool.bundle.manifest.input.height
    lines = np.zeros((2 * side, WIDTH), np.int8)
    logits = np.empty(len(pool.bundle.manifest.classes), np.int8)
    net = pool.classifiers[0]
    return {
        "bare invocation": net.invoke_only,
        "tile in, logits out": lambda: net.infer(lines[7 : 7 + side, 99 : 99 + side], logits),
    }


def of_a_block(pool: Interpreters, lines: np.ndarray) -> dict[str, harness.Way]:
    """256 lines and the tiles that they complete."""
    manifest = pool.bundle.manifest
    side = manifest.input.height
    band = Band(
        WIDTH,
        256,
        tile=side,
        hop=side // 2,
        scale=1,
        channels=manifest.input.channels,
        nodata=None,
        quantizer=Quantizer(manifest.input),
    )
    slots = count()

    def fill() -> None:
        band.start(next(slots) % 2)
        band.append(lines[:256])

    row = np.zeros((side, WIDTH), np.int8)
    samples = range(0, WIDTH - side + 1, side // 2)
    logits = np.random.default_rng(0).integers(-128, 128, (160, 8), np.int8)
    decider = Decider(manifest, manifest.thresholds)
    binning = {
        f"binning 1,280 lines by {scale}": lambda scale=scale: bin_lines(lines, scale)
        for scale in (2, 4, 10)
    }
    return {
        **binning,
        "256 lines into the band": fill,
        "screening a row of tiles": lambda: value_counts(row, samples, -128),
        "deciding 160 tiles": lambda: decider.decide(logits[:, : len(manifest.classes)]),
    }


def merging() -> None:
    """31 detections a row at one scale: the dune field that fills the swath."""
    pixels, merger = np.zeros((1, 1), np.uint8), Merger(0.3)
    for row, posteriors in enumerate(np.random.default_rng(0).random((20, 31)).tolist()):
        boxes = [Box(row * 64, column * 64, 128, 128) for column in range(31)]
        found = zip(boxes, posteriors, strict=True)
        merger.add([Detection(row * 31 + n, b, 1, 0, p, pixels) for n, (b, p) in enumerate(found)])
        merger.advance(row * 64 + 1)
    merger.advance(math.inf)


def whole(bundle: Bundle, lines: np.ndarray, scales: tuple[int, ...]) -> float:
    """Seconds of the loop over `lines`."""
    with flying(bundle, scales=scales, nodata=0) as (camera, fly):
        ways = {"lap": lambda: fly(Chain(MemorySource(lines), camera))}
        return harness.medians(harness.turns(ways, 3))["lap"]


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--bundle", default="hirise-landmarks")
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    lines = rendered(1280, WIDTH)
    bundle = open_bundle(find_bundle(args.bundle))
    with Interpreters(bundle, "litert", 1) as pool:
        ways = of_the_net(pool) | of_a_block(pool, lines) | {"merging 620 detections": merging}
        middle = harness.medians(harness.turns(ways, 5 if args.short else args.rounds))
    for scales in ((1,), (1, 2)):
        middle[f"loop over 1,280 lines, scales {list(scales)}"] = whole(bundle, lines, scales)
    harness.report(args, [{"part": n, "us": seconds * 1e6} for n, seconds in middle.items()])


if __name__ == "__main__":
    main()
