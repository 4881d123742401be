"""Many missions: the runs of a sweep on the cores here or on a cluster of Dask, kept as they end.

`done.jsonl` in the output folder has a line for every mission that has ended, so that a sweep that
was killed goes on where it was. A worker that dies loses the missions it was at, which others do.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from winnow_base.errors import DataError, NetworkError
from winnow_base.files import locked, make_folder
from winnow_base.progress import Step
from winnow_edge.bundle import find_bundle, open_bundle
from winnow_edge.errors import WinnowEdgeError
from winnow_edge.files import unwritable, write_file
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import mission_of
from winnow_ground.simulation.play import CACHE
from winnow_ground.simulation.run import Prepared
from winnow_ground.simulation.sweep_file import Design, Value
from winnow_ground.simulation.variants import Key, World, changed, values_of

Row = dict[str, Any]
"""`mission` its number, the keys varied, mean figures over seeds, `seconds` that it took."""
_BATCHES, _LARGEST = 8, 4
"""Batches that each core gets at least: the last to end leaves others idle for a share of one. The
most missions of a batch: a kill loses what it was at."""
_TRIES = 3
DONE, DESIGN = "done.jsonl", "sweep.json"


@dataclass(frozen=True)
class Swept:
    """A sweep that has ended: a row for each mission, by number."""

    design: Design
    rows: tuple[Row, ...]
    wall_s: float
    workers: int
    again: int
    """Missions that an earlier run had done."""

    @property
    def efficiency(self) -> float:
        """Share of the workers' time in which missions were played; 0 where none was."""
        played = sum(row["seconds"] for row in self.rows[: len(self.rows)] if row.get("now"))
        return played / (self.wall_s * self.workers) if self.wall_s else 0.0


def run_sweep(
    design: Design,
    out: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Step = lambda what, done, total: None,
) -> Swept:
    """Play all missions of a design; `out` keeps what is done.

    `workers` processes are started here (None: one a core), or the `scheduler` of a cluster is
    asked. Raises MissionError for a key or value that is none, DataError for another sweep in
    `out`, NetworkError for a scheduler that is not there or dies; what is done is kept then.
    """
    make_folder(out)
    with locked(out):
        _check_points(design)
        worlds = {
            some: World.of(design.mission, out / CACHE, progress, changes)
            for some, changes in design.worlds.items()
        }
        known = _known(design, worlds.values(), out)
        todo = [n for n in range(len(design.points)) if n not in known]
        begun = time.perf_counter()
        with _appending(out / DONE) as keep:
            used = _play(design, worlds, todo, keep, known, workers, scheduler, progress)
        wall = time.perf_counter() - begun
    rows = tuple(known[n] for n in range(len(design.points)))
    return Swept(design, rows, wall if todo else 0.0, used, len(rows) - len(todo))


def _check_points(design: Design) -> None:
    """Every value that a key takes can be flown, before anything long begins."""
    path, plain = design.mission, values_of(design.mission)
    bundles = {
        name: open_bundle(find_bundle(camera.bundle, beside=path))
        for name, camera in mission_of(plain, path).instruments.items()
    }
    base = dict(zip((axis.key for axis in design.axes), design.points[0], strict=True))
    for place, axis in enumerate(design.axes):
        values = {point[place] for point in design.points}
        ends = values if axis.values else {min(values), max(values)}  # type: ignore[type-var]
        for value in sorted(ends, key=str):
            mission = mission_of(changed(plain, {**base, axis.key: value}), path)
            for name, bundle in bundles.items():
                Settings.of(mission, name, bundle)


def play_batch(
    world: World, points: Sequence[tuple[int, dict[Key, Value]]], seeds: int
) -> list[Row]:
    """Play some missions; a row of each."""
    rows = []
    for number, changes in points:
        begun = time.perf_counter()
        mission = world.mission(changes)
        cache, first = Prepared(), mission.simulation.seed
        figures = [
            {
                **(result := world.play(mission, seed=first + n, cache=cache)).figures,
                "value": result.value,
            }
            for n in range(seeds)
        ]
        names = dict.fromkeys(name for some in figures for name in some)
        means = {
            name: float(np.mean([some[name] for some in figures if name in some])) for name in names
        }
        rows.append({"mission": number, "seconds": time.perf_counter() - begun, "figures": means})
    return rows


Worlds = Mapping[tuple[Value, ...], World]
"""By the values of a point that scores and contacts depend on."""


