"""What a data set's label files say, row by row, wrong rows included.

`winnow_train.datasets` refuses a set at its first fault; a check has to see all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from winnow_base.errors import DataError
from winnow_edge.files import read_small
from winnow_edge.tables import shortened
from winnow_train.class_files import class_id, class_map, class_words
from winnow_train.datasets import (
    HIRISE_SOURCE,
    IMAGE_SUFFIXES,
    MSL_NAME,
    SPLITS,
    _find_folder,
    _only,
    source_of,
    split_of,
)

#: A HiRISE landmark without the suffix of its turned, mirrored or brightened copies.
LANDMARK = re.compile(r"^((?:PSP|ESP|TRA|AEB)_\d{6}_\d{4}_[A-Z]+-\d+)")
#: An MSL exposure: the name up to the letter of the product type (full frame, thumbnail, ...).
EXPOSURE = re.compile(r"^(\d{4}M[LRH]\d{16})[A-Z]\d\d")


@dataclass(frozen=True)
class Row:
    """A usable row: the tile's file, its class by name, its set, its source and its landmark."""

    path: Path
    label: str
    split: str
    source: str
    landmark: str
    where: str


@dataclass
class Listing:
    """All that a data set's label files say."""

    name: str
    folder: Path
    classes: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    repeated: int = 0
    malformed: list[str] = field(default_factory=list)
    unknown_ids: list[str] = field(default_factory=list)
    contradictory: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)


def read_listing(name: str, root: Path) -> Listing:
    """Read the label files of a data set, keeping count of what is wrong with them.

    Raises DataError if the folder, the class map or every label file is missing.
    """
    if not root.is_dir():
        raise DataError("no such folder", where=root, hint="give the data sets' folder with --data")
    if name == "hirise-v1":
        return _hirise(name, _find_folder(root, name, ("hirise-map-proj-v1", "hirise-map-proj")))
    if name in ("hirise-v3", "hirise-v3.2"):
        folders = ("hirise-map-proj-v3", "hirise-map-proj-v3_2")
        wanted = folders if name == "hirise-v3" else folders[1:]
        return _hirise(name, _find_folder(root, name, wanted))
    if name == "msl":
        return _msl(_find_folder(root, name, ("msl-images",)))
    if name == "folder":
        return _tree(root)
    raise DataError(
        f"no data set is called {name!r}",
        hint="known: hirise-v1, hirise-v3, hirise-v3.2, msl, folder",
    )


def _hirise(name: str, folder: Path) -> Listing:
    ids = class_map(_only(folder, "*classmap.csv", "the class map"))
    split_file = next(iter(sorted(folder.glob("labels-*train_val_test.txt"))), None)
    label_file = split_file or _only(folder, "labels-*.txt", "the label file")
    images = next(
        (folder / d for d in ("map-proj-v3_2", "map-proj-v3", "map-proj") if (folder / d).is_dir()),
        folder,
    )
    found = Listing(name, folder, tuple(ids[i] for i in sorted(ids)))
    seen: dict[str, list[str]] = {}
    for where, fields in _rows(found, label_file, 3 if split_file else 2, seen):
        source, landmark = HIRISE_SOURCE.match(fields[0]), LANDMARK.match(fields[0])
        split = fields[2] if split_file else split_of(source[1]) if source else ""
        if source is None or landmark is None or split not in SPLITS:
            found.malformed.append(f"{where}: {' '.join(fields)}")
        elif (label := _label(found, ids, fields[1], where)) is not None:
            path = images / fields[0]
            found.rows.append(Row(path, label, split, source[1], landmark[1], where))
    _unlabelled(found, images, set(seen))
    return found


def _msl(folder: Path) -> Listing:
    words = _only(folder, "msl_synset_words-indexed.txt", "the class names")
    ids = class_words(words)
    found = Listing("msl", folder, tuple(ids[i] for i in sorted(ids)))
    files = [(s, folder / f"{s}-calibrated-shuffled.txt") for s in SPLITS]
    files = [(s, path) for s, path in files if path.is_file()]
    if not files:
        raise DataError("no label list", where=folder, hint="train-calibrated-shuffled.txt, ...")
    seen: dict[str, list[str]] = {}
    for split, path in files:
        for where, fields in _rows(found, path, 2, seen):
            file = Path(fields[0]).name
            parts, exposure = MSL_NAME.match(file), EXPOSURE.match(file)
            if parts is None:
                found.malformed.append(f"{where}: {' '.join(fields)}")
            elif (label := _label(found, ids, fields[1], where)) is not None:
                landmark = exposure[1] if exposure else Path(file).stem
                tile = folder / fields[0]
                found.rows.append(Row(tile, label, split, f"sol {parts[1]}", landmark, where))
    _unlabelled(found, folder / "calibrated", {Path(n).name for n in seen})
    return found


def _tree(root: Path) -> Listing:
    homes = [(s, root / s) for s in SPLITS if (root / s).is_dir()] or [("", root)]
    classes = sorted({c.name for _, home in homes for c in home.iterdir() if c.is_dir()})
    found = Listing("folder", root, tuple(classes))
    for split, home in homes:
        for kind in classes:
            for path in sorted((home / kind).glob("*")):
                if path.suffix.lower() not in IMAGE_SUFFIXES:
                    found.unlabelled.append(str(path.relative_to(root)))
                    continue
                source = source_of(path.name)
                where = str(path.relative_to(root))
                landmark = m[1] if (m := LANDMARK.match(path.name)) else path.stem
                held = split or split_of(source)
                found.rows.append(Row(path, kind, held, source, landmark, where))
    if not found.rows:
        raise DataError("no image in a folder per class", where=root)
    return found


def _rows(
    found: Listing, path: Path, columns: int, seen: dict[str, list[str]]
) -> list[tuple[str, list[str]]]:
    """Rows with their places; repeated, malformed and contradicting ones go into `found`."""
    kept = []
    try:
        text = read_small(path, 256_000_000).decode("utf-8", errors="replace")
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path) from error
    for number, line in enumerate(text.splitlines(), start=1):
        fields, where = line.split(), f"{path.name}:{number}"
        if not fields:
            continue
        if len(fields) != columns:
            found.malformed.append(f"{where}: {shortened(line.strip())}")
            continue
        first = seen.setdefault(fields[0], fields)
        if first is fields:
            kept.append((where, fields))
        elif first == fields:
            found.repeated += 1
        else:
            found.contradictory.append(f"{where}: {' '.join(fields)}, before {' '.join(first[1:])}")
    return kept


def _label(found: Listing, ids: dict[int, str], text: str, where: str) -> str | None:
    number = class_id(text)
    if number is None or number not in ids:
        found.unknown_ids.append(f"{where}: {text}")
        return None
    return ids[number]


def _unlabelled(found: Listing, images: Path, names: set[str] | Sequence[str]) -> None:
    if images.is_dir():
        found.unlabelled = sorted(
            p.name
            for p in images.iterdir()
            if p.suffix.lower() in IMAGE_SUFFIXES and p.name not in names
        )
