"""What is told about the detections that a search found, and in which forms it leaves."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from winnow_base.errors import CatalogueError
from winnow_edge.files import write_file
from winnow_ground.catalogue.schema import HAVE

FORMS: Final = (".csv", ".json", ".coco.json", ".stac.json")
"""Ends of the names of files that a search is written into; each is a form of its own."""
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


def detections(db: sqlite3.Connection, ids: npt.NDArray[np.int64]) -> Iterator[Detection]:
    """The detections of those ids, in their order."""
    for first in range(0, len(ids), _CHUNK):
        part = ids[first : first + _CHUNK].tolist()
        marks = ",".join("?" * len(part))
        found = {row[0]: row for row in db.execute(_ROWS.format(marks), part)}
        for number in part:
            if number in found:
                *row, have, folder, file, swath, lines, samples, start = found[number]
                picture = str(Path(folder) / file) if folder and file else None
                told = (*row, HAVE[have], picture, swath, lines, samples, start)
                yield Detection(*told)


_ROWS: Final = """
SELECT tile.id, swath.name, class.name, posterior, line, sample, tile.lines, tile.samples, time,
       tile.latitude, tile.longitude, instrument, bundle.name, have, folder, file, swath.id,
       swath.lines, swath.samples, start
FROM tile JOIN swath ON swath.id = tile.swath JOIN class ON class.id = tile.class
LEFT JOIN bundle ON bundle.id = swath.bundle WHERE tile.id IN ({})
"""


def write(found: Sequence[Detection], path: Path) -> None:
    """Write detections in the form that the file's name ends with, one of FORMS.

    Raises CatalogueError for another end, OutputError if the file cannot be written.
    """
    form = next((form for form in reversed(FORMS) if path.name.endswith(form)), None)
    if form is None:
        raise CatalogueError(
            "has no form that is known", where=path, hint=f"end its name with {', '.join(FORMS)}"
        )
    write_file(path, _WRITERS[form](found))


def _csv(found: Sequence[Detection]) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(_COLUMNS.values())
    for one in found:
        row = asdict(one)
        table.writerow(_cell(row[key]) for key in _COLUMNS)
    return out.getvalue()


_COLUMNS: Final = {
    name: {"class_name": "class"}.get(name, name)
    for name in Detection.__dataclass_fields__
    if name not in ("swath_id", "swath_lines", "swath_samples")
}


def _cell(value: Any) -> Any:
    """Text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@")) else value


def _json(found: Sequence[Detection]) -> str:
    rows = ({name: getattr(one, key) for key, name in _COLUMNS.items()} for one in found)
    return json.dumps(list(rows), indent=1) + "\n"


def _coco(found: Sequence[Detection]) -> str:
    """COCO's form for object detection (cocodataset.org, "Data format"), the posterior as score."""
    names = sorted({one.class_name for one in found})
    numbers = {name: number for number, name in enumerate(names, 1)}
    annotations = [
        {
            "id": one.id,
            "image_id": one.swath_id,
            "category_id": numbers[one.class_name],
            "bbox": [one.sample, one.line, one.samples, one.lines],
            "area": one.samples * one.lines,
            "iscrowd": 0,
            "score": one.posterior,
        }
        for one in found
    ]
    images = [
        {"id": one.swath_id, "file_name": one.swath,
         "width": one.swath_samples or 0, "height": one.swath_lines or 0}
        for one in _of_each_swath(found)
    ]  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    told = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(told, indent=1) + "\n"


def _stac(found: Sequence[Detection]) -> str:
    """A STAC item a swath (github.com/radiantearth/stac-spec, version 1.0.0), as a collection of
    items; its point is the mean place of its detections, its properties count their classes."""
    items = []
    for swath in _of_each_swath(found):
        own = [one for one in found if one.swath_id == swath.swath_id]
        placed = [(one.longitude, one.latitude) for one in own]
        known = [place for place in placed if None not in place]
        point = np.mean(np.array(known, float), axis=0).tolist() if known else None
        classes: dict[str, int] = {}
        for one in own:
            classes[one.class_name] = classes.get(one.class_name, 0) + 1
        items.append(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": f"{swath.swath}#{swath.swath_id}",
                "geometry": point and {"type": "Point", "coordinates": point},
                **({"bbox": [*point, *point]} if point else {}),
                "properties": {
                    "datetime": swath.start,
                    "instruments": [swath.instrument] if swath.instrument else [],
                    "winnow:bundle": swath.bundle,
                    "winnow:detections": classes,
                },
                "links": [],
                "assets": {},
            }
        )
    return json.dumps({"type": "FeatureCollection", "features": items}, indent=1) + "\n"


def _of_each_swath(found: Iterable[Detection]) -> list[Detection]:
    """One detection of every swath, for what it tells about the swath."""
    return list({one.swath_id: one for one in found}.values())


_WRITERS: Final = dict(zip(FORMS, (_csv, _json, _coco, _stac), strict=True))
