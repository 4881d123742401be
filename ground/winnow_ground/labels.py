"""Where the numbers of a map stand: none over another, and none over a tile that it would hide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from winnow_edge.products.kinds import Box

_SMALL = 64
"""Pixels of the page: a narrower tile has its number beside it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A label for `box`: `number`, and `word` where there is room for it."""

    box: Box
    number: str
    word: str
    colour: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text about (x, y), in pixels of the swath, of `size` points."""

    x: float
    y: float
    text: str
    size: float
    colour: str


def place_labels(
    wanted: Sequence[Placed], scale: float, limits: tuple[float, float, float, float]
) -> Iterator[Label]:
    """Labels in places of their own; one that finds none is left out (the gallery numbers it).

    `scale` is pixels of the page per pixel of the swath, `limits` the first and last sample and
    line that are shown.
    """
    taken: list[tuple[float, float, float, float]] = []
    for one in wanted:
        side = one.box.samples * scale
        small = side < _SMALL
        size = 7.0 if small else 8.5
        # Bold figures are some 0.95 of their size wide at 110 dots an inch.
        character, high = size * 0.95, size * 1.9
        text = f"{one.number} {one.word}"
        if small or character * len(text) + 7 > side:
            text = one.number
        w, h = (character * len(text) + 6) / scale, high / scale
        spot = _free_spot(one.box, w, h, taken, limits, small)
        if spot is not None:
            taken.append((*spot, w, h))
            yield Label(spot[0] + w / 2, spot[1] + h / 2, text, size, one.colour)


def _free_spot(
    box: Box,
    w: float,
    h: float,
    taken: Sequence[tuple[float, float, float, float]],
    limits: tuple[float, float, float, float],
    small: bool,
) -> tuple[float, float] | None:
    """Where a label of w x h fits without covering another: beside a `small` box, else within."""
    x0, x1, y0, y1 = limits
    left, top = box.sample, box.line
    right, low = left + box.samples, top + box.lines
    within = [(left, top), (right - w, top), (left, low - h), (right - w, low - h)]
    beside = [
        *((left, top - h), (right - w, top - h), (left, low), (right - w, low)),
        *((left - w, top), (right, top), (left - w, low - h), (right, low - h)),
    ]
    for x, y in beside if small else within + beside:
        x, y = min(max(x, x0), x1 - w), min(max(y, y0), y1 - h)
        if small and x < right and left < x + w and y < low and top < y + h:
            continue  # the edge of the map pushed it onto its tile
        if all(x + w <= a or a + c <= x or y + h <= b or b + d <= y for a, b, c, d in taken):
            return x, y
    return None


def text_on(colour: str) -> str:
    """Black or white, whichever stands out on `colour` (relative luminance of ITU-R BT.709)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 110 else "white"
