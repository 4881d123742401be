"""What merging costs and saves: features shown, boxes that fit, detections and bytes, by rule.

Rendered strips are flown once without merging (`merge = 1`). The rules are then applied to the
detections, each greedy within a class (`winnow_edge.loop.merging`). A feature is shown if a
detection of its class shows it (`winnow_ground.truth.shown_by`). "Wide first" keeps the coarser
scale first instead of the higher posterior. "Slope" merges what lies beside, too, where two between
have so many times the odds; the mission's rule is among them. A box fits a feature if their
intersection over union reaches a third or nearly (FIT), each once: that of the best tile, or the
outline. Real strips have no truth: their bytes alone are
counted, in two flights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import harness
from winnow_edge.loop.flight import Flight
from winnow_edge.loop.merging import BETWEEN, CLEARLY, Told, outline_of
from winnow_edge.mission import Mission, load_mission
from winnow_edge.products.encode import decode_head
from winnow_edge.products.kinds import Box, Kind
from winnow_ground.scene.files import write_scene
from winnow_ground.scene.layout import render_scene
from winnow_ground.truth import Feature, load_truth, shown_by

MISSION = harness.ROOT / "missions" / "mars-browse.toml"
COLUMNS = (
    *("detections", "shown", "at scale 1", "small, at scale 2 only", "show none", "bytes"),
    *("tiles fit", "outlines fit", "dark dunes", "bright dunes"),
)
FIT = 0.3
SMALL = 32
"""Side in full-resolution pixels under which a feature is but a few pixels at scale 2."""

Matrix = npt.NDArray[np.bool_]


@dataclass
class Strip:
    """The detections of one flight without merging, and which features each shows."""

    boxes: list[Box]
    truth: list[Feature]
    names: npt.NDArray[np.str_]
    overlap: npt.NDArray[np.float64]
    iou: npt.NDArray[np.float64]
    same_class: Matrix
    posterior: npt.NDArray[np.float64]
    scale: npt.NDArray[np.int64]
    shows: Matrix
    size: npt.NDArray[np.int64]
    small: npt.NDArray[np.bool_]
    records: int
    """Bytes of everything but the detections' pictures."""


Rule = tuple[bool, Callable[[Strip], Matrix]]
"""Whether wide tiles come first, and which pairs touch."""


def limit(same: float, across: float) -> Callable[[Strip], Matrix]:
    """Touching above these overlaps, within a scale and across scales."""

    def touching(s: Strip) -> Matrix:
        one = s.scale[:, None] == s.scale
        return np.where(one, s.overlap > same, s.overlap > across)

    return touching


def slope(times: float) -> Callable[[Strip], Matrix]:
    """Touching above 0.3, or above half of it with two between of so many times the odds."""

    def touching(s: Strip) -> Matrix:
        touch = (s.overlap > 0.3) & s.same_class
        np.fill_diagonal(touch, False)
        p, q = s.posterior[:, None], s.posterior
        clearly = touch & (p * (1 - q) >= times * q * (1 - p))
        higher = touch.astype(np.float32) @ clearly.astype(np.float32)  # [i, j]: over j, by i
        between = np.where(p > q, higher, higher.T)
        return (s.overlap > 0.3) | ((s.overlap > 0.15) & (between >= BETWEEN))

    return touching


