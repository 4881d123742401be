"""The swath with detections drawn on it, as a PNG that stays readable however long the swath is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from winnow_base.figure import DPI, FIXED, INK, Plot, new_figure, plain, plot
from winnow_edge.products.kinds import Box
from winnow_ground.findings import HAVE
from winnow_ground.labels import Placed, place_labels, text_on
from winnow_ground.palette import Palette
from winnow_ground.plots import legend_of

MISSED = "missed"
"""What a mark `have`s that truth knows and no detection shows."""
WIDTH, HEIGHT = 1250, 1900
"""Most pixels that the swath itself takes of a map."""
_STYLES: dict[str, tuple[float, str]] = {
    "image": (2.8, "-"),
    "thumbnail": (1.7, "-"),
    "record": (1.4, "--"),
    "on board": (1.2, "-."),
    MISSED: (1.5, ":"),
}
_WORDS = {
    "image": "image came down",
    "thumbnail": "only its thumbnail",
    "record": "only its record",
    "on board": "still on board",
    MISSED: "missed (truth)",
}
_HALO = {"image": 1.8, "thumbnail": 1.5, "record": 0.9, "on board": 0.7, MISSED: 0.9}
"""By how much the dark line under a mark is wider: dashes keep their colour."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A box to be drawn: its class, what of it came down (one of HAVE, or MISSED), its number;
    `false` is crossed out: truth has no such feature there."""

    box: Box
    class_name: str
    have: str
    label: str | None = None
    false: bool = False


def panels(lines: int, samples: int, width: int = WIDTH, height: int = HEIGHT) -> tuple[int, float]:
    """How to lay a swath out in `width` x `height` pixels: panels side by side, and the scale.

    A long swath is cut into panels where that shows it clearly larger.
    """

    def scale(count: int) -> float:
        return min((width / count - 60) / samples, height / -(-lines // count), 3.0)

    best = 1
    for count in range(2, 9):
        if scale(count) > 1.15 * scale(best):
            best = count
    return best, scale(best)


def draw(
    pixels: npt.NDArray[np.uint8],
    lines: int,
    samples: int,
    marks: Sequence[Mark],
    palette: Palette,
    title: str,
    *,
    words: dict[str, str] | None = None,
    height: int = HEIGHT,
) -> Plot:
    """The swath with detections drawn on it.

    `pixels` uint8, shape (rows, columns) or (rows, columns, 3), shows `lines` x `samples` of the
    swath at any reduction. Marks are drawn last first, so that what came down first lies on top.
    `words` says other things in the legend than what came down; `height` is the most that the
    swath itself takes (pixels).
    """
    count, scale = panels(lines, samples, height=height)
    per_panel = -(-lines // count)
    gap, left, top = 66, 86, 58
    handles = _legend(marks, palette, {**_WORDS, **(words or {})})
    panel_w, panel_h = samples * scale, per_panel * scale
    width = max(left + count * panel_w + (count - 1) * gap + 24, 640.0)
    columns = max(1, int(width // 185))
    bottom = 56 + 24 * (-(-len(handles) // columns)) + 14
    whole = top + panel_h + bottom
    figure = new_figure(width / DPI, whole / DPI)
    slack = (width - left - 24 - count * panel_w - (count - 1) * gap) / 2
    for k in range(count):
        first, last = k * per_panel, min((k + 1) * per_panel, lines)
        x = left + slack + k * (panel_w + gap)
        h = (last - first) * scale
        axes = figure.add_axes((x / width, 1 - (top + h) / whole, panel_w / width, h / whole))
        rows = [round(edge * len(pixels) / lines) for edge in (first, last)]
        axes.imshow(
            pixels[rows[0] : max(rows[1], rows[0] + 1)],
            cmap="gray",
            vmin=0,
            vmax=255,
            extent=(0, samples, last, first),
            interpolation="antialiased",
            aspect="auto",
        )
        inside = [m for m in marks if m.box.line < last and m.box.line + m.box.lines > first]
        _draw_boxes(axes, inside, palette)
        _draw_labels(axes, inside, palette, scale, (0, samples, first, last))
        axes.set_xlim(0, samples)
        axes.set_ylim(last, first)
        axes.set_xlabel("sample (pixels across)")
        axes.set_ylabel("line (pixels along the track)" if k == 0 else "")
        axes.xaxis.set_major_locator(MaxNLocator(max(2, int(panel_w // 110)), integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(max(2, int(h // 90)), integer=True))
    # A long title is set smaller, not cut.
    room = 13 * width / max(width, 10.9 * len(title))
    figure.suptitle(plain(title), y=1 - 20 / whole, fontsize=max(room, 6), va="center")
    if handles:
        figure.legend(
            handles=handles,
            loc="lower center",
            ncols=columns,
            frameon=False,
            fontsize=10,
            bbox_to_anchor=(0.5, 4 / whole),
        )
    return plot(figure)


def _legend(marks: Sequence[Mark], palette: Palette, words: dict[str, str]) -> list[Patch | Line2D]:
    there = {mark.class_name for mark in marks}
    shown = [c for c in palette.classes if c in there]
    handles: list[Patch | Line2D] = [*legend_of(shown, palette)]
    for have in (*HAVE, MISSED):
        if any(m.have == have for m in marks) and words[have]:
            width, style = _STYLES[have]
            handles.append(
                Line2D([], [], color=INK, label=words[have], linewidth=width, linestyle=style)
            )
    if any(m.false for m in marks):
        handles.append(
            Line2D([], [], color=INK, marker="x", markersize=9, linestyle="", label="false (truth)")
        )
    return handles


def _draw_boxes(axes: Axes, marks: Sequence[Mark], palette: Palette) -> None:
    # Least first, so that what came down earliest lies on top.
    order = (MISSED, *reversed(HAVE))
    ordered = sorted(enumerate(marks), key=lambda im: (order.index(im[1].have), -im[0]))
    for depth, (_, mark) in enumerate(ordered):
        box, colour = mark.box, palette[mark.class_name]
        width, style = _STYLES[mark.have]
        halo = [patheffects.withStroke(linewidth=width + _HALO[mark.have], foreground="#000000c0")]
        zorder = 2 + depth * 1e-3
        axes.add_patch(
            Rectangle(
                (box.sample, box.line),
                box.samples,
                box.lines,
                fill=False,
                edgecolor=colour,
                linewidth=width,
                linestyle=style,
                zorder=zorder,
                path_effects=halo,
            )
        )
        if mark.false:
            right, low = box.sample + box.samples, box.line + box.lines
            for x, y in (
                ((box.sample, right), (box.line, low)),
                ((box.sample, right), (low, box.line)),
            ):
                axes.plot(x, y, color=colour, linewidth=1.1, zorder=zorder, path_effects=halo)


def _draw_labels(
    axes: Axes,
    marks: Sequence[Mark],
    palette: Palette,
    scale: float,
    limits: tuple[float, float, float, float],
) -> None:
    """Numbers, beside small tiles and within large ones, whose class they say too."""
    wanted = [Placed(m.box, m.label, m.class_name, palette[m.class_name]) for m in marks if m.label]
    for label in place_labels(wanted, scale, limits):
        axes.text(
            label.x,
            label.y,
            plain(label.text),
            ha="center",
            va="center_baseline",
            fontsize=label.size,
            fontweight="bold",
            color=text_on(label.colour),
            zorder=5,
            gid=FIXED,
            bbox={
                "boxstyle": "round,pad=0.15",
                "facecolor": label.colour,
                "edgecolor": "black",
                "linewidth": 0.5,
                "gid": FIXED,
            },
        )
