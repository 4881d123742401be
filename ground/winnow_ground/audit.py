"""What the net misses, estimated from the tiles that the audit drew at random.

Whoever looks at the pictures of the audit fills in what they show. Of the tiles that show a class,
the share that was detected is an estimate of its recall, with an exact interval, as every tile was
drawn with the same chance whatever the net said of it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from winnow_base.errors import DataError
from winnow_edge.files import write_file
from winnow_edge.mission import Mission
from winnow_edge.products.audit import drawn
from winnow_ground.received import Received, ReceivedProduct

NOTHING: Final = "nothing"
LEVEL: Final = 0.95
COLUMNS: Final = (
    "store", "swath", "name", "tile", "line", "sample", "lines", "samples", "scale", "class",
    "posterior", "detection", "file", "shows",
)  # fmt: skip
Tile = tuple[int, int, int]
"""Store, swath and tile index."""


@dataclass(frozen=True)
class Estimate:
    """Of one class: audited tiles that show it and were `found`, that show it and were `missed`,
    and that were detected as it and do not show it (`false`); recall and the share of all tiles
    that are missed, each with its interval (None: no audited tile shows the class)."""

    class_name: str
    found: int
    missed: int
    false: int
    recall: tuple[float, float, float] | None
    missed_share: tuple[float, float, float]

    def as_json(self) -> dict[str, Any]:
        return {
            "class": self.class_name,
            "found": self.found,
            "missed": self.missed,
            "false": self.false,
            "recall": self.recall,
            "missed_share": self.missed_share,
        }


@dataclass(frozen=True)
class Audited:
    """A tile of the audit: what the net said (None: no detection) and what it shows."""

    detected: str | None
    shows: frozenset[str]


def audit_products(received: Received) -> dict[Tile, ReceivedProduct]:
    """The tiles of the audit that came down."""
    return {
        (p.store, p.swath, p.tile): p
        for p in received.products
        if p.kind == "audit" and p.tile is not None
    }


def write_sheet(received: Received, path: Path) -> int:
    """Write the sheet to fill in, a line per tile of the audit; how many. Raises OutputError."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    tiles = audit_products(received)
    for (store, swath, tile), p in sorted(tiles.items()):
        box = (p.box.line, p.box.sample, p.box.lines, p.box.samples) if p.box else ("",) * 4
        name, posterior = received.swath_name(store, swath), round(p.posterior or 0.0, 5)
        said = received.class_name(p) or ""
        row = [store, swath, name, tile, *box, p.scale, said, posterior, int(p.detection), p.file]
        table.writerow([*row, ""])
    write_file(path, out.getvalue())
    return len(tiles)


def read_sheet(path: Path) -> dict[Tile, frozenset[str]]:
    """What the tiles show, of those that were filled in: class names, several apart by `;`.

    Raises DataError naming the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"is no table ({error})", where=path) from error
    shown: dict[Tile, frozenset[str]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            key = int(row["store"]), int(row["swath"]), int(row["tile"])
            said = (row["shows"] or "").strip()
        except (KeyError, TypeError, ValueError) as error:
            hint = "`winnow audit DIR` writes a sheet; fill in its column `shows`"
            what = "has no whole numbers `store`, `swath` and `tile`, or no `shows`"
            raise DataError(what, where=f"{path}:{number}", hint=hint) from error
        if said:
            names = frozenset(name.strip() for name in said.split(";"))
            shown[key] = names - {"", NOTHING}
    return shown


def audited(received: Received, shown: Mapping[Tile, frozenset[str]]) -> list[Audited]:
    """The tiles that came down and were filled in. Raises DataError for classes nobody knows."""
    tiles, known = audit_products(received), set[str]()
    for key in received.swaths:
        known.update(received.classes(*key))
    strange = sorted(name for names in shown.values() for name in names - known)
    if strange and known:
        hint = f"the swaths' classes: {', '.join(sorted(known))}; or {NOTHING}"
        raise DataError(f"`shows` names {strange[0]!r}, no class of a swath", hint=hint)
    return [
        Audited(received.class_name(p) if p.detection else None, shown[key])
        for key, p in tiles.items()
        if key in shown
    ]


def estimate(tiles: Sequence[Audited], level: float = LEVEL) -> list[Estimate]:
    """An estimate of each class that is shown or was detected."""
    names = {name for tile in tiles for name in tile.shows}
    names |= {tile.detected for tile in tiles if tile.detected is not None}
    found = []
    for name in sorted(names):
        hits = sum(t.detected == name and name in t.shows for t in tiles)
        missed = sum(t.detected != name and name in t.shows for t in tiles)
        false = sum(t.detected == name and name not in t.shows for t in tiles)
        there = hits + missed
        recall = (hits / there, *interval(hits, there, level)) if there else None
        share = missed / len(tiles), *interval(missed, len(tiles), level)
        found.append(Estimate(name, hits, missed, false, recall, share))
    return found


def interval(hits: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a binomial share (Clopper and Pearson, Biometrika 26, 1934).

    It holds the true share with at least the probability `level`. Raises ValueError without trials.

    >>> low, high = interval(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4439, 0.9748)
    """
    if not 0 <= hits <= trials or not trials:
        raise ValueError(f"{hits} of {trials} is no share")
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _share_of(hits, trials, tail)
    high = 1.0 if hits == trials else 1 - _share_of(trials - hits, trials, tail)
    return low, high


def _share_of(hits: int, trials: int, tail: float) -> float:
    """The share with which so many hits or more have the probability `tail`."""
    counts = np.arange(hits, trials + 1)
    gamma = np.array([math.lgamma(n + 1) for n in range(trials + 1)])
    ways = gamma[trials] - gamma[counts] - gamma[trials - counts]
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        share = (low + high) / 2
        terms = ways + counts * math.log(share) + (trials - counts) * math.log1p(-share)
        low, high = (share, high) if np.exp(terms).sum() < tail else (low, share)
    return (low + high) / 2


def missing(received: Received, mission: Mission) -> tuple[int, int]:
    """The draw repeated: tiles drawn in swaths whose counts came down, and those of them whose
    pictures have not."""
    tiles, total, absent = audit_products(received), 0, 0
    for (store, swath), info in received.swaths.items():
        count = population(info)
        chosen = drawn(mission.audit.seed, str(info["swath"]), 0, count, mission.audit.share)
        for tile in np.flatnonzero(chosen).tolist():
            total += 1
            absent += (store, swath, tile) not in tiles
    return total, absent


def population(info: Mapping[str, Any]) -> int:
    """Tiles of a swath that the audit could draw: all, or those before its quota was up."""
    tiles, told = info.get("tiles"), info.get("audit")
    count = tiles if isinstance(tiles, int) else 0
    until = told.get("until") if isinstance(told, dict) else None
    return min(count, until) if type(until) is int and until >= 0 else count