def _play(
    design: Design,
    worlds: Worlds,
    todo: Sequence[int],
    keep: Callable[[Row], None],
    known: dict[int, Row],
    workers: int | None,
    scheduler: str | None,
    progress: Step,
) -> int:
    """Play what is left to do; returns how many workers there were."""
    total = len(design.points)

    def done(rows: Sequence[Row]) -> None:
        for row in rows:
            keep(row)
            point = design.points[row["mission"]]
            changed = {axis.name: v for axis, v in zip(design.axes, point, strict=True)}
            known[row["mission"]] = {**row, "changed": changed, "now": True}
        progress("playing missions", len(known), total)

    count = workers or len(os.sched_getaffinity(0))
    progress("playing missions", len(known), total)
    if not todo:
        return count
    if count == 1 and scheduler is None:
        for n in todo:
            point = design.points[n]
            batch = [(n, design.changes(point))]
            done(play_batch(worlds[design.world_of(point)], batch, design.sweep.seeds))
        return 1
    return _on_dask(design, worlds, todo, done, count, scheduler)


def _on_dask(
    design: Design,
    worlds: Worlds,
    todo: Sequence[int],
    done: Callable[[Sequence[Row]], None],
    count: int,
    scheduler: str | None,
) -> int:
    from winnow_ground.simulation import cluster

    with cluster.connected(count, scheduler) as client:
        workers = cluster.cores_of(client) if scheduler else count
        left = dict.fromkeys(todo)
        for _ in range(_TRIES):
            size = min(_LARGEST, max(1, len(left) // (_BATCHES * max(workers, 1))))
            for some, world in worlds.items():
                if not (batches := _batches(design, list(left), some, size)):
                    continue
                for rows in cluster.results(client, world, batches, design.sweep.seeds, play_batch):
                    done(rows)
                    for row in rows:
                        left.pop(row["mission"], None)
            if not left:
                return workers
    raise NetworkError(
        f"workers died {_TRIES} times; {len(left)} of {len(todo)} missions are not played",
        where=scheduler or "the workers here",
        hint="give them more memory, and say the same again: what is done is kept",
    )


def _batches(
    design: Design, numbers: Sequence[int], some: tuple[Value, ...], size: int
) -> list[list[tuple[int, dict[Key, Value]]]]:
    """The missions of one world, in batches."""
    points = ((n, design.points[n]) for n in numbers)
    mine = [(n, design.changes(point)) for n, point in points if design.world_of(point) == some]
    return [mine[n : n + size] for n in range(0, len(mine), size)]


def _known(design: Design, worlds: Iterable[World], out: Path) -> dict[int, Row]:
    """Rows of missions that an earlier run of the same sweep has done, by number."""
    digest = " ".join([design.digest, *(world.digest for world in worlds)])
    path = out / DESIGN
    if path.is_file():
        try:
            before = json.loads(path.read_text())["digest"]
        except (OSError, ValueError, TypeError, KeyError):
            before = None
        if before != digest:
            raise DataError(
                "another sweep lies there, or what it plays has changed: mission, contacts, swaths",
                where=out,
                hint="name another --out",
            )
    else:
        write_file(path, json.dumps({"digest": digest, "sweep": str(design.path)}) + "\n")
    return {row["mission"]: row for row in _read_rows(design, out / DONE)}


def _read_rows(design: Design, path: Path) -> Iterator[Row]:
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            point = design.points[row["mission"]]
            figures = {str(k): float(v) for k, v in row["figures"].items()}
            seconds = float(row["seconds"])
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            continue  # a line that a kill has cut: its mission is played again
        changed = {axis.name: v for axis, v in zip(design.axes, point, strict=True)}
        yield {
            "mission": row["mission"],
            "seconds": seconds,
            "figures": figures,
            "changed": changed,
        }


@contextmanager
def _appending(path: Path) -> Iterator[Callable[[Row], None]]:
    """Adds lines to a file; each is on its way to the disk when the call returns."""
    try:
        with path.open("ab") as stream:
            if stream.tell() and not _ends_whole(path):
                stream.write(b"\n")

            def keep(row: Row) -> None:
                _append(stream, json.dumps(row).encode() + b"\n", path)

            yield keep
    except WinnowEdgeError:
        raise
    except OSError as error:
        raise unwritable(error, path) from error


def _append(stream: BinaryIO, line: bytes, path: Path) -> None:
    try:
        stream.write(line)
        stream.flush()
    except OSError as error:
        raise unwritable(error, path) from error


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
