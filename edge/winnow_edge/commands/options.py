"""Values of options: what they may be, in words where they are refused."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow_edge.clock.cuc import Instant
    from winnow_edge.place.place import Place

_DIGITS = 20


def utc(text: str) -> Instant:
    """The value of --start."""
    from winnow_edge.clock.utc import parse_utc

    try:
        return parse_utc(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def place(text: str) -> Place:
    """The value of --place."""
    from winnow_edge.place.place import Place

    north, comma, east = text.partition(",")
    found = Place(float(north), float(east) if comma else None)
    if not (-90 <= found.latitude <= 90 and -180 <= (found.longitude or 0) <= 360):
        raise argparse.ArgumentTypeError(f"{text} is not -90 to 90, and -180 to 360 degrees")
    return found


def whole(low: int, high: int) -> Callable[[str], int]:
    """What reads an option's whole number from `low` to `high`."""

    def number(text: str) -> int:
        value = int(text) if len(text) <= _DIGITS else high + 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text[:_DIGITS]} is not {low} to {high:,}")
        return value

    return number


samples_of = whole(1, 1_000_000)
"""The value of --samples: as a mission file has it."""
_interpreters = whole(1, 256)


def amount(low: float, high: float) -> Callable[[str], float]:
    """What reads an option's number from `low` to `high`."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value <= high:  # NaN is neither
            raise argparse.ArgumentTypeError(f"{text[:_DIGITS]} is not {low:g} to {high:g}")
        return value

    return number


def threads_of(text: str) -> int:
    """The value of --threads; "auto" is 0."""
    if text == "auto":
        return 0
    return _interpreters(text)
