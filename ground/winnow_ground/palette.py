"""One colour per class, in plots and on pages.

The colours are the colour-blind safe sets of Okabe and Ito (2008), "Color Universal Design", and of
Paul Tol (2021), "Colour Schemes", muted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_OKABE_ITO: Final = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_TOL_MUTED: Final = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#882255", "#AA4499")
BACKGROUND: Final = "#8C8C8C"
_NO_CLASS: Final = "#3C3C3C"


@dataclass(frozen=True)
class Palette:
    """One colour per class of a bundle; `other` is grey, what has no class nearly black."""

    classes: tuple[str, ...]

    def __getitem__(self, name: str) -> str:
        named = [c for c in self.classes if c != "other"]
        if name not in named:
            return BACKGROUND if name == "other" else _NO_CLASS
        colours = _OKABE_ITO + _TOL_MUTED
        return colours[named.index(name) % len(colours)]
