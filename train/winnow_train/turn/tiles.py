"""The data set of a turn: the old tiles as they were split, and the new labels beside them.

A source that the bundle knows stays in its set, so that what judged it before still does. A new
source that has the picture of an old one takes its set; any other goes to train or val by a digest
of its name.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.files import make_folder
from winnow_base.progress import Progress
from winnow_edge.errors import OutputError
from winnow_edge.files import write_file
from winnow_edge.products.kinds import Box
from winnow_train.datasets import PROVENANCE, SPLITS, Tile, TileSet, source_of, split_of
from winnow_train.making.naming import class_folders, file_stems, source_rule
from winnow_train.making.pixels import Decoded, Pixels
from winnow_train.turn.origins import (
    Origin,
    Shape,
    digest_of,
    digests_of,
    groups_of,
    is_flat,
    named,
    read_index,
    write_index,
)

MADE_BY: Final = "winnow retrain"
_DIGITS: Final = 18
"""Digits of a new tile's number."""
_CUT: Final = ".cut"


@dataclass(frozen=True)
class NewTile:
    """A labelled tile: its class in the data set, the name of its swath, and where its pixels are:
    those of `file`, else of `box` in `picture`, binned by `scale`."""

    tile: int
    class_name: str
    swath: str
    file: Path | None
    picture: Path | None
    box: Box
    scale: int


@dataclass(frozen=True)
class Made:
    """A data set on the disk: `fresh` are its files of new labels, `old` all others, `sets` where
    each new source went. `left_out` counts tiles by the reason; `alike` are new sources with an
    old one that has the same picture, whose set they take."""

    folder: Path
    fresh: frozenset[str]
    sets: Mapping[str, str]
    counts: Mapping[str, int]
    left_out: Mapping[str, int]
    alike: Mapping[str, str]


def source_of_swath(name: str) -> str:
    """A swath is a source of its own; of HiRISE, the observation. As file names tell it later.

    >>> source_of_swath("scene-7.png"), source_of_swath("ESP_011289_1950_RED.browse.jpg")
    ('scene-7', 'ESP_011289_1950')
    """
    source = source_rule("picture", True)[1](name)
    return file_stems({source})[source]


def split_new(
    swaths: Iterable[str],
    old: TileSet | None,
    shared: Mapping[str, Collection[str]] | None = None,
) -> dict[str, str]:
    """The set of every source among `swaths`: its own where the old tiles know it, else that of the
    sources whose pictures it has (`shared`); none where they are in several sets.

    Of two new sources or more, one at the least is val, the first by its digest, unless an old one
    among them is: without val nobody knows whether the new labels were learned.
    """
    known = {t.source: t.split for t in old.tiles} if old is not None else {}
    sources = {source_of_swath(name) for name in swaths}
    sets = {source: known[source] for source in sources if source in known}
    groups = []
    for mine, all_of_it in groups_of(sources, shared or {}):
        homes = {known[source] for source in all_of_it if source in known}
        some = sorted(source for source in mine if source not in known)
        if some and not homes:
            groups.append(some)
        elif len(homes) == 1:
            sets |= dict.fromkeys(some, min(homes))
    for some in groups:
        sets |= dict.fromkeys(some, split_of(some[0]))
    for wanted, other in (("val", "train"), ("train", "val")):
        if len(groups) > 1 and wanted not in sets.values():
            there = [some for some in groups if sets[some[0]] == other]
            moved = min(there, key=lambda some: hashlib.sha256(some[0].encode()).digest())
            sets |= dict.fromkeys(moved, wanted)
    return dict(sorted(sets.items()))


