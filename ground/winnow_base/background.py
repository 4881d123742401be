"""Which classes read as "nothing of interest": they are proposed as background, never taken so."""

from __future__ import annotations

from collections.abc import Collection, Iterable

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


def without_background(classes: Collection[str], background: Collection[str], head: str) -> str:
    """A warning where every tile would be a detection of something; "" where there is none.

    A sigmoid head needs no background: it may say that nothing is there.
    """
    if head == "sigmoid" or set(classes) & set(background):
        return ""
    hint = "a class of tiles with nothing of interest in them is missing"
    if names := proposed(classes):
        quoted = ", ".join(f'"{name}"' for name in names)
        hint = f"set [convert] background = [{quoted}] in the recipe, and train again to export it"
    return f"no class is background, so every tile may be a detection; {hint}"
