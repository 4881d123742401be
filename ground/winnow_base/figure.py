"""Figures of matplotlib, as PNG bytes.

Every figure is made by matplotlib's object-oriented interface on the Agg canvas, so that no plot
touches another's state.
"""

from __future__ import annotations

import io
import warnings
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

DPI = 110
INK = "#222222"
FIXED = "fixed"
"""`gid` of an artist that keeps its colours on dark paper, as it lies on a colour of its own."""
_PAPER, _CHALK = 0.13, 0.93
"""Lightness of dark paper and of what is written on it."""


class Plot(NamedTuple):
    """A figure as PNG files, for light and for dark pages."""

    light: bytes
    dark: bytes


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain(text: str) -> str:
    """Text that matplotlib takes as it is: `$` starts no formula, a leading `_` hides no label."""
    text = text.replace("\\", "⧵").replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        # A class may be named in a script that the font lacks: boxes then, and no noise.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        if figure.get_layout_engine() is None and all(
            axes.get_subplotspec() is not None for axes in figure.axes
        ):
            figure.set_layout_engine("constrained")
        figure.savefig(out, format="png")
    return out.getvalue()


def plot(figure: Figure) -> Plot:
    """The figure as PNG files for light and for dark pages."""
    light = png(figure)
    for artist in figure.findobj():
        _darken(artist)
    return Plot(light, png(figure))


def _darken(artist: Artist) -> None:
    """Turn the greys of an artist round; colours, and what lies on them, stay."""
    if artist.get_gid() == FIXED:
        return
    if isinstance(artist, Text):
        artist.set_color(_turned(artist.get_color()))
    elif isinstance(artist, Line2D):
        # Asked for before the line is turned, which they may follow.
        face, edge = artist.get_markerfacecolor(), artist.get_markeredgecolor()
        artist.set_color(_turned(artist.get_color()))
        artist.set_markerfacecolor(_turned(face))
        artist.set_markeredgecolor(_turned(edge))
    elif isinstance(artist, Patch):
        artist.set_edgecolor(_turned(artist.get_edgecolor()))
        artist.set_facecolor(_turned(artist.get_facecolor()))


def _turned(colour: Any) -> Any:
    red, green, blue, alpha = to_rgba(colour)
    if max(red, green, blue) - min(red, green, blue) < 0.02:
        red = green = blue = _CHALK + (_PAPER - _CHALK) * red
    return red, green, blue, alpha
