"""Hits laid over what is known of their picture: which are right, and which features are found.

What is judged are the hits that are kept: the loop merges windows on one feature, and each that is
left becomes a product. They are matched as in COCO (Lin et al. 2014, `COCOeval.evaluateImg`) and
Pascal VOC (Everingham et al. 2010, section 4.2), class by class:

- A window *can show* a feature of its class where the two share half of the smaller box and the
  feature's side is SMALLEST to LARGEST of the window's. The overlap is of the smaller box, not of
  the union as there, since a window is no outline: its size is that of its scale.
- From the highest posterior down, each hit claims of the features that it can show, and that no hit
  before it has claimed, the one with the largest intersection over union. The hit is *true*, the
  feature *found*: a hit finds one feature at most, a feature is found by one hit.
- A hit whose features are all claimed is a *duplicate*: false in VOC, so it is in `precision`; it
  does show a feature, so `precision_shown` counts it as right.
- A hit over nothing but features that it cannot show, or whose side is out of the range that is
  judged, is *beside* the point: neither right nor false, as COCO ignores objects out of the area
  range. Such features out of range are not missed either. Features under FAINTEST of the window
  excuse no hit: they are a few pixels of the tile, and nearly every large window holds one.
- Every other hit is *false* where its class is known in the picture, else *unknown*.
- A *field* is shown by every window whose middle lies in it; all of these are true, as every
  detection may match a crowd in COCO.

The order is that of posteriors, so a threshold cuts hits off and changes no verdict of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow_edge.products.kinds import Box
from winnow_train.swaths.fly import Flown, Hit
from winnow_train.windows.cut import CRATER
from winnow_train.windows.pictures import Feature, Picture, read_truth, truth_path

MATCH_OVERLAP = 0.5
SMALLEST, LARGEST = 1 / 12, 2.0
"""Sides of a feature that a window can show, as shares of the window's."""
FAINTEST = 1 / 24
"""Least side, as a share of the window's, of a feature that there is anything to see of."""
EVERY_SIZE = (0.0, float("inf"))
TRUE, DUPLICATE, FALSE = "true", "duplicate", "false"
BESIDE, UNKNOWN = "beside", "unknown"

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    """What a hit is: TRUE, DUPLICATE, FALSE, BESIDE or UNKNOWN; the features that it can show and
    are judged, and the one of them that it finds."""

    what: str
    shows: tuple[int, ...] = ()
    finds: int | None = None


@dataclass(frozen=True)
class Judged:
    """A flown picture with a verdict on each of its hits that is kept, None for the others.

    `known` are the classes judged in it, `counted` the numbers of the features within the range of
    sides that is judged. `everywhere[class][scale]`: of the windows that flew, how many can show a
    feature, and how many are told right or false.
    """

    flown: Flown
    known: frozenset[str]
    counted: frozenset[int]
    verdicts: tuple[Verdict | None, ...]
    everywhere: Mapping[str, Mapping[int, tuple[int, int]]]

    def features(self, name: str) -> list[int]:
        """Numbers of the features of a class that are judged."""
        every = enumerate(self.flown.picture.features)
        return [n for n, f in every if f.class_name == name and n in self.counted]

    def told(self, name: str, threshold: float) -> list[tuple[Hit, Verdict]]:
        """The hits of a class that are kept and reach a threshold, with their verdicts."""
        return [
            (hit, verdict)
            for hit, verdict in zip(self.flown.hits, self.verdicts, strict=True)
            if verdict and hit.class_name == name and hit.posterior >= threshold
        ]


def side_of(box: Box) -> int:
    """The longer side, in pixels of the picture."""
    return max(box.lines, box.samples)


def known_in(pictures: Sequence[Picture]) -> list[frozenset[str]]:
    """The classes of which everything is known, of each picture.

    Those of its looks: absent, boxed there, or craters if `complete` says so. And, in a picture
    with a truth file, those that the truth file of any of the pictures names.
    """
    files = [
        {f.class_name for f in read_truth(path)[1]} if path.is_file() else None
        for path in (truth_path(p.path) for p in pictures)
    ]
    named = frozenset().union(*(some for some in files if some))
    found = []
    for picture, mine in zip(pictures, files, strict=True):
        looked = {*picture.absent, *(f.class_name for f in picture.features)}
        if picture.complete is not None:
            looked.add(CRATER)
        found.append(frozenset(looked) | (named if mine is not None else frozenset()))
    return found


