"""Where tiles come from: which pictures are the same, by their pixels and by a set's index.

Two sources that share a tile's pixels, or a picture, are one to a net: they belong in one set.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_edge.files import write_file
from winnow_edge.products.kinds import Box
from winnow_train.datasets import IMAGE_SUFFIXES, Tile
from winnow_train.making.pixels import LONGEST, Decoded, Pixels, size_of
from winnow_train.making.write import COLUMNS, INDEX

Shape = tuple[int, int]


@dataclass(frozen=True)
class Origin:
    """A row of a data set's index: a tile's `file` below the set, its `picture`, and its `box`
    there, binned by `scale` (None: the whole picture)."""

    file: str
    picture: str
    box: Box | None
    scale: int


def digest_of(pixels: Pixels) -> str:
    """SHA-256 of a picture's shape and pixels, hexadecimal."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def is_flat(pixels: Pixels) -> bool:
    """Whether all pixels are alike, as those of any source may be."""
    return bool(pixels.min() == pixels.max())


def whole(path: Path) -> Pixels:
    """A tile as a data set is made of it. Raises DataError."""
    decoded = Decoded(path)
    try:
        return decoded.whole()
    finally:
        decoded.close()


def digests_of(
    tiles: Sequence[Tile], shapes: Collection[Shape], progress: Progress
) -> dict[Path, str]:
    """Digests of the tiles that have one of these shapes: no others can be copies."""
    found = {}
    with progress.counting("looking for copies", len(tiles)) as advance:
        for tile in tiles:
            size = size_of(tile.path)
            if size in shapes or max(size) > LONGEST:
                found[tile.path] = digest_of(whole(tile.path))
            advance(1)
    return found


def read_index(folder: Path) -> tuple[Origin, ...]:
    """The index of a data set; nothing where it has none. Raises DataError for a damaged one."""
    path = folder / INDEX
    if not path.is_file():
        return ()
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        # An index of another making has other columns, and tells nothing here.
        return tuple(_origin(row) for row in rows if row.get("file") and row.get("picture"))
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise DataError("is no index of tiles", where=path, hint="mend or remove it") from error


def _origin(row: Mapping[str, str]) -> Origin:
    if not row["line"]:
        return Origin(row["file"], row["picture"], None, 1)
    line, sample, lines, samples = (int(row[k]) for k in ("line", "sample", "lines", "samples"))
    return Origin(row["file"], row["picture"], Box(line, sample, lines, samples), int(row["scale"]))


def write_index(folder: Path, rows: Iterable[tuple[Origin, str]]) -> None:
    """Write the index of a data set: origins, each with its source."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one, source in rows:
        box = one.box
        place = ("",) * 5 if box is None else (*_four(box), one.scale)
        writer.writerow((one.file, one.picture, source, *place))
    write_file(folder / INDEX, text.getvalue())


def _four(box: Box) -> tuple[int, int, int, int]:
    return box.line, box.sample, box.lines, box.samples


def named(index: Iterable[Origin], name: str, path: Path | None) -> list[Origin]:
    """Rows of the picture called `name`; of several pictures of that name, of that at `path`."""
    found = [one for one in index if PurePosixPath(one.picture).name == name]
    if path is not None and len({one.picture for one in found}) > 1:
        whole_name = f"/{path.as_posix()}"
        found = [one for one in found if whole_name.endswith(f"/{one.picture}")] or found
    return found


def groups_of(
    sources: Iterable[str], shared: Mapping[str, Collection[str]]
) -> list[tuple[frozenset[str], frozenset[str]]]:
    """New sources that share anything, each group with all sources that it shares it with."""
    left, found = sorted(set(sources)), []
    back = defaultdict(set)
    for one, others in shared.items():
        for other in others:
            back[other].add(one)
    while left:
        group, open_ = set[str](), [left[0]]
        while open_:
            one = open_.pop()
            if one not in group:
                group.add(one)
                open_ += [*shared.get(one, ()), *back.get(one, ())]
        found.append((frozenset(s for s in left if s in group), frozenset(group)))
        left = [s for s in left if s not in group]
    return found


_TRAIN: Final = "train/"


def learned_strips(data: Path, strips: Path) -> frozenset[str]:
    """Names of the pictures in `strips` that hold a tile of train, of the data set in `data`: by
    the name in its index, or by the pixels where the index places the tile."""
    index = [one for one in read_index(data) if one.file.startswith(_TRAIN)]
    names = {PurePosixPath(one.picture).name for one in index}
    placed: dict[tuple[Box, int], set[str]] = defaultdict(set)
    for one in index:
        if one.box is not None and (data / one.file).is_file():
            pixels = whole(data / one.file)
            if not is_flat(pixels):
                placed[one.box, one.scale].add(digest_of(pixels))
    found = set()
    for path in sorted(p for p in strips.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        if path.name in names or _holds(path, placed):
            found.add(path.name)
    return frozenset(found)


def _holds(path: Path, placed: Mapping[tuple[Box, int], Collection[str]]) -> bool:
    try:
        decoded = Decoded(path)
    except DataError:
        return False  # whoever flies it says why
    try:
        lines, samples = decoded.shape
        for (box, scale), digests in placed.items():
            inside = box.line + box.lines <= lines and box.sample + box.samples <= samples
            if inside and digest_of(decoded.part(*_four(box), scale)) in digests:
                return True
        return False
    finally:
        decoded.close()
