"""Readers of labelled tile sets: HiRISE landmarks, MSL rover images, and a folder per class.

The published formats are read as they come from their archives:

- `hirise-v1`: "Mars orbital image (HiRISE) labeled data set", 10.5281/zenodo.1048301.
- `hirise-v3`: version 3, 10.5281/zenodo.2538136, and version 3.2, 10.5281/zenodo.4002935, whose
  split file repeats rows; repeated rows are dropped.
- `msl`: "Mars surface image (Curiosity rover) labeled data set", 10.5281/zenodo.1049137.
- `folder`: `ROOT/[train|val|test/]CLASS/*.{png,jpg,...}`; `ROOT/PROVENANCE.json` may state its
  `attribution` and `licence`.

Tiles of one *source* (a HiRISE observation, a rover sol) look alike, so a source belongs to one
set alone; a source found in two sets is an error, not a warning.
"""

from __future__ import annotations

import filecmp
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from winnow_base.errors import DataError
from winnow_edge.files import read_small
from winnow_edge.tables import plain_json, shortened
from winnow_train.class_files import class_id, class_map, class_words, text_of

SPLITS = ("train", "val", "test")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm"})
#: HiRISE observation id: phase, orbit, and target code, e.g. `ESP_011289_1950`.
HIRISE_SOURCE = re.compile(r"^((?:PSP|ESP|TRA|AEB)_\d{6}_\d{4})_")
#: MSL file names begin with the sol and the camera's code, e.g. `0077ML0005780000102730I01_DRCL`.
MSL_NAME = re.compile(r"^(\d{4})(ML|MR|MH)")
"""Sol and camera in the name of a rover picture."""
#: Where a data set comes from, beside it: what it may be used for, how it was made.
PROVENANCE = "PROVENANCE.json"
#: Licences of the public sets. Public sources differ on MSL's.
LICENCES = {
    "hirise-v1": "CC BY 4.0",
    "hirise-v3": "CC BY 4.0",
    "msl": "CC BY 4.0 or CC BY-SA 4.0, public sources differ",
}


@dataclass(frozen=True)
class Tile:
    """One labelled tile: its file, the index of its class, its set and its source."""

    path: Path
    label: int
    split: str
    source: str

    @property
    def key(self) -> str:
        """Folder and file name: tells the tiles of a data set apart, wherever it lies."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True)
class TileSet:
    """Labelled tiles in a fixed order (by file name), whatever the order of the label file."""

    dataset: str
    classes: tuple[str, ...]
    tiles: tuple[Tile, ...]
    attribution: str
    licence: str = ""
    """Licence of the pictures; "" where nobody states one."""
    left_out: tuple[str, ...] = ()
    """File names of tiles whose label is of another picture (`_without_copies`), sorted."""

    def split(self, name: str) -> TileSet:
        """The tiles of one set. Raises DataError if there are none."""
        if name not in SPLITS:
            raise DataError(f"no set is called {name!r}", hint=f"choose of {', '.join(SPLITS)}")
        tiles = tuple(t for t in self.tiles if t.split == name)
        if not tiles:
            held = sorted({t.split for t in self.tiles})
            raise DataError(
                f"{self.dataset} has no tile in the set {name!r}",
                hint=f"this folder holds {', '.join(held)}",
            )
        return replace(self, tiles=tiles)

    @property
    def labels(self) -> np.ndarray:
        """Class index of every tile, int32 [n]."""
        return np.array([t.label for t in self.tiles], np.int32)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, each once, sorted."""
        return tuple(sorted({t.source for t in self.tiles}))

    def counts(self) -> dict[str, dict[str, int]]:
        """Tiles per set and class: `{"train": {"crater": 216, ...}, ...}`."""
        seen = Counter((t.split, t.label) for t in self.tiles)
        splits = [s for s in SPLITS if any(t.split == s for t in self.tiles)]
        return {
            s: {name: seen.get((s, i), 0) for i, name in enumerate(self.classes)} for s in splits
        }


def read_dataset(name: str, root: Path | str) -> TileSet:
    """Read the data set `name` from its folder under `root`.

    Raises DataError for an unknown name, a missing folder or file, a row that names an absent tile
    or an unknown class id, and a source that is in two sets.
    """
    readers = {
        "hirise-v1": _read_hirise_v1,
        "hirise-v3": _read_hirise_v3,
        "msl": _read_msl,
        "folder": _read_folder,
    }
    if name not in readers:
        raise DataError(f"no data set is called {name!r}", hint=f"known: {', '.join(readers)}")
    root = Path(root)
    if not root.is_dir():
        raise DataError("no such folder", where=root, hint="give the data sets' folder with --data")
    found = readers[name](root)
    refuse_leakage([found])
    return found


