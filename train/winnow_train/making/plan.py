"""Which tiles are made of which pictures, in which set: all that can be told from labels and
headers, before a pixel is decoded."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from winnow_base.background import proposed
from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_edge.products.kinds import Box
from winnow_train.making.labels import Labelled, Labels
from winnow_train.making.naming import class_folders, file_stems, source_rule
from winnow_train.making.pixels import size_of
from winnow_train.making.split import split_sources
from winnow_train.recipe import Windows
from winnow_train.windows.cut import BACKGROUND, Window, windows_of
from winnow_train.windows.pictures import Picture

STATED = "as the labels state it"
INSIDE = 0.5
"""Share of a box that lies in its picture at the least; the rest may run over the edge."""
SHOWN = 0.16, 0.94
"""Least and largest side of a box that a tile shows, of the tile's side."""
CENTRE = 0.34
"""How far the middle of a shown box may lie from the tile's, of the tile's side."""


@dataclass(frozen=True)
class Options:
    """How a data set is made.

    `tile` is in pixels after binning by each of `scales`; at most `most` tiles of a class, or of
    ground without boxes, come of one picture at one scale. `val` is the share of val.
    """

    tile: int = 128
    scales: tuple[int, ...] = (1,)
    most: int = 60
    background: str = "none"
    source: str = "auto"
    val: float = 0.2
    seed: int = 1
    skip_bad: bool = False


@dataclass(frozen=True)
class Planned:
    """A tile to be made: of which picture, which part of it (None: the whole), class, source."""

    picture: Labelled
    window: Window | None
    class_name: str
    source: str


@dataclass(frozen=True)
class Plan:
    """All tiles, the set of every source, and the names that they get on the disk."""

    tiles: tuple[Planned, ...]
    sets: dict[str, str]
    folders: dict[str, str]
    stems: dict[str, str]
    rule: str
    notes: tuple[str, ...]
    options: Options

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes by their folders' names, as training will see them."""
        return tuple(sorted(self.folders.values()))

    @property
    def background(self) -> tuple[str, ...]:
        """The classes that read as background."""
        return proposed(self.classes)

    def set_of(self, tile: Planned) -> str:
        """The set that a tile's source is in."""
        return self.sets[tile.source]


def make_plan(labels: Labels, options: Options, progress: Progress) -> Plan:
    """Plan a data set. Raises DataError for labels and pictures that give none."""
    words, read_source = source_rule(options.source, labels.boxed)
    if stated := sum(p.source is not None for p in labels.pictures):
        words = f"as the labels state it; else {words}" if stated < len(labels.pictures) else STATED
    notes = list(labels.notes)
    sizes, pictures = _readable(labels.pictures, options, progress, notes)
    sources = {p.path: p.source or read_source(p.name) for p in pictures}
    if labels.boxed:
        tiles = _cut(pictures, sizes, sources, options, progress, notes)
    else:
        tiles = [Planned(p, None, p.class_name or "", sources[p.path]) for p in pictures]
    counts = Counter(t.class_name for t in tiles)
    if len(counts) < 2:
        held = f"one class alone, {next(iter(counts))!r}" if counts else "no tile"
        raise DataError(
            f"there is {held}",
            hint="a net tells classes apart: add pictures of ground without it"
            if counts
            else "are the boxes of the size of a tile? See --tile and --scales",
        )
    folders = class_folders(set(counts))
    notes += [f"class {name!r} is kept as {f!r}" for name, f in folders.items() if name != f]
    if options.source == "auto" and not labels.boxed:
        notes += _several_folders(pictures, sources)
    sets = split_sources([(t.source, t.class_name) for t in tiles], options.val, options.seed)
    stems = file_stems(set(sets))
    in_val = {t.class_name for t in tiles if sets[t.source] == "val"}
    lacking = [name for name in sorted(counts) if name not in in_val]
    if lacking:
        notes.append(f"val has no tile of {', '.join(lacking)}: too few sources show it")
    return Plan(tuple(tiles), sets, folders, stems, words, tuple(notes), options)


