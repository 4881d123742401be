"""What the flight loop hands from part to part: tile records, detections, encoded products."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from winnow_edge.clock.cuc import Instant
from winnow_edge.place.place import Place

NO_CLASS = 255
"""Class index of a tile that was screened and shown to no net."""


class Flag(enum.IntFlag):
    """What happened to a tile."""

    NONE = 0
    SCREENED = 1
    """Skipped before the net; it has no posterior."""
    DETECTION = 2
    """Its posterior passed the threshold of its class."""
    MERGED = 4
    """It is a detection, but another one of the same feature stands for it."""
    REFUSED = 8
    """It was a detection, but the second stage refused it."""
    OUT_OF_PLACE = 16
    """Its posterior passed the threshold of a class that is not at its place or in its season."""
    TIMED = 32
    """As octets it tells its time."""
    PLACED = 64
    """As octets it tells its place."""

    @property
    def is_feature(self) -> bool:
        """Whether the tile stands for a feature of its own."""
        return self & (Flag.DETECTION | Flag.MERGED | Flag.REFUSED) == Flag.DETECTION


class Kind(enum.IntEnum):
    """Kinds of product, as they are numbered on the link."""

    SWATH = 0
    """About a swath: name, shape, classes, counts (JSON); what the others refer to."""
    RECORD = 1
    THUMBNAIL = 2
    IMAGE = 3
    QUICK_LOOK = 4
    """A small picture of a whole swath, or of a section of a long one."""
    AUDIT = 5
    """A thumbnail of a tile that was drawn at random."""
    QUESTION = 6
    """A thumbnail of a tile that the net abstained on: the ground is asked what it shows."""
    BACKGROUND = 7
    """The records of many tiles without a detection in one (`products.background`)."""
    REGION = 8
    """Raw samples of a swath that the ground asked for."""
    CONTEXT = 9
    """A detection's surroundings, at a coarser scale."""
    EVENT = 10
    """What happened on board (JSON)."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the swath in full-resolution coordinates, clipped to the swath."""

    line: int
    sample: int
    lines: int
    samples: int

    def overlap(self, other: Box) -> float:
        """Shared area over the smaller area, 0 to 1 (the metric SAHI calls IOS)."""
        height = min(self.line + self.lines, other.line + other.lines) - max(self.line, other.line)
        width = min(self.sample + self.samples, other.sample + other.samples) - max(
            self.sample, other.sample
        )
        if height <= 0 or width <= 0:
            return 0.0
        smaller = min(self.lines * self.samples, other.lines * other.samples)
        return height * width / smaller

    def middle(self, share: float) -> Box:
        """Its middle `share` each way.

        >>> Box(100, 0, 128, 64).middle(0.5)
        Box(line=132, sample=16, lines=64, samples=32)
        """
        down, right = round(self.lines * (1 - share) / 2), round(self.samples * (1 - share) / 2)
        lines, samples = self.lines - 2 * down, self.samples - 2 * right
        return Box(self.line + down, self.sample + right, lines, samples)


@dataclass(frozen=True, slots=True)
class TileRecord:
    """What every tile leaves.

    `index` counts the tiles of a swath from 0 in the order in which they were decided, `box` is
    where the tile lay, `scale` its binning factor, `class_index` the best class of the bundle
    (NO_CLASS if screened), `posterior` its posterior (0..1) after temperature. `time` is that of
    its middle line, `place` that of its middle (None: not known).
    """

    index: int
    box: Box
    scale: int
    class_index: int
    posterior: float
    flags: Flag
    time: Instant | None = None
    place: Place | None = None


class View(NamedTuple):
    """A part of a swath: where it lies, and its `pixels`, uint8, of bins of `scale`."""

    box: Box
    scale: int
    pixels: npt.NDArray[np.uint8]


class Window(Protocol):
    """What lies around a tile."""

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The surroundings, uint8, of the shape of the tile."""

    def view(self, scale: int) -> View:
        """Of the surroundings, of bins of `scale`, what lies within the swath."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A tile that passed the threshold of a class, with the pixels that the net saw.

    `tile_index` is its record's index; `pixels` uint8, shape (tile, tile) or (tile, tile, 3).
    `merged` counts the detections of the same feature that it stands for, itself included;
    `outline` is where the feature lies, as far as they tell (None: not merged yet).
    `window` gives its surroundings (None: there is no second stage to be shown them), `context`
    those that come down (None: the mission asks for none).
    """

    tile_index: int
    box: Box
    scale: int
    class_index: int
    posterior: float
    pixels: npt.NDArray[np.uint8]
    merged: int = 1
    outline: Box | None = None
    window: Window | None = None
    context: Window | None = None


class Product(NamedTuple):
    """A piece of data that can be sent alone, encoded once.

    `tile_index` is the tile it belongs to (-1 for Kind.SWATH), `data` its encoded bytes, `sketch`
    what a picture looks like (`sketch.sketch`; it stays on board, for ranking). A tuple, as
    every tile leaves one: a frozen dataclass takes three times as long to make.
    """

    kind: Kind
    tile_index: int
    class_index: int
    posterior: float
    detection: bool
    data: bytes
    sketch: bytes = b""