def lay_over(flown: Sequence[Flown], sizes: tuple[float, float] = EVERY_SIZE) -> list[Judged]:
    """Lay the hits of every picture over what is known of it.

    Features with a side under the first of `sizes` or over the second, in pixels of the picture,
    are not judged; fields always are.
    """
    known = known_in([one.picture for one in flown])
    return [_judged(one, names, sizes) for one, names in zip(flown, known, strict=True)]


def _judged(one: Flown, known: frozenset[str], sizes: tuple[float, float]) -> Judged:
    features = one.picture.features
    counted = frozenset(
        n for n, f in enumerate(features) if f.field or sizes[0] <= side_of(f.box) <= sizes[1]
    )
    verdicts: list[Verdict | None] = [None] * len(one.hits)
    for name in {hit.class_name for hit in one.hits}:
        mine = [n for n, hit in enumerate(one.hits) if hit.kept and hit.class_name == name]
        mine.sort(key=lambda n: (-one.hits[n].posterior, one.hits[n].tile))
        for n, verdict in zip(mine, _match(one, mine, name, known, counted), strict=True):
            verdicts[n] = verdict
    everywhere = {name: _everywhere(one, name, counted) for name in sorted(known)}
    return Judged(one, known, counted, tuple(verdicts), everywhere)


def _match(
    one: Flown, mine: Sequence[int], name: str, known: frozenset[str], counted: frozenset[int]
) -> list[Verdict]:
    """Verdicts on some hits of a class, in the order in which they claim."""
    features = one.picture.features
    boxes = [one.hits[n].box for n in mine]
    shows, beside = _relations(_corners(boxes), features, name, counted)
    claimed, found = set[int](), []
    for box, row, aside in zip(boxes, shows, beside, strict=True):
        able = tuple(np.flatnonzero(row).tolist())
        free = [n for n in able if n not in claimed]
        if free:
            finds = max(free, key=lambda n: (_union_overlap(box, features[n].box), -n))
            if not features[finds].field:
                claimed.add(finds)
            found.append(Verdict(TRUE, able, finds))
        elif able:
            found.append(Verdict(DUPLICATE, able))
        elif aside:
            found.append(Verdict(BESIDE))
        else:
            found.append(Verdict(FALSE if name in known else UNKNOWN))
    return found


def _everywhere(one: Flown, name: str, counted: frozenset[int]) -> dict[int, tuple[int, int]]:
    """By scale: windows that flew and can show a feature of the class, and those told of."""
    shows, beside = _relations(one.boxes, one.picture.features, name, counted)
    right = shows.any(axis=1)
    told = right | ~beside
    return {
        int(scale): (
            int(right[one.scales == scale].sum()),
            int(told[one.scales == scale].sum()),
        )
        for scale in np.unique(one.scales)
    }


def _corners(boxes: Sequence[Box]) -> npt.NDArray[np.int64]:
    rows = [(b.line, b.sample, b.line + b.lines, b.sample + b.samples) for b in boxes]
    return np.array(rows, np.int64).reshape(-1, 4)


def _relations(
    windows: npt.NDArray[np.int64],
    features: Sequence[Feature],
    name: str,
    counted: frozenset[int],
) -> tuple[Bools, Bools]:
    """Of windows [n, 4] (first line and sample, those behind the last): which features [n, m] of
    the class they can show and are judged, and whether they lie over any other of it [n] of which
    there is something to see."""
    shows = np.zeros((len(windows), len(features)), bool)
    beside = np.zeros(len(windows), bool)
    size = windows[:, 2:] - windows[:, :2]
    window = size.max(axis=1)
    for number, feature in enumerate(features):
        if feature.class_name != name:
            continue
        first, last = _corners([feature.box])[0, :2], _corners([feature.box])[0, 2:]
        if feature.field:
            middle = (windows[:, :2] + windows[:, 2:]) / 2
            shows[:, number] = ((first <= middle) & (middle < last)).all(axis=1)
            continue
        shared = np.minimum(windows[:, 2:], last) - np.maximum(windows[:, :2], first)
        smaller = np.minimum(size.prod(axis=1), (last - first).prod())
        meets = np.maximum(shared, 0).prod(axis=1) >= MATCH_OVERLAP * smaller
        side = side_of(feature.box)
        fits = (SMALLEST * window <= side) & (side <= LARGEST * window) & (number in counted)
        shows[:, number] = meets & fits
        beside |= meets & ~fits & (side >= FAINTEST * window)
    return shows, beside


def _union_overlap(a: Box, b: Box) -> float:
    shared = a.overlap(b) * min(a.lines * a.samples, b.lines * b.samples)
    return shared / (a.lines * a.samples + b.lines * b.samples - shared)