def refuse_leakage(sets: Sequence[TileSet]) -> None:
    """Raise DataError if a source appears in two sets (train, val, test) of `sets` together."""
    home: dict[str, Tile] = {}
    for tile in (t for s in sets for t in s.tiles):
        first = home.setdefault(tile.source, tile)
        if first.split != tile.split:
            raise DataError(
                f"source {tile.source} is in two sets: {first.path.name} in {first.split} and "
                f"{tile.path.name} in {tile.split}",
                hint="tiles of one source look alike, so split by source",
            )


def hold_out(found: TileSet, held: Collection[str]) -> TileSet:
    """The labelled tiles of train and val, split anew: those of the `held` sources are val, all
    others train. Tiles of a test set are left out: they stay unseen."""
    tiles = tuple(
        replace(t, split="val" if t.source in held else "train")
        for t in found.tiles
        if t.split != "test"
    )
    return replace(found, tiles=tiles)


def _read_hirise_v1(root: Path) -> TileSet:
    # The class map lists seven ids, but no tile of version 1 carries 5 (impact ejecta).
    return _read_hirise(root, "hirise-v1", ("hirise-map-proj-v1", "hirise-map-proj"), unused={5})


def _read_hirise_v3(root: Path) -> TileSet:
    found = _read_hirise(root, "hirise-v3", ("hirise-map-proj-v3", "hirise-map-proj-v3_2"))
    return _without_copies(found, root)


def _read_hirise(
    root: Path, name: str, folders: Sequence[str], unused: frozenset[int] | set[int] = frozenset()
) -> TileSet:
    folder = _find_folder(root, name, folders)
    ids = class_map(_only(folder, "*classmap.csv", "the class map"))
    order = [i for i in sorted(ids) if i not in unused]
    index = {i: k for k, i in enumerate(order)}
    images = next(
        (folder / d for d in ("map-proj-v3_2", "map-proj-v3", "map-proj") if (folder / d).is_dir()),
        folder,
    )
    split_file = next(iter(sorted(folder.glob("labels-*train_val_test.txt"))), None)
    label_file = split_file or _only(folder, "labels-*.txt", "the label file")
    tiles = []
    for number, fields in _rows(label_file, columns=3 if split_file else 2):
        where = f"{label_file}:{number}"
        source = HIRISE_SOURCE.match(fields[0])
        if source is None:
            raise DataError(
                f"{fields[0]!r} names no HiRISE observation",
                where=where,
                hint="names look like ESP_011289_1950_RED-0101.jpg",
            )
        split = fields[2] if split_file else split_of(source[1])
        if split not in SPLITS:
            raise DataError(f"no set is called {split!r}", where=where)
        label = _class_index(fields[1], index, where)
        tiles.append(Tile(images / fields[0], label, split, source[1]))
    return TileSet(
        name,
        tuple(ids[i] for i in order),
        _present(tiles, label_file),
        f"HiRISE landmarks ({name}): NASA/JPL/University of Arizona; Wagstaff et al., Doran et al.",
        LICENCES[name],
    )


def _without_copies(found: TileSet, root: Path) -> TileSet:
    """Version 3 without the tiles that hold the picture version 1 has under the same name.

    The versions number the landmarks of an observation differently, so such a copy was filled up
    from the wrong set and its label is of another landmark. Found only where version 1 lies beside.
    """
    try:
        first = _read_hirise_v1(root)
    except DataError:
        return found
    pictures = {t.path.name: t.path for t in first.tiles}
    copies = tuple(
        t.path.name
        for t in found.tiles
        if t.path.name in pictures and filecmp.cmp(t.path, pictures[t.path.name], shallow=False)
    )
    kept = tuple(t for t in found.tiles if t.path.name not in set(copies))
    return replace(found, tiles=kept, left_out=copies)


def _read_msl(root: Path) -> TileSet:
    folder = _find_folder(root, "msl", ("msl-images",))
    words = _only(folder, "msl_synset_words-indexed.txt", "the class names")
    ids = class_words(words)
    order = sorted(ids)
    index = {i: k for k, i in enumerate(order)}
    tiles, last = [], words
    for split in SPLITS:
        path = folder / f"{split}-calibrated-shuffled.txt"
        if not path.is_file():
            continue
        last = path
        for number, (name, text) in _rows(path, columns=2):
            where = f"{path}:{number}"
            parts = MSL_NAME.match(Path(name).name)
            if parts is None:
                raise DataError(
                    f"{name!r} carries no sol and camera", where=where, hint="e.g. 0077ML000578..."
                )
            label = _class_index(text, index, where)
            tiles.append(Tile(folder / name, label, split, f"sol {parts[1]}"))
    if not tiles:
        raise DataError("no label list", where=folder, hint="train-calibrated-shuffled.txt, ...")
    return TileSet(
        "msl",
        tuple(ids[i] for i in order),
        _present(tiles, last),
        "MSL surface images: NASA/JPL-Caltech/MSSS; Lu et al.",
        LICENCES["msl"],
    )


