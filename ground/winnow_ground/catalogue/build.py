"""An archive of pictures into the catalogue: classified on the cores here or on a Dask cluster.

A picture is one transaction: it is in the catalogue whole or not at all, so a build that was killed
goes on where it was. A picture that cannot be read is told of, and the others go on.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from winnow_base.errors import NetworkError
from winnow_base.progress import Step
from winnow_edge.errors import SwathError, WinnowEdgeError
from winnow_edge.files import printable
from winnow_edge.mission import Mission
from winnow_ground.catalogue.add import id_of
from winnow_ground.catalogue.archive import Archive, Picture, list_pictures
from winnow_ground.catalogue.classify import Classified, Classifier
from winnow_ground.catalogue.schema import HAVE, changes, create, saying

_AHEAD: Final = 2
"""Pictures that wait at each core, so that none is idle while the catalogue is written."""
_IMAGE: Final = HAVE.index("image")


@dataclass(frozen=True)
class Job:
    """What all pictures are classified by; workers keep what they made of it by its `key`.

    `pinned` workers stay on a core each: intake and net of one picture would get into each other's
    way on two.
    """

    mission: Mission
    every: bool
    key: str
    pinned: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a picture: its rows, or why there are none; seconds that it took by the clock
    and of the processor."""

    picture: Picture
    classified: Classified | None
    why: str
    seconds: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Built:
    """What a build did, in pictures: `added` now, `completed` with the tiles that they lacked, and
    `known` from before.

    `bad` are names with the reason; `notes` names with what was met on the way. `seconds` is the
    wall clock's, `busy_s` what the workers spent on pictures.
    """

    pictures: int
    added: int
    completed: int
    known: int
    otherwise: int
    copies: int
    moved: int
    tiles: int
    detections: int
    others: dict[str, int]
    bad: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    seconds: float
    busy_s: float
    cpu_s: float
    workers: int


def build(
    folder: Path,
    catalogue: Path,
    mission: Mission,
    *,
    every: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Step = lambda what, done, total: None,
) -> Built:
    """Classify the pictures below `folder` into `catalogue`, made where it is not there.

    `workers` processes are started here (None: one a core), or the `scheduler` of a cluster is
    asked, whose machines see the folder and the bundle under the same paths. Raises DataError for
    a folder without pictures, CatalogueError, NetworkError for a scheduler that is not there, and
    what a bundle raises; what is done is kept.
    """
    listed = list_pictures(folder)
    begun = time.perf_counter()
    with closing(create(catalogue)) as db, saying(catalogue):
        archive = Archive(listed, mission, db, every)
        count = workers or len(os.sched_getaffinity(0))
        adding = _Adding(db, catalogue, archive, progress)
        alone = count == 1 and scheduler is None
        # A single process uses its cores by threads, as on board; of several each has one.
        threads = mission.compute.threads if alone else 1
        flown_as = replace(mission, compute=replace(mission.compute, threads=threads))
        pinned = scheduler is None and 1 < count <= len(os.sched_getaffinity(0))
        job = Job(flown_as, every, f"{os.getpid()}-{time.time_ns()}", pinned)
        if alone:
            used = _here(job, archive.left(), adding)
        else:
            used = _on_dask(job, archive.left(), adding, count, scheduler)
        return adding.told(time.perf_counter() - begun, used)


_HELD: dict[str, Classifier] = {}
"""The classifier of this process, by the key of its job: interpreters stay between pictures."""


def classify(job: Job, picture: Picture) -> Outcome:
    """Classify a picture in this process. Raises what a bundle and its runtime raise."""
    if job.key not in _HELD:
        _forget(*_HELD)
        if job.pinned:
            _stay_on_a_core()
        _HELD[job.key] = Classifier(job.mission, every=job.every)
        _HELD[job.key].load()
    begun, spent = time.perf_counter(), time.process_time()
    found, why = None, ""
    try:
        found = _HELD[job.key](Path(picture.path))
    except SwathError as error:
        why = error.what if not error.hint else f"{error.what}; {error.hint}"
    except WinnowEdgeError:
        raise  # of the bundle, the mission or the runtime: no picture would fare better
    except Exception as error:  # whatever a decoder makes of a stranger's file
        why = printable(f"cannot be classified ({type(error).__name__}: {error})")
    took = time.perf_counter() - begun, time.process_time() - spent
    return Outcome(picture, found, why, *took)


def _stay_on_a_core() -> None:
    """Keep this thread, and those that it starts, on the core of the worker's number."""
    from distributed import get_worker

    name, cores = str(get_worker().name), sorted(os.sched_getaffinity(0))
    if name.isdecimal():
        os.sched_setaffinity(0, {cores[int(name) % len(cores)]})


def _forget(*keys: str) -> None:
    for key in keys:
        if key in _HELD:
            _HELD.pop(key).close()


def _here(job: Job, left: Iterator[Picture], adding: _Adding) -> int:
    try:
        for picture in left:
            adding.take(classify(job, picture))
    finally:
        _forget(job.key)
    return 1


def _on_dask(
    job: Job, left: Iterator[Picture], adding: _Adding, count: int, scheduler: str | None
) -> int:
    first = next(left, None)
    if first is None:
        return count  # nothing to do: no processes are started for it
    from winnow_ground.simulation import cluster

    with cluster.connected(count, scheduler) as client:
        cores = cluster.cores_of(client)
        for outcome in _outcomes(client, job, itertools.chain([first], left), _AHEAD * cores):
            adding.take(outcome)
        return cores


