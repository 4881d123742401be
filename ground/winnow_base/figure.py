"""Figures of matplotlib, as PNG bytes.

Every figure is made by matplotlib's object-oriented interface on the Agg canvas, so that no plot
touches another's state.
"""

from __future__ import annotations

import io
import warnings

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 110
INK = "#222222"


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