def _readable(
    pictures: tuple[Labelled, ...], options: Options, progress: Progress, notes: list[str]
) -> tuple[dict[Path, tuple[int, int]], list[Labelled]]:
    """Sizes of all pictures, and those whose headers can be read."""
    sizes: dict[Path, tuple[int, int]] = {}
    kept, bad = [], []
    with progress.counting("opening pictures", len(pictures)) as advance:
        for picture in pictures:
            try:
                sizes[picture.path] = size_of(picture.path)
                kept.append(picture)
            except DataError as error:
                bad.append(error)
            advance(1)
    if bad and not options.skip_bad:
        refuse_bad(bad, len(pictures))
    if bad:
        notes.append(f"{len(bad)} pictures cannot be read: left out, the first {bad[0].where}")
    if not kept:
        raise DataError("there is no picture that can be read")
    return sizes, kept


def refuse_bad(bad: list[DataError], total: int) -> None:
    """Raise DataError that names the first of the pictures that cannot be read."""
    what = bad[0].what
    if len(bad) > 1:
        what += f" (the first of {len(bad)} bad pictures of {total})"
    hint = bad[0].hint or "mend or remove it, or leave bad pictures out with --skip-bad"
    raise DataError(what, where=bad[0].where, hint=hint)


def _several_folders(pictures: list[Labelled], sources: dict[Path, str]) -> list[str]:
    """A note where pictures of one source lie in several folders below their classes."""
    homes = defaultdict(set)
    for picture in pictures:
        homes[sources[picture.path]].add(PurePosixPath(picture.name).parent)
    many = sorted(source for source, where in homes.items() if len(where) > 1)
    if not many:
        return []
    return [
        f"{len(many)} sources lie in several folders, e.g. {many[0]!r}: a name is taken for one "
        "source wherever it lies; --source folder reads the folders instead"
    ]


def _cut(
    pictures: list[Labelled],
    sizes: dict[Path, tuple[int, int]],
    sources: dict[Path, str],
    options: Options,
    progress: Progress,
    notes: list[str],
) -> list[Planned]:
    """Tiles about the boxes and of ground without boxes."""
    rules = Windows(
        scales=options.scales,
        hop=options.tile,
        each=1,
        most=options.most,
        crater=SHOWN,
        centre=CENTRE * options.tile,
        clear=1.0,
        field_scale=1,
    )
    tiles, small = [], []
    with progress.counting("placing tiles", len(pictures)) as advance:
        for number, picture in enumerate(pictures):
            shape = sizes[picture.path]
            _refuse_misfit(picture, shape)
            boxes = picture.boxes or ()
            known = Picture(picture.path, sources[picture.path], boxes, (), 0.0)
            windows = windows_of(known, number, shape, options.tile, rules, options.seed)
            if min(shape) < options.tile * min(options.scales):
                small.append(picture.name)
            for window in windows:
                name = options.background if window.class_name == BACKGROUND else window.class_name
                tiles.append(Planned(picture, window, name, known.source))
            advance(1)
    if small:
        least = options.tile * min(options.scales)
        notes.append(
            f"{len(small)} pictures are smaller than a tile of {least} pixels and give none, the "
            f"first {small[0]!r}"
        )
    held = {name for p in pictures for name in {f.class_name for f in p.boxes or ()}}
    if missing := sorted(held - {t.class_name for t in tiles}):
        low, high = (round(share * options.tile) for share in SHOWN)
        notes.append(
            f"no tile shows {', '.join(missing)}: no box of {low} to {high} pixels at a scale of "
            f"{', '.join(map(str, options.scales))}"
        )
    return tiles


def _refuse_misfit(picture: Labelled, shape: tuple[int, int]) -> None:
    if picture.claimed not in (None, shape):
        lines, samples = picture.claimed or shape
        raise DataError(
            f"has {shape[0]} lines x {shape[1]} samples, its labels speak of {lines} x {samples}",
            where=picture.path,
            hint="the labels are of another picture of this name, or of another size of it",
        )
    for box in (f.box for f in picture.boxes or ()):
        within = box.overlap(Box(0, 0, *shape)) * min(box.lines * box.samples, shape[0] * shape[1])
        if within < INSIDE * box.lines * box.samples:
            raise DataError(
                f"the box of {box.lines} x {box.samples} at line {box.line}, sample {box.sample} "
                f"lies outside of its {shape[0]} lines x {shape[1]} samples, by more than half",
                where=picture.path,
                hint="correct the labels",
            )
