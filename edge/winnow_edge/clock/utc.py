"""UTC as people and labels write it, and TAI as time codes count it.

TAI runs evenly; UTC has stood still for a second 27 times since 1972 (IERS Bulletin C 70). None has
been announced since the last one.
"""

from __future__ import annotations

import bisect
import calendar
import re
import time
from typing import Final

from winnow_edge.clock.cuc import MOST_NS, NS, Instant

EPOCH_UNIX_S: Final = calendar.timegm((1958, 1, 1, 0, 0, 0))
"""The epoch of CCSDS in seconds of 1970."""
_FIRST_AHEAD: Final = 10
"""TAI - UTC from 1972 on, in seconds. Before, UTC had seconds of its own, up to 10 s off TAI; times
of then are taken as if it had been 10 s already."""
_LEAPS: Final = tuple(
    calendar.timegm((*day, 0, 0, 0))
    for day in (
        (1972, 7, 1), (1973, 1, 1), (1974, 1, 1), (1975, 1, 1), (1976, 1, 1), (1977, 1, 1),
        (1978, 1, 1), (1979, 1, 1), (1980, 1, 1), (1981, 7, 1), (1982, 7, 1), (1983, 7, 1),
        (1985, 7, 1), (1988, 1, 1), (1990, 1, 1), (1991, 1, 1), (1992, 7, 1), (1993, 7, 1),
        (1994, 7, 1), (1996, 1, 1), (1997, 7, 1), (1999, 1, 1), (2006, 1, 1), (2009, 1, 1),
        (2012, 7, 1), (2015, 7, 1), (2017, 1, 1),
    )
)  # fmt: skip
"""Since when TAI has been one more second ahead, in seconds of 1970."""
_TAI_LEAPS: Final = tuple(leap + _FIRST_AHEAD + n + 1 for n, leap in enumerate(_LEAPS))
_UTC: Final = re.compile(
    r"(?P<year>\d{4})-(?:(?P<day_of_year>\d{3})|(?P<month>\d\d)-(?P<day>\d\d))"
    r"(?:[T ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<part>\d{1,18}))?)?)?"
    r"(?:Z|\+00:00)?",
    re.ASCII,
)
LEGAL: Final = "1957-12-31T23:59:50Z to 2094-02-06T06:27:38Z"


def from_unix(unix_ns: int) -> Instant:
    """TAI of nanoseconds since 1970 as computers count them. Raises ValueError out of `LEGAL`."""
    ahead = _FIRST_AHEAD + bisect.bisect_right(_LEAPS, unix_ns // NS)
    return _checked(unix_ns + (ahead - EPOCH_UNIX_S) * NS)


def parse_utc(text: str) -> Instant:
    """UTC as ISO 8601 and PDS labels have it: 2022-01-30T14:43:59.182Z or 2022-030T14:43:59.

    Without a zone it is UTC. Raises ValueError that says why, also out of `LEGAL`.

    >>> format_utc(parse_utc("2016-12-31T23:59:60.25"))
    '2016-12-31T23:59:60.250Z'
    """
    found = _UTC.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no UTC such as 2022-01-30T14:43:59.182Z")
    year, hour, minute = int(found["year"]), int(found["hour"] or 0), int(found["minute"] or 0)
    second = int(found["second"] or 0)
    month, day = int(found["month"] or 1), int(found["day"] or found["day_of_year"] or 0)
    most = calendar.monthrange(year, month)[1] if 1 <= month <= 12 and year else 0
    if found["day_of_year"]:
        most = 365 + calendar.isleap(year)
    if not (1 <= day <= most and hour < 24 and minute < 60 and second < 61):
        raise ValueError(f"{text[:40]!r} is no day and time of the calendar")
    # Of the day's own count: the second :60 of a day that has none is the next one's first.
    start = calendar.timegm((year, month, 1, 0, 0, 0)) + (day - 1) * 86_400
    ahead = _FIRST_AHEAD + bisect.bisect_right(_LEAPS, start)
    of_day = hour * 3600 + minute * 60 + second
    part = int((found["part"] or "0").ljust(9, "0")[:9])
    return _checked((start + ahead + of_day - EPOCH_UNIX_S) * NS + part)


def format_utc(instant: Instant) -> str:
    """An instant on the scale TAI as UTC, to the millisecond."""
    tai_ms = (instant.ns + 500_000) // 1_000_000
    tai_s, ms = divmod(tai_ms, 1000)
    tai_s += EPOCH_UNIX_S
    passed = bisect.bisect_right(_TAI_LEAPS, tai_s)
    unix_s = tai_s - _FIRST_AHEAD - passed
    # The leap second itself is the last second before the step.
    leap = passed < len(_LEAPS) and unix_s == _LEAPS[passed]
    day = time.gmtime(unix_s - leap)
    seconds = 60 if leap else day.tm_sec
    return f"{time.strftime('%Y-%m-%dT%H:%M', day)}:{seconds:02d}.{ms:03d}Z"


def as_text(instant: Instant) -> str:
    """An instant for people and files: UTC, or mission time in seconds where TAI is not known.

    >>> as_text(Instant(90_500_000_000, tai=False))
    'mission time 90.500 s'
    """
    return format_utc(instant) if instant.tai else f"mission time {instant.ns / NS:.3f} s"


def _checked(tai_ns: int) -> Instant:
    if not 0 <= tai_ns <= MOST_NS:
        raise ValueError(f"a time out of {LEGAL}")
    return Instant(tai_ns)
