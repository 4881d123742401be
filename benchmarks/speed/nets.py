"""Time of one tile of several bundles' nets against the first one's, in turns, one thread each.

Times are processor time. BUNDLE is a shipped name, a bundle or a run folder's bundle.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks import harness
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.runtimes import load_classifier


def one_tile(name: str) -> harness.Way:
    """A call of the bundle's net on one random tile."""
    bundle = open_bundle(find_bundle(name))
    spec, net = bundle.manifest.input, load_classifier(bundle, "litert")
    shape = (spec.height, spec.width) + (() if spec.channels == 1 else (spec.channels,))
    tile = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    out = np.empty(len(bundle.manifest.classes), np.int8)
    return lambda: net.infer(tile, out)


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    names = ["hirise-landmarks", "hirise-landmarks-96"]
    parser.add_argument("bundles", nargs="*", default=names, metavar="BUNDLE")
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    rounds = 10 if args.short else args.rounds
    ways = {name: one_tile(name) for name in args.bundles}
    spent = harness.turns(ways, rounds, calls=10, clock=time.process_time)
    middle, ratio = harness.medians(spent), harness.ratios(spent)
    harness.report(
        args, [{"bundle": n, "ms": middle[n] * 1000, "ratio": f"{ratio[n]:.2f}"} for n in ways]
    )


if __name__ == "__main__":
    main()
