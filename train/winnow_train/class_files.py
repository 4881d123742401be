"""The files of published data sets that name their classes by number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from winnow_base.errors import DataError
from winnow_edge.files import read_small

_MOST_DIGITS = 9
_LONGEST_NAME = 200
_LARGEST = 256_000_000


def class_id(text: str) -> int | None:
    """The number that a field writes in ASCII digits; None for any other text.

    >>> class_id("07"), class_id("²"), class_id("9" * 5000)
    (7, None, None)
    """
    fits = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return int(text) if fits else None


def class_map(path: Path) -> dict[int, str]:
    """Class names by number, from rows `1,crater` (HiRISE). Other rows say nothing.

    Raises DataError for a file that is no such table, or holds no class.
    """
    return _named(path, _rows(path), "expected rows such as 1,crater")


def class_words(path: Path) -> dict[int, str]:
    """Class names by number, from lines `1 drill holes` (MSL). Raises DataError as `class_map`."""
    parted = (line.strip().partition(" ") for line in text_of(path).splitlines())
    rows = ((number, [code, words]) for number, (code, _, words) in enumerate(parted, start=1))
    return _named(path, rows, "expected lines such as 1 drill holes")


def text_of(path: Path) -> str:
    """The text of a label file, class file or table. Raises DataError, also for pipes and devices
    and for more than `_LARGEST` octets."""
    try:
        return read_small(path, _LARGEST).decode("utf-8")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=path, hint="save it as UTF-8") from error


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    table = csv.reader(io.StringIO(text_of(path), newline=""))
    try:
        for row in table:
            yield table.line_num, row
    except csv.Error as error:
        raise DataError(f"is no CSV file: {error}", where=f"{path}:{table.line_num}") from error


def _named(path: Path, rows: Iterator[tuple[int, list[str]]], hint: str) -> dict[int, str]:
    ids: dict[int, str] = {}
    for number, row in rows:
        if not row or (code := class_id(row[0].strip())) is None:
            continue
        name = " ".join(row[1].split()) if len(row) > 1 else ""
        if not 0 < len(name) <= _LONGEST_NAME:
            what = f"class {code} has no name of 1 to {_LONGEST_NAME} characters"
            raise DataError(what, where=f"{path}:{number}", hint=hint)
        ids[code] = name
    if not ids:
        raise DataError("no class", where=path, hint=hint)
    return ids
