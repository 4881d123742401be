"""Flying pictures through the flight loop, with thresholds low enough to judge any above them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from winnow_base.errors import DataError
from winnow_base.progress import Progress
from winnow_edge.bundle import Bundle
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import ClassRule, Compute, Instrument, Mission, Tiling
from winnow_edge.products.encode import decode_head
from winnow_edge.products.kinds import Box, Flag, Kind
from winnow_edge.products.ranking import rank
from winnow_edge.sources.contract import PICTURE_ERRORS
from winnow_edge.store.store import Store
from winnow_train.windows.pictures import Picture, refuse_misfit

FLOOR = 0.1
"""Posterior from which a tile is taken for a detection; thresholds below it cannot be judged."""
SCALES = (1, 2, 4)
QUOTA_MB = 100_000


@dataclass(frozen=True)
class Hit:
    """A tile that reached FLOOR for its best class that is not background.

    `kept`: it stands for its feature, the others of the same were merged into it.
    """

    tile: int
    class_name: str
    box: Box
    scale: int
    posterior: float
    kept: bool


@dataclass(frozen=True)
class Flown:
    """A picture that was flown: its size, the windows shown to the net, and the hits by tile.

    `boxes` int64 [n, 4] are the windows' first line and sample and those behind the last, `scales`
    int64 [n] their scales. `order` are places in `hits`, those that are kept in the order in which
    their pictures would come down if all were sent.
    """

    picture: Picture
    lines: int
    samples: int
    boxes: npt.NDArray[np.int64]
    scales: npt.NDArray[np.int64]
    hits: tuple[Hit, ...]
    order: tuple[int, ...]

    @property
    def windows(self) -> int:
        """How many windows were shown to the net."""
        return len(self.boxes)


def default_mission(bundle: Bundle, scales: Sequence[int] = SCALES) -> Mission:
    """The mission that swaths are judged by if no other is given: half-tile hop, zeros no data."""
    camera = Instrument(bundle=str(bundle.path.resolve()), nodata=0)
    return Mission(
        name="judged",
        instruments={"any": camera},
        tiling=Tiling(scales=tuple(scales)),
        compute=Compute(runtime="litert"),
    )


def fly(
    bundle: Bundle, pictures: Sequence[Picture], mission: Mission, progress: Progress
) -> list[Flown]:
    """Fly every picture through `winnow_edge` as `mission` says, thresholds aside.

    Raises DataError for a truth file of another picture before anything is flown, and what the
    flight loop raises.
    """
    for picture in pictures:
        _refuse_misfit_early(picture)
    classes = {
        name: replace(mission.classes.get(name, ClassRule()), threshold=FLOOR)
        for name in bundle.manifest.thresholds
    }
    # Nothing may be evicted: far more is kept than a board would.
    roomy = replace(mission.store, quota_mb=QUOTA_MB)
    judged = replace(mission, classes={**mission.classes, **classes}, store=roomy)
    found = []
    with (
        _store_folder() as folder,
        progress.counting("flying", len(pictures)) as advance,
        Flight(judged, folder) as flight,
    ):
        for picture in pictures:
            summary = flight.run(picture.path, name=picture.path.name)
            refuse_misfit(picture, summary.lines, summary.samples)
            left = _left(flight.store, picture.path.name, judged)
            found.append(Flown(picture, summary.lines, summary.samples, *left))
            advance(1)
    return found


@contextmanager
def _store_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="winnow-judge-") as folder:
        yield Path(folder) / "store"


def _refuse_misfit_early(picture: Picture) -> None:
    """What the header of the picture tells already; a header that cannot be read waits for its
    flight, whose errors say more."""
    try:
        with Image.open(picture.path) as held:
            samples, lines = held.size
    except (*PICTURE_ERRORS, Image.DecompressionBombError):
        return
    refuse_misfit(picture, lines, samples)


_Left = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], tuple[Hit, ...], tuple[int, ...]]


def _left(store: Store, swath: str, mission: Mission) -> _Left:
    """What a flight left: windows and their scales, hits, and the order of their pictures."""
    row = store.swath(swath)
    if row is None:
        raise DataError("left nothing in the store", where=swath)
    table = store.table(kinds=(Kind.RECORD, Kind.IMAGE), with_data=True)
    rows = table.columns
    mine = rows["swath"] == row.id
    hits: list[Hit] = []
    place: dict[int, int] = {}
    windows: list[tuple[int, ...]] = []
    for entry in rows[mine & (rows["kind"] == Kind.RECORD)]:
        record = decode_head(store.data(int(entry["id"]))).record
        if record.flags & Flag.SCREENED:
            continue
        box = record.box
        last = box.line + box.lines, box.sample + box.samples
        windows.append((box.line, box.sample, *last, record.scale))
        if not entry["detection"]:
            continue
        name = row.classes[record.class_index]
        place[record.index] = len(hits)
        kept = record.flags.is_feature
        hits.append(Hit(record.index, name, box, record.scale, record.posterior, kept))
    pictures = table[mine & rows["detection"] & (rows["kind"] == Kind.IMAGE)]
    first = rank(pictures, mission.ranking.policy, mission)
    order = tuple(place[int(tile)] for tile in pictures.columns["tile"][first])
    flown = np.array(windows, np.int64).reshape(-1, 5)
    return flown[:, :4], flown[:, 4], tuple(hits), order
