"""Which way of using n cores is fastest: one interpreter with n threads, that in batches of 8, or
n single-thread interpreters in n Python threads, as `--threads` does. In turns, medians.

    python benchmarks/threads.py [--bundle NAME] [--threads N] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from winnow_edge.bundle import Bundle, find_bundle, open_bundle
from winnow_edge.loop.interpreters import Interpreters, cores

TILES = 480
BATCH = 8


def one_interpreter(bundle: Bundle, threads: int, batch: int, tiles: Any) -> Callable[[], None]:
    """All tiles through one interpreter with so many threads, `batch` at a time."""
    from ai_edge_litert.interpreter import Interpreter

    net = Interpreter(model_content=bundle.model, num_threads=threads)
    source = net.get_input_details()[0]["index"]
    if batch > 1:
        net.resize_tensor_input(source, [batch, *net.get_input_details()[0]["shape"][1:]])
    net.allocate_tensors()
    view = net.tensor(source)

    def job() -> None:
        for first in range(0, len(tiles), batch):
            view()[...] = tiles[first : first + batch][..., None]
            net.invoke()

    return job


def main() -> None:
    """Parse the command line, measure, print tiles per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bundle", default="hirise-landmarks")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    bundle = open_bundle(find_bundle(args.bundle))
    spec = bundle.manifest.input
    rng = np.random.default_rng(0)
    tiles = rng.integers(-128, 128, (TILES, spec.height, spec.width), np.int8)
    n = args.threads
    with Interpreters(bundle, "litert", 1) as one, Interpreters(bundle, "litert", n) as many:
        ways: dict[str, Callable[[], object]] = {
            "1 interpreter, 1 thread": lambda: one.submit(list(tiles)).wait(),
            f"{n} interpreters, 1 thread each": lambda: many.submit(list(tiles)).wait(),
            f"1 interpreter, {n} threads": one_interpreter(bundle, n, 1, tiles),
        }
        try:
            batched = one_interpreter(bundle, n, BATCH, tiles)
            ways[f"1 interpreter, {n} threads, batches of {BATCH}"] = batched
        except (RuntimeError, ValueError) as error:
            print(f"batches: not possible with this model ({str(error).splitlines()[0]})")
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(args.rounds + 1):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                if number:
                    seconds[name].append(time.perf_counter() - started)
    first = statistics.median(next(iter(seconds.values())))
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:<40}{TILES / median:8.0f} tiles/s  x{first / median:.2f}")


if __name__ == "__main__":
    main()
