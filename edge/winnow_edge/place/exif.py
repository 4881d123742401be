"""Where and when a picture was taken, by the GPS tags of its EXIF data (CIPA DC-008)."""

from __future__ import annotations

import math
import struct
import warnings
from pathlib import Path
from typing import Any, Final, NamedTuple

from PIL import ExifTags, Image

from winnow_edge.clock.cuc import Instant
from winnow_edge.clock.utc import parse_utc
from winnow_edge.place.place import Place

_GPS: Final = ExifTags.GPS
_BROKEN: Final = (
    OSError, ValueError, TypeError, KeyError, SyntaxError, EOFError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip


_HIGHEST_M: Final = 1e12


class Taken(NamedTuple):
    """None: not told."""

    start: Instant | None
    place: Place | None
    altitude_m: float | None = None
    """Above sea level; below it the less."""


def read_exif(path: Path) -> Taken:
    """What the tags say; no pixel is decoded. A file that is no picture, or whose tags make no
    sense, says nothing."""
    tags: dict[int, Any] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the reader of the picture has its own word on it
            with path.open("rb") as file, Image.open(file, formats=("JPEG", "PNG")) as image:
                if "exif" in image.info:  # else a PNG would be decoded to its end for them
                    tags = dict(image.getexif().get_ifd(ExifTags.IFD.GPSInfo))
    except _BROKEN:
        pass
    return Taken(_start(tags), _place(tags), _altitude(tags))


def _start(tags: dict[int, Any]) -> Instant | None:
    try:
        hour, minute, second = (float(part) for part in tags[_GPS.GPSTimeStamp])
        day = str(tags[_GPS.GPSDateStamp]).strip("\0 ").replace(":", "-")
        return parse_utc(f"{day}T{int(hour):02d}:{int(minute):02d}:{second:09.6f}")
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None


def _place(tags: dict[int, Any]) -> Place | None:
    try:
        north = _angle(tags[_GPS.GPSLatitude], tags[_GPS.GPSLatitudeRef], "NS", 90)
        east = _angle(tags[_GPS.GPSLongitude], tags[_GPS.GPSLongitudeRef], "EW", 180)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return Place(north, east)


def _altitude(tags: dict[int, Any]) -> float | None:
    try:
        metres = float(tags[_GPS.GPSAltitude])
        below = tags.get(_GPS.GPSAltitudeRef, b"\0") in (1, b"\1")
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not 0 <= metres < _HIGHEST_M:
        return None
    return -metres if below else metres


def _angle(parts: Any, side: Any, sides: str, most: float) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    angle = degrees + minutes / 60 + seconds / 3600
    which = str(side).strip("\0 ").upper()
    if which not in tuple(sides) or not (0 <= angle <= most and math.isfinite(angle)):
        raise ValueError("is no angle")
    return -angle if which == sides[1] else angle
