"""Does the interval of an audit hold the recall? Labelled tiles, drawn 2,000 times.

    python -m benchmarks.finding.audit [--seeds N] [--runs] [--short] [--json] [--data ROOT]

What a shipped bundle says of the val tiles of hirise-v3, which it has not been trained on, and
their labels, repeated at random to a swath of 100,000 tiles. Each seed draws 1 % of it as the board
does (`winnow_edge.products.audit.drawn`); the ground's estimate of each class's recall and of the
share of tiles in which it is missed is compared with the whole swath's. With --runs tiles of one
class lie side by side, as features that fill many tiles do.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.finding.value import ACROSS, BUNDLE, SET, labelled, laid_out, side_by_side
from benchmarks.harness import arguments, data_root, report
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.loop.flight import Flight
from winnow_edge.products.audit import drawn
from winnow_edge.products.encode import decode_record
from winnow_edge.products.kinds import Flag, Kind
from winnow_ground.audit import Audited, Estimate, estimate

TILES, SHARE, SEEDS = 100_000, 0.01, 2000


def judged(root: Path, most: int | None) -> list[Audited]:
    """What the net said of each labelled tile, and what it shows."""
    side = open_bundle(find_bundle(BUNDLE)).manifest.input.height
    tiles = labelled(root, most)
    pixels, _ = laid_out(tiles, side)
    with tempfile.TemporaryDirectory() as folder:
        swath = Path(folder) / "val.png"
        Image.fromarray(pixels).save(swath)
        with Flight(side_by_side(side), Path(folder) / "store") as flight:
            flight.run(swath)
            store = flight.store
            (about,) = store.swaths()
            heads = [
                decode_record(store.data(p.id)).record for p in store.products(kinds=(Kind.RECORD,))
            ]
    found = []
    for head in heads:
        name = tiles[head.box.line // side * ACROSS + head.box.sample // side][1]
        said = about.classes[head.class_index] if head.flags & Flag.DETECTION else None
        found.append(Audited(said, frozenset() if name == "other" else frozenset({name})))
    return found


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of the data sets")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="draws (2000)")
    parser.add_argument("--runs", action="store_true", help="tiles of one class side by side")
    args = parser.parse_args()
    tiles = judged(data_root(args, SET), 20 * ACROSS if args.short else None)
    chosen = np.random.default_rng(0).integers(0, len(tiles), TILES)
    if args.runs:
        shows = [" ".join(sorted(tiles[n].shows)) for n in range(len(tiles))]
        chosen = chosen[np.argsort(np.array(shows)[chosen], kind="stable")]
    swath = [tiles[n] for n in chosen]
    true: dict[str, Estimate] = {one.class_name: one for one in estimate(swath)}
    tally = {name: [0, 0, 0, 0.0] for name in true}
    seeds = 20 if args.short else args.seeds
    for seed in range(seeds):
        sample = [swath[n] for n in np.flatnonzero(drawn(seed, "val", 0, TILES, SHARE))]
        for one in estimate(sample):
            whole, counts = true[one.class_name], tally[one.class_name]
            counts[1] += 1
            counts[2] += one.missed_share[1] <= whole.missed_share[0] <= one.missed_share[2]
            if one.recall is None or whole.recall is None:
                counts[0] += 1  # nothing is claimed
                continue
            counts[0] += one.recall[1] <= whole.recall[0] <= one.recall[2]
            counts[3] += one.recall[2] - one.recall[1]
    rows = [
        {
            "class": name,
            "tiles": true[name].found + true[name].missed,
            "recall": f"{(true[name].recall or (0.0,))[0]:.3f}",
            "recall held": f"{100 * held / max(drawn_in, 1):.1f} %",
            "mean width": f"{width / max(drawn_in, 1):.2f}",
            "missed share held": f"{100 * missed / max(drawn_in, 1):.1f} %",
        }
        for name, (held, drawn_in, missed, width) in tally.items()
    ]
    report(args, rows, [f"{TILES:,} tiles of {len(tiles)} labelled ones, {seeds} seeds, {BUNDLE}."])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
