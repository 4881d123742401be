"""Labels as COCO object detection (cocodataset.org, "Data format"): swaths are its images.

An annotation has, beside what COCO has, `attributes` as CVAT writes them: answer, person, time,
comment, digest of the picture. `nothing`, `unsure` and `later` are categories of those names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from winnow_base.errors import DataError
from winnow_edge.files import printable, write_file
from winnow_edge.products.kinds import Box
from winnow_ground.labelling.exchange.lines import (
    Line,
    Place,
    Told,
    answer_of,
    json_of,
    moment,
    number_in,
    text_in,
)


def write(labels: Iterable[Told], path: Path) -> int:
    """Write labels; how many. Raises OutputError."""
    told = list(labels)
    numbers = {name: n for n, name in enumerate(sorted({one.says for one in told}), 1)}
    images = {
        one.swath_id: {
            "id": one.swath_id,
            "file_name": one.swath,
            "width": one.samples or 0,
            "height": one.lines or 0,
            "bundle": one.bundle,
            "store": one.store,
            "number": one.number,
            "sha256": one.swath_sha256,
        }
        for one in told
    }
    annotations = [
        {
            "id": number,
            "image_id": one.swath_id,
            "category_id": numbers[one.says],
            "bbox": [one.box.sample, one.box.line, one.box.samples, one.box.lines],
            "area": one.box.samples * one.box.lines,
            "iscrowd": 0,
            "attributes": {"tile": one.tile, "person": one.person, "at": one.at,
                           "comment": one.comment, "sha256": one.sha256},
        }
        for number, one in enumerate(told, 1)
    ]  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    whole = {"images": list(images.values()), "annotations": annotations, "categories": categories}
    write_file(path, json.dumps(whole, indent=1) + "\n")
    return len(told)


def read(path: Path) -> list[Line]:
    """The annotations of a file. Raises DataError, which names the annotation."""
    told = json_of(path)
    if not isinstance(told, dict) or not isinstance(told.get("annotations"), list):
        hint = "COCO object detection has `images`, `annotations` and `categories`"
        raise DataError("is no COCO file", where=path, hint=hint)
    try:
        images = {number_in(one["id"]): one for one in told["images"]}
        names = {number_in(one["id"]): text_in(one["name"]) for one in told["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        hint = "every image and category has an `id`, every category a `name`"
        raise DataError("lists images or categories wrongly", where=path, hint=hint) from error
    return [
        _line(one, f"annotation {number}", images, names, path)
        for number, one in enumerate(told["annotations"], 1)
    ]


def _line(
    one: Any, where: str, images: Mapping[int, Any], names: Mapping[int, str], path: Path
) -> Line:
    try:
        image, name = images[number_in(one["image_id"])], names[number_in(one["category_id"])]
        left, top, wide, high = (_pixels(value) for value in one["bbox"])
        more = one.get("attributes") or {}
        place = Place(
            text_in(image["file_name"]),
            image.get("store"),
            image.get("number"),
            _or_none(image.get("sha256")),
            _or_none(image.get("bundle")),
            # A tile's number goes with the swath that it was exported from.
            more.get("tile") if _named(image) else None,
            _inside(Box(top, left, high, wide), image),
        )
        at = moment(text_in(more["at"])) if more.get("at") else None
        person, comment = _or_none(more.get("person")), text_in(more.get("comment") or "")
        answer, class_name = answer_of(name)
        return Line(
            where, place, answer, class_name, person, at, comment, text_in(more.get("sha256") or "")
        )
    except KeyError as error:
        what = f"lacks or names an unknown {printable(str(error.args[0]))[:60]}"
        hint = "every annotation has `image_id`, `category_id` and `bbox`"
        raise DataError(what, where=f"{path}:{where}", hint=hint) from error
    except (TypeError, ValueError, AttributeError) as error:
        what = printable(str(error))[:120]
        hint = "a box is four finite numbers: sample, line, samples, lines"
        raise DataError(what, where=f"{path}:{where}", hint=hint) from error


def _named(image: Mapping[str, Any]) -> bool:
    return image.get("store") is not None or bool(image.get("sha256"))


def _inside(box: Box, image: Mapping[str, Any]) -> Box:
    """The box, if it lies within its picture. Raises ValueError."""
    wide, high = image.get("width") or math.inf, image.get("height") or math.inf
    ends = box.sample + box.samples, box.line + box.lines
    if min(box.line, box.sample) < 0 or min(box.lines, box.samples) < 1:
        raise ValueError(f"{box} lies outside of its picture, or is empty")
    if ends[0] > wide or ends[1] > high:
        raise ValueError(f"{box} lies outside of its picture, {high} lines of {wide} samples")
    return box


def _pixels(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**31:
        raise ValueError("the box has a value that is no finite number")
    return round(value)


def _or_none(value: Any) -> str | None:
    return None if value in (None, "") else text_in(value)
