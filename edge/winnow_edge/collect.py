"""The second half of the flight loop: what the nets say becomes records, detections and commits.

The rows of a block are decided at once and committed while the interpreters are at the next block;
where the swath ends, while they are at its last row, so that little is left to do after it. An
earlier run's state is taken up where its last tile is passed, so that the store is the same however
often the run was interrupted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_edge import products, verdict
from winnow_edge.band import Band, Int8Array, Quantizer
from winnow_edge.bundle import Bundle
from winnow_edge.decision import Decided, Decider, SecondViews, thresholds_of
from winnow_edge.errors import SwathError
from winnow_edge.interpreters import Job
from winnow_edge.merging import Merger
from winnow_edge.mission import Mission
from winnow_edge.records import NO_CLASS, Box, Detection, Flag, Product
from winnow_edge.store import SwathWriter
from winnow_edge.summary import Tally
from winnow_edge.tiler import TileRow, box_of


@dataclass
class Row:
    """A row of tiles on its way: `view` int8 (tile, samples[, 3]), `first` its first tile's index,
    `skipped` those that were screened, `horizon` the first line that a tile after this row can
    have. Rows without a `job` were committed by an earlier run."""

    row: TileRow
    band: Band
    view: Int8Array
    first: int
    skipped: npt.NDArray[np.bool_]
    horizon: float
    job: Job | None


@dataclass
class Block:
    """A block of lines on its way: its rows, the lines so far and the check on them."""

    rows: list[Row]
    lines: int
    check: int


class Collector:
    """Decides, merges, encodes and commits the rows of one swath of `samples` samples."""

    def __init__(
        self,
        mission: Mission,
        bundle: Bundle,
        writer: SwathWriter,
        quantizer: Quantizer,
        *,
        samples: int,
    ) -> None:
        self.writer = writer
        self.tally, self.votes = Tally(), verdict.Votes()
        self._products, self._names = mission.products, bundle.manifest.classes
        self._tile, self._samples = bundle.manifest.input.height, samples
        self._decider = Decider(bundle.manifest, thresholds_of(mission, bundle))
        self._quantizer = quantizer
        self._merger = Merger(mission.tiling.merge)
        self._rule = mission.verdict
        self._judged = verdict.class_of(mission, self._names, bundle.manifest.name)
        self._saved: dict[str, Any] | None = json.loads(writer.pending) if writer.pending else None
        """State of an earlier run, until its last tile is passed."""
        self._saved_pixels: dict[int, npt.NDArray[np.uint8]] = {}

    def check_resumed(self, name: str, lines: int, check: int, *, ended: bool) -> None:
        """Refuse lines that are not those of the run that is gone on with; a pipe tells nothing."""
        if self._saved is None:
            return
        known = self.writer.next_line
        short, other = ended and lines < known, lines == known
        if short or (other and check != self._saved["check"]):
            raise SwathError(
                f"is not the swath of which an earlier run committed {known:,} lines: "
                + (f"it ends after {lines:,}" if short else "its lines differ"),
                where=name,
                hint="give it another --name",
            )

    def collect(self, block: Block, finish: Callable[[], dict[str, Any]] | None = None) -> None:
        """Decide, merge, encode and commit a block whose tiles are with the interpreters.

        Where the swath ends with it, what is open is decided too, and `finish` returns the summary
        that completes the swath.
        """
        if finish is None:
            self._collect(block.rows, block)
        else:
            self._collect(block.rows[:-1], block)
            self._collect(block.rows[-1:], block, finish)

    def _collect(
        self, rows: Sequence[Row], block: Block, finish: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        done, fresh = self.writer.next_tile, list[Product]()
        decided = [row for row in rows if row.job is not None]
        for row in rows[: len(rows) - len(decided)]:
            self._recall(row)
        if decided:
            self.take_up()
            fresh = self._decide(decided)
            done = decided[-1].first + len(decided[-1].skipped)
        if finish is not None:
            self.take_up()
            fresh += self._keep(self._merger.advance(math.inf))
        if finish is not None or done > self.writer.next_tile:
            self._commit(fresh, done, block, finish)

    def _decide(self, rows: Sequence[Row]) -> list[Product]:
        """Decide rows that follow each other; their products, row by row."""
        logits, second = _answers(rows)
        decided = self._decider.decide(logits, second)
        if second is not None:
            self.tally.second_views += len(second.tiles)
        if self._judged is not None:
            posteriors = self._decider.posteriors(logits, second)
            self.votes.add(posteriors[:, self._judged], self._rule)
        shown = np.flatnonzero(~np.concatenate([row.skipped for row in rows]))
        records = self._records(rows, shown, decided)
        hits = shown[decided.tiles]
        fresh: list[Product] = []
        for row in rows:
            at, count = row.first - rows[0].first, len(row.skipped)
            fresh += records[at : at + count]
            low, high = np.searchsorted(hits, (at, at + count))
            if low < high:
                found = zip(
                    (hits[low:high] - at).tolist(),
                    decided.classes[low:high].tolist(),
                    decided.posteriors[low:high].tolist(),
                    strict=True,
                )
                self._merger.add([self._detection(row, *hit) for hit in found])
            fresh += self._keep(self._merger.advance(row.horizon))
        return fresh

    def judge(self) -> dict[str, Any] | None:
        """The verdict on what was collected; None where the mission asks for none."""
        return None if self._judged is None else verdict.as_json(self.votes, self._rule)

    def take_up(self) -> None:
        """Go on from the state of an earlier run, once its last tile is passed."""
        if self._saved is not None:
            self._merger.restore(self._saved["merger"], self._saved_pixels)
            self.tally = Tally(**self._saved["tally"])
            self.votes = verdict.Votes(**self._saved["votes"])
            self._saved, self._saved_pixels = None, {}

    def _records(
        self, rows: Sequence[Row], shown: npt.NDArray[np.intp], decided: Decided
    ) -> list[Product]:
        """The record of every tile of the rows; `shown` (n,) are those that the net has seen."""
        counts = [len(row.skipped) for row in rows]
        total = sum(counts)
        classes = np.full(total, NO_CLASS, np.uint8)
        posterior = np.zeros(total)
        flags = np.full(total, Flag.SCREENED, np.uint8)
        classes[shown], posterior[shown] = decided.class_index, decided.posterior
        flags[shown] = Flag.NONE
        flags[shown[decided.tiles]] = Flag.DETECTION
        self.tally.tiles += total
        self.tally.screened += total - len(shown)
        self.tally.hits += int(np.count_nonzero(flags == Flag.DETECTION))
        boxes = [(row.row.scale, self._box(row, 0)) for row in rows]
        places = np.array([(box.line, box.lines, scale) for scale, box in boxes], np.int64)
        line, lines, scale = np.repeat(places, counts, axis=0).T
        sample = np.concatenate([row.band.tile_samples for row in rows])
        return products.record_products(
            self.writer.swath_id,
            rows[0].first,
            line=line,
            lines=lines,
            sample=sample,
            samples=np.minimum(self._tile * scale, self._samples - sample),
            scale=scale,
            class_index=classes,
            posterior=posterior,
            flags=flags,
        )

    def _detection(self, row: Row, tile: int, class_index: int, posterior: float) -> Detection:
        """A detection with a copy of its pixels: the band will be overwritten."""
        column = row.band.columns[tile]
        pixels = self._quantizer.pixels(row.view[:, column : column + self._tile])
        box, scale = self._box(row, column), row.row.scale
        return Detection(row.first + tile, box, scale, class_index, posterior, pixels)

    def _keep(self, detections: Sequence[Detection]) -> list[Product]:
        """Encode the detections that are decided."""
        result = []
        for detection in detections:
            name = self._names[detection.class_index]
            self.tally.by_class[name] = self.tally.by_class.get(name, 0) + 1
            result += products.detection_products(detection, self._products, self.writer.swath_id)
        return result

    def _commit(
        self,
        fresh: Sequence[Product],
        next_tile: int,
        block: Block,
        finish: Callable[[], dict[str, Any]] | None,
    ) -> None:
        self.tally.products += len(fresh)
        self.tally.bytes += sum(len(product.data) for product in fresh)
        state = {
            "tally": vars(self.tally),
            "votes": vars(self.votes),
            "merger": self._merger.save(),
            "check": block.check,
        }
        pending = json.dumps(state, separators=(",", ":")).encode()
        self.writer.commit(
            products=fresh,
            merged=self._merger.take_dropped(),
            next_tile=next_tile,
            next_line=block.lines,
            pending=pending if finish is None else None,
            summary=None if finish is None else finish(),
        )

    def _recall(self, row: Row) -> None:
        """Passing a row that an earlier run committed: pixels that its open detections need."""
        if self._saved is None:
            return
        for entry in self._saved["merger"]:
            number = entry["tile"] - row.first
            if 0 <= number < len(row.skipped) and not entry["dropped"]:
                column = row.band.columns[number]
                tile = row.view[:, column : column + self._tile]
                self._saved_pixels[entry["tile"]] = self._quantizer.pixels(tile)

    def _box(self, row: Row, column: int) -> Box:
        # Rows that are complete before the end is known lie within the swath by themselves.
        return box_of(
            row.row.origin,
            column,
            tile=self._tile,
            scale=row.row.scale,
            lines=row.row.line,
            samples=self._samples,
        )


def _answers(rows: Sequence[Row]) -> tuple[Int8Array, SecondViews | None]:
    """Logits, int8 (n, classes), of all tiles of the rows that the net has seen, once it has, and
    what it says of their second views (None: there are none)."""
    jobs = [row.job for row in rows if row.job is not None]
    # The last first: then the others are done or nearly so, and this thread wakes up once.
    logits = [job.wait() for job in reversed(jobs)][::-1]
    views, places, seen = [], [], 0
    for job, answers in zip(jobs, logits, strict=True):
        if job.second is not None:
            views.append(job.second.logits)
            places.append(job.second.tiles + seen)
        seen += len(answers)
    second = SecondViews(np.concatenate(places), np.concatenate(views)) if views else None
    return np.concatenate(logits), second
