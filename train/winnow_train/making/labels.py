"""What is known of a user's pictures, whatever the format that said it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from winnow_base.errors import DataError
from winnow_train.windows.pictures import Feature


@dataclass(frozen=True)
class Labelled:
    """A picture: its file, its name below the folder it was found in, and what it shows.

    It shows one class as a whole (`class_name`), or has `boxes`, which may be none. `source` is
    given where the labels state one; `claimed` are lines and samples that they speak of.
    """

    path: Path
    name: str
    class_name: str | None = None
    boxes: tuple[Feature, ...] | None = None
    source: str | None = None
    claimed: tuple[int, int] | None = None


@dataclass(frozen=True)
class Labels:
    """Pictures with their labels, all of one kind, and what was left out, in words."""

    pictures: tuple[Labelled, ...]
    notes: tuple[str, ...] = ()

    @property
    def boxed(self) -> bool:
        """Whether the labels are boxes."""
        return any(p.boxes is not None for p in self.pictures)


def join(parts: list[Labels]) -> Labels:
    """Labels of several places as one. Raises DataError if some are boxes and some classes, and
    for a picture that is named twice."""
    pictures = tuple(p for part in parts for p in part.pictures)
    if len({part.boxed for part in parts}) > 1:
        raise DataError(
            "some of the pictures have boxes, some have classes",
            hint="make two data sets, or cut the boxes first",
        )
    seen: set[Path] = set()
    for picture in pictures:
        if (path := picture.path.resolve()) in seen:
            raise DataError("is given twice", where=picture.path)
        seen.add(path)
    return Labels(pictures, tuple(n for part in parts for n in part.notes))


def picture_file(folder: Path, name: str) -> Path | None:
    """The picture that a label file calls `name`, in `folder` or directly in it by its last part;
    None where it is not there. Names that lead out of the folder name nothing."""
    parts = Path(name.replace("\\", "/")).parts
    if not parts or ".." in parts or "\0" in name:
        return None
    for candidate in (folder.joinpath(*parts), folder / parts[-1]):
        try:
            if candidate.is_relative_to(folder) and candidate.is_file():
                return candidate
        except OSError:  # a name longer than the file system takes
            continue
    return None


def refuse_absent(absent: list[str], named: int, where: Path, folder: Path) -> None:
    """Raise DataError where a label file names pictures that are not there."""
    if absent:
        raise DataError(
            f"names {len(absent)} of {named} pictures that are not in {folder}, the first "
            f"{absent[0][:80]!r}",
            where=where,
            hint="is it of another folder? --pictures names the folder",
        )