def _outcomes(client: Any, job: Job, pictures: Iterable[Picture], ahead: int) -> Iterator[Outcome]:
    """Outcomes as they come; so many pictures are with the workers at once.

    A picture at which its workers died is bad. Raises NetworkError where the scheduler dies.
    """
    from distributed import as_completed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    gone = (FutureCancelledError, asyncio.CancelledError, OSError, TimeoutError)
    held: dict[Any, Picture] = {}
    waiting = iter(pictures)
    try:
        (with_all,) = client.scatter([job], broadcast=True, hash=False)
        flying = as_completed()

        def send(picture: Picture) -> None:
            future = client.submit(classify, with_all, picture, pure=False)
            held[future] = picture
            flying.add(future)

        for picture in itertools.islice(waiting, ahead):
            send(picture)
        for future in flying:
            picture = held.pop(future)
            try:
                yield future.result()
            except KilledWorker:
                yield Outcome(picture, None, "ended its workers: is there memory enough?")
            for following in itertools.islice(waiting, 1):
                send(following)
    except WinnowEdgeError:
        raise
    except gone as error:
        raise NetworkError(
            "the scheduler is gone",
            where=getattr(client.scheduler, "address", "the scheduler"),
            hint="say the same again once it is back: what is done is kept",
        ) from error


class _Adding:
    """Outcomes on their way into the catalogue."""

    def __init__(
        self, db: sqlite3.Connection, path: Path, archive: Archive, progress: Step
    ) -> None:
        self._db, self._path, self._archive, self._progress = db, path, archive, progress
        self._added = self._completed = self._tiles = self._detections = 0
        self._busy_s = self._cpu_s = 0.0
        self._notes: list[tuple[str, str]] = []
        self._show()

    def take(self, outcome: Outcome) -> None:
        """Put a picture into the catalogue, or on the list of bad ones."""
        self._busy_s += outcome.seconds
        self._cpu_s += outcome.cpu_s
        name, found = printable(outcome.picture.name), outcome.classified
        if found is None:
            self._archive.bad.append((name, outcome.why))
        else:
            with changes(self._db, self._path) as number:
                self._add(outcome.picture, found, number)
            if found.said:
                self._notes.append((name, found.said))
        self._show()

    def told(self, seconds: float, workers: int) -> Built:
        """What was done."""
        archive = self._archive
        self._show()
        return Built(
            pictures=len(archive.listed.names),
            added=self._added,
            completed=self._completed,
            known=archive.known,
            otherwise=archive.otherwise,
            copies=archive.copies,
            moved=archive.moved,
            tiles=self._tiles,
            detections=self._detections,
            others=dict(archive.listed.others),
            bad=tuple(archive.bad),
            notes=tuple(self._notes),
            seconds=seconds,
            busy_s=self._busy_s,
            cpu_s=self._cpu_s,
            workers=workers,
        )

    def _show(self) -> None:
        archive = self._archive
        done = self._added + self._completed + archive.known + archive.copies + len(archive.bad)
        self._progress("classifying", done, len(archive.listed.names))

    def _add(self, picture: Picture, found: Classified, number: int) -> None:
        if picture.row:
            self._tiles += self._put_tiles(picture.row, found, number)
            self._completed += 1
            return
        db, folder = self._db, str(self._archive.listed.folder)
        # The rows of another picture that lay there stay, with what people said of them.
        db.execute(
            "UPDATE swath SET picture = NULL WHERE folder = ? AND picture = ? AND sha256 <> ?",
            (folder, picture.name, picture.sha256),
        )
        file = {"bytes": picture.bytes, "mtime_ns": picture.mtime_ns}
        place = next((t for t in found.tiles if t["latitude"] is not None), {})
        row = {
            **found.swath,
            "bundle": id_of(db, "bundle", picture.bundle),
            "about": json.dumps({**found.swath["about"], "file": file}, sort_keys=True),
            "sha256": picture.sha256,
            "folder": folder,
            "picture": picture.name,
            "latitude": place.get("latitude"),
            "longitude": place.get("longitude"),
        }
        there = db.execute(_SWATH, row).fetchone()
        if there is None:
            return  # another build was faster
        self._added += 1
        self._tiles += self._put_tiles(there[0], found, number)
        self._detections += sum(tile["detection"] for tile in found.tiles)

    def _put_tiles(self, swath: int, found: Classified, number: int) -> int:
        """Put in the tiles that are not there yet; returns how many. What is there stays as it is,
        with what people said of it."""
        db = self._db
        names = {tile["class"] for tile in found.tiles} - {None}
        classes = {name: id_of(db, "class", name) for name in sorted(names)}
        more = {"swath": swath, "have": _IMAGE, "changed": number}
        return db.executemany(
            _TILE, ({**tile, **more, "class": classes.get(tile["class"])} for tile in found.tiles)
        ).rowcount


_SWATH: Final = """
INSERT INTO swath (name, bundle, mission, instrument, sha256, lines, samples, tiles, screened,
    complete, verdict, start, latitude, longitude, folder, picture, about)
VALUES (:name, :bundle, :mission, :instrument, :sha256, :lines, :samples, :tiles, :screened,
    1, :verdict, :start, :latitude, :longitude, :folder, :picture, :about)
ON CONFLICT DO NOTHING RETURNING id
"""
_TILE: Final = """
INSERT INTO tile (swath, number, class, posterior, detection, refused, out_of_place, drawn, asked,
    merged, line, sample, lines, samples, scale, time, latitude, longitude, have, changed)
VALUES (:swath, :number, :class, :posterior, :detection, :refused, :out_of_place, :drawn, :asked,
    :merged, :line, :sample, :lines, :samples, :scale, :time, :latitude, :longitude, :have,
    :changed)
ON CONFLICT (swath, number) DO NOTHING
"""
