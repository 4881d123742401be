"""Streaming merging gives what greedy non-maximum suppression of the whole swath gives."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow_edge.loop.merging import PATIENCE, Merger
from winnow_edge.products.kinds import Box, Detection

PIXELS = np.zeros((1, 1), np.uint8)


def odds(detection: Detection) -> Fraction:
    posterior = Fraction(detection.posterior)
    return posterior / (1 - posterior)


def same_feature(one: Detection, low: Detection, others: list[Detection], limit: float) -> bool:
    """Whether `low` is of the feature of `one`, which ranks higher."""
    if (shared := one.box.overlap(low.box)) > limit:
        return True
    between = [
        o
        for o in others
        if o not in (one, low)
        and min(o.box.overlap(one.box), o.box.overlap(low.box)) > limit
        and odds(o) >= 4 * odds(low)
    ]
    return limit < 1 and shared > limit / 2 and len(between) >= 2


def outline_of(kept: Detection, own: list[Detection]) -> Box:
    """The middles of those that are likely, and no coarser."""
    told = [o for o in own if o.scale <= kept.scale and odds(o) >= Fraction(0.6) * odds(kept)]
    middles = [o.box.middle(0.7) for o in (kept, *told)]
    line, sample = min(m.line for m in middles), min(m.sample for m in middles)
    end = max(m.line + m.lines for m in middles)
    return Box(line, sample, end - line, max(m.sample + m.samples for m in middles) - sample)


def greedy(detections: list[Detection], limit: float) -> list[tuple[int, int, int, Box]]:
    """The rule over a whole swath: (tile, class, merged, outline) of what is kept."""
    result: list[tuple[int, int, int, Box]] = []
    for class_index in {d.class_index for d in detections}:
        ranked = sorted(
            (d for d in detections if d.class_index == class_index),
            key=lambda d: (-d.posterior, d.tile_index),
        )
        left, features = list(ranked), list[tuple[Detection, list[Detection]]]()
        while left:
            kept = left.pop(0)
            own = [d for d in left if same_feature(kept, d, ranked, limit)]
            left = [d for d in left if d not in own]
            features.append((kept, own))
        result += [
            (kept.tile_index, class_index, 1 + len(own), outline_of(kept, own))
            for kept, own in features
        ]
    return sorted(result, key=lambda found: found[:2])


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
            posterior = draw(st.sampled_from([0.0, 0.5, 0.6, 0.8, 0.95, 0.99]))
            if posterior:
                box = Box(origin * scale, column * scale, tile * scale, tile * scale)
                class_index = draw(st.integers(0, 1))
                detections.append(Detection(index, box, scale, class_index, posterior, PIXELS))
            index += 1
        rows.append((float(min((o + 1) * s for s, o in last.items())), detections))
    return rows


@given(rows=rows_of_tiles(), limit=st.sampled_from([0.0, 0.2, 0.3, 0.5, 1.0]), data=st.data())
@settings(max_examples=60)
def test_the_stream_decides_as_the_whole_does(
    rows: list[tuple[float, list[Detection]]], limit: float, data: st.DataObject
) -> None:
    interrupt = data.draw(st.integers(0, len(rows)))
    merger, kept = Merger(limit), []
    for number, (horizon, detections) in enumerate(rows):
        if number == interrupt:
            state = json.loads(json.dumps(merger.save()))
            merger = Merger(limit)
            merger.restore(state, {e["tile"]: PIXELS for e in state if "dropped" not in e})
        merger.add(detections)
        kept += merger.advance(horizon)
    kept += merger.advance(math.inf)
    assert len(merger) == 0
    everything = [d for _, detections in rows for d in detections]
    got = [(d.tile_index, d.class_index, d.merged, d.outline) for d in kept]
    assert sorted(got, key=lambda found: found[:2]) == greedy(everything, limit)
    assert sum(d.merged for d in kept) == len(everything)
    assert merger.take_cut() == 0
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


def block_of_four(posteriors: tuple[float, float, float, float]) -> list[Detection]:
    """Tiles of 8 at half-tile hop, row by row: the second and third lie between the others."""
    places = [(0, 0), (0, 4), (4, 0), (4, 4)]
    return [
        Detection(n, Box(line, sample, 8, 8), 1, 0, posterior, PIXELS)
        for n, ((line, sample), posterior) in enumerate(zip(places, posteriors, strict=True))
    ]


def test_diagonal_neighbours_are_one_feature_where_the_posterior_falls_all_the_way() -> None:
    merger = Merger(0.3)
    merger.add(block_of_four((0.99, 0.9, 0.9, 0.6)))
    (kept,) = merger.advance(math.inf)
    assert (kept.tile_index, kept.merged) == (0, 4)
    assert kept.outline == Box(1, 1, 6, 6)  # the others are far less likely


def test_diagonal_neighbours_are_two_features_where_it_dips_between() -> None:
    merger = Merger(0.3)
    merger.add(block_of_four((0.99, 0.7, 0.9, 0.6)))
    kept = merger.advance(math.inf)
    assert [(d.tile_index, d.merged) for d in kept] == [(0, 3), (3, 1)]


def test_a_feature_over_several_tiles_has_one_outline_around_their_middles() -> None:
    merger = Merger(0.3)
    merger.add(block_of_four((0.95, 0.95, 0.95, 0.5)))
    kept = merger.advance(math.inf)
    assert [(d.tile_index, d.merged, d.outline) for d in kept] == [(0, 4, Box(1, 1, 10, 10))]


def test_what_is_dropped_belongs_to_the_highest_though_a_lower_one_is_decided_before() -> None:
    merger = Merger(0.3)
    boxes = [(0, 0.8), (4, 0.6), (8, 0.9)]  # the middle one touches both others
    merger.add(
        [Detection(n, Box(line, 0, 8, 8), 1, 0, p, PIXELS) for n, (line, p) in enumerate(boxes)]
    )
    assert merger.advance(8) == []  # the first is decided, but not whose the second is
    kept = merger.advance(math.inf)
    assert [(d.tile_index, d.merged) for d in kept] == [(0, 1), (2, 2)]


def test_a_chain_of_ever_higher_ones_is_cut_and_counted() -> None:
    merger, kept, longest = Merger(0.3), 0, 0
    steps = 60
    for n in range(steps):
        box = Box(4 * n, 0, 8, 8)
        merger.add([Detection(n, box, 1, 0, 0.5 + n / 1000, PIXELS)])
        kept += len(merger.advance(4 * (n + 1)))
        longest = max(longest, len(merger))
    assert merger.take_cut() > 0
    assert merger.take_cut() == 0
    # Closed after two steps, and then waited for during so many heights of two steps.
    assert longest <= 2 * (PATIENCE + 2)
    assert kept > 0
    merger.advance(math.inf)
    assert len(merger) == 0
