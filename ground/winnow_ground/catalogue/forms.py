"""Searches as files that others read: CSV, JSON, COCO, STAC, PDS4; each is made piece by piece."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from winnow_base.errors import CatalogueError
from winnow_edge.files import make_folder, unwritable, write_aside
from winnow_ground.catalogue.pds4 import Table, label_of
from winnow_ground.catalogue.rows import Detection

T = TypeVar("T")
PDS4: Final = ".pds4.xml"
TABLE: Final = ".csv"
"""What a PDS4 label tells of; both have the same stem."""
_CHUNK: Final = 500
"""Detections of a piece."""
_COLUMNS: Final = {
    name: {"class_name": "class"}.get(name, name)
    for name in Detection.__dataclass_fields__
    if name not in ("swath_id", "swath_lines", "swath_samples", "mission")
}


def pieces(found: Iterable[Detection], form: str, stem: str) -> Iterator[str]:
    """The text of a file of the form, in pieces; `stem` is its name without the form."""
    if form == PDS4:
        return _pds4(found, f"{stem}{TABLE}")
    return _WRITERS[form](found)


def write(found: Callable[[], Iterable[Detection]], path: Path) -> None:
    """Write what `found` gives in the form that the file's name ends with, one of FORMS; a PDS4
    label gets its table beside it.

    Raises CatalogueError for another end, OutputError if a file cannot be written.
    """
    form = next((form for form in reversed(FORMS) if path.name.endswith(form)), None)
    if form is None:
        raise CatalogueError(
            "has no form that is known", where=path, hint=f"end its name with {', '.join(FORMS)}"
        )
    stem = path.name.removesuffix(form)
    if form == PDS4:
        write(found, path.with_name(f"{stem}{TABLE}"))
    try:
        make_folder(path.parent)
    except OSError as error:
        raise unwritable(error, path.parent, what="cannot be made") from error
    with write_aside(path) as file:
        for piece in pieces(found(), form, stem):
            file.write(piece.encode())


def _batches(found: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(found)
    while batch := list(itertools.islice(rest, _CHUNK)):
        yield batch


def _csv(found: Iterable[Detection]) -> Iterator[str]:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(_COLUMNS.values())
    for batch in _batches(found):
        for one in batch:
            table.writerow(_cell(getattr(one, key)) for key in _COLUMNS)
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def _cell(value: Any) -> Any:
    """Text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@")) else value


def _list(rows: Iterable[Any]) -> Iterator[str]:
    """A JSON list, a row a line; many rows a piece."""
    between = "["
    for batch in _batches(rows):
        yield f"{between}\n" + ",\n".join(map(json.dumps, batch))
        between = ","
    yield "[]" if between == "[" else "\n]"


def _json(found: Iterable[Detection]) -> Iterator[str]:
    yield from _list({name: getattr(one, key) for key, name in _COLUMNS.items()} for one in found)
    yield "\n"


def _coco(found: Iterable[Detection]) -> Iterator[str]:
    """COCO's form for object detection (cocodataset.org, "Data format"), the posterior as score."""
    numbers: dict[str, int] = {}
    swaths: dict[int, dict[str, Any]] = {}

    def annotations() -> Iterator[dict[str, Any]]:
        for one in found:
            swaths.setdefault(
                one.swath_id,
                {"id": one.swath_id, "file_name": one.swath, "width": one.swath_samples or 0,
                 "height": one.swath_lines or 0},
            )  # fmt: skip
            yield {
                "id": one.id,
                "image_id": one.swath_id,
                "category_id": numbers.setdefault(one.class_name, len(numbers) + 1),
                "bbox": [one.sample, one.line, one.samples, one.lines],
                "area": one.samples * one.lines,
                "iscrowd": 0,
                "score": one.posterior,
            }

    yield '{"annotations": '
    yield from _list(annotations())
    yield ', "images": '
    yield from _list(swaths.values())
    yield ', "categories": '
    yield from _list({"id": number, "name": name} for name, number in numbers.items())
    yield "}\n"


@dataclass
class _Item:
    """What a STAC item says of a swath."""

    one: Detection
    classes: dict[str, int] = field(default_factory=dict)
    latitude: float = 0.0
    longitude: float = 0.0
    placed: int = 0

    def take(self, one: Detection) -> None:
        self.classes[one.class_name] = self.classes.get(one.class_name, 0) + 1
        if one.latitude is not None and one.longitude is not None:
            self.latitude += one.latitude
            self.longitude += one.longitude
            self.placed += 1

    def told(self) -> dict[str, Any]:
        one = self.one
        point = [self.longitude / self.placed, self.latitude / self.placed] if self.placed else None
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"{one.swath}#{one.swath_id}",
            "geometry": point and {"type": "Point", "coordinates": point},
            **({"bbox": [*point, *point]} if point else {}),
            "properties": {
                "datetime": one.start,
                "instruments": [one.instrument] if one.instrument else [],
                "winnow:bundle": one.bundle,
                "winnow:detections": self.classes,
            },
            "links": [],
            "assets": {},
        }


def _stac(found: Iterable[Detection]) -> Iterator[str]:
    """A STAC item a swath (github.com/radiantearth/stac-spec, version 1.0.0), as a collection of
    items; its point is the mean place of its detections, its properties count their classes."""
    items: dict[int, _Item] = {}
    for one in found:
        items.setdefault(one.swath_id, _Item(one)).take(one)
    yield '{"type": "FeatureCollection", "features": '
    yield from _list(item.told() for item in items.values())
    yield "}\n"


def _pds4(found: Iterable[Detection], file: str) -> Iterator[str]:
    """The label of the table `file` of the same detections."""
    digest, size, header, records = hashlib.md5(usedforsecurity=False), 0, 0, 0
    missions: dict[str | None, None] = {}
    instruments: set[str] = set()
    times: set[str] = set()

    def seen() -> Iterator[Detection]:
        nonlocal records
        for one in found:
            records += 1
            missions[one.mission] = None
            instruments.add(one.instrument)
            when = one.time or one.start
            if when is not None and (len(times) < 2 or not min(times) <= when <= max(times)):
                times.add(when)
                times.intersection_update({min(times), max(times)})
            yield one

    for piece in _csv(seen()):
        data = piece.encode()
        header = header or data.index(b"\n") + 1
        digest.update(data)
        size += len(data)
    table = Table(file, size, header, records, digest.hexdigest(), tuple(_COLUMNS.values()))
    yield label_of(table, instruments, next(filter(None, missions), None), sorted(times))


_WRITERS: Final[dict[str, Callable[[Iterable[Detection]], Iterator[str]]]] = {
    TABLE: _csv,
    ".json": _json,
    ".coco.json": _coco,
    ".stac.json": _stac,
}
FORMS: Final = (*_WRITERS, PDS4)
"""Ends of the names of files that a search is written into; each is a form of its own."""
