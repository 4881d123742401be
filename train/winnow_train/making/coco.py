"""Boxes in the format of COCO (Lin et al. 2014; cocodataset.org, "Data format", object detection).

Read are `images` (id, file_name, width, height), `annotations` (image_id, category_id, bbox as
[x, y, width, height] in pixels) and `categories` (id, name).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from winnow_base.errors import DataError
from winnow_edge.products.kinds import Box
from winnow_train.making.labels import Labelled, Labels, picture_file, refuse_absent
from winnow_train.windows.pictures import Feature

LARGEST = 2**31


def read_coco(path: Path, folder: Path) -> Labels:
    """The pictures in `folder` that a COCO file speaks of, each with its boxes.

    Pictures without a box are ground without features. Raises DataError naming the entry.
    """
    table = _table(path)
    names = {
        ident: _text(row, "name", where)
        for ident, row, where in _entries(table, "categories", path)
    }
    boxes: dict[int, list[Feature]] = {}
    rows = list(_entries(table, "images", path))
    known = {ident for ident, _, _ in rows}
    for number, row in enumerate(_list(table, "annotations", path)):
        where = f"{path}: annotations[{number}]"
        image, category = _whole(row, "image_id", where), _whole(row, "category_id", where)
        if image not in known:
            raise DataError(f"`image_id` {image} is no image", where=where)
        if category not in names:
            raise DataError(f"`category_id` {category} is no category", where=where)
        boxes.setdefault(image, []).append(Feature(names[category], _box(row, where)))
    found, absent = [], []
    for ident, row, where in rows:
        name = _text(row, "file_name", where)
        if (file := picture_file(folder, name)) is None:
            absent.append(name)
            continue
        claimed = None
        if "width" in row and "height" in row:
            claimed = _whole(row, "height", where), _whole(row, "width", where)
        shown = tuple(boxes.get(ident, ()))
        found.append(Labelled(file, name, boxes=shown, claimed=claimed))
    refuse_absent(absent, len(rows), path, folder)
    unused = sorted(set(names.values()) - {f.class_name for some in boxes.values() for f in some})
    notes = (f"categories without a box: {', '.join(unused)}",) if unused else ()
    return Labels(tuple(found), notes)


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON: {str(error)[:100]}", where=path) from error
    if not isinstance(table, dict) or not {"images", "annotations", "categories"} <= set(table):
        raise DataError(
            "is no COCO file of boxes: it has no images, annotations and categories", where=path
        )
    return table


def _list(table: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    rows = table[key]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"`{key}` must be a list of tables", where=path)
    return rows


def _entries(
    table: dict[str, Any], key: str, path: Path
) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Id, entry and place of every entry. Raises DataError for an id that is there twice."""
    seen: set[int] = set()
    for number, row in enumerate(_list(table, key, path)):
        where = f"{path}: {key}[{number}]"
        ident = _whole(row, "id", where)
        if ident in seen:
            raise DataError(f"`id` {ident} is there twice", where=where)
        seen.add(ident)
        yield ident, row, where


def _whole(row: dict[str, Any], key: str, where: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise DataError(f"`{key}` is {str(value)[:40]!r}, must be a whole number", where=where)
    return value


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"`{key}` is {str(value)[:40]!r}, must be a name", where=where)
    return value


def _box(row: dict[str, Any], where: str) -> Box:
    value = row.get("bbox")
    if isinstance(value, list) and len(value) == 4:
        numbers = [float(v) for v in value if type(v) in (int, float) and abs(v) < LARGEST]
        if len(numbers) == 4 and all(map(math.isfinite, numbers)) and min(numbers[2:]) > 0:
            return box_of(*numbers)
    raise DataError(
        "`bbox` must be [x, y, width, height] in pixels", where=where, hint="no box may be empty"
    )


def box_of(x: float, y: float, width: float, height: float) -> Box:
    """The whole pixels that a box touches.

    >>> box_of(10.5, 20.0, 3.0, 4.0)
    Box(line=20, sample=10, lines=4, samples=4)
    """
    line, sample = math.floor(y), math.floor(x)
    return Box(line, sample, math.ceil(y + height) - line, math.ceil(x + width) - sample)
