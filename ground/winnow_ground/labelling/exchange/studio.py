"""Labels as Label Studio's JSON (labelstud.io/guide/task_format): a task per tile.

A task's annotations are what people said (`choices`). Tasks of whole swaths with boxes
(`rectanglelabels`, in percent) are read too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

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

_CONFIG: Final = {"from_name": "shows", "to_name": "tile", "type": "choices"}


def write(labels: Iterable[Told], path: Path) -> int:
    """Write labels; how many. `image` is the address of the tile's picture under `winnow serve`.

    Raises OutputError.
    """
    tasks: dict[int, dict[str, Any]] = {}
    count = 0
    for one in labels:
        box = one.box
        task = tasks.setdefault(
            one.tile_id,
            {
                "id": one.tile_id,
                "data": {
                    "image": f"/tile/{one.tile_id}/picture", "swath": one.swath,
                    "store": one.store, "number": one.number, "swath_sha256": one.swath_sha256,
                    "bundle": one.bundle, "tile": one.tile,
                    "box": [box.line, box.sample, box.lines, box.samples],
                },
                "annotations": [],
            },
        )  # fmt: skip
        count += 1
        task["annotations"].append(
            {
                "id": count,
                "completed_by": {"email": one.person},
                "created_at": one.at,
                "was_cancelled": False,
                "result": [{**_CONFIG, "id": f"r{count}", "value": {"choices": [one.says]}}],
                "meta": {"comment": one.comment, "sha256": one.sha256},
            }
        )
    write_file(path, json.dumps(list(tasks.values()), indent=1) + "\n")
    return count


def read(path: Path) -> list[Line]:
    """The annotations of all tasks; cancelled ones are passed over.

    Raises DataError, which names the task.
    """
    tasks = json_of(path)
    if not isinstance(tasks, list):
        hint = "export it as JSON, not as JSON-MIN"
        raise DataError("is no list of Label Studio's tasks", where=path, hint=hint)
    lines = []
    for number, task in enumerate(tasks, 1):
        where = f"task {number}"
        try:
            lines += list(_task(task, where))
        except KeyError as error:
            what = f"lacks {printable(str(error.args[0]))[:60]}"
            hint = "a task has `data` with `swath`, and `annotations`"
            raise DataError(what, where=f"{path}:{where}", hint=hint) from error
        except (TypeError, ValueError, AttributeError) as error:
            what = printable(str(error))[:120]
            hint = "export it as JSON again"
            raise DataError(what, where=f"{path}:{where}", hint=hint) from error
    return lines


def _task(task: Any, where: str) -> Iterator[Line]:
    data = task["data"]
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        meta = annotation.get("meta") or {}
        at = annotation.get("created_at")
        person, at = _person(annotation.get("completed_by")), moment(text_in(at)) if at else None
        comment, sha256 = text_in(meta.get("comment") or ""), text_in(meta.get("sha256") or "")
        for result in annotation["result"]:
            value = result["value"]
            kind = result.get("type", "choices")
            if kind == "choices":
                place = _place(data, None)
            elif kind == "rectanglelabels":
                place = _place(data, _box(value, result))
            else:
                continue
            for name in value[kind]:
                answer, class_name = answer_of(text_in(name))
                yield Line(where, place, answer, class_name, person, at, comment, sha256)


def _place(data: Mapping[str, Any], box: Box | None) -> Place:
    if box is not None:
        return Place(text_in(data["swath"]), data.get("store"), data.get("number"),
                     data.get("swath_sha256"), data.get("bundle"), None, box)  # fmt: skip
    own = data.get("box")
    if own is not None:
        box = Box(*(number_in(value) for value in own))
    return Place(text_in(data["swath"]), data.get("store"), data.get("number"),
                 data.get("swath_sha256"), data.get("bundle"), data.get("tile"), box)  # fmt: skip


def _box(value: Mapping[str, Any], result: Mapping[str, Any]) -> Box:
    """A box in percent of its picture. Raises ValueError for one outside of it."""
    wide, high = number_in(result["original_width"]), number_in(result["original_height"])
    x, y, w, h = (float(value[name]) for name in ("x", "y", "width", "height"))
    if not (x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= 100.001 and y + h <= 100.001):
        raise ValueError("a box lies outside of its picture")
    return Box(
        round(y * high / 100), round(x * wide / 100), round(h * high / 100), round(w * wide / 100)
    )


def _person(told: Any) -> str | None:
    if isinstance(told, dict):
        told = told.get("email") or told.get("username") or told.get("id")
    return None if told is None else f"label-studio-{told}" if type(told) is int else text_in(told)
