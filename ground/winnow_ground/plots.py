"""Plots of what came down, as PNG files for light and dark pages.

Every function draws on a figure of its own (matplotlib's object-oriented interface on the Agg
canvas), so that no plot touches another's state. A class has one colour in all of them (`Palette`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from winnow_base.figure import INK, Plot, new_figure, plain, plot
from winnow_edge.tables import shortened
from winnow_ground.against_truth import ClassTally
from winnow_ground.findings import HAVE, Curve
from winnow_ground.palette import BACKGROUND, Palette

_MOST_NAMED, _BRIEF = 24, 32
"""Classes in a legend, and characters of a name in a plot."""
MOST_BARS = 20_000
_MOST_LINES = 60
"""Contacts whose begin is marked."""
_FAINT = "#D9D9D9"
_POLICY_STYLES = (("#000000", "-"), ("#0072B2", "--"), ("#D55E00", ":"), ("#009E73", "-."))


def legend_of(classes: Sequence[str], palette: Palette) -> list[Patch]:
    """The entries of classes in a legend: of `_MOST_NAMED` at most, and names cut where a legend
    would leave a plot no room."""
    named = classes[:_MOST_NAMED]
    handles = [Patch(color=palette[c], label=plain(shortened(c, _BRIEF))) for c in named]
    if more := len(classes) - len(named):
        handles.append(Patch(color=_FAINT, label=f"and {more} more"))
    return handles


@dataclass(frozen=True, slots=True)
class Piece:
    """A product as it arrived: bytes before it, its own bytes, kind and class."""

    start: int
    size: int
    kind: str
    class_name: str
    contact: int


def class_counts(counts: Mapping[str, Mapping[str, int]], palette: Palette, title: str) -> Plot:
    """Detections of each class by what of them came down: `counts[class][have]` for have in HAVE.

    Nobody has checked them.
    """
    names = [c for c in palette.classes if sum(counts.get(c, {}).values())]
    names = names or list(palette.classes)
    figure, axes = _rows(len(names))
    for row, name in enumerate(names):
        parts = counts.get(name, {})
        _bar(axes, row, [(parts.get(have, 0), _FILLS[have]) for have in HAVE], palette[name])
        pictures = parts.get("image", 0) + parts.get("thumbnail", 0)
        total = sum(parts.values())
        _words_at(axes, row, total, f"{pictures} of {total} with a picture down")
    _finish_rows(axes, names, title, "detections, by the model's word")
    words = ("image came down", "only its thumbnail", "only its record", "still on board")
    shown = [
        (word, _FILLS[have])
        for have, word in zip(HAVE, words, strict=True)
        if any(parts.get(have) for parts in counts.values())
    ]
    _fill_legend(figure, shown)
    return plot(figure)


def feature_counts(tallies: Mapping[str, ClassTally], palette: Palette, title: str) -> Plot:
    """The features of each class that are there: what of them came down, and what was missed."""
    names = [c for c in palette.classes if c in tallies]
    names += [c for c in tallies if c not in names]
    figure, axes = _rows(len(names))
    kinds = (
        ("pictured", "a picture came down", _FILLS["image"]),
        ("recorded", "only its record", _FILLS["record"]),
        ("on_board", "found, still on board", _FILLS["on board"]),
        ("missed", "missed", None),
    )
    for row, name in enumerate(names):
        tally = tallies[name]
        parts = [(getattr(tally, attribute), fill) for attribute, _, fill in kinds]
        _bar(axes, row, parts, palette[name])
        share = f" ({100 * tally.pictured / tally.there:.0f} %)" if tally.there else ""
        false = f"; {tally.false} false" if tally.false else ""
        text = f"{tally.pictured} of {tally.there} down{share}; {tally.missed} missed{false}"
        _words_at(axes, row, tally.there, text)
    _finish_rows(axes, names, title, "features that are there (truth); false: detections of none")
    shown = [
        (word, fill)
        for attribute, word, fill in kinds
        if any(getattr(tally, attribute) for tally in tallies.values())
    ]
    _fill_legend(figure, shown)
    return plot(figure)


_FILLS = {"image": 1.0, "thumbnail": 0.6, "record": 0.3, "on board": 0.08}
"""How full a bar is of its colour; None is the dotted outline of what was missed."""


def _rows(count: int) -> tuple[Figure, Axes]:
    figure = new_figure(9.4, 1.75 + 0.42 * max(count, 1))
    return figure, figure.add_subplot()


def _bar(axes: Axes, row: int, parts: Sequence[tuple[int, float | None]], colour: str) -> None:
    start = 0
    for number, fill in parts:
        if number and fill:
            axes.barh(
                row, number, left=start, height=0.62, facecolor=colour, alpha=fill, linewidth=0
            )
        if number:
            axes.barh(
                row,
                number,
                left=start,
                height=0.62,
                facecolor="none",
                edgecolor=colour,
                linewidth=1.3,
                linestyle="-" if fill else ":",
            )
        start += number


def _words_at(axes: Axes, row: int, x: int, text: str) -> None:
    at = {"xytext": (8, 0), "textcoords": "offset points"}
    axes.annotate(text, (x, row), va="center", fontsize=9.5, **at)


def _finish_rows(axes: Axes, names: Sequence[str], title: str, label: str) -> None:
    axes.set_yticks(range(len(names)), [plain(shortened(n, _BRIEF)) for n in names])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # The words stand to the right of the longest bar.
    axes.set_xlim(left=0, right=max(1.0, axes.dataLim.x1) * 1.55)
    axes.set_title(plain(title), fontsize=13)
    _light_axes(axes, "x")


def _fill_legend(figure: Figure, shown: Sequence[tuple[str, float | None]]) -> None:
    handles = []
    for word, fill in shown:
        shade = 1 - (fill or 0) * (1 - 0x55 / 255)
        patch = Patch(facecolor=(shade, shade, shade), edgecolor="#555555", label=word)
        patch.set_linestyle("-" if fill else ":")
        handles.append(patch)
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False
        )


def arrival(pieces: Sequence[Piece], palette: Palette, title: str) -> Plot:
    """What went down in which order: each product a bar as long as its bytes. Of more than
    `MOST_BARS` products, those that follow one another share bars."""
    pieces = _joined(pieces)
    known = (
        *("image", "thumbnail", "quick_look", "context", "audit", "question", "region", "record"),
        *("event", "swath"),
    )
    lanes = [kind for kind in known if any(p.kind == kind for p in pieces)]
    figure = new_figure(11, 2.1 + 0.55 * max(1, len(lanes)))
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
    begins = [p for p, before in zip(pieces, (None, *pieces), strict=False)
              if before is None or p.contact != before.contact]  # fmt: skip
    for piece in begins[:: -(-len(begins) // _MOST_LINES) or 1]:
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
    axes.set_yticks(range(len(lanes)), [f"{lane}s".replace("_", " ") for lane in lanes])
    axes.set_ylim(len(lanes) - 0.45, -0.55)
    axes.set_xlim(0, total / 1e3 * 1.005)
    axes.set_xlabel("bytes received so far (kB of products, in the order in which they came down)")
    axes.set_ylabel("kind of product")
    axes.set_title(plain(title), fontsize=13, pad=20)
    _light_axes(axes, "x")
    there = {p.class_name for p in pieces}
    shown = [c for c in palette.classes if c in there]
    handles = legend_of(shown, palette)
    if there - set(palette.classes):
        handles.append(Patch(color=palette[""], label="no class"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(6, len(handles) or 1), frameon=False
    )
    return plot(figure)


def _joined(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """At most `MOST_BARS` pieces: as many neighbours as it takes are drawn as the first of them."""
    step = -(-len(pieces) // MOST_BARS)
    if step <= 1:
        return pieces
    groups = (pieces[n : n + step] for n in range(0, len(pieces), step))
    return [
        replace(group[0], size=group[-1].start + group[-1].size - group[0].start)
        for group in groups
    ]


def value_against_bytes(
    curves: Sequence[Curve],
    received: int | None,
    title: str,
    value_label: str,
    there: float | None = None,
) -> Plot:
    """Value against bytes of several policies: as far as the link came, and to the end.

    `received` bytes of products have come down (None: not marked); `there` is the value of all that
    is there by truth.
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
            axes.axvline(received / 1e3, color=BACKGROUND, linewidth=1.2)
            axes.annotate(
                "came down",
                (received / 1e3, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(4, -12),
                textcoords="offset points",
                fontsize=9,
                color="#555555",
            )
        if there is not None and column == len(spans):
            axes.axhline(there, color=BACKGROUND, linewidth=1.2, linestyle=(0, (1, 2)))
            axes.annotate(
                "all that is there",
                (0.0, there),
                xycoords=("axes fraction", "data"),
                xytext=(4, -11),
                textcoords="offset points",
                fontsize=9,
            )
            tops.append(there)
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
    return plot(figure)


def contacts(
    values: Mapping[str, Sequence[float]],
    starts: Sequence[float],
    title: str,
    value_label: str,
    epoch: str | None = None,
) -> Plot:
    """Value brought down up to and including each contact, a line per policy, over time.

    `starts` are seconds since the reference time of the plan, which `epoch` says (None: the plan
    has none). Value is known once a contact is over, and stands until the next.
    """
    figure = new_figure(9.5, 4.9)
    axes = figure.add_subplot()
    unit, seconds = _time_unit(max(starts, default=0.0) - min(starts, default=0.0))
    x = np.asarray(starts, np.float64) / seconds
    first = x[0] - 0.04 * max(float(np.ptp(x)), 1e-9) if len(x) else 0.0
    for (name, series), (colour, style) in zip(values.items(), _POLICY_STYLES, strict=False):
        axes.plot(
            [first, *x], [0.0, *series], color=colour, linestyle=style, marker="o", markersize=5,
            linewidth=2.2 if style == "-" else 1.8, label=plain(name), drawstyle="steps-post",
            markevery=list(range(1, len(x) + 1)),
        )  # fmt: skip
    _number_contacts(axes, x)
    axes.set_ylim(bottom=0)
    since = f"since {epoch}" if epoch else "since the plan's reference time"
    axes.set_xlabel(f"{unit} {since}; above: number of the contact")
    axes.set_ylabel(plain(value_label))
    axes.set_title(plain(title), fontsize=13, pad=22)
    axes.legend(frameon=False)
    _light_axes(axes, "both")
    return plot(figure)


def _time_unit(span: float) -> tuple[str, float]:
    """The unit in which so many seconds are read easily."""
    for unit, seconds, least in (("days", 86_400.0, 4 * 86_400.0), ("hours", 3600.0, 7200.0)):
        if span >= least:
            return unit, seconds
    return "minutes", 60.0


def _number_contacts(axes: Axes, x: npt.NDArray[np.float64]) -> None:
    """Numbers over the contacts, as many as have room."""
    last = -np.inf
    for number, at in enumerate(x.tolist(), start=1):
        if at - last < 0.025 * float(np.ptp(x)):
            continue
        last = at
        axes.annotate(
            str(number), (at, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 4),
            textcoords="offset points", ha="center", fontsize=8.5,
        )  # fmt: skip
        axes.axvline(at, color=_FAINT, linewidth=0.7, zorder=0)


def _light_axes(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=_FAINT, linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
