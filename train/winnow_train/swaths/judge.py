"""What hits on swaths are worth: true, false or unknown, and the figures that follow.

A hit of a class *shows* a feature of that class where the two share half of the smaller box and the
feature is neither too small nor too large for the window to tell what it is; it is *beside the
point* where it meets only features that are. In a picture a class is judged if it is absent there,
or if its boxes are known: then every other hit of it is false. Of other classes nothing is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow_base.bootstrap import Draws, interval, ratio
from winnow_edge.products.kinds import Box
from winnow_train.report_data import FEWEST_SOURCES
from winnow_train.swaths.fly import FLOOR, Flown, Hit
from winnow_train.windows.pictures import Feature, truth_path

MATCH_OVERLAP = 0.5
SMALLEST, LARGEST = 1 / 12, 2.0
"""Sides of a feature that a window can show, as shares of the window's."""
SIZES = (0, 16, 24, 40, 80, 160, 320)
"""Sides, in pixels of the picture, between which recall is told."""
FIRST = (1, 5, 10, 20, 50)
TRUE, FALSE, BESIDE, UNKNOWN = "true", "false", "beside", "unknown"


@dataclass(frozen=True)
class Verdict:
    """What a hit is: one of TRUE, FALSE, BESIDE, UNKNOWN, and the features that it shows."""

    what: str
    shows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A flown picture with a verdict on each of its hits, and the classes judged in it."""

    flown: Flown
    known: frozenset[str]
    verdicts: tuple[Verdict, ...]


def lay_over(flown: Sequence[Flown]) -> list[Judged]:
    """Lay the hits of every picture over what is known of it.

    A class that any truth file among the pictures' names is known in all that have a truth file.
    """
    by_files = {f.class_name for one in flown if one.picture.claimed for f in one.picture.features}
    found = []
    for one in flown:
        picture = one.picture
        known = {f.class_name for f in picture.features} | set(picture.absent)
        if picture.claimed or truth_path(picture.path).is_file():
            known |= by_files
        verdicts = tuple(_verdict(hit, picture.features, known) for hit in one.hits)
        found.append(Judged(one, frozenset(known), verdicts))
    return found


def _verdict(hit: Hit, features: Sequence[Feature], known: Collection[str]) -> Verdict:
    shows, beside = [], False
    for number, feature in enumerate(features):
        if feature.class_name != hit.class_name:
            continue
        if feature.field:
            if _holds_middle(feature.box, hit.box):
                shows.append(number)
        elif hit.box.overlap(feature.box) >= MATCH_OVERLAP:
            side = max(feature.box.lines, feature.box.samples)
            window = max(hit.box.lines, hit.box.samples)
            if SMALLEST * window <= side <= LARGEST * window:
                shows.append(number)
            else:
                beside = True
    if shows:
        return Verdict(TRUE, tuple(shows))
    if beside:
        return Verdict(BESIDE)
    return Verdict(FALSE if hit.class_name in known else UNKNOWN)


def _holds_middle(box: Box, other: Box) -> bool:
    line, sample = other.line + other.lines / 2, other.sample + other.samples / 2
    rows = box.line <= line < box.line + box.lines
    return rows and box.sample <= sample < box.sample + box.samples


def figures(judged: Sequence[Judged], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Figures of all classes judged, at `thresholds` (class -> posterior).

    `classes[name]`: features and those found, `recall` with its interval over swaths (none for
    fewer than three) and by size, true, false and other hits that are kept, `precision`,
    `average_precision`, false alarms per 1,000 windows and per swath. `first[k]`: what the first k
    pictures of every swath are, counted together. `swaths`: the same counts of each.
    """
    classes = {}
    for name, threshold in thresholds.items():
        if any(name in one.known for one in judged):
            classes[name] = _of_class(judged, name, max(threshold, FLOOR))
    return {
        "n": len(judged),
        "windows": sum(one.flown.windows for one in judged),
        "classes": classes,
        "first": {str(k): first_products(judged, thresholds, k) for k in FIRST},
        "swaths": [_of_swath(one, thresholds) for one in judged],
    }


def _of_class(judged: Sequence[Judged], name: str, threshold: float) -> dict[str, Any]:
    some = [one for one in judged if name in one.known]
    rows = np.array([_counts(one, name, threshold) for one in some], float)  # [swaths, 5]
    there, found, true, false, beside = rows.sum(axis=0)
    windows = sum(one.flown.windows for one in some)
    return {
        "threshold": threshold,
        "swaths": len(some),
        "features": int(there),
        "found": int(found),
        "recall": _share(rows[:, 1], rows[:, 0]),
        "recall_by_size": _by_size(some, name, threshold),
        "true": int(true),
        "false": int(false),
        "beside": int(beside),
        "precision": _share(rows[:, 2], rows[:, 2] + rows[:, 3]),
        "average_precision": average_precision(some, name),
        "false_per_1000_windows": float(1000 * false / windows) if windows else None,
        "false_per_swath": float(false / len(some)),
        "swaths_with_false": int((rows[:, 3] > 0).sum()),
    }


