"""Where the value goes that an oracle would have: thresholds, false detections, order; by sources.

    python -m benchmarks.finding.value_sources [--draws N] [--short] [--json] [--data ROOT]

The swath of benchmarks.finding.value, flown once with low thresholds, after 5 % of its bytes. A
*cap* bounds every class's threshold from above. It is chosen by cross-validation: of each of five
folds of sources by the value on the other four, so that no tile's labels choose its own cap.
Intervals draw sources, all tiles of each together. Between the order of the board and an oracle of
all labels stand an oracle of what is on board, and the board's order without false detections.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.finding.value import ACROSS, BUNDLE, SET, SHARE, labelled, laid_out, side_by_side
from benchmarks.harness import arguments, data_root, report
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import Mission
from winnow_edge.products.encode import decode_record, detection_products
from winnow_edge.products.kinds import Box, Detection, Kind
from winnow_edge.products.ranking import rank
from winnow_edge.products.table import ProductTable
from winnow_edge.products.worth import unit_utility
from winnow_ground.findings import ON_BOARD

CAPS = (1.0, 0.8, 0.65, 0.5, 0.35)
FOLDS, DRAWS = 5, 500
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Flown:
    """Products of a swath of labelled tiles: `tile` (n,) is each product's tile, `right` whether it
    shows what the tile's label says. `offers` are values and bytes (m, 2) of all that could be made
    of every labelled tile, `offered` (m,) the tiles; `sources` (tiles,) their sources."""

    mission: Mission
    thresholds: Floats
    table: ProductTable
    tile: Places
    right: npt.NDArray[np.bool_]
    gain: Floats
    offers: Floats
    offered: Places
    sources: npt.NDArray[np.str_]


class Outcome(NamedTuple):
    """Values: in the board's order, without false detections, of the best order of what is on
    board, of all labels."""

    value: float
    without_false: float
    on_board: float
    labels: float


def flown(root: Path, most: int | None) -> Flown:
    """Fly the tiles with thresholds of at most the lowest cap."""
    manifest = open_bundle(find_bundle(BUNDLE)).manifest
    side = manifest.input.height
    tiles = labelled(root, most)
    pixels, features = laid_out(tiles, side)
    mission = side_by_side(side)
    mission = replace(mission, quick_look=replace(mission.quick_look, bytes=0))
    low = {
        name: replace(rule, threshold=min(CAPS[-1], manifest.thresholds[name]))
        for name, rule in mission.classes.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(pixels).save(Path(folder) / "val.png")
        with Flight(replace(mission, classes=low), Path(folder) / "store") as flight:
            flight.run(Path(folder) / "val.png")
            table = flight.store.table(ON_BOARD)
            table = table[table.columns["kind"] > Kind.SWATH]
            boxes = {
                p.tile_index: decode_record(flight.store.data(p.id)).record.box
                for p in flight.store.products(kinds=(Kind.RECORD,))
            }
    names = table.classes[1]
    place = {n: box.line // side * ACROSS + box.sample // side for n, box in boxes.items()}
    tile = np.array([place[n] for n in table.columns["tile"].tolist()])
    index = np.minimum(table.columns["class_index"], len(names) - 1)
    said = np.array(names)[index]
    shown = np.array([name for _, name in tiles])
    thresholds = np.array([manifest.thresholds.get(name, np.inf) for name in names])
    units = [
        unit_utility(Kind(int(kind)), int(cls), True, mission, names)
        for kind, cls in zip(table.columns["kind"], index, strict=True)
    ]
    offers, offered = _offers(pixels, [feature.box for feature in features], shown, mission)
    return Flown(
        mission,
        thresholds[index],
        table,
        tile,
        table.columns["detection"] & (said == shown[tile]),
        np.array(units),
        offers,
        offered,
        np.array(["_".join(path.name.split("_")[:3]) for path, _ in tiles])[: len(boxes)],
    )


def _offers(
    pixels: npt.NDArray[np.uint8],
    boxes: list[Box],
    shown: npt.NDArray[np.str_],
    mission: Mission,
) -> tuple[Floats, Places]:
    """Values and bytes of all products of all labelled tiles, and the tiles."""
    names = tuple(sorted(set(shown.tolist())))
    offers, offered = [], []
    for box in boxes:
        n = box.line // box.lines * ACROSS + box.sample // box.samples
        index = names.index(shown[n])
        tile = pixels[box.line : box.line + box.lines, box.sample : box.sample + box.samples]
        found = Detection(0, box, 1, index, 1.0, tile)
        made = {p.kind: len(p.data) for p in detection_products(found, mission.products, 1)}
        for kind, size in ({Kind.RECORD: 24} | made).items():
            offers.append((unit_utility(kind, index, True, mission, names), size))
            offered.append(n)
    return np.array(offers, np.float64).reshape(-1, 2), np.array(offered, np.intp)


def judged(flight: Flown, drawn: Places, cap: Floats) -> Outcome:
    """The swath of the tiles `drawn`, some perhaps twice, with a cap for each tile (tiles,)."""
    by_tile = np.argsort(flight.tile, kind="stable")
    first = np.searchsorted(flight.tile[by_tile], drawn, side="left")
    end = np.searchsorted(flight.tile[by_tile], drawn, side="right")
    rows = np.concatenate([by_tile[a:b] for a, b in zip(first, end, strict=True)])
    copies = np.repeat(np.arange(len(drawn)), end - first)
    columns = flight.table.columns[rows].copy()
    columns["id"], columns["tile"] = np.arange(len(rows)), copies
    limit = np.minimum(cap[flight.tile[rows]], flight.thresholds[rows])
    columns["detection"] &= columns["posterior"] >= limit
    kept = columns["detection"] | (columns["kind"] == Kind.RECORD)
    rows, columns = rows[kept], columns[kept]
    gain = np.where(columns["detection"] & flight.right[rows], flight.gain[rows], 0.0)
    size = columns["bytes"].astype(np.float64)
    budget = SHARE * float(size.sum())
    order = rank(replace(flight.table, columns=columns), "utility-per-byte", flight.mission)
    false = columns["detection"][order] & ~flight.right[rows][order]
    offers = flight.offers[
        np.concatenate([np.flatnonzero(flight.offered == n) for n in drawn.tolist()])
    ]
    return Outcome(
        _within(gain[order], size[order], budget),
        _within(gain[order][~false], size[order][~false], budget),
        _best(gain, size, budget),
        _best(offers[:, 0], offers[:, 1], budget),
    )


def _best(gain: Floats, size: Floats, budget: float) -> float:
    order = np.argsort(-gain / size, kind="stable")
    return _within(gain[order], size[order], budget)


def _within(gain: Floats, size: Floats, budget: float) -> float:
    """The gain of what fits, in order; what does not is passed over, as in a contact."""
    total = 0.0
    for worth, octets in zip(gain.tolist(), size.tolist(), strict=True):
        if octets <= budget:
            budget -= octets
            total += worth
    return total


def chosen(flight: Flown, seed: int = 0) -> Floats:
    """The cap of each tile, chosen on the folds of sources that it is not in: (tiles,)."""
    sources = np.unique(flight.sources)
    fold_of = dict(
        zip(sources, np.random.default_rng(seed).permutation(len(sources)) % FOLDS, strict=True)
    )
    folds = np.array([fold_of[source] for source in flight.sources])
    caps = np.empty(len(folds))
    for fold in range(FOLDS):
        others = np.flatnonzero(folds != fold)
        outcomes = [judged(flight, others, np.full(len(folds), cap)) for cap in CAPS]
        caps[folds == fold] = CAPS[int(np.argmax([o.value / o.labels for o in outcomes]))]
    return caps


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of the data sets")
    parser.add_argument("--draws", type=int, default=DRAWS, metavar="N", help="of sources (500)")
    args = parser.parse_args()
    flight = flown(data_root(args, SET), 20 * ACROSS if args.short else None)
    every, sources = np.arange(len(flight.sources)), np.unique(flight.sources)
    ways = {
        "the bundle's": np.ones(len(every)),
        "at most, cross-validated": chosen(flight),
        **{f"at most {cap}": np.full(len(every), cap) for cap in CAPS[1:]},
    }
    rng = np.random.default_rng(1)
    draws = [
        np.concatenate(
            [np.flatnonzero(flight.sources == s) for s in rng.choice(sources, len(sources))]
        )
        for _ in range(10 if args.short else args.draws)
    ]
    rows = []
    for name, caps in ways.items():
        whole = judged(flight, every, caps)
        again = [judged(flight, draw, caps) for draw in draws]
        rows.append(
            {
                "thresholds": name,
                "value": f"{whole.value:.1f}",
                "without false": f"{whole.without_false:.1f}",
                "oracle on board": f"{whole.on_board:.1f}",
                "oracle of labels": f"{whole.labels:.1f}",
                "of the oracle on board": _said(
                    whole.value / whole.on_board, [o.value / max(o.on_board, 1e-9) for o in again]
                ),
                "of the oracle of labels": _said(
                    whole.value / whole.labels, [o.value / max(o.labels, 1e-9) for o in again]
                ),
            }
        )
    caps = ", ".join(f"{c:g}" for c in np.unique(ways["at most, cross-validated"]))
    what = f"{len(every)} val tiles of {len(sources)} sources, {BUNDLE}, {len(draws)} draws; "
    report(args, rows, [what + f"caps that cross-validation chose: {caps}."])
    return 0


def _said(share: float, again: list[float]) -> str:
    low, high = np.percentile(again, [2.5, 97.5])
    return f"{100 * share:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


if __name__ == "__main__":
    raise SystemExit(main())
