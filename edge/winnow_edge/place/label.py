"""What a PDS3 label beside a swath says of time and place.

START_TIME is the swath's start (PDS Data Dictionary). The IMAGE_MAP_PROJECTION object gives places
where it is EQUIRECTANGULAR or POLAR STEREOGRAPHIC on a sphere and not rotated, by the formulas of
J. P. Snyder, "Map Projections - A Working Manual", USGS Professional Paper 1395 (1987), sections 12
and 21. A swath that was reduced from the label's image is as much shorter as it is narrower.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from winnow_edge.clock.cuc import Instant
from winnow_edge.clock.utc import parse_utc
from winnow_edge.place.place import Floats

SUFFIXES: Final = (".LBL", ".lbl")
_MAGIC: Final = (b"PDS_VERSION_ID", b"CCSD3ZF", b"ODL_VERSION_ID")
_PAIR: Final = re.compile(r"^[ \t]*([A-Z][A-Z0-9_:]*)[ \t]*=[ \t]*([^\r\n]+)", re.MULTILINE)
_NONE: Final = frozenset({"N/A", "UNK", "NULL", ""})
_SHAPE_SLACK: Final = 0.02
_LATITUDE_SLACK: Final = 0.1
"""Degrees by which the label's own extremes may differ from its projection."""


@dataclass(frozen=True)
class Said:
    """What a label says; `faults` in one line each."""

    start: Instant | None
    places: Projection | None
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Projection:
    """A map projection on a sphere.

    `scale` pixels of the map make one of the swath's; `line_offset` and `sample_offset` are pixels
    of the map from the first one to the projection's origin, `centre` is that origin in degrees.
    `per_degree` pixels make a degree (equirectangular), `radius` is the sphere's in pixels (polar
    stereographic), `pole` is 1 or -1 there and 0 else, `east` -1 where longitude counts westwards.
    """

    scale: float
    line_offset: float
    sample_offset: float
    centre: tuple[float, float]
    per_degree: float
    radius: float
    pole: int
    east: int

    def at(self, line: Floats, sample: Floats) -> tuple[Floats, Floats]:
        """See `Places.at`."""
        # The middle of a pixel of the swath, in pixels of the map.
        x = (sample + 0.5) * self.scale - 0.5 - self.sample_offset
        y = self.line_offset - ((line + 0.5) * self.scale - 0.5)
        latitude, longitude = self.centre
        if self.pole == 0:
            north = y / self.per_degree
            turned = x / (self.per_degree * math.cos(math.radians(latitude)))
        else:
            away = 2 * np.degrees(np.arctan(np.hypot(x, y) / (2 * self.radius)))
            north = self.pole * (90 - away)
            turned = np.degrees(np.arctan2(x, -self.pole * y))
        east = (self.east * (longitude + turned) + 180) % 360 - 180
        there = np.abs(north) <= 90
        return np.where(there, north, np.nan), np.where(there, east, np.nan)


def read_label(data: bytes, samples: int, lines: int | None) -> Said | None:
    """What a label's octets say of a swath of `samples` samples and `lines` lines (None: not
    known); None: they are no label."""
    if not data.lstrip().startswith(_MAGIC):
        return None
    text = _without_comments(data.decode("latin-1"))
    values: dict[str, str] = {}
    for key, value in _PAIR.findall(text):
        values.setdefault(key, value.strip())
    faults: list[str] = []
    start = places = None
    told = values.get("START_TIME", "").strip("\"' ")
    try:
        start = None if told.upper() in _NONE else parse_utc(told)
    except ValueError as error:
        faults.append(f"START_TIME: {error}")
    if "MAP_PROJECTION_TYPE" in values:
        try:
            places = _projection(values, samples, lines)
        except (ValueError, ArithmeticError) as error:
            faults.append(str(error))
    return Said(start, places, tuple(faults))


def _without_comments(text: str) -> str:
    """The text with a space for each comment; one that does not end is none."""
    parts, at = [], 0
    while (start := text.find("/*", at)) >= 0 and (end := text.find("*/", start + 2)) >= 0:
        parts.append(text[at:start])
        at = end + 2
    return " ".join([*parts, text[at:]])


def _projection(values: dict[str, str], samples: int, lines: int | None) -> Projection:
    """Raises ValueError for a projection that is not known, or that contradicts its own label."""

    def number(key: str, low: float, high: float, default: float | None = None) -> float:
        if default is not None and key not in values:
            return default
        try:
            value = float(values[key].partition("<")[0].strip().strip("\"'"))
        except (KeyError, ValueError):
            raise ValueError(f"{key} is {values.get(key, 'missing')[:40]!a}") from None
        if not low <= value <= high:
            raise ValueError(f"{key} is {value:g}, not {low:g} to {high:g}")
        return value

    kind = values["MAP_PROJECTION_TYPE"].strip("\"' ").upper().replace("_", " ")
    if kind not in ("EQUIRECTANGULAR", "POLAR STEREOGRAPHIC"):
        raise ValueError(f"projection {kind[:40]!a} is not known here")
    if number("MAP_PROJECTION_ROTATION", -360, 360, 0) != 0:
        raise ValueError("its map is rotated")
    height, width = number("LINES", 1, 1e9), number("LINE_SAMPLES", 1, 1e9)
    if lines is not None and abs(lines * width / (samples * height) - 1) > _SHAPE_SLACK:
        raise ValueError(
            f"it is about {height:.0f} lines of {width:.0f} samples, another shape than the swath's"
        )
    latitude, polar = number("CENTER_LATITUDE", -90, 90), kind != "EQUIRECTANGULAR"
    kilometres = "<K" in values.get("MAP_SCALE", "").upper().replace(" ", "")
    metres = number("MAP_SCALE", 1e-4, 1e7) * (1000 if kilometres else 1)
    westwards = "WEST" in values.get("POSITIVE_LONGITUDE_DIRECTION", "").upper()
    made = Projection(
        scale=width / samples,
        line_offset=number("LINE_PROJECTION_OFFSET", -1e10, 1e10),
        sample_offset=number("SAMPLE_PROJECTION_OFFSET", -1e10, 1e10),
        centre=(latitude, number("CENTER_LONGITUDE", -360, 360)),
        per_degree=1.0 if polar else number("MAP_RESOLUTION", 1e-6, 1e9),
        radius=number("A_AXIS_RADIUS", 1, 1e6) * 1000 / metres if polar else 1.0,
        pole=(1 if latitude > 0 else -1) if polar else 0,
        east=-1 if westwards else 1,
    )
    _check_extremes(made, samples, height / made.scale, number)
    return made


def _check_extremes(
    made: Projection, samples: int, lines: float, number: Callable[..., float]
) -> None:
    """The label's own extremes of latitude. Raises ValueError where the projection differs."""
    low, high = number("MINIMUM_LATITUDE", -90, 90, 90), number("MAXIMUM_LATITUDE", -90, 90, -90)
    if low > high:
        return  # not said
    across, down = np.meshgrid(np.linspace(0, samples - 1, 9), np.linspace(0, lines - 1, 9))
    north, _ = made.at(down.ravel(), across.ravel())
    least, most = np.min(north), np.max(north)
    slack = _LATITUDE_SLACK + (high - low) / 4
    if not (abs(least - low) <= slack and abs(most - high) <= slack):  # also where one is NaN
        raise ValueError(
            f"its projection spans latitudes {least:.2f} to {most:.2f}, its extremes are {low:.2f}"
            f" and {high:.2f}"
        )