RULES: dict[str, Rule] = {
    **{f"{n}": (False, limit(n, n)) for n in (0.1, 0.3, 0.5, 1.0)},
    **{f"0.3, slope {n}": (False, slope(n)) for n in (1, 2, CLEARLY, 8)},
    "IoU 0.14": (False, lambda s: s.iou > 0.14),
    "IoU 0.2": (False, lambda s: s.iou > 0.2),
    "0.3, across scales 0.5": (False, limit(0.3, 0.5)),
    "0.3, not across scales": (False, limit(0.3, 1.0)),
    "0.3, half-overlapping kept from 0.95": (
        False,
        lambda s: (s.overlap > 0.5) | ((s.overlap > 0.3) & (s.posterior[None] <= 0.95)),
    ),
    "wide first, 0.3": (True, limit(0.3, 0.3)),
    "wide first, 0.3, across scales 0.5": (True, limit(0.3, 0.5)),
    "wide first, 0.1, across scales 0.5": (True, limit(0.1, 0.5)),
}


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--bundle", default="hirise-landmarks")
    parser.add_argument("--seeds", default="1-8", metavar="FIRST-LAST")
    parser.add_argument("--lines", type=int, default=5120)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--strips", nargs="+", type=Path, default=[], metavar="STRIP")
    args = parser.parse_args()
    mission = load_mission(MISSION)
    cameras = {k: replace(v, bundle=args.bundle) for k, v in mission.instruments.items()}
    compute = replace(mission.compute, threads=args.threads)
    mission = replace(mission, instruments=cameras, compute=compute)
    if args.strips:
        harness.report(args, [real(mission, strip) for strip in args.strips])
        return
    first, last = map(int, args.seeds.split("-"))
    seeds, lines = ([first], 1024) if args.short else (range(first, last + 1), args.lines)
    strips = [rendered(mission, seed, lines) for seed in seeds]
    rows = [
        {"rule": name, **dict(zip(COLUMNS, tally(strips, rule), strict=True))}
        for name, rule in RULES.items()
    ]
    truth = [feature.class_name for strip in strips for feature in strip.truth]
    dunes = ", ".join(f"{truth.count(n)} {n}s" for n in ("dark dune", "bright dune"))
    harness.report(args, rows, [f"{len(truth)} features ({dunes}) in {len(strips)} strips"])


def tally(strips: Sequence[Strip], rule: Rule) -> tuple[int, ...]:
    """The columns of the table for one rule."""
    rows = []
    for strip in strips:
        kept, of = greedy(strip, rule)
        shows, fine = strip.shows[kept], strip.scale[kept] == 1
        shown, sharp = shows.any(axis=0), shows[fine].any(axis=0)
        rows.append(
            (
                len(kept),
                shown.sum(),
                sharp.sum(),
                (shown & ~sharp & strip.small).sum(),
                (~shows.any(axis=1)).sum(),
                strip.records + strip.size[kept].sum(),
                fitting(strip, kept, [strip.boxes[k] for k in kept]),
                fitting(strip, kept, [outline(strip, k, np.flatnonzero(of == k)) for k in kept]),
                *(np.sum(strip.names[kept] == name) for name in ("dark dune", "bright dune")),
            )
        )
    return tuple(int(n) for n in np.sum(rows, axis=0))


def outline(strip: Strip, kept: int, own: npt.NDArray[np.intp]) -> Box:
    """The outline of a feature, as the flight loop makes it."""
    found = [(strip.boxes[n], int(strip.scale[n]), float(strip.posterior[n])) for n in (kept, *own)]
    return outline_of([Told(*one) for one in found])


def fitting(strip: Strip, kept: Sequence[int], boxes: Sequence[Box]) -> int:
    """Boxes that fit a feature of their class, best first, each and each feature once."""
    pairs = [
        (iou(box, feature.box), number, at)
        for number, (box, name) in enumerate(zip(boxes, strip.names[kept], strict=True))
        for at, feature in enumerate(strip.truth)
        if feature.class_name == name
    ]
    taken: tuple[set[int], set[int]] = set(), set()
    for share, number, at in sorted(pairs, reverse=True):
        if share >= FIT and number not in taken[0] and at not in taken[1]:
            taken[0].add(number)
            taken[1].add(at)
    return len(taken[0])


def iou(one: Box, other: Box) -> float:
    """Intersection over union."""
    areas = one.lines * one.samples, other.lines * other.samples
    shared = one.overlap(other) * min(areas)
    return shared / (sum(areas) - shared)


