"""The second half of the flight loop: what the nets say becomes records, detections and counts.

The rows of a block are decided at once, while the interpreters are at the next block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from winnow_edge.bundle import Int8Array
from winnow_edge.loop import verdict
from winnow_edge.loop.block import Row
from winnow_edge.loop.decision import Decided, Decider, SecondViews
from winnow_edge.loop.placing import Placing
from winnow_edge.loop.progress import Progress
from winnow_edge.loop.sampling import Sampler
from winnow_edge.loop.schedule import box_of
from winnow_edge.loop.settings import Settings
from winnow_edge.loop.verifier import Verifier
from winnow_edge.products import encode
from winnow_edge.products.context import context_product
from winnow_edge.products.kinds import NO_CLASS, Box, Detection, Flag, Product
from winnow_edge.products.quick_look import Section, quick_look_product
from winnow_edge.products.tail import Seen


class _Boxes(NamedTuple):
    """Where n tiles lie, int64 (n,) each."""

    line: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    sample: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int64]
    scale: npt.NDArray[np.int64]


class Collector:
    """Decides, merges, verifies and encodes the rows of one swath of `samples` samples, and counts
    them; without a `verifier` there is no second stage."""

    def __init__(
        self,
        settings: Settings,
        progress: Progress,
        verifier: Verifier | None = None,
        *,
        samples: int,
    ) -> None:
        self._products, self._names = settings.mission.products, settings.manifest.classes
        self._context = settings.mission.context
        self._tile, self._samples = settings.tile, samples
        self._decider = Decider(settings.manifest, settings.thresholds)
        self._placing = Placing(progress.geometry, settings.mission.classes, self._names)
        self.progress, self._tally, self._verifier = progress, progress.tally, verifier
        self._rule, self._judged = settings.mission.verdict, settings.verdict_class
        self._sampler = Sampler(settings, progress.name, progress.tally)
        self._looks, self._look_bytes = list[Section](), settings.mission.quick_look.bytes
        self._sections = 0
        """Sections that the swath has left so far: each has a number."""
        self._committed = progress.next_line
        """Lines that an earlier run committed, with the quick looks of sections among them."""

    def collect(self, rows: Sequence[Row], *, last: bool = False) -> list[Product]:
        """The products of rows whose tiles are with the interpreters, once those are done.

        Where the swath ends with them (`last`), detections that are still open are decided too.
        """
        fresh = list[Product]()
        decided = [row for row in rows if row.job is not None]
        for row in rows[: len(rows) - len(decided)]:
            self.progress.recall(row)
        if decided or last:
            self.progress.take_up()
        if decided:
            fresh = self._decide(decided)
        if last:
            fresh += self._keep(self.progress.merger.advance(math.inf))
        if decided or last:
            fresh += self._quick_looks(last=last)
        self._tally.cut += self.progress.merger.take_cut()
        self._tally.products += len(fresh)
        self._tally.bytes += sum(len(product.data) for product in fresh)
        return fresh

    def take_looks(self, sections: Sequence[Section]) -> None:
        """Take up the sections of the quick look that end in a block, before its rows."""
        self._looks += sections

    def _quick_looks(self, *, last: bool) -> list[Product]:
        """Those that are due: that of the swath's last section is made with its last row."""
        due = [section for section in self._looks if last or not section.last]
        self._looks = self._looks[len(due) :]
        first, self._sections = self._sections, self._sections + len(due)
        return [
            quick_look_product(section, number, self._look_bytes, self.progress.swath_id)
            for number, section in enumerate(due, first)
            if section.last or section.end > self._committed
        ]

    def judge(self) -> dict[str, Any] | None:
        """The verdict on what was collected; None where the mission asks for none."""
        if self._judged is None:
            return None
        return verdict.as_json(self.progress.votes, self._rule)

    def _decide(self, rows: Sequence[Row]) -> list[Product]:
        """Decide rows that follow each other; their products, row by row."""
        logits, second = _answers(rows)
        boxes = self._boxes(rows)
        seen = self._placing.seen(boxes.line, boxes.lines, boxes.sample, boxes.samples)
        shown = np.flatnonzero(~np.concatenate([row.skipped for row in rows]))
        allowed = self._placing.allowed(seen)
        decided = self._decider.decide(
            logits, second, allowed if allowed is None else allowed[shown]
        )
        if second is not None:
            self._tally.second_views += len(second.tiles)
        if self._judged is not None:
            posteriors = self._decider.posteriors(logits, second)
            self.progress.votes.add(posteriors[:, self._judged], self._rule)
        records = self._records(rows[0].first, boxes, seen, shown, decided)
        hits = shown[decided.tiles]
        fresh: list[Product] = []
        for row in rows:
            at, count = row.first - rows[0].first, len(row.skipped)
            fresh += records[at : at + count]
            fresh += self._sampler.pick(row, records[at : at + count])
            low, high = np.searchsorted(hits, (at, at + count))
            if low < high:
                found = zip(
                    (hits[low:high] - at).tolist(),
                    decided.classes[low:high].tolist(),
                    decided.posteriors[low:high].tolist(),
                    strict=True,
                )
                self.progress.merger.add([self._detection(row, *hit) for hit in found])
            fresh += self._keep(self.progress.merger.advance(row.horizon))
        return fresh

    def _boxes(self, rows: Sequence[Row]) -> _Boxes:
        """Where the tiles of rows lie."""
        counts = [len(row.skipped) for row in rows]
        boxes = [(row.row.scale, self._box(row, 0)) for row in rows]
        places = np.array([(box.line, box.lines, scale) for scale, box in boxes], np.int64)
        line, lines, scale = np.repeat(places, counts, axis=0).T
        sample = np.concatenate([row.band.tile_samples for row in rows])
        samples = np.minimum(self._tile * scale, self._samples - sample)
        return _Boxes(line, lines, sample, samples, scale)

    def _records(
        self,
        first: int,
        boxes: _Boxes,
        seen: Seen | None,
        shown: npt.NDArray[np.intp],
        decided: Decided,
    ) -> list[Product]:
        """The records of tiles from index `first`; `shown` (n,) are those that the net has seen."""
        total = len(boxes.line)
        classes = np.full(total, NO_CLASS, np.uint8)
        posterior = np.zeros(total)
        flags = np.full(total, Flag.SCREENED, np.uint8)
        classes[shown], posterior[shown] = decided.class_index, decided.posterior
        flags[shown] = Flag.NONE
        flags[shown[decided.tiles]] = Flag.DETECTION
        flags[shown[decided.barred]] = Flag.OUT_OF_PLACE
        self._tally.out_of_place += int(np.count_nonzero(decided.barred))
        self._tally.tiles += total
        self._tally.screened += total - len(shown)
        self._tally.hits += int(np.count_nonzero(flags == Flag.DETECTION))
        return encode.record_products(
            self.progress.swath_id,
            first,
            line=boxes.line,
            lines=boxes.lines,
            sample=boxes.sample,
            samples=boxes.samples,
            scale=boxes.scale,
            class_index=classes,
            posterior=posterior,
            flags=flags,
            seen=seen,
        )

    def _detection(self, row: Row, tile: int, class_index: int, posterior: float) -> Detection:
        box, scale = self._box(row, row.band.columns[tile]), row.row.scale
        pixels, index = row.pixels(tile), row.first + tile
        found = Detection(index, box, scale, class_index, posterior, pixels)
        return replace(found, window=row.window(tile), context=row.context(tile))

    def _keep(self, detections: Sequence[Detection]) -> list[Product]:
        """Verify and encode the detections that are decided."""
        result = []
        for found in detections:
            detection = self._verified(found)
            if detection is None:
                continue
            name = self._names[detection.class_index]
            self._tally.by_class[name] = self._tally.by_class.get(name, 0) + 1
            seen, swath = self._placing.of(detection.box), self.progress.swath_id
            result += encode.detection_products(detection, self._products, swath, seen)
            if detection.context is not None:
                view = detection.context.view(self._context.times * detection.scale)
                result.append(context_product(detection, view, self._context, swath, seen))
        return result

    def _verified(self, found: Detection) -> Detection | None:
        """The detection as the second stage leaves it; None: it is refused."""
        if self._verifier is None:
            return found
        allowed = self._placing.allowed(self._placing.of(found.box))
        detection = self._verifier(found, self.progress.verified, allowed)
        at = found.tile_index, found.class_index
        if detection is None:
            self.progress.refused.append(at)
        elif detection is not found:
            self.progress.passed.append((*at, detection.class_index, detection.posterior))
        return detection

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
