"""Streaming merging gives what greedy non-maximum suppression of the whole swath gives."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow_edge.loop.merging import Merger
from winnow_edge.products.kinds import Box, Detection

PIXELS = np.zeros((1, 1), np.uint8)


def greedy(detections: list[Detection], limit: float) -> list[tuple[int, int, int]]:
    """The textbook rule: (tile, class, merged) of what is kept, by tile and class."""
    kept: list[tuple[int, int, int]] = []
    for class_index in {d.class_index for d in detections}:
        ranked = sorted(
            (d for d in detections if d.class_index == class_index),
            key=lambda d: (-d.posterior, d.tile_index),
        )
        chosen: list[Detection] = []
        for place, d in enumerate(ranked):
            if all(d.box.overlap(other.box) <= limit for other in chosen):
                chosen.append(d)
                lower = [o for o in ranked[place + 1 :] if o.box.overlap(d.box) > limit]
                kept.append((d.tile_index, class_index, 1 + len(lower)))
    return sorted(kept)


@st.composite
def rows_of_tiles(draw: st.DrawFn) -> list[tuple[float, list[Detection]]]:
    """Rows of detections in order, each with the first line that a later tile can have."""
    scales = draw(st.sampled_from([(1,), (1, 2), (1, 3), (2, 5)]))
    tile, hop = 4, draw(st.integers(1, 4))
    extent = draw(st.integers(4, 40))
    found = [
        ((origin + tile) * scale, scale, origin)
        for scale in scales
        for origin in range(0, max(extent // scale - tile, 0) + 1, hop)
    ]
    last = dict.fromkeys(scales, -1)
    index, rows = 0, []
    for _, scale, origin in sorted(found):
        last[scale] = origin
        detections = []
        for column in range(0, 16, 2):
            posterior = draw(st.sampled_from([0.0, 0.0, 0.5, 0.6, 0.7, 0.9, 0.95]))
            if posterior:
                box = Box(origin * scale, column * scale, tile * scale, tile * scale)
                class_index = draw(st.integers(0, 1))
                detections.append(Detection(index, box, scale, class_index, posterior, PIXELS))
            index += 1
        rows.append((float(min((o + 1) * s for s, o in last.items())), detections))
    return rows


@given(rows=rows_of_tiles(), limit=st.sampled_from([0.0, 0.2, 0.3, 0.5, 1.0]), data=st.data())
@settings(max_examples=150)
def test_the_stream_decides_as_the_whole_does(
    rows: list[tuple[float, list[Detection]]], limit: float, data: st.DataObject
) -> None:
    interrupt = data.draw(st.integers(0, len(rows)))
    merger, kept = Merger(limit), []
    for number, (horizon, detections) in enumerate(rows):
        if number == interrupt:
            state = json.loads(json.dumps(merger.save()))
            merger = Merger(limit)
            merger.restore(state, {e["tile"]: PIXELS for e in state if not e["dropped"]})
        merger.add(detections)
        kept += merger.advance(horizon)
    kept += merger.advance(math.inf)
    assert len(merger) == 0
    everything = [d for _, detections in rows for d in detections]
    got = sorted((d.tile_index, d.class_index, d.merged) for d in kept)
    assert got == greedy(everything, limit)
    assert all(d.pixels is PIXELS for d in kept)


def test_a_feature_is_decided_as_soon_as_nothing_can_touch_it() -> None:
    merger = Merger(0.3)
    merger.add([Detection(0, Box(0, 0, 8, 8), 1, 0, 0.9, PIXELS)])
    assert merger.advance(7) == []
    (kept,) = merger.advance(8)
    assert kept.tile_index == 0
    assert merger.save() == []


def test_a_better_detection_that_comes_later_wins_and_frees_what_it_does_not_touch() -> None:
    merger = Merger(0.3)
    chain = [(0, 0.7), (4, 0.8), (8, 0.9)]  # each touches the next; the last drops the second only
    for tile, (line, posterior) in enumerate(chain):
        merger.add([Detection(tile, Box(line, 0, 8, 8), 1, 0, posterior, PIXELS)])
        merger.advance(line)
    kept = merger.advance(math.inf)
    assert [(d.tile_index, d.merged) for d in kept] == [(0, 1), (2, 2)]


def test_classes_do_not_suppress_each_other() -> None:
    merger = Merger(0.3)
    box = Box(0, 0, 8, 8)
    merger.add([Detection(0, box, 1, c, 0.9, PIXELS) for c in (0, 1)])
    assert len(merger.advance(math.inf)) == 2


def test_what_was_dropped_is_told_once() -> None:
    pixels = np.zeros((2, 2), np.uint8)
    merger = Merger(0.3)
    merger.add(
        [Detection(n, Box(0, 8 * n, 16, 16), 1, 0, p, pixels) for n, p in enumerate((0.8, 0.9))]
    )
    assert merger.take_dropped() == []
    assert [d.tile_index for d in merger.advance(math.inf)] == [1]
    assert merger.take_dropped() == [(0, 0)]
    assert merger.take_dropped() == []
