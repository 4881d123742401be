"""Labels as CSV: a line per label that counts.

Decisions, sets and labels that were withdrawn stay in the catalogue.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from winnow_base.errors import DataError
from winnow_edge.files import printable, write_file
from winnow_edge.products.kinds import Box
from winnow_ground.labelling.answers import ANSWERS, SHOWS
from winnow_ground.labelling.exchange.lines import Line, Place, Told, moment, text_of

COLUMNS: Final = (
    "swath", "store", "number", "swath_sha256", "bundle", "tile", "line", "sample", "lines",
    "samples", "scale", "answer", "class", "person", "at", "comment", "sha256", "told",
)  # fmt: skip
_FORMULA: Final = tuple("=+-@\t\r")


def write(labels: Iterable[Told], path: Path) -> int:
    """Write labels; how many. Raises OutputError."""
    out, count = io.StringIO(), 0
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for one in labels:
        box = one.box
        row = (one.swath, one.store, one.number, one.swath_sha256, one.bundle, one.tile, box.line,
               box.sample, box.lines, box.samples, one.scale, one.answer, one.class_name,
               one.person, one.at, one.comment, one.sha256, one.told)  # fmt: skip
        table.writerow([_cell(value) for value in row])
        count += 1
    write_file(path, out.getvalue())
    return count


def read(path: Path) -> list[Line]:
    """The labels of a file. Raises DataError, which names the line.

    `class` alone is enough of an answer (a class, or `nothing`), and `swath` with `tile` or a box
    enough of a place; other columns may be missing, and unknown ones are passed over.
    """
    table = csv.DictReader(io.StringIO(text_of(path), newline=""), strict=True)
    lines = []
    try:
        missing = {"swath"} - set(table.fieldnames or ())
        if missing or not {"answer", "class"} & set(table.fieldnames or ()):
            hint = "`winnow label export` writes one; it begins with the names of its columns"
            what = "has no columns `swath` and `class` or `answer`"
            raise DataError(what, where=f"{path}:1", hint=hint)
        lines += [
            _line({key: value for key, value in row.items() if key}, f"{table.line_num}", path)
            for row in table
        ]
    except csv.Error as error:
        hint = "it may have been cut short: export it again"
        raise DataError(
            f"is no table ({error})", where=f"{path}:{table.line_num}", hint=hint
        ) from error
    return lines


def _line(row: dict[str, str | None], where: str, path: Path) -> Line:
    told = {key: _uncell(value) for key, value in row.items() if isinstance(value, str) and value}

    def number(name: str) -> int | None:
        return int(told[name]) if name in told else None

    try:
        if None in row.values():
            hint = "it may have been cut short: export it again"
            what = "has fewer fields than there are columns"
            raise DataError(what, where=f"{path}:{where}", hint=hint)
        box = [number(name) for name in ("line", "sample", "lines", "samples")]
        place = Place(
            told["swath"],
            number("store"),
            number("number"),
            told.get("swath_sha256"),
            told.get("bundle"),
            number("tile"),
            Box(*(value for value in box if value is not None)) if None not in box else None,
        )
        class_name = told.get("class")
        answer = told.get("answer") or (class_name if class_name in ANSWERS else SHOWS)
        if answer != SHOWS and class_name == answer:
            class_name = None
        at = moment(told["at"]) if "at" in told else None
        shown = told.get("told", "1")
        if shown not in ("0", "1"):
            raise ValueError(f"`told` is 0 or 1, not {shown[:40]!r}")
    except KeyError as error:
        raise DataError(
            f"names no {error.args[0]}", where=f"{path}:{where}", hint="fill the column in"
        ) from error
    except ValueError as error:
        hint = "numbers are whole, times as 2026-03-01T12:00:00Z"
        what = printable(str(error))[:120]
        raise DataError(what, where=f"{path}:{where}", hint=hint) from error
    return Line(
        where, place, answer, class_name, told.get("person"), at, told.get("comment", ""),
        told.get("sha256", ""), shown == "1",
    )  # fmt: skip


def _cell(value: object) -> object:
    """Text that no spreadsheet takes for a formula; `_uncell` takes the mark off again."""
    marked = isinstance(value, str) and value.startswith((*_FORMULA, "'"))
    return f"'{value}" if marked else value


def _uncell(text: str) -> str:
    return text[1:] if text.startswith(tuple(f"'{c}" for c in (*_FORMULA, "'"))) else text
