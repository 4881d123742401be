"""What an audit that people labelled says of the net: recall and precision with exact intervals."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from winnow_base.errors import CatalogueError
from winnow_ground.audit import Audited, Estimate, estimate, interval
from winnow_ground.labelling.sets import LabelSet
from winnow_ground.labelling.settle import settled


@dataclass(frozen=True, slots=True)
class Precision:
    """Of the `detected` tiles of a class, the share that shows it, with its interval (None: no
    tile was detected as it)."""

    detected: int
    right: int
    share: tuple[float, float, float] | None


@dataclass(frozen=True)
class AuditOutcome:
    """Of a set: `tiles` in it, `settled` of them, drawn tiles that are `absent`, and by class what
    `winnow_ground.audit` estimates beside precision. `unfair` says why its tiles are no sample
    that was drawn whatever the net said (None: they are one); then recall is not told, and
    precision is of the tiles of the set alone."""

    tiles: int
    settled: int
    absent: int
    unfair: str | None
    classes: list[tuple[Estimate, Precision]]

    @property
    def fair(self) -> bool:
        return self.unfair is None

    def as_json(self) -> dict[str, Any]:
        told = []
        for one, right in self.classes:
            row = {**one.as_json(), "detected": right.detected, "precision": right.share}
            if not self.fair:
                row |= {"recall": None, "missed_share": None}
            told.append(row)
        return {"tiles": self.tiles, "settled": self.settled, "absent": self.absent,
                "fair": self.fair, "unfair": self.unfair, "classes": told}  # fmt: skip


def audit_outcome(db: sqlite3.Connection, one: LabelSet) -> AuditOutcome:
    """Recall and precision of every class, from the tiles of a set that are settled.

    The intervals are exact for the tiles of the swaths that were drawn from (Clopper and Pearson,
    Biometrika 26, 1934). A tile counts as detected if it is a detection, or if one of its class
    that stands for several tiles of a feature touches it. Tiles that nobody settled count as not
    drawn: if the hard ones are among them, the estimates flatter the net. Raises CatalogueError
    where nothing is settled.
    """
    rows = db.execute(_SAID, (one.id,))
    said = {tile: name if detected else None for tile, name, detected in rows}
    known = settled(db, said)
    if not known:
        raise CatalogueError(
            f"nothing of {one.name!r} is labelled yet", hint="`winnow serve` shows its pages"
        )
    tiles = [
        Audited(said[tile], frozenset([found.class_name] if found.class_name else []))
        for tile, found in known.items()
    ]
    absent = int(one.how.get("absent", 0))
    classes = [(found, _precision(found)) for found in estimate(tiles)]
    return AuditOutcome(one.tiles, len(known), absent, unfair(db, one), classes)


def unfair(db: sqlite3.Connection, one: LabelSet) -> str | None:
    """Why the tiles of a set are no fair sample, and what to do (None: they are one).

    Of a draw that is not the run's own, pictures are here because the net detected something,
    unless all drawn ones are here. Of the run's own draw they are absent whatever the net said.
    """
    if one.how.get("way") != "audit":
        return "not drawn at random"
    (others,) = db.execute(
        "SELECT EXISTS (SELECT 1 FROM label_set_tile JOIN tile ON tile.id = label_set_tile.tile"
        " WHERE label_set = ? AND tile.drawn = 0)",
        (one.id,),
    ).fetchone()
    if not others or not one.how.get("absent", 0):
        return None
    return (
        "which drawn tiles are here depends on detection; draw from a catalogue of"
        " `winnow catalogue build --every-tile`, or have [audit] in the mission and draw without"
        " --share and --mission"
    )


def _precision(found: Estimate) -> Precision:
    detected = found.found + found.false
    if not detected:
        return Precision(0, 0, None)
    share = found.found / detected, *interval(found.found, detected)
    return Precision(detected, found.found, share)


_SAID: Final = """
SELECT tile.id, class.name, tile.detection OR EXISTS (
    SELECT 1 FROM tile AS whole WHERE whole.swath = tile.swath AND whole.class = tile.class
    AND whole.detection = 1 AND whole.merged > 1
    AND whole.line <= tile.line + tile.lines AND tile.line <= whole.line + whole.lines
    AND whole.sample <= tile.sample + tile.samples AND tile.sample <= whole.sample + whole.samples)
FROM label_set_tile JOIN tile ON tile.id = label_set_tile.tile
LEFT JOIN class ON class.id = tile.class WHERE label_set = ?
"""
