"""The log of a satellite receiver, as a drone keeps it: NMEA 0183 sentences RMC and GGA.

RMC has day, time and place; GGA has no day of its own and takes it from the RMC before.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from winnow_edge.clock.utc import parse_utc

SUFFIX: Final = ".nmea"
_TIME: Final = re.compile(r"(\d\d)(\d\d)(\d\d(?:\.\d{1,6})?)", re.ASCII)
_DAY: Final = re.compile(r"(\d\d)(\d\d)(\d\d)", re.ASCII)
_ANGLE: Final = re.compile(r"(\d{1,3})(\d\d(?:\.\d{1,12})?)", re.ASCII)
_METRES: Final = re.compile(r"-?\d{1,6}(?:\.\d{1,6})?", re.ASCII)
_GREATEST: Final = {"N": 90.0, "S": 90.0, "E": 180.0, "W": 180.0}
_CENTURY: Final = 80
"""Two-digit years from here on are of 19.."""


class Fix(NamedTuple):
    """A time on the scale TAI and a place."""

    ns: int
    latitude: float
    longitude: float


class Log(NamedTuple):
    """The fixes of a log in order of time, and how many sentences made no sense."""

    fixes: list[Fix]
    left_out: int
    altitudes: tuple[float, ...] = ()
    """Metres above mean sea level, of the sentences that tell it."""


def read_fixes(data: bytes) -> Log:
    """The valid fixes of a log's octets; those of the same time count once, and time ascends."""
    fixes: list[Fix] = []
    left_out, altitudes = 0, list[float]()
    day: str | None = None
    for line in data.split(b"\n"):
        text = line.strip().decode("ascii", "replace")
        if not text.startswith("$") or text[3:6] not in ("RMC", "GGA"):
            continue
        try:
            fields = _fields(text)
            if text[3:6] == "RMC":
                day = _day(fields[9])
                fix = _fix(day, fields[1], fields[3:7]) if fields[2] == "A" else None
            else:
                good = fields[6] not in ("", "0")
                fix = _fix(day, fields[1], fields[2:6]) if good and day else None
                altitudes += [_metres(fields[9])] if fix and fields[9] else []
        except (ValueError, IndexError):
            left_out += 1
            continue
        if fix is not None and (not fixes or fix.ns > fixes[-1].ns):
            fixes.append(fix)
    return Log(fixes, left_out, tuple(altitudes))


def _fields(text: str) -> list[str]:
    """The fields of a sentence whose check, the exclusive or of its characters, is right."""
    body, star, check = text[1:].partition("*")
    if star:
        total = 0
        for character in body.encode("ascii", "replace"):
            total ^= character
        if total != int(check[:2], 16):
            raise ValueError("its check is wrong")
    return body.split(",")


def _day(text: str) -> str:
    if (found := _DAY.fullmatch(text)) is None:
        raise ValueError("is no day")
    day, month, year = found.groups()
    return f"{19 if int(year) >= _CENTURY else 20}{year}-{month}-{day}"


def _fix(day: str, time: str, place: list[str]) -> Fix:
    if (found := _TIME.fullmatch(time)) is None:
        raise ValueError("is no time")
    ns = parse_utc(f"{day}T{found[1]}:{found[2]}:{found[3]}").ns
    latitude, north, longitude, east = place
    if north not in ("N", "S") or east not in ("E", "W"):
        raise ValueError("is no place")
    return Fix(ns, _angle(latitude, north), _angle(longitude, east))


def _metres(text: str) -> float:
    if _METRES.fullmatch(text) is None:
        raise ValueError("is no altitude")
    return float(text)


def _angle(text: str, side: str) -> float:
    if (found := _ANGLE.fullmatch(text)) is None or float(found[2]) >= 60:
        raise ValueError("is no angle")
    angle = int(found[1]) + float(found[2]) / 60
    if angle > _GREATEST[side]:
        raise ValueError("is no angle")
    return -angle if side in "SW" else angle
