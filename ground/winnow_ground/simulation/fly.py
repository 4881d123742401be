"""Scores of a real swath: the first half of the flight loop, run once and kept in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from winnow_edge.loop.block import Row
from winnow_edge.loop.intake import Intake
from winnow_edge.loop.interpreters import Interpreters, cores
from winnow_edge.loop.placing import Placing
from winnow_edge.loop.progress import Progress
from winnow_edge.loop.schedule import box_of
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.summary import SwathSummary, Tally
from winnow_edge.mission import Mission
from winnow_edge.place.door import Shape, look
from winnow_edge.place.geometry import Geometry
from winnow_edge.prepare.chain import Chain, open_lines
from winnow_edge.products.encode import HEAD, encode_image, encode_swath, encode_thumbnail
from winnow_edge.products.kinds import Detection
from winnow_edge.products.quick_look import quick_look_product
from winnow_edge.products.sketch import sketch
from winnow_ground.nets import Nets
from winnow_ground.simulation.around import Around, floor_of
from winnow_ground.simulation.scores import TILE, Scores, load_scores
from winnow_ground.truth import LARGEST, MATCH_OVERLAP, SMALLEST, Truth

_HEADS = 4096
"""Bytes of a swath file that its kept scores are known by, beside its size and time."""


class _FromTheStart:
    """A swath of which nothing is committed yet, as `Intake` asks for it."""

    next_tile = 0

    def check(self, first: object, lines: int, *, ended: bool) -> int:
        return 0


class Flyer(Nets):
    """Scores swaths of one mission, with interpreters that stay; a context manager.

    `cache` is the folder in which scores are kept (None: they are not).
    """

    def __init__(self, mission: Mission, cache: Path | None = None) -> None:
        super().__init__(mission)
        self._cache = cache

    def scores(self, path: Path, name: str, truth: Truth | None) -> Scores:
        """The scores of the swath in a file, called `name`; `truth` is what is really there.

        Raises what opening the swath and running its net raise.
        """
        instrument, camera = self.mission.instrument_for(name)
        settings = self.settings_of(instrument)
        kept = None if self._cache is None else self._cache / f"{self._key(path, settings)}.npz"
        if kept is not None and kept.is_file():
            found = load_scores(kept)
        else:
            lines = open_lines(
                path, camera, settings.manifest.input, memory_mb=self.mission.compute.memory_mb
            )
            try:
                shape = Shape(lines.samples, lines.lines, camera.line_time_us, camera.frame)
                geometry, pool = look(path, shape, None), self.interpreters(settings)
                found = _Scorer(lines, settings, pool, geometry).run(name)
            finally:
                lines.close()
            if kept is not None:
                found.save(kept)
        return with_truth(replace(found, name=name), truth)

    def _key(self, path: Path, settings: Settings) -> str:
        """Stands for the swath's content and for all settings that scores depend on."""
        mission, status = self.mission, path.stat()
        with path.open("rb") as stream:
            begin = stream.read(_HEADS)
        rules = {n: [r.latitude, r.season] for n, r in mission.classes.items()}
        plain = replace(
            mission, classes={n: replace(r, threshold=None) for n, r in mission.classes.items()}
        )
        known = [
            plain.processing_digest(settings.instrument, settings.bundle.sha256),
            str(path.resolve()),
            status.st_size,
            status.st_mtime_ns,
            hashlib.sha256(begin).hexdigest(),
            rules,
            HEAD.size,
        ]
        if settings.verifier is not None or mission.context.times:
            known.append(floor_of(settings))
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]


