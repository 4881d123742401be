"""Whole pictures with what is known of them: boxes of features, and classes that cannot be there.

Boxes come from truth files (`NAME.truth.json` beside `NAME.png`) and from a *looks* file, which
holds what a person saw and what the latitude excludes, by file name. A looks file is JSON::

    {"pictures": {"mars_crater_0*.jpg": {"absent": ["spider"], "complete": 20}, ...}}

The entries of every pattern that a name matches are joined; a later one overrides `source`,
`complete` and `credit`. Keys of an entry:

- `absent`: classes that are nowhere in the picture;
- `features`: more boxes, as in a truth file; with `"field": true` the class covers the whole box,
  and every window whose middle lies in it shows the class;
- `complete`: side, in pixels of the picture, from which on every crater has a box; without it,
  ground without a box may still hold one;
- `source`: what it shares with other pictures, where neither its name nor its observation tells;
- `credit`: whose picture it is, or whose boxes: it goes into the attribution of a net that learns
  from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from winnow_base.errors import DataError
from winnow_base.truth_files import TrueFeature, read_truth_file
from winnow_edge.files import read_small
from winnow_edge.products.kinds import Box
from winnow_edge.tables import Reader, setting
from winnow_train.datasets import HIRISE_SOURCE, IMAGE_SUFFIXES

LOOKS_FOLDERS = (
    Path(__file__).parents[1] / "looks",  # in a wheel
    Path(__file__).parents[2] / "looks",  # in the repository
)


@dataclass(frozen=True)
class Feature:
    """Something that is there: its class, its box in pixels of the picture; a `field` fills it."""

    class_name: str
    box: Box
    field: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture and what is known of it. `complete` None: ground without a box is unknown."""

    path: Path
    source: str
    features: tuple[Feature, ...]
    absent: tuple[str, ...]
    complete: float | None
    #: Lines and samples that the truth file claims; None without one.
    claimed: tuple[int, int] | None = None
    credit: str = ""


@dataclass(frozen=True)
class Look:
    """What a looks file says of the pictures of a pattern; the keys are described above."""

    absent: tuple[str, ...] = setting(())
    features: tuple[TrueFeature, ...] = setting((), most=50_000)
    complete: float | None = setting(None, 0, 2**31 - 1)
    source: str | None = setting(None)
    credit: str | None = setting(None)


@dataclass(frozen=True)
class _File:
    pictures: dict[str, Look] = setting(...)


@dataclass(frozen=True)
class Looks:
    """The patterns of a looks file with their entries, in its order."""

    path: Path | None
    entries: tuple[tuple[str, Look], ...]

    def of(self, name: str) -> Look:
        """What is said of a picture, joined over the patterns that its name matches."""
        found = Look()
        for pattern, entry in self.entries:
            if fnmatchcase(name, pattern):
                found = Look(
                    found.absent + entry.absent,
                    found.features + entry.features,
                    found.complete if entry.complete is None else entry.complete,
                    found.source if entry.source is None else entry.source,
                    found.credit if entry.credit is None else entry.credit,
                )
        return found


NO_LOOKS = Looks(None, ())


def find_looks(name: str) -> Path:
    """A looks file by its path or bare name. Raises DataError with what exists."""
    if (path := Path(name)).is_file():
        return path
    known: set[str] = set()
    for folder in LOOKS_FOLDERS:
        if (folder / f"{name}.json").is_file():
            return folder / f"{name}.json"
        known |= {p.stem for p in folder.glob("*.json")}
    raise DataError("no such looks file", where=name, hint=f"known: {', '.join(sorted(known))}")


def read_looks(path: Path) -> Looks:
    """Read a looks file. Raises DataError naming the file and the entry."""
    try:
        data = read_small(path)
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path) from error
    reader = Reader(path, DataError, hint="is it a looks file? see docs/evaluation.md")
    return Looks(path, tuple(reader.table(_File, reader.json(data)).pictures.items()))


def read_pictures(folder: Path, looks: Looks = NO_LOOKS) -> tuple[Picture, ...]:
    """The pictures of a folder by name, each with its truth file and its looks.

    Raises DataError for a missing or empty folder and a truth file that is none.
    """
    if not folder.is_dir():
        raise DataError("no such folder", where=folder, hint="give a folder of pictures")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError("holds no picture", where=folder, hint=f"endings read: {known}")
    return tuple(_picture(path, looks) for path in paths)


def _source(path: Path) -> str:
    """The HiRISE observation in a picture's name, else the name itself: a picture is no tile."""
    match = HIRISE_SOURCE.match(path.name)
    return match[1] if match else path.stem


def truth_path(picture: Path) -> Path:
    """Where the truth file of a picture is looked for: NAME.truth.json beside NAME.png."""
    return picture.with_name(f"{picture.stem}.truth.json")


def _picture(path: Path, looks: Looks) -> Picture:
    said = looks.of(path.name)
    features = tuple(Feature(f.class_name, f.box, f.field) for f in said.features)
    claimed, truth = None, truth_path(path)
    if truth.is_file():
        claimed, boxes = read_truth(truth)
        features = (*features, *boxes)
    return Picture(
        path,
        said.source or _source(path),
        features,
        tuple(dict.fromkeys(said.absent)),
        said.complete,
        claimed,
        said.credit or "",
    )


def read_truth(path: Path) -> tuple[tuple[int, int] | None, tuple[Feature, ...]]:
    """Lines and samples (None where it says nothing) and the boxes of a truth file.

    Raises DataError for what is no truth file, and for a box outside the picture it speaks of.
    """
    file = read_truth_file(path)
    claimed = (file.lines, file.samples) if file.lines and file.samples else None
    features = tuple(Feature(f.class_name, f.box, f.field) for f in file.features)
    for number, feature in enumerate(features):
        if claimed and not _touches(feature.box, claimed):
            raise DataError(
                f"the box lies outside the picture of {claimed[0]} lines x {claimed[1]} samples",
                where=f"{path}: features[{number}]",
            )
    return claimed, features


def _touches(box: Box, size: tuple[int, int]) -> bool:
    inside = box.line < size[0] and box.sample < size[1]
    return inside and box.line + box.lines > 0 and box.sample + box.samples > 0


def refuse_misfit(picture: Picture, lines: int, samples: int) -> None:
    """Raise DataError if a picture's truth file speaks of another size than the picture has, and
    if one of its boxes lies outside."""
    if picture.claimed not in (None, (lines, samples)):
        known = "{} lines x {} samples".format(*picture.claimed or (0, 0))
        raise DataError(
            f"is the truth of another picture: it speaks of {known}, "
            f"{picture.path.name} has {lines} x {samples}",
            where=truth_path(picture.path),
        )
    for feature in picture.features:
        if not _touches(feature.box, (lines, samples)):
            raise DataError(
                f"the box of {feature.class_name} at line {feature.box.line}, sample "
                f"{feature.box.sample} lies outside: it has {lines} lines x {samples} samples",
                where=picture.path,
                hint="correct its truth file or looks file",
            )


def sources(pictures: Sequence[Picture]) -> tuple[str, ...]:
    """The sources of some pictures, each once, sorted."""
    return tuple(sorted({p.source for p in pictures}))


def credits_of(pictures: Sequence[Picture]) -> str:
    """A sentence on whose the pictures are that windows are cut from, with a space behind it; ""
    where their looks say nothing."""
    said = "; ".join(sorted({p.credit for p in pictures if p.credit}))
    return f"Windows: {said}. " if said else ""
