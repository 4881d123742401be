"""Which classes read as "nothing of interest": they are proposed as background, never taken so."""

from __future__ import annotations

from collections.abc import Iterable

NAMES = frozenset({"other", "none", "background", "negative", "edge"})
_BEGINNINGS = ("no-", "no_", "no ")


def reads_as_background(name: str) -> bool:
    """Whether a class's name says that there is nothing of interest in its tiles.

    >>> reads_as_background("no-crater"), reads_as_background("Other"), reads_as_background("nova")
    (True, True, False)
    """
    plain = name.strip().lower()
    return plain in NAMES or plain.startswith(_BEGINNINGS)


def proposed(classes: Iterable[str]) -> tuple[str, ...]:
    """The classes that read as background, in their order."""
    return tuple(name for name in classes if reads_as_background(name))
