"""Time of one tile of several bundles' nets against the first one's, interleaved.

    python benchmarks/nets.py hirise-landmarks hirise-landmarks-96 [--rounds 200]

A round calls every net ten times in turn, one thread each; figures are medians over the rounds, of
processor time, which means something on a machine that does other work too.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from winnow_edge.bundle import open_bundle
from winnow_edge.runtimes import load_classifier
from winnow_train.evaluate import find_model

CALLS = 10


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    nets = []
    for name in options.bundles:
        bundle = open_bundle(find_model(name))
        spec = bundle.manifest.input
        shape = (spec.height, spec.width) + (() if spec.channels == 1 else (spec.channels,))
        tile = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
        out = np.empty(len(bundle.manifest.classes), np.int8)
        nets.append((load_classifier(bundle, "litert"), tile, out))
    spent = np.empty((options.rounds, len(nets)))
    for row in spent:
        for column, (net, tile, out) in enumerate(nets):
            net.infer(tile, out)
            start = time.process_time()
            for _ in range(CALLS):
                net.infer(tile, out)
            row[column] = (time.process_time() - start) / CALLS
    print("| bundle | ms | ratio |\n|---|---|---|")
    ratios = np.median(spent / spent[:, :1], axis=0)
    for name, each, ratio in zip(options.bundles, np.median(spent, axis=0), ratios, strict=True):
        print(f"| `{name}` | {1000 * each:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
