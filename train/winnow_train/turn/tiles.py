"""The data set of a turn: the old tiles as they were split, and the new labels beside them.

A source that the bundle knows stays in its set, so that what judged it before still does. A new
source goes to train or val by a digest of its name, and stays there in every turn to come.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from winnow_train.datasets import PROVENANCE, SPLITS, Tile, TileSet, split_of
from winnow_train.making.naming import class_folders, file_stems, source_rule
from winnow_train.making.pixels import Decoded, Pixels

MADE_BY: Final = "winnow retrain"
_OLD: Final = 10**6
"""Numbers of new tiles begin here: those of `winnow new data` have six digits."""


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
    each new source went. `left_out` counts tiles by the reason."""

    folder: Path
    fresh: frozenset[str]
    sets: Mapping[str, str]
    counts: Mapping[str, int]
    left_out: Mapping[str, int]


def source_of_swath(name: str) -> str:
    """A swath is a source of its own; of HiRISE, the observation. As file names tell it later.

    >>> source_of_swath("scene-7.png"), source_of_swath("ESP_011289_1950_RED.browse.jpg")
    ('scene-7', 'ESP_011289_1950')
    """
    source = source_rule("picture", True)[1](name)
    return file_stems({source})[source]


def split_new(swaths: Iterable[str], old: TileSet | None) -> dict[str, str]:
    """The set of every source among `swaths`: its own where the old tiles know it.

    Of two new sources or more, one at the least is val, the first by its digest, unless an old one
    among them is: without val nobody knows whether the new labels were learned.
    """
    known = {t.source: t.split for t in old.tiles} if old is not None else {}
    sources = sorted({source_of_swath(name) for name in swaths})
    sets = {source: known.get(source) or split_of(source) for source in sources}
    new = [source for source in sources if source not in known]
    for wanted, other in (("val", "train"), ("train", "val")):
        if len(new) > 1 and wanted not in sets.values():
            there = [source for source in new if sets[source] == other]
            sets[min(there, key=lambda s: hashlib.sha256(s.encode()).digest())] = wanted
    return sets


def make_set(
    folder: Path,
    old: TileSet,
    new: Sequence[NewTile],
    words: str,
    progress: Progress,
    beside: Sequence[Path] = (),
) -> Made:
    """Make the data set in `folder`, in place of an earlier one of this command.

    `words` say whose the new labels are; folders `beside` it, of whole pictures, are linked in.
    Old tiles are linked, or copied where that cannot be. A tile that is there already with the
    same pixels is taken once, under its new label. Raises DataError for pictures that cannot be
    decoded, and where no new tile is left; OutputError where the disk does not take it.
    """
    part = folder.with_name(f"{folder.name}.part")
    _clear(part)
    make_folder(part)
    sets = split_new([tile.swath for tile in new], old)
    held = {source for source, where in sets.items() if where == "test"}
    kept = [tile for tile in new if source_of_swath(tile.swath) not in held]
    left_out = Counter({"its source is of the test set": len(new) - len(kept)})
    folders = class_folders({*old.classes, *(tile.class_name for tile in kept)})
    stems = file_stems(set(sets))
    homes = {where for where in (*sets.values(), *(t.split for t in old.tiles)) if where != "test"}
    for where in sorted(homes):
        for home in folders.values():
            make_folder(part / where / home)
    written, digests = _write_new(part, kept, sets, folders, stems, progress, left_out)
    if not written:
        raise DataError("no labelled tile has pixels that can be learned from", where=folder)
    copies = _put_old(part, old, folders, set(digests.values()), set(sets))
    left_out["was there before with the same pixels"] = copies
    for pictures in beside:
        (part / pictures.name).symlink_to(pictures.resolve())
    attribution = f"{old.attribution}; {len(written)} tiles: {words}" if old.tiles else words
    said = {"attribution": attribution, "licence": old.licence, "made_by": MADE_BY}
    write_file(part / PROVENANCE, json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    _clear(folder)
    try:
        part.rename(folder)
    except OSError as error:
        raise OutputError(f"cannot be made: {error.strerror}", where=folder) from error
    names = {f"-{_OLD + tile.tile}.png": tile.class_name for tile in kept}
    counts = Counter(names[file[file.rindex("-") :]] for file in written)
    return Made(folder, frozenset(written), sets, counts, +left_out)


def _write_new(
    part: Path,
    tiles: Sequence[NewTile],
    sets: Mapping[str, str],
    folders: Mapping[str, str],
    stems: Mapping[str, str],
    progress: Progress,
    left_out: Counter[str],
) -> tuple[list[str], dict[str, str]]:
    """Names of the files of new tiles, below the data set, and the digest of each one's pixels."""
    by_picture: dict[Path, list[NewTile]] = defaultdict(list)
    for tile in tiles:
        path = tile.file or tile.picture
        assert path is not None
        by_picture[path].append(tile)
    written, digests = [], dict[str, str]()
    with progress.counting("cutting labelled tiles", len(tiles)) as advance:
        for path, some in by_picture.items():
            decoded = Decoded(path, whole=some[0].file is not None)
            try:
                for tile in some:
                    source = source_of_swath(tile.swath)
                    pixels = _pixels(decoded, tile)
                    digest = _digest(pixels)
                    if digest in digests.values():
                        left_out["is the same picture as another new one"] += 1
                        continue
                    home = f"{sets[source]}/{folders[tile.class_name]}"
                    name = f"{home}/{stems[source]}-{_OLD + tile.tile}.png"
                    data = io.BytesIO()
                    Image.fromarray(pixels).save(data, "PNG", compress_level=3)
                    write_file(part / name, data.getvalue(), durable=False)
                    written.append(name)
                    digests[name] = digest
            finally:
                decoded.close()
            advance(len(some))
    return written, digests


def _pixels(decoded: Decoded, tile: NewTile) -> Pixels:
    if tile.file is not None:
        return decoded.whole()
    box = tile.box
    return decoded.part(box.line, box.sample, box.lines, box.samples, tile.scale)


def _digest(pixels: Pixels) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _put_old(
    part: Path,
    old: TileSet,
    folders: Mapping[str, str],
    fresh: set[str],
    sources: set[str],
) -> int:
    """Link the old tiles; returns how many are left out, as a new one has their pixels."""
    copies = 0
    for tile in old.tiles:
        if tile.split not in SPLITS or tile.split == "test":
            continue
        if tile.source in sources and _digest(_whole(tile)) in fresh:
            copies += 1
            continue
        _link(tile.path, part / tile.split / folders[old.classes[tile.label]] / tile.path.name)
    return copies


def _whole(tile: Tile) -> Pixels:
    decoded = Decoded(tile.path)
    try:
        return decoded.whole()
    finally:
        decoded.close()


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
