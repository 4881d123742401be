"""Detections laid over truth, class by class: found, missed, false, and what of it came down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from winnow_ground.findings import Found, SwathKey
from winnow_ground.truth import Feature, Truth


@dataclass
class ClassTally:
    """Features of one class that are there, those with a picture down, those of which only a record
    came down, those found that are still on board; and detections of the class that are false, with
    those among them of which a picture came down."""

    there: int = 0
    pictured: int = 0
    recorded: int = 0
    on_board: int = 0
    false: int = 0
    false_pictured: int = 0

    @property
    def found(self) -> int:
        """Features that a detection shows, wherever its products are."""
        return self.pictured + self.recorded + self.on_board

    @property
    def missed(self) -> int:
        """Features that no detection shows."""
        return self.there - self.found


@dataclass(frozen=True)
class Laid:
    """Tallies by class, and the features missed by swath."""

    classes: dict[str, ClassTally]
    missed: dict[SwathKey, tuple[Feature, ...]]

    @property
    def whole(self) -> ClassTally:
        """All classes together."""
        total = ClassTally()
        for tally in self.classes.values():
            for name, value in vars(tally).items():
                setattr(total, name, getattr(total, name) + value)
        return total


def lay(found: Sequence[Found], truth: Mapping[SwathKey, Truth]) -> Laid:
    """Count `found` (`findings.find` with this truth) against `truth`; a feature counts once, as
    the best that came down of any detection that shows it."""
    place = {"image": "pictured", "thumbnail": "pictured", "record": "recorded"}
    best: dict[tuple[SwathKey, int], str] = {}
    order = ("pictured", "recorded", "on_board")
    classes: dict[str, ClassTally] = {}
    for f in found:
        if f.true is False:
            tally = classes.setdefault(f.class_name, ClassTally())
            tally.false += 1
            tally.false_pictured += f.number is not None
        for n in f.shows:
            have = place.get(f.have, "on_board")
            known = best.get((f.swath, n), order[-1])
            best[f.swath, n] = min(known, have, key=order.index)
    missed: dict[SwathKey, list[Feature]] = {key: [] for key in truth}
    for key, features in truth.items():
        for n, feature in enumerate(features):
            tally = classes.setdefault(feature.class_name, ClassTally())
            tally.there += 1
            if (have := best.get((key, n))) is None:
                missed[key].append(feature)
            else:
                setattr(tally, have, getattr(tally, have) + 1)
    return Laid(classes, {key: tuple(some) for key, some in missed.items()})
