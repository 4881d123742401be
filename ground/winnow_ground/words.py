"""How the ground says sizes, shares and counts to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WORD = "by the model's word"
"""Of every figure that no truth has checked."""


def size(count: float) -> str:
    """Bytes, at most four digits: 39.1 kB."""
    for unit, step in (("bytes", 1), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 1000 * step or unit == "GB":
            return f"{count / step:.0f} {unit}" if unit == "bytes" else f"{count / step:.1f} {unit}"
    raise AssertionError


def percent(part: float, whole: float) -> str:
    """A share; a decimal where it is small, and never 100 % of what is not whole."""
    share = 100 * part / whole if whole else 0.0
    if share < 9.95 or 99.5 <= share < 100:
        return f"{min(share, 99.9) if share < 100 else share:.1f} %"
    return f"{share:.0f} %"


def count(number: int, thing: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def kinds(counts: Mapping[str, int]) -> str:
    """Products by kind."""
    images, thumbnails = count(counts["image"], "image"), count(counts["thumbnail"], "thumbnail")
    looks = counts.get("quick_look", 0)
    seen = f" and {count(looks, 'quick look')}" if looks else ""
    return f"{images} and {thumbnails}, beside {count(counts['record'], 'record')}{seen}"


def listed(names: Sequence[str], thing: str = "swath") -> str:
    """Names of swaths (of `thing`s), the first four."""
    shown = ", ".join(names[:4])
    more = len(names) - 4
    return f"{shown} and {more} more {thing}s" if more > 0 else shown or f"no {thing}"


def by_class(counts: Mapping[str, int], most: int = 4) -> str:
    """`37 dark dune, 6 slope streak`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    left = len(ordered) - most
    rest = f" and {left} more class{'es' * (left > 1)}" if left > 0 else ""
    return ", ".join(f"{n:,} {name}" for name, n in ordered[:most]) + rest