def _read_folder(root: Path) -> TileSet:
    sets = [root / s for s in SPLITS if (root / s).is_dir()]
    homes = [(d.name, d) for d in sets] or [("", root)]
    classes = sorted({c.name for _, d in homes for c in d.iterdir() if c.is_dir()})
    tiles = []
    for split, home in homes:
        for label, name in enumerate(classes):
            for path in sorted((home / name).glob("*")) if (home / name).is_dir() else ():
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    source = source_of(path.name)
                    tiles.append(Tile(path, label, split or split_of(source), source))
    if not tiles:
        raise DataError("no image in a folder per class", where=root)
    attribution, licence = _stated(root)
    return TileSet("folder", tuple(classes), tuple(tiles), attribution, licence)


def _stated(root: Path) -> tuple[str, str]:
    """Attribution and licence that the folder's PROVENANCE.json states, "" for no licence.

    Raises DataError for a file that is no such table.
    """
    path, known = root / PROVENANCE, f"{root.resolve().name}: a folder per class"
    if not path.is_file():
        return known, ""
    try:
        table = plain_json(read_small(path))
        said = table.get("attribution") or known, table.get("licence") or ""
    except (OSError, ValueError, AttributeError) as error:
        raise DataError("is no table of JSON", where=path, hint="mend it or remove it") from error
    if not all(isinstance(text, str) for text in said):
        raise DataError("`attribution` and `licence` must be texts", where=path)
    return said


def source_of(name: str) -> str:
    """Source of a tile by its file name: observation, sol, or the stem up to the last `-` or `_`.

    >>> source_of("ESP_011289_1950_RED-0101-r90.jpg"), source_of("siteA_0007.png")
    ('ESP_011289_1950', 'siteA')
    """
    if match := HIRISE_SOURCE.match(name):
        return match[1]
    if match := MSL_NAME.match(name):
        return f"sol {match[1]}"
    return re.sub(r"[-_]\d+$", "", Path(name).stem)


def split_of(source: str) -> str:
    """A fixed set for a source that no file assigns one: a fifth of the sources are val."""
    return "val" if hashlib.sha256(source.encode()).digest()[0] % 5 == 0 else "train"


def _find_folder(root: Path, name: str, folders: Sequence[str]) -> Path:
    for candidate in (*(root / f for f in folders), root):
        if candidate.name in folders and candidate.is_dir():
            return candidate
    raise DataError(
        f"{name} is not here",
        where=root,
        hint=f"expected a folder {' or '.join(folders)}",
    )


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise DataError(f"{what} is missing", where=folder / pattern)
    return found[0]


def _rows(path: Path, columns: int) -> list[tuple[int, list[str]]]:
    """Numbered rows of a label file; repeated rows are dropped, contradicting ones refused."""
    rows: dict[str, tuple[int, list[str]]] = {}
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != columns:
            what = f"expected {columns} columns: {shortened(repr(line))}"
            raise DataError(what, where=f"{path}:{number}")
        known = rows.setdefault(fields[0], (number, fields))
        if known[1] != fields:
            raise DataError(f"{fields[0]} is labelled twice, differently", where=f"{path}:{number}")
    return list(rows.values())


def _class_index(text: str, index: dict[int, int], where: str) -> int:
    number = class_id(text)
    if number is None or number not in index:
        known = ", ".join(str(i) for i in index)
        raise DataError(f"unknown class id {text[:40]!r}", where=where, hint=f"known ids: {known}")
    return index[number]


def _present(tiles: Sequence[Tile], label_file: Path) -> tuple[Tile, ...]:
    listed = {folder: _names_in(folder) for folder in {t.path.parent for t in tiles}}
    absent = [t for t in tiles if t.path.name not in listed[t.path.parent]]
    if absent:
        raise DataError(
            f"names {len(absent)} of {len(tiles)} tiles that are absent, the first "
            f"{absent[0].path.name[:100]}",
            where=label_file,
            hint=f"tiles are looked for in {str(absent[0].path.parent)[:200]}",
        )
    return tuple(sorted(tiles, key=lambda t: t.path.name))


def _names_in(folder: Path) -> set[str]:
    try:
        return {file.name for file in folder.iterdir()}
    except (OSError, ValueError):  # it is not there, or is the name of no file at all
        return set()


def camera_of(name: str) -> str:
    """The camera's code in a file name (ML, MR, MH of MSL), or ""."""
    match = MSL_NAME.match(name)
    return match[2] if match else ""
