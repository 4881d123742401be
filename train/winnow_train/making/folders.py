"""A folder of pictures: one folder per class, or truth files beside the pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from winnow_base.errors import DataError
from winnow_train.datasets import IMAGE_SUFFIXES, SPLITS
from winnow_train.making.labels import Labelled, Labels
from winnow_train.windows.pictures import read_truth, truth_path


def read_folder(root: Path) -> Labels:
    """The pictures of a folder: with boxes where truth files lie beside them, else by the folders
    they are in, each of which is a class.

    Raises DataError for a folder that holds neither.
    """
    try:
        directly = sorted(p for p in root.iterdir() if _is_picture(p))
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=root) from error
    if any(truth_path(p).is_file() for p in directly):
        return _with_truth(directly)
    if {p.name for p in folders} & set(SPLITS):
        raise DataError(
            "is split already: it holds train or val",
            where=root,
            hint=f"train on it as it is: winnow data check folder --data {root}",
        )
    if not folders:
        what = f"{len(directly)} pictures, but no" if directly else "no picture, and no"
        raise DataError(
            f"holds {what} folder per class and no truth file",
            where=root,
            hint="sort the pictures into a folder per class, or give a COCO or CSV file",
        )
    return _by_class(root, folders, len(directly))


def _with_truth(pictures: list[Path]) -> Labels:
    found = []
    for path in pictures:
        if (truth := truth_path(path)).is_file():
            claimed, boxes = read_truth(truth)
            found.append(Labelled(path, path.name, boxes=boxes, claimed=claimed))
    lacking = len(pictures) - len(found)
    notes = (f"{lacking} pictures without a truth file are left out",) if lacking else ()
    return Labels(tuple(found), notes)


def _by_class(root: Path, folders: list[Path], directly: int) -> Labels:
    found, others = [], Counter[str]()
    for folder in folders:
        for path in _files_below(folder):
            if _is_picture(path):
                name = path.relative_to(folder).as_posix()
                found.append(Labelled(path, name, class_name=folder.name))
            else:
                others[path.suffix.lower() or "no ending"] += 1
    if not found:
        raise DataError(
            "holds no picture in a folder per class",
            where=root,
            hint=f"endings read: {', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    notes = []
    if directly:
        notes.append(f"{directly} pictures beside the folders are of no class: left out")
    if others:
        kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(others.items()))
        notes.append(f"{others.total()} files of other kinds are left out ({kinds})")
    held = {p.class_name for p in found}
    notes += [f"{f.name!r} holds no picture: no class" for f in folders if f.name not in held]
    return Labels(tuple(found), tuple(notes))


def _files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, in order; hidden ones and links to folders are left out."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=folder) from error
    for path in paths:
        if path.name.startswith(".") or (path.is_symlink() and path.is_dir()):
            continue
        if path.is_dir():
            yield from _files_below(path)
        else:
            yield path


def _is_picture(path: Path) -> bool:
    named = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    return named and path.is_file()
