"""`winnow data check`: what is in a labelled set, and what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base.errors import DataError
from winnow_base.pictures import open_picture
from winnow_base.progress import Progress
from winnow_edge.sources.contract import PICTURE_ERRORS
from winnow_train.data.hashing import (
    CORRELATION,
    HAMMING,
    SIDE,
    Reduced,
    correlation,
    distance,
    hashes,
    look_alikes,
    reduced,
)
from winnow_train.data.listing import Listing, Row, read_listing
from winnow_train.datasets import SPLITS

#: Sets that may share sources, so that training them together must not mix their splits.
RELATED = {
    "hirise-v1": ("hirise-v3",),
    "hirise-v3": ("hirise-v1",),
    "hirise-v3.2": ("hirise-v1",),
}


@dataclass(frozen=True)
class Pair:
    """Two tiles that look alike in one of the eight views."""

    a: Row
    b: Row
    bits: int
    correlation: float

    def as_json(self) -> dict[str, Any]:
        """Names, sets and labels of both, and how much they are alike."""
        return {
            "tiles": [self.a.path.name, self.b.path.name],
            "splits": [self.a.split, self.b.split],
            "labels": [self.a.label, self.b.label],
            "bits": self.bits,
            "correlation": round(self.correlation, 4),
        }


@dataclass
class Check:
    """Everything found; `refused` says what training would refuse."""

    listing: Listing
    tiles: list[Row]
    absent: list[str]
    empty: list[str]
    unreadable: list[str]
    leaking: dict[str, list[str]]
    conflicts: dict[str, list[str]]
    duplicates: list[Pair]
    empty_classes: dict[str, list[str]]
    threshold: int
    related: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Tiles per set and class."""
        seen = Counter((r.split, r.label) for r in self.tiles)
        return {s: {c: seen[s, c] for c in self.listing.classes} for s in SPLITS if self._has(s)}

    @property
    def sources(self) -> dict[str, int]:
        """Sources per set."""
        return {
            s: len({r.source for r in self.tiles if r.split == s}) for s in SPLITS if self._has(s)
        }

    def across_splits(self) -> list[Pair]:
        """Duplicates whose tiles are in two sets."""
        return [p for p in self.duplicates if p.a.split != p.b.split]

    def other_label(self) -> list[Pair]:
        """Duplicates whose tiles have two labels."""
        return [p for p in self.duplicates if p.a.label != p.b.label]

    def refused(self) -> list[str]:
        """What makes the set unusable, in words, one per kind."""
        found = self.listing
        kinds = (
            (len(found.malformed), "malformed row"),
            (len(found.unknown_ids), "row with an unknown class id"),
            (len(found.contradictory), "row that contradicts another"),
            (len(self.absent), "row that names an absent tile"),
            (len(self.empty), "empty file"),
            (len(self.unreadable), "unreadable image"),
            (len(self.leaking), "source in two sets"),
            (len(self.empty_classes.get("train", ())), "class without a training tile"),
        )
        return [*(f"{n} x {what}" for n, what in kinds if n), *self._lacking()]

    def _lacking(self) -> list[str]:
        """What there is too little of to train and to judge a net."""
        if not self.tiles:
            return ["no tile at all"]
        labels = {r.label for r in self.tiles}
        found = [] if len(labels) > 1 else [f"one class alone ({labels.pop()})"]
        for split in ("train", "val"):
            if not self._has(split):
                there = ", ".join(f"{n} in {s}" for s, n in self.sources.items())
                found.append(f"no tile in {split} (sources: {there})")
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, for `--json`."""
        found = self.listing
        return {
            "dataset": found.name,
            "folder": str(found.folder),
            "n": len(self.tiles),
            "counts": self.counts,
            "sources": self.sources,
            "repeated_rows": found.repeated,
            "malformed": found.malformed,
            "unknown_ids": found.unknown_ids,
            "contradictory": found.contradictory,
            "absent": self.absent,
            "empty": self.empty,
            "unreadable": self.unreadable,
            "unlabelled": found.unlabelled,
            "leaking_sources": self.leaking,
            "empty_classes": self.empty_classes,
            "landmark_conflicts": self.conflicts,
            "duplicates": {
                "hamming": self.threshold,
                "correlation": CORRELATION,
                "n": len(self.duplicates),
                "across_splits": [p.as_json() for p in self.across_splits()],
                "other_label": [p.as_json() for p in self.other_label()],
            },
            "related": self.related,
            "refused": self.refused(),
        }

    def _has(self, split: str) -> bool:
        return any(r.split == split for r in self.tiles)


def check(name: str, root: Path, progress: Progress, *, threshold: int = HAMMING) -> Check:
    """Look at every row and every file of a data set.

    Duplicates are pairs of different landmarks whose hashes differ in at most `threshold` bits and
    whose pixels correlate. Raises DataError only if the set cannot be found at all.
    """
    listing = read_listing(name, root)
    rows, pixels, faults = _read(listing, progress)
    found = Check(
        listing,
        rows,
        faults["absent"],
        faults["empty"],
        faults["unreadable"],
        _leaking(rows),
        _conflicts(rows),
        _duplicates(rows, pixels, threshold, progress),
        _empty_classes(listing, rows),
        threshold,
    )
    for other in RELATED.get(name, ()):
        try:
            their = read_listing(other, root)
        except DataError:
            continue
        found.related[other] = _compare(rows, pixels, their, threshold, progress)
    return found


def _read(listing: Listing, progress: Progress) -> tuple[list[Row], Reduced, dict[str, list[str]]]:
    """Decode every tile: the rows that can be read, their reduced pixels, and what is wrong."""
    faults: dict[str, list[str]] = {"absent": [], "empty": [], "unreadable": []}
    kept: list[Row] = []
    pixels: list[Reduced] = []
    with (
        progress.counting(f"reading {listing.name}", len(listing.rows)) as advance,
        ThreadPoolExecutor() as pool,
    ):
        for row, (fault, small) in zip(
            listing.rows, pool.map(_decode, (r.path for r in listing.rows)), strict=True
        ):
            if small is None:
                faults[fault].append(f"{row.where}: {row.path.name}")
            else:
                kept.append(row)
                pixels.append(small)
            advance(1)
    stacked = np.stack(pixels) if pixels else np.zeros((0, SIDE, SIDE), np.float32)
    return kept, stacked, faults


def _decode(path: Path) -> tuple[str, Reduced | None]:
    try:
        if path.stat().st_size == 0:
            return "empty", None
        with open_picture(path) as image:
            return "", reduced(image)
    except FileNotFoundError:
        return "absent", None
    except PICTURE_ERRORS:
        return "unreadable", None


def _leaking(rows: Sequence[Row]) -> dict[str, list[str]]:
    homes: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        homes[row.source].add(row.split)
    return {s: sorted(h) for s, h in sorted(homes.items()) if len(h) > 1}


def _conflicts(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Landmarks (or exposures) of which copies have different labels."""
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[row.landmark].add(row.label)
    return {k: sorted(v) for k, v in sorted(labels.items()) if len(v) > 1}