class _Scorer:
    """Runs one swath through intake and net."""

    def __init__(
        self, lines: Chain, settings: Settings, pool: Interpreters, geometry: Geometry
    ) -> None:
        self.lines, self.settings, self.pool, self.geometry = lines, settings, pool, geometry
        self.tiles: list[npt.NDArray[np.void]] = []
        self.logits: list[npt.NDArray[np.int8]] = []
        self.second: list[npt.NDArray[np.int8]] = []
        self.twice: list[npt.NDArray[np.bool_]] = []
        self.looks: list[tuple[int, int]] = []
        self.rows = 0
        self.placing = Placing(geometry, settings.mission.classes, settings.manifest.classes)
        self.around = Around(settings, self.placing, pool.verifier)

    def run(self, name: str) -> Scores:
        settings, start = self.settings, cast("Progress", _FromTheStart())
        intake = Intake(self.lines, settings, self.pool)
        with ThreadPoolExecutor(cores()) as encoders:
            while True:
                while not intake.fill():
                    pass
                block = intake.submit(start)
                for row in block.rows:
                    self._row(row, encoders)
                for section in block.sections:
                    most = settings.mission.quick_look.bytes
                    look_at = quick_look_product(section, len(self.looks), most, 1)
                    self.looks.append((section.end, len(look_at.data)))
                self.around.settle()
                if intake.ended:
                    break
        tiles = np.concatenate([np.empty(0, TILE), *self.tiles])
        place = [tiles[key].astype(np.int64) for key in ("line", "lines", "sample", "samples")]
        seen = self.placing.seen(*place)
        tail = 0 if seen is None or not len(tiles) else len(seen.tails()[0])
        tiles["thumbnail"] += tail
        tiles["image"] += tail
        twice = np.concatenate([np.empty(0, np.bool_), *self.twice])
        classes = len(settings.manifest.classes)
        none = np.empty((0, classes), np.int8)
        return Scores(
            name=name,
            manifest=settings.manifest,
            lines=intake.lines,
            samples=self.lines.samples,
            tiles=tiles,
            logits=np.concatenate([none, *self.logits]),
            second=np.concatenate([none, *self.second]) if twice.any() else None,
            twice=twice if twice.any() else None,
            about=self._about(name, tiles, intake.lines),
            quick_looks=tuple(self.looks),
            tail=tail,
            allowed=self.placing.allowed(seen),
            around=self.around.table(len(tiles)) if self.around.wanted else None,
            minded=self.around.minded,
        )

    def _row(self, row: Row, encoders: ThreadPoolExecutor) -> None:
        assert row.job is not None
        count, classes = len(row.skipped), len(self.settings.manifest.classes)
        answers, shown = row.job.wait(), np.flatnonzero(~row.skipped)
        logits = np.zeros((count, classes), np.int8)
        logits[shown] = answers
        second, twice = np.zeros_like(logits), np.zeros(count, np.bool_)
        if row.job.second is not None:
            places = shown[row.job.second.tiles]
            second[places], twice[places] = row.job.second.logits, True
        tiles = np.zeros(count, TILE)
        tiles["scale"], tiles["screened"] = row.row.scale, row.skipped
        tiles["row"], tiles["due"] = self.rows, row.row.line
        every = list(self._found(row))
        for entry, values in zip(tiles, encoders.map(self._sizes, every), strict=True):
            for key, value in values.items():
                entry[key] = value
        if self.around.wanted:
            could_be = self.around.could_be(answers, row.job.second)
            for tile in np.unique(shown[could_be.tiles]).tolist():
                self.around.take(row, tile, every[tile])
        self.rows += 1
        self.tiles.append(tiles)
        self.logits.append(logits)
        self.second.append(second)
        self.twice.append(twice)

    def _found(self, row: Row) -> Iterator[Detection]:
        """Every tile as if it were a detection."""
        for tile, column in enumerate(row.band.columns):
            box = box_of(
                row.row.origin,
                column,
                tile=self.settings.tile,
                scale=row.row.scale,
                lines=row.row.line,
                samples=self.lines.samples,
            )
            yield Detection(row.first + tile, box, row.row.scale, 0, 0.0, row.pixels(tile))

    def _sizes(self, found: Detection) -> dict[str, Any]:
        box, products = found.box, self.settings.mission.products
        return {
            "line": box.line,
            "sample": box.sample,
            "lines": box.lines,
            "samples": box.samples,
            "thumbnail": len(encode_thumbnail(found, products, 1)),
            "image": len(encode_image(found, products, 1)),
            "sketch": sketch(found.pixels),
        }

    def _about(self, name: str, tiles: npt.NDArray[np.void], lines: int) -> tuple[int, int]:
        """Octets of the swath product at the beginning, and about those at the end: its counts are
        those of a swath on which the net finds nothing."""
        settings = self.settings
        info = {
            "id": 1,
            "swath": name,
            "mission": settings.mission.name,
            "bundle": settings.manifest.name,
            "classes": settings.manifest.classes,
            "samples": self.lines.samples,
            "complete": False,
            "instrument": settings.instrument,
            "tile": settings.tile,
            "hop": settings.hop,
            "scales": list(settings.scales),
            **self.geometry.about(),
        }
        count, screened = len(tiles), int(tiles["screened"].sum())
        tally = Tally(tiles=count, screened=screened, products=count, bytes=HEAD.size * count)
        summary = SwathSummary(
            swath=name,
            lines=lines,
            samples=self.lines.samples,
            tally=tally,
            seconds=0.0,
            runtime=self.pool.actual,
            runtime_requested=self.pool.requested,
            threads=self.pool.threads,
            instrument=settings.instrument,
            bundle=settings.manifest.name,
            truncated=self.lines.truncated,
            stretch=None if self.lines.stretch is None else self.lines.stretch.limits,
            repaired=None if self.lines.repair is None else self.lines.repair.as_json(),
        )
        whole = {**info, "complete": True, **summary.lasting()}
        return len(encode_swath(info)), len(encode_swath(whole))


def with_truth(scores: Scores, truth: Truth | None) -> Scores:
    """Scores with what is really there laid over the tiles; None: it is not known."""
    if truth is None:
        return replace(scores, features=None, shows=np.empty((0, 2), np.int32))
    tiles = scores.tiles
    top, left = tiles["line"].astype(np.int64), tiles["sample"].astype(np.int64)
    height, width = tiles["lines"].astype(np.int64), tiles["samples"].astype(np.int64)
    longer, pairs = np.maximum(height, width), []
    for n, feature in enumerate(truth):
        box = feature.box
        down = np.minimum(top + height, box.line + box.lines) - np.maximum(top, box.line)
        across = np.minimum(left + width, box.sample + box.samples) - np.maximum(left, box.sample)
        shared = np.maximum(down, 0) * np.maximum(across, 0)
        smaller = np.minimum(height * width, box.lines * box.samples)
        fits = (SMALLEST * longer <= feature.side) & (feature.side <= LARGEST * longer)
        found = np.flatnonzero(fits & (shared >= MATCH_OVERLAP * smaller))
        pairs.append(np.stack([found, np.full(len(found), n)], axis=1))
    shows = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    shows = shows[np.argsort(shows[:, 0], kind="stable")].astype(np.int32)
    return replace(scores, features=tuple(f.class_name for f in truth), shows=shows)
