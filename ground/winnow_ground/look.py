"""Detections on pictures: flown by the loop that flies, laid over truth where it is known."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from winnow_base.errors import DataError
from winnow_edge.bundle import Bundle, find_bundle, open_bundle
from winnow_edge.errors import WinnowEdgeError
from winnow_edge.loop.flight import Flight
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary
from winnow_edge.manifest import Manifest
from winnow_edge.mission import ClassRule, Instrument, Mission, Tiling, load_mission
from winnow_edge.products.encode import decode_picture
from winnow_edge.products.kinds import Kind
from winnow_edge.store.schema import ProductState
from winnow_edge.store.store import Store
from winnow_ground.against_truth import Laid, lay
from winnow_ground.findings import Found, SwathKey, laid_over
from winnow_ground.truth import SMALLEST, Truth, load_truth, spoken_of, truth_beside

BUNDLE = "hirise-windows"
SCALES = (1, 2, 4)
ENDINGS = (".png", ".jpg", ".jpeg", ".pgm")
MADE = ".look.png"
"""How the maps of this command end: a folder of pictures may hold them, they are not looked at."""
_QUOTA_MB = 100_000.0
_LARGEST_SCALE = 64

Show = Callable[[str, int, int | None], None]
"""Called with a picture's name, the lines done and the lines in all if known."""


@dataclass(frozen=True)
class Options:
    """What is asked for; `bundle` None is the mission's, else `BUNDLE`; `scales` () the mission's,
    else `SCALES`; `thresholds` by class, "" for every class that has one; `frame` shows the net
    every picture whole."""

    bundle: str | None = None
    mission: Path | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    scales: Sequence[int] = ()
    frame: bool = False


@dataclass(frozen=True)
class Looked:
    """A picture that was looked at: detections, the most certain first, and their JPEGs by number.

    `laid` is what truth says of them (None: there is no truth file).
    """

    path: Path
    name: str
    summary: SwathSummary
    found: tuple[Found, ...]
    jpegs: dict[int, bytes]
    laid: Laid | None
    smallest: int
    """Side of the smallest tile, in pixels of the picture."""

    @property
    def specks(self) -> int:
        """Features missed that are too small for any tile to show."""
        missed = [f for some in self.laid.missed.values() for f in some] if self.laid else []
        return sum(f.side < SMALLEST * self.smallest for f in missed)

    @property
    def tiles(self) -> int:
        """Tiles shown to the net."""
        return self.summary.tally.tiles - self.summary.tally.screened

    @property
    def by_class(self) -> Counter[str]:
        """Detections by class."""
        return Counter(f.class_name for f in self.found)


@dataclass(frozen=True)
class Failed:
    """A picture that could not be looked at, and why."""

    path: Path
    error: WinnowEdgeError


def pictures_of(given: Sequence[Path]) -> list[Path]:
    """The pictures named, and those in the folders named, by name, each once.

    Raises DataError for a folder without any.
    """
    paths: dict[Path, None] = {}
    for path in given:
        if not path.is_dir():
            paths[path] = None
            continue
        try:
            inside = sorted(
                p
                for p in path.iterdir()
                if p.suffix.lower() in ENDINGS and not p.name.endswith(MADE) and p.is_file()
            )
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=path) from error
        if not inside:
            raise DataError(
                "holds no picture",
                where=path,
                hint=f"endings read: {', '.join(ENDINGS)}; `winnow feed` reads other formats",
            )
        paths.update(dict.fromkeys(inside))
    return list(paths)


def plan(options: Options) -> tuple[Mission, Manifest]:
    """The mission to look with, and the manifest of its (first) bundle.

    Raises BundleError, MissionError; DataError for a threshold or scale that cannot be.
    """
    if options.mission is not None:
        mission = load_mission(options.mission)
    else:
        # Zeros are the frame of map-projected strips, as in the shipped missions.
        camera = Instrument(bundle=options.bundle or BUNDLE, nodata=0)
        mission = Mission(
            name="look", instruments={"picture": camera}, tiling=Tiling(scales=SCALES)
        )
    cameras = dict(mission.instruments)
    if options.bundle is not None:
        path = str(find_bundle(options.bundle).resolve())
        cameras = {name: replace(camera, bundle=path) for name, camera in cameras.items()}
    if options.frame:
        cameras = {name: replace(camera, frame=True) for name, camera in cameras.items()}
    mission = replace(mission, instruments=cameras)
    bundles = {
        name: open_bundle(find_bundle(camera.bundle, beside=mission.path))
        for name, camera in cameras.items()
    }
    if options.scales:
        mission = replace(mission, tiling=replace(mission.tiling, scales=_scales(options.scales)))
    rules = _rules(mission, options.thresholds, list(bundles.values()))
    # Everything is kept: nothing has to go down.
    roomy = replace(mission.store, quota_mb=_QUOTA_MB)
    mission = replace(mission, classes=rules, store=roomy)
    for name, bundle in bundles.items():
        Settings.of(mission, name, bundle)
    return mission, next(iter(bundles.values())).manifest