def make_set(
    folder: Path,
    old: TileSet,
    new: Sequence[NewTile],
    words: str,
    progress: Progress,
    beside: Sequence[Path] = (),
    *,
    data: Path | None = None,
) -> Made:
    """Make the data set in `folder`, in place of an earlier one of this command.

    `words` say whose the new labels are; folders `beside` it, of whole pictures, are linked in.
    `data` is where the old set's index is, if it has one. Old tiles are linked, or copied where
    that cannot be. A tile that is there already with the same pixels is taken once, under its new
    label. Raises DataError for pictures that cannot be decoded, and where no new tile is left;
    OutputError where the disk does not take it.
    """
    part = folder.with_name(f"{folder.name}.part")
    _clear(part)
    make_folder(part)
    index = () if data is None else read_index(data)
    cut = _cut(part, new, progress)
    olds = digests_of(old.tiles, {one.shape for one in cut}, progress)
    shared = _shared(cut, old, olds, index)
    sets = split_new([tile.swath for tile in new], old, shared)
    kept, left_out = _kept(cut, sets, old, olds)
    if not kept:
        raise DataError("no labelled tile has pixels that can be learned from", where=folder)
    folders = class_folders({*old.classes, *(one.tile.class_name for one in kept)})
    homes = {where for where in (*sets.values(), *(t.split for t in old.tiles)) if where != "test"}
    for where in sorted(homes):
        for home in folders.values():
            make_folder(part / where / home)
    written = _put_new(part, kept, sets, folders)
    linked, copies = _put_old(part, old, folders, olds, {o.digest: sets[o.source] for o in kept})
    left_out += _of_copies(copies, old, {one.digest: one.tile.class_name for one in kept})
    _put_index(part, index, data, linked, written)
    for pictures in beside:
        (part / pictures.name).symlink_to(pictures.resolve())
    attribution = f"{old.attribution}; {len(written)} tiles: {words}" if old.tiles else words
    said = {"attribution": attribution, "licence": old.licence, "made_by": MADE_BY}
    write_file(part / PROVENANCE, json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(part / _CUT)
    _clear(folder)
    try:
        part.rename(folder)
    except OSError as error:
        raise OutputError(f"cannot be made: {error.strerror}", where=folder) from error
    counts = Counter(one.tile.class_name for one in written.values())
    known = set(old.sources)
    same = {s: sorted(known & set(shared.get(s, ())) - {s}) for s in sets if s not in known}
    alike = {source: others[0] for source, others in same.items() if others}
    return Made(folder, frozenset(written), sets, counts, +left_out, alike)


@dataclass(frozen=True)
class _Cut:
    """A new tile whose pixels are on the disk, in `file`."""

    tile: NewTile
    source: str
    file: Path
    digest: str
    shape: Shape
    flat: bool


def _cut(part: Path, tiles: Sequence[NewTile], progress: Progress) -> list[_Cut]:
    """All new tiles, cut and written aside, by their digest."""
    by_picture: dict[Path, list[NewTile]] = defaultdict(list)
    for tile in tiles:
        path = tile.file or tile.picture
        assert path is not None
        by_picture[path].append(tile)
    aside = make_folder(part / _CUT)
    cut = []
    with progress.counting("cutting labelled tiles", len(tiles)) as advance:
        for path, some in by_picture.items():
            decoded = Decoded(path, whole=some[0].file is not None)
            try:
                for tile in some:
                    pixels = _pixels(decoded, tile)
                    digest = digest_of(pixels)
                    file = aside / f"{digest}.png"
                    if not file.is_file():
                        data = io.BytesIO()
                        Image.fromarray(pixels).save(data, "PNG", compress_level=3)
                        write_file(file, data.getvalue(), durable=False)
                    shape, source = (pixels.shape[0], pixels.shape[1]), source_of_swath(tile.swath)
                    cut.append(_Cut(tile, source, file, digest, shape, is_flat(pixels)))
            finally:
                decoded.close()
            advance(len(some))
    return cut


def _pixels(decoded: Decoded, tile: NewTile) -> Pixels:
    if tile.file is not None:
        return decoded.whole()
    box = tile.box
    return decoded.part(box.line, box.sample, box.lines, box.samples, tile.scale)


def _shared(
    cut: Sequence[_Cut], old: TileSet, olds: Mapping[Path, str], index: Sequence[Origin]
) -> dict[str, set[str]]:
    """By new source: others, old and new, that have a tile's pixels or the picture too."""
    having: dict[str, set[str]] = defaultdict(set)
    for tile in old.tiles:
        if tile.path in olds:
            having[olds[tile.path]].add(tile.source)
    for one in cut:
        having[one.digest].add(one.source)
    shared: dict[str, set[str]] = defaultdict(set)
    for one in cut:
        if not one.flat:
            shared[one.source] |= having[one.digest]
    pictures = {one.tile.swath: one for one in cut}
    for swath, one in pictures.items():
        rows = named(index, swath, one.tile.picture)
        shared[one.source] |= {source_of(Path(row.file).name) for row in rows}
    return shared


def _kept(
    cut: Sequence[_Cut], sets: Mapping[str, str], old: TileSet, olds: Mapping[Path, str]
) -> tuple[list[_Cut], Counter[str]]:
    """Tiles that join the data set, each picture once, and how many do not, by the reason."""
    homes: dict[str, set[str]] = defaultdict(set)
    for tile in old.tiles:
        if tile.path in olds:
            homes[olds[tile.path]].add(tile.split)
    kept: dict[str, _Cut] = {}
    left_out = Counter[str]()
    for one in cut:
        where, first = sets.get(one.source), kept.get(one.digest)
        if where == "test":
            left_out["its source is of the test set"] += 1
        elif where is None or (not one.flat and homes[one.digest] - {where}):
            left_out["its picture is in two sets of the old tiles"] += 1
        elif first is None:
            kept[one.digest] = one
        elif first.tile.class_name == one.tile.class_name:
            left_out["is the same picture as another new one"] += 1
        else:
            left_out["has the same picture as another new one, which came first with another "
                     "label"] += 1  # fmt: skip
    return list(kept.values()), left_out


def _put_new(
    part: Path, kept: Sequence[_Cut], sets: Mapping[str, str], folders: Mapping[str, str]
) -> dict[str, _Cut]:
    """The new tiles in their places, by name below the data set.

    Names end in digits of the digest: numbers of a catalogue come again in another one.
    """
    stems = file_stems(set(sets))
    written = {}
    for one in kept:
        home = f"{sets[one.source]}/{folders[one.tile.class_name]}"
        number = int(one.digest, 16) % 10**_DIGITS
        name = f"{home}/{stems[one.source]}-{number:0{_DIGITS}}.png"
        one.file.rename(part / name)
        written[name] = one
    return written


def _put_old(
    part: Path,
    old: TileSet,
    folders: Mapping[str, str],
    olds: Mapping[Path, str],
    fresh: Mapping[str, str],
) -> tuple[dict[Path, str], list[tuple[Tile, str]]]:
    """Link the old tiles; returns their names below the data set, and those that are left out with
    their digest, as a new tile of their set (`fresh`, by digest) has their pixels."""
    linked, copies = {}, []
    for tile in old.tiles:
        if tile.split not in SPLITS or tile.split == "test":
            continue
        digest = olds.get(tile.path, "")
        if fresh.get(digest) == tile.split:
            copies.append((tile, digest))
            continue
        name = f"{tile.split}/{folders[old.classes[tile.label]]}/{tile.path.name}"
        _link(tile.path, part / name)
        linked[tile.path] = name
    return linked, copies


def _of_copies(
    copies: Sequence[tuple[Tile, str]], old: TileSet, fresh: Mapping[str, str]
) -> Counter[str]:
    """Old tiles in whose place a new one stands, by what is said of them."""
    said = Counter[str]()
    for tile, digest in copies:
        same = old.classes[tile.label] == fresh[digest]
        more = "" if same else " and another label: the new label stands"
        said[f"was there before with the same pixels{more}"] += 1
    return said


def _put_index(
    part: Path,
    index: Sequence[Origin],
    data: Path | None,
    linked: Mapping[Path, str],
    written: Mapping[str, _Cut],
) -> None:
    """Where every tile comes from, so that the next turn knows its picture."""
    rows = []
    for one in index:
        name = linked.get(data / one.file) if data is not None else None
        if name is not None:
            rows.append((replace(one, file=name), source_of(Path(name).name)))
    for name, cut in written.items():
        tile = cut.tile
        rows.append((Origin(name, tile.swath, tile.box, tile.scale), cut.source))
    write_index(part, rows)


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except FileExistsError as error:
        what = "two tiles of one class have one name"
        raise DataError(what, where=path, hint="rename one") from error
    except OSError:
        write_file(to, path.read_bytes(), durable=False)


def _clear(folder: Path) -> None:
    """Remove what an earlier run of this command left. Raises OutputError for anything else."""
    if not folder.exists():
        return
    part = folder.name.endswith(".part")
    try:
        made_by = json.loads((folder / PROVENANCE).read_bytes()).get("made_by")
    except (OSError, ValueError, AttributeError):
        made_by = None
    if not part and made_by != MADE_BY:
        raise OutputError("is there, and not of this command", where=folder, hint="name another")
    shutil.rmtree(folder)


def fresh_rows(paths: Sequence[Path], made: Made) -> np.ndarray:
    """Which of the tiles at `paths`, of a data set that was made, are new labels; bool [n]."""
    names = [path.relative_to(made.folder).as_posix() for path in paths]
    return np.array([name in made.fresh for name in names], bool)
