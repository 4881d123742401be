"""What merging costs and saves: features of rendered strips found, detections and bytes, by limit.

A feature is found if a detection of its class shows it (`winnow_ground.truth.shown_by`); without
merging (limit 1.0) every tile over its threshold is a detection.

    python benchmarks/merging.py [--bundle NAME] [--count N] [--lines N]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from winnow_edge.flight import Flight
from winnow_edge.mission import load_mission
from winnow_edge.products import decode_head
from winnow_edge.records import Kind
from winnow_ground.scene.files import write_scene
from winnow_ground.scene.layout import render_scene
from winnow_ground.truth import load_truth, shown_by

LIMITS = (0.1, 0.3, 0.5, 0.7, 1.0)
MISSION = Path(__file__).parents[1] / "missions" / "mars-browse.toml"


def main() -> None:
    """Parse the command line, render, run with every limit, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bundle", default="hirise-landmarks")
    parser.add_argument("--count", type=int, default=4, help="strips, seeds from 1")
    parser.add_argument("--lines", type=int, default=5120)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    mission = load_mission(MISSION)
    cameras = {k: replace(v, bundle=args.bundle) for k, v in mission.instruments.items()}
    rows = {limit: [0, 0, 0, 0] for limit in LIMITS}
    features = 0
    with tempfile.TemporaryDirectory(prefix="winnow-merging-") as folder:
        root = Path(folder)
        for seed in range(1, args.count + 1):
            swath, truth = root / f"{seed}.png", root / f"{seed}.json"
            write_scene(render_scene(lines=args.lines, samples=2048, seed=seed), swath, truth)
            known = load_truth(truth)
            features += len(known)
            for limit, row in rows.items():
                flown = replace(
                    mission,
                    instruments=cameras,
                    tiling=replace(mission.tiling, merge=limit),
                    compute=replace(mission.compute, threads=args.threads),
                )
                with Flight(flown, root / f"store-{limit}") as flight:
                    summary = flight.run(swath)
                    store = flight.store
                    (about,) = [s for s in store.swaths() if s.name == swath.name]
                    found: set[int] = set()
                    false = 0
                    for product in store.products(swath_id=about.id, kinds=(Kind.IMAGE,)):
                        head = decode_head(store.data(product.id)).record
                        shown = shown_by(about.classes[head.class_index], head.box, known)
                        found.update(shown)
                        false += not shown
                row[0] += summary.tally.detections
                row[1] += len(found)
                row[2] += false
                row[3] += summary.tally.bytes
    print(f"{features} features in {args.count} strips")
    print("merge   detections   features found   detections of none      bytes")
    for limit, (detections, found_count, false_count, size) in rows.items():
        print(f"{limit:5}  {detections:11,}  {found_count:15,}  {false_count:18,}  {size:10,}")


if __name__ == "__main__":
    main()
