"""`SWATH.geometry.jsonl`: a JSON object a line, each about one line of the swath.

`line` counts from 0 and ascends. `latitude` and `longitude` are degrees, north and east; `corners`
are the places of the line's first and last sample. `utc` is the time of the line. `altitude_m` is
metres of the camera above the ground or the reference surface. An entry of `quality` 0 is not used.
Every key but `line` may be left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from winnow_edge.clock.utc import parse_utc

SUFFIX: Final = ".geometry.jsonl"
_LIMITS: Final = {
    "line": (0, 2**32 - 1),
    "latitude": (-90, 90),
    "longitude": (-180, 360),
    "altitude_m": (-20_000, 1e12),
    "quality": (0, 1),
}
_KNOWN: Final = frozenset({*_LIMITS, "utc", "corners"})


@dataclass(frozen=True, slots=True)
class Entry:
    """What is told about a line; None: not told. `corners` are latitude and longitude each."""

    line: float
    ns: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    corners: tuple[tuple[float, float], tuple[float, float]] | None = None
    altitude_m: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """The entries of a file in order, how many were left out, and why the first one was."""

    entries: list[Entry]
    left_out: int = 0
    why: str | None = None


def read_entries(data: bytes) -> Told:
    """The entries of a file's octets that make sense, of ascending lines and times."""
    entries: list[Entry] = []
    left_out, why = 0, None
    last_ns = -1
    for number, text in enumerate(data.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            entry = _entry(text)
            if entry is None:
                continue
            if entries and entry.line <= entries[-1].line:
                raise ValueError(f"line {entry.line:g} is not after {entries[-1].line:g}")
            if entry.ns is not None and entry.ns < last_ns:
                raise ValueError("its time is before that of the entry before")
        except (ValueError, RecursionError) as error:
            left_out += 1
            why = why or f"entry {number}: {error}"
            continue
        last_ns = last_ns if entry.ns is None else entry.ns
        entries.append(entry)
    return Told(entries, left_out, why)


def _entry(text: bytes) -> Entry | None:
    """One entry; None: its quality is 0. Raises ValueError saying what makes no sense."""
    try:
        raw = json.loads(text)
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(raw, dict):
        raise ValueError("is no JSON object")
    if strange := sorted(set(raw) - _KNOWN):
        raise ValueError(f"unknown key {strange[0][:40]!a}")
    if raw.get("line") is None:
        raise ValueError("names no line")
    numbers = {key: _number(key, raw[key]) for key in _LIMITS if raw.get(key) is not None}
    if numbers.get("quality") == 0:
        return None
    if "longitude" in numbers and "latitude" not in numbers:
        raise ValueError("a longitude without a latitude")
    utc, corners = raw.get("utc"), raw.get("corners")
    if not isinstance(utc, str | None):
        raise ValueError("`utc` is no text")
    return Entry(
        numbers["line"],
        None if utc is None else parse_utc(utc).ns,
        numbers.get("latitude"),
        numbers.get("longitude"),
        None if corners is None else _corners(corners),
        numbers.get("altitude_m"),
    )


def _number(key: str, value: Any) -> float:
    low, high = _LIMITS[key]
    # Compared before it is made a float: JSON has integers beyond all floats, and Python's NaN.
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"`{key}` is not {low:g} to {high:g}")
    return float(value)


def _corners(raw: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    pairs = isinstance(raw, list) and len(raw) == 2
    if not pairs or not all(isinstance(c, list) and len(c) == 2 for c in raw):
        raise ValueError("`corners` are not two places [latitude, longitude]")
    left, right = ((_number("latitude", c[0]), _number("longitude", c[1])) for c in raw)
    return left, right