def _empty_classes(listing: Listing, rows: Sequence[Row]) -> dict[str, list[str]]:
    seen = {(r.split, r.label) for r in rows}
    splits = [s for s in SPLITS if any(r.split == s for r in rows)]
    listed = {c for _, c in seen}
    # A class without any tile in any set is only an unused line of the class map.
    empty = {s: [c for c in listing.classes if c in listed and (s, c) not in seen] for s in splits}
    return {s: names for s, names in empty.items() if names}


def _duplicates(
    rows: Sequence[Row], pixels: Reduced, threshold: int, progress: Progress
) -> list[Pair]:
    views, pairs = hashes(pixels), []
    with progress.counting("comparing", len(rows)) as advance:
        for i, row in enumerate(rows):
            apart, view = distance(views[0, i], views[:, i + 1 :])
            for j in (np.flatnonzero(apart <= threshold) + i + 1).tolist():
                if rows[j].landmark != row.landmark:
                    alike = correlation(pixels[i], pixels[j], int(view[j - i - 1]))
                    if alike >= CORRELATION:
                        pairs.append(Pair(row, rows[j], int(apart[j - i - 1]), alike))
            advance(1)
    return sorted(pairs, key=lambda p: (-p.correlation, p.a.path.name, p.b.path.name))


def _compare(
    rows: Sequence[Row], pixels: Reduced, their: Listing, threshold: int, progress: Progress
) -> dict[str, Any]:
    """This set against a related one: shared sources, shared landmark names, shared pictures."""
    other, other_pixels, _ = _read(their, progress)
    homes = {r.source: r.split for r in rows}
    crossed = {
        r.source: [homes[r.source], r.split]
        for r in other
        if r.source in homes and homes[r.source] != r.split
    }
    with progress.counting(f"comparing with {their.name}", len(rows)) as advance:
        found = look_alikes(pixels, other_pixels, threshold, lambda: advance(1))
        pairs = [Pair(rows[i], other[j], bits, alike) for i, j, bits, alike in found]
    names = {r.landmark: i for i, r in enumerate(rows)}
    shared = [(names[r.landmark], j) for j, r in enumerate(other) if r.landmark in names]
    same = [
        (i, j)
        for i, j in shared
        if max(correlation(pixels[i], other_pixels[j], v) for v in range(8)) >= CORRELATION
    ]
    return {
        "shared_sources": len({r.source for r in other} & set(homes)),
        "sources_in_another_split": crossed,
        "shared_landmark_names": len(shared),
        "of_these_the_same_picture": len(same),
        "of_these_other_label": [
            [rows[i].path.name, rows[i].label, other[j].label]
            for i, j in same
            if rows[i].label != other[j].label
        ],
        "duplicates": [p.as_json() for p in pairs],
    }