def greedy(strip: Strip, rule: Rule) -> tuple[list[int], npt.NDArray[np.intp]]:
    """The detections that are kept, and whose each of the others is (-1: its own)."""
    wide_first, touching = rule
    width = strip.scale if wide_first else np.zeros_like(strip.scale)
    touches = touching(strip) & strip.same_class
    np.fill_diagonal(touches, False)
    dropped = np.zeros(len(width), bool)
    of = np.full(len(width), -1)
    kept = []
    for index in np.lexsort((np.arange(len(width)), -strip.posterior, -width)):
        if not dropped[index]:
            kept.append(int(index))
            left = touches[index] & (of < 0)
            left[kept] = False
            of[left] = index
            dropped |= left
    return kept, of


def rendered(mission: Mission, seed: int, lines: int) -> Strip:
    """Render a strip and fly it without merging."""
    with tempfile.TemporaryDirectory(prefix="winnow-merging-") as folder:
        swath, truth = Path(folder) / "s.png", Path(folder) / "s.json"
        write_scene(render_scene(lines=lines, samples=2048, seed=seed), swath, truth)
        return flown(unmerged(mission), swath, load_truth(truth), Path(folder) / "store")


def flown(mission: Mission, swath: Path, known: Sequence[Feature], folder: Path) -> Strip:
    """Fly a strip; its detections in the order in which they were made."""
    found: dict[tuple[int, int], tuple[Box, int, float, str]] = {}
    sizes: dict[tuple[int, int], int] = {}
    with Flight(mission, folder) as flight:
        total = flight.run(swath).tally.bytes
        (about,) = flight.store.swaths()
        for product in flight.store.products(kinds=(Kind.THUMBNAIL, Kind.IMAGE)):
            data = flight.store.data(product.id)
            record = decode_head(data).record
            key = record.index, record.class_index
            name = about.classes[record.class_index]
            found[key] = record.box, record.scale, record.posterior, name
            sizes[key] = sizes.get(key, 0) + len(data)
    boxes, scales, posteriors, names = zip(*(found[key] for key in sorted(found)), strict=True)
    shows = np.zeros((len(found), len(known)), bool)
    for number, (box, name) in enumerate(zip(boxes, names, strict=True)):
        shows[number, list(shown_by(name, box, known))] = True
    area = np.array([b.lines * b.samples for b in boxes])
    overlap = np.array([[a.overlap(b) for b in boxes] for a in boxes])
    shared = overlap * np.minimum(area[:, None], area)
    size = np.array([sizes[key] for key in sorted(found)])
    return Strip(
        list(boxes),
        list(known),
        np.array(names),
        overlap,
        shared / (area[:, None] + area - shared),
        np.array(names)[:, None] == np.array(names),
        np.array(posteriors),
        np.array(scales),
        shows,
        size,
        np.array([min(f.box.lines, f.box.samples) < SMALL for f in known], bool),
        total - int(size.sum()),
    )


def unmerged(mission: Mission) -> Mission:
    """The mission without merging."""
    return replace(mission, tiling=replace(mission.tiling, merge=1.0))


def real(mission: Mission, strip: Path) -> dict[str, object]:
    """Detections and bytes of a real strip, merged as the mission says and not at all."""
    with tempfile.TemporaryDirectory(prefix="winnow-merging-") as folder:
        with Flight(mission, Path(folder) / "on") as flight:
            on = flight.run(strip).tally
        with Flight(unmerged(mission), Path(folder) / "off") as flight:
            off = flight.run(strip).tally
    return {
        "strip": strip.name.partition("_RED")[0],
        "tiles over threshold": on.hits,
        "detections": on.detections,
        "bytes, merged": on.bytes,
        "not merged": off.bytes,
        "saved": f"{1 - on.bytes / off.bytes:.0%}",
    }


if __name__ == "__main__":
    main()
