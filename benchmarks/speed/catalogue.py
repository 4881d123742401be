"""A catalogue of 3.7 million detections: how long a search takes, and how much memory.

    python -m benchmarks.speed.catalogue [--short] [--json]

As many swaths as HiRISE has browse images of (16,344), eight classes. A search counts every facet
and takes a page of 50; queries are those of a person at a slider. The short form has a tenth of
both. Memory is the greatest of the process (getrusage).
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import arguments, medians, report, turns
from winnow_ground.catalogue.columns import Columns
from winnow_ground.catalogue.facets import Query
from winnow_ground.catalogue.schema import changes, create, open_catalogue

DETECTIONS, SWATHS = 3_700_000, 16_344
CLASSES = ("other", "crater", "dark dune", "slope streak", "bright dune", "impact ejecta",
           "swiss cheese", "spider")  # fmt: skip
SHARES = (0.0, 0.45, 0.3, 0.1, 0.1, 0.02, 0.02, 0.01)
QUERIES = {
    "everything": Query(),
    "confidence 0.9": Query(lowest=0.9),
    "spiders": Query({"class": frozenset(["spider"])}, lowest=0.5),
    "swaths with 20 craters in 2010": Query(
        {"class": frozenset(["crater"]), "year": frozenset(["2010"])}, lowest=0.7, least=20
    ),
    "newest by name": Query(text="01", order="newest"),
    "a box, unsure first": Query(box=(-90.0, 0.0, 0.0, 90.0), order="unsure"),
}


def fill(path: Path, detections: int, swaths: int) -> None:
    """A catalogue of rendered rows."""
    rng = np.random.default_rng(0)
    db = create(path)
    with changes(db, path) as number:
        db.executemany("INSERT INTO class (name) VALUES (?)", [(name,) for name in CLASSES])
        db.execute("INSERT INTO bundle (name) VALUES ('bench')")
        db.executemany(
            "INSERT INTO swath (name, bundle, instrument, sha256, start, latitude, longitude)"
            " VALUES (?, 1, 'hirise', ?, ?, ?, ?)",
            (
                (f"ESP_{i:06d}", f"{i:064x}", f"{2006 + i % 19}-0{1 + i % 9}-01T00:00:00Z",
                 float(rng.uniform(-90, 90)), float(rng.uniform(-180, 180)))
                for i in range(swaths)
            ),
        )  # fmt: skip
        of = rng.integers(1, swaths + 1, detections).tolist()
        shown = (rng.choice(len(CLASSES), detections, p=SHARES) + 1).tolist()
        posterior = rng.beta(5, 1, detections).tolist()
        db.executemany(
            "INSERT INTO tile (swath, number, class, posterior, detection, line, sample, lines,"
            f" samples, changed) VALUES (?, ?, ?, ?, 1, 0, 0, 128, 128, {number})",
            zip(of, range(detections), shown, posterior, strict=True),
        )
    db.close()


def main() -> int:
    args = arguments(__doc__).parse_args()
    part = 10 if args.short else 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalogue.db"
        fill(path, DETECTIONS // part, SWATHS // part)
        db = open_catalogue(path)
        started = time.thread_time()
        columns = Columns(db)
        opened = time.thread_time() - started
        ways = {name: lambda q=query: columns.find(q, most=50) for name, query in QUERIES.items()}
        spent = medians(turns(ways, 2 if args.short else 7, clock=time.thread_time))
        db.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    rows = [
        {"search": name, "finds": columns.find(QUERIES[name]).total, "ms": 1e3 * seconds}
        for name, seconds in spent.items()
    ]
    notes = [
        f"{len(columns):,} detections, opened in {opened:.1f} s, {peak:.0f} MB at most.",
        "ms of processor time, median of seven after a first.",
    ]
    report(args, rows, notes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
