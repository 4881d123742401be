"""A million queued products: how long they take to rank, and how much memory.

    python -m benchmarks.speed.ranking [--short] [--json]

The products are of 200 swaths: records, thumbnails and images of detections, records of other
tiles, with every rule of the ranking asked for. Memory is the peak that Python and NumPy allocate
while they rank (tracemalloc), without the table itself, which is given beside it.
"""

from __future__ import annotations

import time
import tracemalloc

import numpy as np

from benchmarks.harness import arguments, medians, report, turns
from winnow_edge.mission import Mission, parse_mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import rank
from winnow_edge.products.table import COLUMNS, ProductTable

NAMES = ("other", "crater", "dark dune", "slope streak")
SWATHS = 200
CAMERA = 'name = "bench"\n[instrument.camera]\nbundle = "x"\n'
RULES = """
[ranking]
ageing = 0.05
bad_share = 0.2
[class.crater]
utility = 1.0
at_most_bytes = 2_000_000
precision = 0.7
[class."dark dune"]
utility = 3.0
at_least = 20
[class."slope streak"]
utility = 5.0
deadline = 12
"""


def queue(count: int) -> ProductTable:
    """`count` products, a tenth of them of detections."""
    rng = np.random.default_rng(0)
    columns = np.zeros(count, COLUMNS)
    columns["id"] = np.arange(1, count + 1)
    columns["swath"] = np.arange(count) * SWATHS // count + 1
    found = rng.random(count) < 0.1
    columns["tile"] = np.arange(count) // 3
    columns["detection"], columns["tiles"] = found, 1
    columns["kind"] = np.where(found, np.arange(count) % 3 + 1, Kind.RECORD)
    columns["class_index"] = np.where(found, np.arange(count) // 3 % 3 + 1, 0)
    columns["posterior"] = rng.random(count)
    sizes = np.array([0, 26, 650, 5000])
    columns["bytes"] = sizes[columns["kind"]] + (columns["kind"] > 1) * rng.integers(0, 300, count)
    swaths = range(1, SWATHS + 1)
    return ProductTable(
        columns,
        dict.fromkeys(swaths, NAMES),
        {swath: (SWATHS - swath) // 10 for swath in swaths},
        {swath: "bad" if swath % 7 == 0 else "good" for swath in swaths},
    )


def peak(table: ProductTable, policy: str, mission: Mission) -> float:
    """MB that ranking takes at most beside the table."""
    tracemalloc.start()
    rank(table, policy, mission)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 1e6


def main() -> int:
    args = arguments(__doc__).parse_args()
    table = queue(100_000 if args.short else 1_000_000)
    ways = {
        "utility-per-byte": ("utility-per-byte", parse_mission(CAMERA)),
        "utility-per-byte, every rule": ("utility-per-byte", parse_mission(CAMERA + RULES)),
        "fifo": ("fifo", parse_mission(CAMERA)),
        "confidence": ("confidence", parse_mission(CAMERA)),
    }
    spent = medians(
        turns(
            {name: lambda way=way: rank(table, *way) for name, way in ways.items()},
            1 if args.short else 5,
            clock=time.thread_time,
        )
    )
    rows = [
        {
            "order": name,
            "products": len(table),
            "s": spent[name],
            "MB": peak(table, *way),
            "table MB": table.columns.nbytes / 1e6,
        }
        for name, way in ways.items()
    ]
    report(args, rows, ["s of processor time, median of five after a first."])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
