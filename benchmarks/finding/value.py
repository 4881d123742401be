"""Value after 5 % of the bytes, beside an oracle's: labelled tiles laid out as a swath.

    python -m benchmarks.finding.value [--short] [--json] [--data ROOT]

The val tiles of hirise-v3, resized to the net's input, are laid side by side in random order, each
a tile of the swath, and flown by a shipped bundle that has not been trained on them. A feature is
there where the label is not "other", and pays its class's utility once. One oracle orders the
products on board by what they show; the other could make every product of every labelled tile, so
it is short of nothing that the net missed. Utilities are those of missions/mars-browse.toml.
"""

from __future__ import annotations

import csv
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.harness import ROOT, arguments, data_root, report
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import Instrument, Mission, Tiling, load_mission
from winnow_edge.products.encode import detection_products
from winnow_edge.products.kinds import Box, Detection, Kind
from winnow_edge.products.ranking import rank
from winnow_edge.products.worth import unit_utility
from winnow_ground.findings import ON_BOARD
from winnow_ground.truth import Feature, TruthOfTable, detection_boxes

BUNDLE = "hirise-landmarks"
ACROSS = 16
SHARE = 0.05
SET = "hirise-map-proj-v3"


def labelled(root: Path, most: int | None) -> list[tuple[Path, str]]:
    """The val tiles and their classes, in random order."""
    folder = root / SET
    names = dict(csv.reader((folder / "landmarks_map-proj-v3_classmap.csv").open()))
    lines = (folder / "labels-map-proj-v3_train_val_test.txt").read_text().splitlines()
    rows = [line.split() for line in dict.fromkeys(lines)]
    tiles = [
        (folder / "map-proj-v3" / name, names[label]) for name, label, part in rows if part == "val"
    ]
    tiles = [tile for tile in tiles if tile[0].is_file()]
    order = np.random.default_rng(0).permutation(len(tiles))[:most]
    return [tiles[n] for n in order]


def side_by_side(side: int) -> Mission:
    """Flies the bundle over tiles that lie side by side."""
    return replace(
        load_mission(ROOT / "missions" / "mars-browse.toml"),
        instruments={"tiles": Instrument(bundle=BUNDLE)},
        tiling=Tiling(hop=side, scales=(1,), merge=1.0),
    )


def laid_out(
    tiles: list[tuple[Path, str]], side: int
) -> tuple[npt.NDArray[np.uint8], list[Feature]]:
    """The swath, uint8, and its features."""
    rows = len(tiles) // ACROSS
    swath = np.zeros((rows * side, ACROSS * side), np.uint8)
    features = []
    for n, (path, name) in enumerate(tiles[: rows * ACROSS]):
        box = Box(n // ACROSS * side, n % ACROSS * side, side, side)
        with Image.open(path) as image:
            tile = image.convert("L").resize((side, side), Image.Resampling.BOX)
        swath[box.line : box.line + side, box.sample : box.sample + side] = np.asarray(tile)
        if name != "other":
            features.append(Feature(name, box))
    return swath, features


def oracle_of_labels(
    swath: npt.NDArray[np.uint8], features: list[Feature], mission: Mission, budget: float
) -> float:
    """Value that the best products of all labelled tiles have within the budget."""
    names = tuple(sorted({feature.class_name for feature in features}))
    offers = []
    for feature in features:
        box, index = feature.box, names.index(feature.class_name)
        tile = swath[box.line : box.line + box.lines, box.sample : box.sample + box.samples]
        found = Detection(0, box, 1, index, 1.0, tile)
        sizes = {Kind.RECORD: 24}
        sizes |= {p.kind: len(p.data) for p in detection_products(found, mission.products, 1)}
        for kind, size in sizes.items():
            offers.append((unit_utility(kind, index, True, mission, names), size))
    offers.sort(key=lambda offer: offer[0] / offer[1], reverse=True)
    spent = np.cumsum([size for _, size in offers])
    return float(
        sum(unit for (unit, _), so_far in zip(offers, spent, strict=True) if so_far <= budget)
    )


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of the data sets")
    args = parser.parse_args()
    root = data_root(args, SET)
    side = open_bundle(find_bundle(BUNDLE)).manifest.input.height
    tiles = labelled(root, 10 * ACROSS if args.short else None)
    pixels, features = laid_out(tiles, side)
    mission = side_by_side(side)
    with tempfile.TemporaryDirectory() as folder:
        swath = Path(folder) / "val.png"
        Image.fromarray(pixels).save(swath)
        with Flight(mission, Path(folder) / "store") as flight:
            flight.run(swath)
            table = flight.store.table(ON_BOARD)
            laid = TruthOfTable.of(table, detection_boxes(flight.store), {1: features}, mission)
    budget = SHARE * float(table.columns["bytes"].sum())
    orders = {
        name: rank(table, name, mission)
        for name in ("utility-per-byte", "diversity", "confidence", "fifo")
    }
    orders["oracle of what is on board"] = laid.oracle()
    value = {}
    for name, order in orders.items():
        within = np.cumsum(table.columns["bytes"][order], dtype=np.int64) <= budget
        value[name] = float(laid.gains(order)[within].sum())
    value["oracle of all labels"] = oracle_of_labels(pixels, features, mission, budget)
    best, all_labels = value["oracle of what is on board"], value["oracle of all labels"]
    rows = [
        {
            "order": name,
            "value after 5 %": f"{worth:.1f}",
            "of the oracle on board": f"{100 * worth / best:.1f} %",
            "of the oracle of labels": f"{100 * worth / all_labels:.1f} %",
        }
        for name, worth in value.items()
    ]
    what = f"{len(tiles)} val tiles, {len(features)} features, {budget:,.0f} bytes, {BUNDLE}."
    report(args, rows, [what])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
