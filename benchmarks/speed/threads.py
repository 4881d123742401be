"""Ways of using n cores: one interpreter with n threads, the same in batches of 8, or n
single-thread interpreters in n Python threads, as `--threads` does. In turns, medians of wall time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import harness
from winnow_edge.bundle import Bundle, find_bundle, open_bundle
from winnow_edge.loop.interpreters import Interpreters, cores

BATCH = 8


def one_interpreter(bundle: Bundle, threads: int, batch: int, tiles: Any) -> harness.Way:
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
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--bundle", default="hirise-landmarks")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    count, rounds, n = (80, 3, args.threads) if args.short else (480, args.rounds, args.threads)
    bundle, notes = open_bundle(find_bundle(args.bundle)), []
    spec = bundle.manifest.input
    rng = np.random.default_rng(0)
    tiles = rng.integers(-128, 128, (count, spec.height, spec.width), np.int8)
    with Interpreters(bundle, "litert", 1) as one, Interpreters(bundle, "litert", n) as many:
        ways: dict[str, harness.Way] = {
            "1 interpreter, 1 thread": lambda: one.submit(list(tiles)).wait(),
            f"{n} interpreters, 1 thread each": lambda: many.submit(list(tiles)).wait(),
            f"1 interpreter, {n} threads": one_interpreter(bundle, n, 1, tiles),
        }
        try:
            batched = one_interpreter(bundle, n, BATCH, tiles)
            ways[f"1 interpreter, {n} threads, batches of {BATCH}"] = batched
        except (RuntimeError, ValueError) as error:
            notes.append(f"batches: not possible with this model ({str(error).splitlines()[0]})")
        middle = harness.medians(harness.turns(ways, rounds))
    first = next(iter(middle.values()))
    rows = [
        {"way": name, "tiles/s": count / seconds, "speed-up": f"{first / seconds:.2f}"}
        for name, seconds in middle.items()
    ]
    harness.report(args, rows, notes)


if __name__ == "__main__":
    main()