def _scales(wanted: Sequence[int]) -> tuple[int, ...]:
    for scale in wanted:
        if not 1 <= scale <= _LARGEST_SCALE:
            raise DataError(
                f"scale {scale} is out of range",
                where="--scales",
                hint=f"legal is 1 to {_LARGEST_SCALE}: how many pixels become one",
            )
    return tuple(sorted(set(wanted)))


def _rules(
    mission: Mission, thresholds: Mapping[str, float], bundles: Sequence[Bundle]
) -> dict[str, ClassRule]:
    """The mission's rules with the thresholds asked for."""
    with_one = dict.fromkeys(c for b in bundles for c in b.manifest.thresholds)
    every = dict.fromkeys(c for b in bundles for c in b.manifest.classes)
    rules = dict(mission.classes)
    for name in thresholds:
        if name and name not in every:
            raise DataError(
                f"{name!r} is no class of the bundle",
                where="--threshold",
                hint=f"its classes: {', '.join(every)}",
            )
    for name in with_one if "" in thresholds else ():
        rules[name] = replace(rules.get(name, ClassRule()), threshold=thresholds[""])
    for name, value in thresholds.items():
        if name:
            rules[name] = replace(rules.get(name, ClassRule()), threshold=value)
    return rules


def look(
    paths: Sequence[Path], mission: Mission, manifest: Manifest, show: Show | None = None
) -> Iterator[Looked | Failed]:
    """Fly each picture; one that cannot be is told of, and the next is looked at.

    Truth files beside the pictures are read first. Raises DataError for one that is none.
    """
    truths = {p: load_truth(t) for p in paths if (t := truth_beside(p)).is_file()}
    smallest = manifest.input.width * min(mission.tiling.scales)
    spoken = spoken_of(truths.values()) if truths else None
    with (
        tempfile.TemporaryDirectory(prefix="winnow-look-") as folder,
        Flight(mission, Path(folder) / "store") as flight,
    ):
        for path, name in _names(paths).items():
            try:
                summary = flight.run(path, name=name, progress=_shower(name, show))
            except WinnowEdgeError as error:
                yield Failed(path, error)
                continue
            truth = truths.get(path)
            if truth is not None:
                # A class that one picture's file names is known in all that have a file.
                truth = replace(truth, classes="all" if spoken is None else spoken)
            yield _looked(flight.store, path, name, summary, truth, smallest)


def _shower(name: str, show: Show | None) -> Callable[..., None] | None:
    if show is None:
        return None
    return lambda tally, lines, total: show(name, lines, total)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each picture: its file's, told apart where two share it."""
    names: dict[Path, str] = {}
    for path in paths:
        name, number = path.name, 2
        while name in names.values():
            name = f"{path.stem}-{number}{path.suffix}"
            number += 1
        names[path] = name
    return names


def _looked(
    store: Store,
    path: Path,
    name: str,
    summary: SwathSummary,
    truth: Truth | None,
    smallest: int,
) -> Looked:
    row = next(row for row in store.swaths() if row.name == name)
    key: SwathKey = store.store_id, row.id
    table = store.table((ProductState.STORED,), kinds=(Kind.IMAGE,), with_data=True)
    mine = table.columns[table.columns["swath"] == row.id]
    pictures = [decode_picture(store.data(int(entry["id"]))) for entry in mine]
    pictures.sort(key=lambda p: (-p.head.record.posterior, p.head.record.index))
    found = [
        Found(
            swath=key,
            tile=p.head.record.index,
            class_index=p.head.record.class_index,
            class_name=row.classes[p.head.record.class_index],
            box=p.head.record.box,
            posterior=p.head.record.posterior,
            have="image",
            number=number,
            merged=p.head.merged,
            outline=p.outline,
        )
        for number, p in enumerate(pictures, start=1)
    ]
    laid = None
    if truth is not None:
        found = laid_over(found, {key: truth})
        laid = lay(found, {key: truth})
    jpegs = {number: p.jpeg for number, p in enumerate(pictures, start=1)}
    return Looked(path, name, summary, tuple(found), jpegs, laid, smallest)


def timed(looked: Iterator[Looked | Failed]) -> Iterator[tuple[Looked | Failed, float]]:
    """Each with the seconds that it took."""
    started = time.perf_counter()
    for one in looked:
        now = time.perf_counter()
        yield one, now - started
        started = now
