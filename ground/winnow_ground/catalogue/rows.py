"""What is told about the detections that a search found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_ground.catalogue.schema import HAVE

_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Detection:
    """A detection as people and programs read it; `picture` is the file of its picture, if one is
    here. `line`, `sample`, `lines`, `samples` are pixels of the swath."""

    id: int
    swath: str
    class_name: str
    posterior: float
    line: int
    sample: int
    lines: int
    samples: int
    time: str | None
    latitude: float | None
    longitude: float | None
    instrument: str
    bundle: str | None
    have: str
    picture: str | None
    swath_id: int
    swath_lines: int | None
    swath_samples: int | None
    start: str | None
    mission: str | None


def detections(db: sqlite3.Connection, ids: npt.NDArray[np.int64]) -> Iterator[Detection]:
    """The detections of those ids, in their order."""
    for first in range(0, len(ids), _CHUNK):
        part = ids[first : first + _CHUNK].tolist()
        marks = ",".join("?" * len(part))
        found = {row[0]: row for row in db.execute(_ROWS.format(marks), part)}
        for number in part:
            if number in found:
                *row, have, folder, file, swath, lines, samples, start, mission = found[number]
                picture = str(Path(folder) / file) if folder and file else None
                told = (*row, HAVE[have], picture, swath, lines, samples, start, mission)
                yield Detection(*told)


_ROWS: Final = """
SELECT tile.id, swath.name, class.name, posterior, line, sample, tile.lines, tile.samples, time,
       tile.latitude, tile.longitude, instrument, bundle.name, have, folder, file, swath.id,
       swath.lines, swath.samples, start, mission
FROM tile JOIN swath ON swath.id = tile.swath JOIN class ON class.id = tile.class
LEFT JOIN bundle ON bundle.id = swath.bundle WHERE tile.id IN ({})
"""