def _counts(one: Judged, name: str, threshold: float) -> tuple[int, int, int, int, int]:
    """Features, those found, and kept hits that are true, false, beside the point."""
    features = [n for n, f in enumerate(one.flown.picture.features) if f.class_name == name]
    found = _found(one, name, threshold)
    kept = [
        v.what
        for hit, v in zip(one.flown.hits, one.verdicts, strict=True)
        if hit.kept and hit.class_name == name and hit.posterior >= threshold
    ]
    return len(features), len(found), kept.count(TRUE), kept.count(FALSE), kept.count(BESIDE)


def _found(one: Judged, name: str, threshold: float) -> set[int]:
    """Features that any hit shows, merged into another or not."""
    return {
        n
        for hit, v in zip(one.flown.hits, one.verdicts, strict=True)
        if hit.class_name == name and hit.posterior >= threshold
        for n in v.shows
    }


def _by_size(some: Sequence[Judged], name: str, threshold: float) -> list[dict[str, Any]]:
    there, seen = defaultdict[int, int](int), defaultdict[int, int](int)
    for one in some:
        found = _found(one, name, threshold)
        for number, feature in enumerate(one.flown.picture.features):
            if feature.class_name == name:
                side = max(feature.box.lines, feature.box.samples)
                size = int(np.searchsorted(SIZES, side, side="right")) - 1
                there[size] += 1
                seen[size] += number in found
    return [
        {
            "from": SIZES[size],
            "below": SIZES[size + 1] if size + 1 < len(SIZES) else None,
            "features": there[size],
            "found": seen[size],
        }
        for size in sorted(there)
    ]


def average_precision(some: Sequence[Judged], name: str) -> float | None:
    """Mean precision over the features of a class, in the order of posteriors; None without any.

    Features that no hit down to FLOOR shows count with a precision of 0; hits that are beside the
    point are passed over.
    """
    hits = [
        (hit.posterior, at, v)
        for at, one in enumerate(some)
        for hit, v in zip(one.flown.hits, one.verdicts, strict=True)
        if hit.kept and hit.class_name == name and v.what in (TRUE, FALSE)
    ]
    total = sum(f.class_name == name for one in some for f in one.flown.picture.features)
    if not total:
        return None
    seen = set[tuple[int, int]]()
    right, gained = 0, 0.0
    for count, (_, at, v) in enumerate(sorted(hits, key=lambda h: -h[0]), start=1):
        right += v.what == TRUE
        new = {(at, n) for n in v.shows} - seen
        seen |= new
        gained += len(new) * right / count
    return gained / total


def first_products(
    judged: Sequence[Judged], thresholds: Mapping[str, float], k: int
) -> dict[str, Any]:
    """What the first k pictures of every swath are: counts of verdicts, and their precision."""
    counts = dict.fromkeys((TRUE, FALSE, BESIDE, UNKNOWN), 0)
    for one in judged:
        hits, verdicts = one.flown.hits, one.verdicts
        sent = [
            i
            for i in one.flown.order
            if hits[i].posterior >= thresholds.get(hits[i].class_name, 2.0)
        ]
        for i in sent[:k]:
            counts[verdicts[i].what] += 1
    told = counts[TRUE] + counts[FALSE]
    return {**counts, "precision": counts[TRUE] / told if told else None}


def _of_swath(one: Judged, thresholds: Mapping[str, float]) -> dict[str, Any]:
    by_class = {}
    for name, threshold in thresholds.items():
        there, found, true, false, beside = _counts(one, name, threshold)
        unknown = sum(
            hit.kept and hit.class_name == name and hit.posterior >= threshold
            for hit in one.flown.hits
        ) - (true + false + beside)
        if there or true or false or beside or unknown:
            by_class[name] = {
                "features": there,
                "found": found,
                "true": true,
                "false": false,
                "beside": beside,
                "unknown": unknown,
            }
    return {
        "swath": one.flown.picture.path.name,
        "lines": one.flown.lines,
        "samples": one.flown.samples,
        "windows": one.flown.windows,
        "by_class": by_class,
    }


def choose_thresholds(
    judged: Sequence[Judged], names: Sequence[str], most: float
) -> dict[str, float]:
    """The lowest threshold of every class judged at which its false hits are `most` a swath.

    Steps of 0.01 from 0.5; 1.0 where no step is enough.
    """
    chosen = {}
    for name in names:
        some = [one for one in judged if name in one.known]
        if not some:
            continue
        false = sorted(
            hit.posterior
            for one in some
            for hit, v in zip(one.flown.hits, one.verdicts, strict=True)
            if hit.kept and hit.class_name == name and v.what == FALSE
        )
        for step in range(50, 101):
            if sum(p >= step / 100 for p in false) <= most * len(some):
                break
        chosen[name] = step / 100
    return chosen


def _share(some: np.ndarray, of: np.ndarray) -> dict[str, float | None]:
    """A share of counts by swath, with its interval over swaths drawn with replacement."""
    draws = Draws.of([f"{swath:09}" for swath in range(len(of))])
    found = interval(ratio(draws.sums(some), draws.sums(of)))
    few = np.count_nonzero(of) < FEWEST_SOURCES
    return {**found, "low": None, "high": None} if few else found
