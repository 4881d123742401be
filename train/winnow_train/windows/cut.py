"""Cutting windows from a picture at the scales that fly, and what each of them teaches.

A window is a tile of the picture box-binned by a scale, as on board. It *shows* a class where a box
of that class, of enough size, has its middle near the window's; it is *background* where nothing of
any size that counts reaches into it. Windows between the two are of no class: they teach that the
picture's absent classes are not there, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from winnow_edge.loop.band import bin_lines
from winnow_edge.loop.schedule import origins
from winnow_train.recipe import Windows
from winnow_train.windows.pictures import Feature, Picture

CRATER, IMPACT, BACKGROUND = "crater", "impact ejecta", "other"
NODATA_MOST = 0.5
"""Windows with a larger share of zeros are not cut: they are screened on board."""
LARGEST_ZONE = 3.0
"""A blast zone may be so many windows wide: its middle alone tells what it is."""


@dataclass(frozen=True)
class Window:
    """One window: its place in binned pixels, its scale, and what it teaches.

    `class_name` is what it shows ("" for none), `absent` the classes that are not in it.
    """

    picture: int
    scale: int
    line: int
    sample: int
    class_name: str
    absent: tuple[str, ...]


def windows_of(
    picture: Picture, number: int, shape: tuple[int, int], side: int, rules: Windows, seed: int
) -> list[Window]:
    """The windows of one picture of `shape` (lines, samples), picture `number` of many.

    On a grid of `rules.hop`, each moved at random by up to half a hop, and about every feature;
    at most `rules.most` of a class, or of none, at a scale.
    """
    found: list[Window] = []
    for scale in rules.scales:
        height, width = -(-shape[0] // scale), -(-shape[1] // scale)
        if min(height, width) < side:
            continue
        rng = np.random.default_rng([seed, *picture.path.name.encode(), scale])
        room = height - side, width - side
        by_class: dict[str, list[Window]] = {}
        for line, sample in _places(picture.features, room, side, scale, rules, rng):
            shown = label(picture, line, sample, side, scale, rules)
            if not shown and not picture.absent:
                continue
            window = Window(number, scale, line, sample, shown, picture.absent)
            by_class.setdefault(shown, []).append(window)
        for some in by_class.values():
            rng.shuffle(some)
            found += some[: rules.most]
    return found


def _places(
    features: Sequence[Feature],
    room: tuple[int, int],
    side: int,
    scale: int,
    rules: Windows,
    rng: np.random.Generator,
) -> Iterator[tuple[int, int]]:
    half = rules.hop // 2
    for line in origins(room[0] + side, side, rules.hop):
        for sample in origins(room[1] + side, side, rules.hop):
            moved = np.array([line, sample]) + rng.integers(-half, half + 1, 2)
            place = np.clip(moved, 0, room)
            yield int(place[0]), int(place[1])
    for feature in features:
        if feature.field or not _is_of_size(feature, side, scale, rules):
            continue
        middle = np.array(_middle(feature)) / scale - side / 2
        for _ in range(rules.each):
            place = np.rint(middle + rng.uniform(-rules.centre, rules.centre, 2))
            if (place >= 0).all() and (place <= room).all():
                yield int(place[0]), int(place[1])


def label(picture: Picture, line: int, sample: int, side: int, scale: int, rules: Windows) -> str:
    """What the window at binned `line`, `sample` shows; "" for no class that is known."""
    middle = (line + side / 2) * scale, (sample + side / 2) * scale
    near, reaching = [], False
    for feature in picture.features:
        box = feature.box
        if feature.field:
            inside = (
                box.line <= middle[0] < box.line + box.lines
                and box.sample <= middle[1] < box.sample + box.samples
            )
            if inside and scale >= rules.field_scale:
                return feature.class_name
            reaching = True
            continue
        size = max(box.lines, box.samples) / scale
        if size < rules.clear or not _reaches(feature, line, sample, side, scale):
            continue
        reaching = True
        away = np.abs(np.subtract(_middle(feature), middle)).max() / scale
        if away <= rules.centre and _is_of_size(feature, side, scale, rules):
            near.append(feature.class_name)
    zone = any(
        f.class_name == IMPACT and _reaches(f, line, sample, side, scale) for f in picture.features
    )
    if near:
        # The crater in the middle of a blast zone is what made it.
        return IMPACT if IMPACT in near else ("" if zone else near[0])
    complete = picture.complete is not None and picture.complete / scale <= rules.clear
    return BACKGROUND if complete and not reaching else ""


def _is_of_size(feature: Feature, side: int, scale: int, rules: Windows) -> bool:
    size = max(feature.box.lines, feature.box.samples) / scale
    largest = LARGEST_ZONE * side if feature.class_name == IMPACT else rules.crater[1] * side
    return rules.crater[0] * side <= size <= largest


def _middle(feature: Feature) -> tuple[float, float]:
    box = feature.box
    return box.line + box.lines / 2, box.sample + box.samples / 2


def _reaches(feature: Feature, line: int, sample: int, side: int, scale: int) -> bool:
    box = feature.box
    top, left, far = line * scale, sample * scale, side * scale
    rows = box.line < top + far and box.line + box.lines > top
    return rows and box.sample < left + far and box.sample + box.samples > left


def pixels_of(
    grey: np.ndarray, windows: Sequence[Window], side: int
) -> Iterator[tuple[Window, np.ndarray]]:
    """Each window of one picture (uint8 [H, W]) that is not mostly nodata, uint8 [side, side]."""
    binned = {scale: bin_lines(grey, scale) for scale in {w.scale for w in windows}}
    for window in windows:
        part = binned[window.scale][
            window.line : window.line + side, window.sample : window.sample + side
        ]
        if (part == 0).mean() <= NODATA_MOST:
            yield window, part.copy()
