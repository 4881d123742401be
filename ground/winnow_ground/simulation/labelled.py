"""Labelled tiles as files: a folder per class, published HiRISE landmarks, or a CSV file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

from winnow_base.errors import DataError
from winnow_base.files import read_text

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".pgm"})
_SETS = ("train", "val", "test")
_HINT = "a folder per class, a HiRISE landmark set, or a CSV of file and class"

Tiles = list[tuple[Path, str]]
"""Files and the classes they show."""


def read_tiles(place: Path, split: str) -> Tiles:
    """The labelled tiles at `place` that are of a set, by file name.

    A folder is `[train|val|test/]CLASS/*`, or holds `*classmap.csv` and `*_train_val_test.txt` as
    HiRISE landmarks are published. A CSV file has the columns `file`, relative to it, and `class`,
    and may have `set`. Raises DataError for what is none of them, and where a set holds no tile.
    """
    if not place.exists():
        raise DataError("no such file or folder of tiles", where=place, hint=_HINT)
    if place.is_file():
        found = _of_table(place, split)
    elif maps := sorted(place.glob("*classmap.csv")):
        found = _of_landmarks(place, maps[0], split)
    else:
        found = _of_folders(place, split)
    if not found:
        raise DataError(f"holds no labelled tile of the set {split!r}", where=place, hint=_HINT)
    return sorted(found)


def counts(tiles: Tiles) -> Counter[str]:
    """How many tiles show each class."""
    return Counter(name for _, name in tiles)


def _of_folders(place: Path, split: str) -> Tiles:
    sets = [place / name for name in _SETS if (place / name).is_dir()]
    base = place / split if sets else place
    if not base.is_dir():
        names = ", ".join(s.name for s in sets)
        raise DataError(f"has no set {split!r}", where=place, hint=f"it has: {names}")
    return [
        (file, folder.name)
        for folder in sorted(base.iterdir())
        if folder.is_dir()
        for file in folder.iterdir()
        if file.suffix.lower() in _SUFFIXES
    ]


def _of_landmarks(place: Path, class_map: Path, split: str) -> Tiles:
    names = {
        row[0]: row[1]
        for row in csv.reader(io.StringIO(read_text(class_map, DataError)))
        if len(row) >= 2
    }
    lists = sorted(place.glob("*_train_val_test.txt"))
    if not lists:
        raise DataError("has no *_train_val_test.txt", where=place, hint="it says which set is val")
    folders = [folder for folder in sorted(place.iterdir()) if folder.is_dir()]
    found = {}
    for number, line in enumerate(read_text(lists[0], DataError).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or words[1] not in names:
            said = "is no line `NAME ID SET` with an id of the class map"
            raise DataError(said, where=f"{lists[0]}:{number}", hint=f"see {class_map.name}")
        if words[2] == split:
            there = (file for folder in folders if (file := folder / words[0]).is_file())
            if (file := next(there, None)) is not None:
                found[file] = names[words[1]]
    return list(found.items())


def _of_table(place: Path, split: str) -> Tiles:
    reader = csv.DictReader(io.StringIO(read_text(place, DataError)))
    if not {"file", "class"} <= set(reader.fieldnames or ()):
        raise DataError("has no columns `file` and `class`", where=place, hint=_HINT)
    found: Tiles = []
    for number, row in enumerate(reader, start=2):
        if row.get("set", split) != split:
            continue
        if not row["file"] or not row["class"]:
            raise DataError("names no file or no class", where=f"{place}:{number}")
        file = place.parent / row["file"]
        if not file.is_file():
            raise DataError("no such tile", where=f"{place}:{number}: {file}")
        found.append((file, row["class"]))
    return found
