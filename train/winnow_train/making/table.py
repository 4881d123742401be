"""Labels or boxes in a CSV file with a header: file,class[,source] or file,class,x,y,width,height.

Boxes may also be given as line,sample,lines,samples (Winnow's words) or as xmin,ymin,xmax,ymax. A
row with a file and no class is a picture without any feature. Fields are parted by comma, semicolon
or tab.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from winnow_base.errors import DataError
from winnow_edge.products.kinds import Box
from winnow_train.making.coco import LARGEST, box_of
from winnow_train.making.labels import Labelled, Labels, picture_file, refuse_absent
from winnow_train.windows.pictures import Feature

FILE = ("file", "filename", "file_name", "image", "path")
CLASS = ("class", "label", "class_name")
SHAPES = (
    ("x", "y", "width", "height"),
    ("sample", "line", "samples", "lines"),
    ("xmin", "ymin", "xmax", "ymax"),
)
_HINT = "the first row names the columns, e.g. file,class or file,class,x,y,width,height"


@dataclass(frozen=True)
class _Row:
    where: str
    file: str
    class_name: str
    source: str
    box: Box | None


def read_table(path: Path, folder: Path) -> Labels:
    """The pictures in `folder` that a CSV file labels. Raises DataError naming the row."""
    rows = _rows(path)
    files: dict[str, Path] = {}
    absent = []
    for name in dict.fromkeys(row.file for row in rows):
        if (file := picture_file(folder, name)) is None:
            absent.append(name)
        else:
            files[name] = file
    refuse_absent(absent, len(files) + len(absent), path, folder)
    by_file: dict[str, list[_Row]] = {}
    for row in rows:
        by_file.setdefault(row.file, []).append(row)
    boxed = any(row.box is not None for row in rows)
    make = _with_boxes if boxed else _with_class
    return Labels(tuple(make(files[name], some) for name, some in by_file.items()))


def _with_boxes(path: Path, rows: list[_Row]) -> Labelled:
    for row in rows:
        if row.class_name and row.box is None:
            raise DataError("has a class and no box, where others have boxes", where=row.where)
    boxes = dict.fromkeys(Feature(r.class_name, r.box) for r in rows if r.box is not None)
    return Labelled(path, rows[0].file, boxes=tuple(boxes), source=_source(rows))


def _with_class(path: Path, rows: list[_Row]) -> Labelled:
    for row in rows:
        if not row.class_name:
            raise DataError("has no class", where=row.where)
        if row.class_name != rows[0].class_name:
            raise DataError(
                f"{row.file!r} is labelled twice, differently: {rows[0].class_name!r} and "
                f"{row.class_name!r}",
                where=row.where,
            )
    return Labelled(path, rows[0].file, class_name=rows[0].class_name, source=_source(rows))


def _source(rows: list[_Row]) -> str | None:
    given = {row.source for row in rows}
    if len(given) > 1:
        raise DataError(f"{rows[0].file!r} has two sources", where=rows[-1].where)
    return given.pop() or None


def _rows(path: Path) -> list[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=path, hint="save it as UTF-8") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"is no CSV file: {error}", where=path, hint=_HINT) from error
    if len(table) < 2:
        raise DataError("holds no row" if table else "is empty", where=path, hint=_HINT)
    columns = _columns(table[0], path)
    return [
        _row(fields, columns, len(table[0]), f"{path}:{number}")
        for number, fields in enumerate(table[1:], start=2)
        if any(field.strip() for field in fields)
    ]


def _columns(header: list[str], path: Path) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    if len(set(names)) < len(names):
        raise DataError("names a column twice", where=f"{path}:1", hint=_HINT)
    places = {name: place for place, name in enumerate(names)}
    for wanted, known in (("file", FILE), ("class", CLASS)):
        here = [name for name in known if name in places]
        if not here:
            raise DataError(f"has no column `{wanted}`", where=f"{path}:1", hint=_HINT)
        places[wanted] = places[here[0]]
    return places


def _row(fields: list[str], columns: dict[str, int], width: int, where: str) -> _Row:
    if len(fields) != width:
        raise DataError(f"has {len(fields)} fields, the first row {width}", where=where)

    def field(name: str) -> str:
        return fields[columns[name]].strip() if name in columns else ""

    if not field("file"):
        raise DataError("names no file", where=where)
    box = None
    for shape in SHAPES:
        if set(shape) <= set(columns) and any(field(name) for name in shape):
            box = _box([field(name) for name in shape], shape, where)
    if box is not None and not field("class"):
        raise DataError("has a box and no class", where=where)
    return _Row(where, field("file"), field("class"), field("source"), box)


def _box(fields: list[str], shape: tuple[str, ...], where: str) -> Box:
    try:
        x, y, right, down = (float(field) for field in fields)
    except ValueError as error:
        raise DataError(f"{', '.join(shape)} must be numbers", where=where) from error
    if shape[2] == "xmax":
        right, down = right - x, down - y
    numbers = (x, y, right, down)
    if not all(math.isfinite(n) and abs(n) < LARGEST for n in numbers) or min(right, down) <= 0:
        raise DataError(f"the box {', '.join(fields)} is empty or none", where=where)
    return box_of(x, y, right, down)
