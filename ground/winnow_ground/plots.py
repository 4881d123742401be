"""Plots of what came down, as PNG bytes.

Every function draws on a figure of its own (matplotlib's object-oriented interface on the Agg
canvas), so that no plot touches another's state. A class has one colour in all of them
(`Palette`), from the colour-blind safe set of Okabe and Ito (2008), "Color Universal Design".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from winnow_base.figure import INK, new_figure, plain, png
from winnow_ground.findings import HAVE, Curve

_OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_TOL_MUTED = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#882255", "#AA4499")
_BACKGROUND, _NO_CLASS = "#8C8C8C", "#3C3C3C"
_FAINT = "#D9D9D9"
_POLICY_STYLES = (("#000000", "-"), ("#0072B2", "--"), ("#D55E00", ":"), ("#009E73", "-."))


@dataclass(frozen=True)
class Palette:
    """One colour per class of a bundle; `other` is grey, what has no class nearly black."""

    classes: tuple[str, ...]

    def __getitem__(self, name: str) -> str:
        named = [c for c in self.classes if c != "other"]
        if name not in named:
            return _BACKGROUND if name == "other" else _NO_CLASS
        colours = _OKABE_ITO + _TOL_MUTED
        return colours[named.index(name) % len(colours)]


@dataclass(frozen=True, slots=True)
class Piece:
    """A product as it arrived: bytes before it, its own bytes, kind and class."""

    start: int
    size: int
    kind: str
    class_name: str
    contact: int


def class_counts(
    counts: Mapping[str, Mapping[str, int]],
    palette: Palette,
    title: str,
    truth: Mapping[str, int] | None = None,
) -> bytes:
    """Detections of each class by what of them came down.

    `counts[class][have]` for have in HAVE; `truth[class]` is how many features there really are.
    """
    names = [c for c in palette.classes if sum(counts.get(c, {}).values()) or (truth or {}).get(c)]
    names = names or list(palette.classes)
    figure = new_figure(8.6, 1.75 + 0.42 * len(names))
    axes = figure.add_subplot()
    fills = {"image": 1.0, "thumbnail": 0.55, "record": 0.22, "on board": 0.0}
    for row, name in enumerate(names):
        start, parts = 0, counts.get(name, {})
        for have in HAVE:
            number = parts.get(have, 0)
            if number:
                for face, alpha, width in ((True, fills[have], 0.0), (False, 1.0, 1.3)):
                    axes.barh(
                        row,
                        number,
                        left=start,
                        height=0.62,
                        facecolor=palette[name] if face else "none",
                        edgecolor="none" if face else palette[name],
                        linewidth=width,
                        alpha=alpha,
                        linestyle=":" if have == "on board" else "-",
                    )
            start += number
        pictures = parts.get("image", 0) + parts.get("thumbnail", 0)
        known = max(start, (truth or {}).get(name, 0))
        axes.annotate(
            f"{pictures} of {start}",
            (known, row),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
        )
        if truth is not None and truth.get(name):
            axes.plot(truth[name], row, marker="D", color="black", markersize=7, zorder=4)
    axes.set_yticks(range(len(names)), [plain(n) for n in names])
    axes.invert_yaxis()
    axes.set_xlabel("detections (numbers: with a picture down, of all)")
    axes.set_ylabel("class")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=0, right=max(1.0, axes.get_xlim()[1] * 1.12))
    axes.set_title(plain(title), fontsize=13)
    _light_axes(axes, "x")
    axes.legend(handles=_fill_legend(counts, fills, truth), **_BELOW, ncols=3)
    return png(figure)


def _fill_legend(
    counts: Mapping[str, Mapping[str, int]],
    fills: Mapping[str, float],
    truth: Mapping[str, int] | None,
) -> list[Patch | Line2D]:
    words = ("image came down", "only its thumbnail", "only its record", "still on board")
    handles: list[Patch | Line2D] = []
    for have, word in zip(HAVE, words, strict=True):
        if any(parts.get(have) for parts in counts.values()):
            shade = 1 - fills[have] * (1 - 0x55 / 255)
            face = (shade, shade, shade)
            patch = Patch(facecolor=face, edgecolor="#555555", label=word)
            patch.set_linestyle(":" if have == "on board" else "-")
            handles.append(patch)
    if truth is not None:
        handles.append(
            Line2D([], [], marker="D", color="black", linestyle="", label="really there (truth)")
        )
    return handles


def arrival(pieces: Sequence[Piece], palette: Palette, title: str) -> bytes:
    """What went down in which order: each product a bar as long as its bytes."""
    lanes = [
        k for k in ("image", "thumbnail", "record", "swath") if any(p.kind == k for p in pieces)
    ]
    figure = new_figure(11, 1.9 + 0.55 * max(1, len(lanes)))
    axes = figure.add_subplot()
    total = max((p.start + p.size for p in pieces), default=1)
    # Under half a pixel a bar vanishes; a record of 24 bytes would.
    least = total / 1600
    for row, lane in enumerate(lanes):
        mine = [p for p in pieces if p.kind == lane]
        axes.broken_barh(
            [(p.start / 1e3, max(p.size, least) / 1e3) for p in mine],
            (row - 0.36, 0.72),
            facecolors=[palette[p.class_name] for p in mine],
            edgecolors="white" if lane in ("image", "thumbnail") and len(mine) < 250 else "none",
            linewidth=0.4,
        )
    last = None
    for piece in pieces:
        if piece.contact != last:
            axes.axvline(piece.start / 1e3, color=INK, linewidth=1, linestyle="--")
            axes.annotate(
                f" contact {piece.contact}",
                (piece.start / 1e3, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                fontsize=9,
            )
            last = piece.contact
    axes.set_yticks(range(len(lanes)), [f"{lane}s" for lane in lanes])
    axes.set_ylim(len(lanes) - 0.45, -0.55)
    axes.set_xlim(0, total / 1e3 * 1.005)
    axes.set_xlabel("bytes received so far (kB of products, in the order in which they came down)")
    axes.set_ylabel("kind of product")
    axes.set_title(plain(title), fontsize=13, pad=20)
    _light_axes(axes, "x")
    shown = [c for c in palette.classes if any(p.class_name == c for p in pieces)]
    handles = [Patch(color=palette[c], label=plain(c)) for c in shown]
    if any(p.class_name not in palette.classes for p in pieces):
        handles.append(Patch(color=palette[""], label="no class"))
    axes.legend(handles=handles, **_BELOW, ncols=min(6, max(1, len(handles))))
    return png(figure)


def value_against_bytes(
    curves: Sequence[Curve], received: int | None, title: str, value_label: str
) -> bytes:
    """Value against bytes of several policies: as far as the link came, and to the end.

    `received` bytes of products have come down (None: not marked).
    """
    figure = new_figure(11, 4.7)
    total = max((float(c.bytes[-1]) for c in curves if len(c.bytes)), default=1.0)
    zoom = bool(received) and 2.2 * float(received or 0) < total
    spans = [2.0 * float(received or 0), total] if zoom else [total]
    for column, span in enumerate(spans, start=1):
        axes = figure.add_subplot(1, len(spans), column)
        tops = []
        for curve, (colour, style) in zip(curves, _POLICY_STYLES, strict=False):
            x = np.concatenate([[0.0], curve.bytes])
            y = np.concatenate([[0.0], curve.value])
            width = 2.2 if style == "-" else 1.8
            axes.step(
                x / 1e3, y, where="post", color=colour, linestyle=style, linewidth=width,
                label=plain(curve.name),
            )  # fmt: skip
            tops.append(float(y[np.searchsorted(x, span, side="right") - 1]))
        if received:
            axes.axvline(received / 1e3, color=_BACKGROUND, linewidth=1.2)
            axes.annotate(
                "came down",
                (received / 1e3, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(4, -12),
                textcoords="offset points",
                fontsize=9,
                color="#555555",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
            )
        axes.set_xlim(0, span / 1e3)
        axes.set_ylim(0, max(tops, default=0.0) * 1.06 or 1.0)
        axes.set_xlabel("bytes sent (kB of products)")
        axes.set_ylabel(plain(value_label))
        axes.set_title(
            "up to twice what came down" if zoom and column == 1 else "everything on board",
            fontsize=11,
        )
        _light_axes(axes, "both")
    figure.suptitle(plain(title), fontsize=13)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return png(figure)


def contacts(
    values: Mapping[str, Sequence[float]], starts: Sequence[str], title: str, value_label: str
) -> bytes:
    """Value brought down up to and including each contact, a line per policy."""
    figure = new_figure(9.5, 4.9)
    axes = figure.add_subplot()
    x = np.arange(len(starts) + 1)
    for (name, series), (colour, style) in zip(values.items(), _POLICY_STYLES, strict=False):
        axes.plot(
            x, [0.0, *series], color=colour, linestyle=style, marker="o", markersize=5,
            linewidth=2.2 if style == "-" else 1.8, label=plain(name),
        )  # fmt: skip
    every = max(1, -(-len(x) // 12))
    ticks = [i for i in x if i % every == 0]
    labels = ["before", *(f"{i + 1}\n{start}" for i, start in enumerate(starts))]
    axes.set_xticks(ticks, [plain(labels[i]) for i in ticks], fontsize=8 if len(starts) > 6 else 9)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("contact (number, start)")
    axes.set_ylabel(plain(value_label))
    axes.set_title(plain(title), fontsize=13)
    axes.legend(frameon=False)
    _light_axes(axes, "y")
    return png(figure)


def box_style(have: str) -> dict[str, Any]:
    width = {"image": 2.6, "thumbnail": 1.8, "record": 1.1, "on board": 1.3}[have]
    style = {"on board": ":", "record": "--"}.get(have, "-")
    return {"linewidth": width, "linestyle": style}


_BELOW: dict[str, Any] = {
    "loc": "upper center",
    "bbox_to_anchor": (0.5, -0.24),
    "frameon": False,
    "fontsize": 10,
}


def _light_axes(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=_FAINT, linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
