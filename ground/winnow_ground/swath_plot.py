"""The swath with detections drawn on it, as a PNG that stays readable however long the swath is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from winnow_base.figure import DPI, INK, new_figure, plain, png
from winnow_edge.products.kinds import Box
from winnow_ground import plots
from winnow_ground.findings import HAVE
from winnow_ground.plots import Palette

_CHARACTER = 8.0
"""Width in pixels that a character of a label takes at most, nearly."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A detection to be drawn: its box, class, what of it came down (one of HAVE), its number."""

    box: Box
    class_name: str
    have: str
    label: str | None = None


def panels(lines: int, samples: int, width: int = 1250, height: int = 1900) -> tuple[int, float]:
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
) -> bytes:
    """The swath with detections drawn on it.

    `pixels` uint8, shape (rows, columns) or (rows, columns, 3), shows `lines` x `samples` of the
    swath at any reduction. Marks are drawn last first, so that what came down first lies on top.
    """
    count, scale = panels(lines, samples)
    per_panel = -(-lines // count)
    gap, left, top = 66, 86, 64
    shown = [m for m in palette.classes if any(mark.class_name == m for mark in marks)]
    handles = _swath_legend(shown, marks, palette)
    panel_w, panel_h = samples * scale, per_panel * scale
    width = max(left + count * panel_w + (count - 1) * gap + 24, 640.0)
    columns = max(1, int(width // 190))
    bottom = 56 + 24 * (-(-len(handles) // columns)) + 14
    height = top + panel_h + bottom
    figure = new_figure(width / DPI, height / DPI)
    slack = (width - left - 24 - count * panel_w - (count - 1) * gap) / 2
    for k in range(count):
        first, last = k * per_panel, min((k + 1) * per_panel, lines)
        x = left + slack + k * (panel_w + gap)
        h = (last - first) * scale
        axes = figure.add_axes(
            (x / width, 1 - (top + h) / height, panel_w / width, h / height),
        )
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
        _draw_marks(axes, inside, palette, scale, first, last, samples)
        axes.set_xlim(0, samples)
        axes.set_ylim(last, first)
        axes.set_xlabel("sample (pixels across)")
        axes.set_ylabel("line (pixels along the track)" if k == 0 else "")
        axes.xaxis.set_major_locator(MaxNLocator(max(2, int(panel_w // 110)), integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(max(2, int(h // 90)), integer=True))
    figure.suptitle(plain(title), y=1 - 22 / height, fontsize=13, va="center")
    if handles:
        figure.legend(
            handles=handles,
            loc="lower center",
            ncols=columns,
            frameon=False,
            fontsize=10,
            bbox_to_anchor=(0.5, 4 / height),
        )
    return png(figure)


def _swath_legend(
    shown: Sequence[str], marks: Sequence[Mark], palette: Palette
) -> list[Patch | Line2D]:
    handles: list[Patch | Line2D] = [Patch(color=palette[c], label=plain(c)) for c in shown]
    words = {
        "image": "image came down",
        "thumbnail": "only its thumbnail",
        "record": "only its record",
        "on board": "still on board",
    }
    handles += [
        Line2D([], [], color=INK, label=words[have], **plots.box_style(have))
        for have in HAVE
        if any(m.have == have for m in marks)
    ]
    return handles


def _draw_marks(
    axes: Axes,
    marks: Sequence[Mark],
    palette: Palette,
    scale: float,
    first: int,
    last: int,
    samples: int,
) -> None:
    # Least first, so that what came down earliest lies on top.
    ordered = sorted(enumerate(marks), key=lambda im: (-HAVE.index(im[1].have), -im[0]))
    for depth, (_, mark) in enumerate(ordered):
        box = mark.box
        style = plots.box_style(mark.have)
        for colour, extra in (("black", 1.6), (palette[mark.class_name], 0.0)):
            if extra and mark.have == "on board":
                continue
            axes.add_patch(
                Rectangle(
                    (box.sample, box.line),
                    box.samples,
                    box.lines,
                    fill=False,
                    edgecolor=colour,
                    linewidth=float(style["linewidth"]) + extra,
                    linestyle=str(style["linestyle"]) if not extra else "-",
                    alpha=0.85 if mark.have == "on board" else 1.0,
                    zorder=2 + depth * 1e-3,
                )
            )
    taken: list[tuple[float, float, float, float]] = []
    for mark in marks:
        if mark.label is None:
            continue
        # The class beside the number where the box has room for it; the colour says it anyway.
        text, h = f"{mark.label} {mark.class_name}", 17 / scale
        if _CHARACTER * len(text) + 7 > mark.box.samples * scale:
            text = mark.label
        w = (_CHARACTER * len(text) + 7) / scale
        spot = _free_spot(mark.box, w, h, taken, (0, samples, first, last))
        if spot is None:
            continue
        taken.append((spot[0], spot[1], w, h))
        axes.text(
            spot[0] + w / 2,
            spot[1] + h / 2,
            plain(text),
            ha="center",
            va="center_baseline",
            fontsize=8.5,
            fontweight="bold",
            color=text_on(palette[mark.class_name]),
            zorder=5,
            bbox={
                "boxstyle": "round,pad=0.18",
                "facecolor": palette[mark.class_name],
                "edgecolor": "black",
                "linewidth": 0.6,
            },
        )


def _free_spot(
    box: Box,
    w: float,
    h: float,
    taken: Sequence[tuple[float, float, float, float]],
    limits: tuple[float, float, float, float],
) -> tuple[float, float] | None:
    """Where a label of w x h fits at a corner of `box` without covering another; None: nowhere."""
    x0, x1, y0, y1 = limits
    right, low = box.sample + box.samples - w, box.line + box.lines - h
    for x, y in (
        (box.sample, box.line),
        (right, box.line),
        (box.sample, low),
        (right, low),
        (box.sample, box.line - h),
        (box.sample, box.line + box.lines),
    ):
        x, y = min(max(x, x0), x1 - w), min(max(y, y0), y1 - h)
        if all(x + w <= a or a + c <= x or y + h <= b or b + d <= y for a, b, c, d in taken):
            return x, y
    return None


def text_on(colour: str) -> str:
    """Black or white, whichever stands out on `colour` (relative luminance of ITU-R BT.709)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 110 else "white"
