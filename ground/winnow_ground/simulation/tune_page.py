"""The page of a tuning: what was changed, and what every value that was tried brings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from winnow_base.figure import Plot, new_figure, plain, plot
from winnow_base.pages import now
from winnow_ground.page import TEMPLATES, picture
from winnow_ground.simulation.drawings import frame
from winnow_ground.simulation.tune import Figures, Setting, Tried, Tuned, value_text
from winnow_ground.simulation.variants import key_text
from winnow_ground.words import count

MOST_CLASSES: Final = 24
"""Classes whose trade-off is drawn; all are in the tables."""
_PANELS: Final = (
    ("value", (("worthwhile.{}", 1.0, 0.0),)),
    ("%", (("recall.{}", 100.0, math.nan), ("precision.{}", 100.0, math.nan))),
    ("kB of pictures", (("bytes.{}", 1e-3, 0.0),)),
    ("energy, Wh", (("energy_wh", 1.0, 0.0),)),
)
"""Of each panel its words and lines: figure, factor, and what it is where nothing came down."""
_STROKES: Final = (("#0072B2", "-", "recall"), ("#D55E00", "--", "precision"))
_COLUMNS: Final = (
    ("worthwhile", "value", 1.0, 1),
    ("recall", "recall, %", 100.0, 1),
    ("precision", "precision, %", 100.0, 1),
    ("bytes_down", "MB down", 1e-6, 2),
    ("evicted_bytes", "MB evicted", 1e-6, 2),
    ("energy_wh", "energy, Wh", 1.0, 2),
)


def page(found: Tuned) -> str:
    """The page as HTML."""
    curves = trade_offs(found)
    return TEMPLATES.get_template("tune.html.j2").render(
        title=f"{found.mission}, tuned",
        subtitle=(
            f"Chosen on {count(len(found.chosen_on), 'seed')}, judged on "
            f"{count(len(found.judged_on), 'other seed')}; {found.plays:,} missions played. "
            f"{now()}."
        ),
        heads=_heads(found),
        notes=list(found.notes),
        changes=[
            {"key": key_text(key), "was": _text(found.held[key]), "now": _text(value)}
            for key, value in found.changes.items()
        ],
        classes=[_class(found, name) for name in found.classes if _there(found, name)],
        curves=picture(_drawn(curves, found.changes), "Trade-offs by class") if curves else None,
        left=max(0, len(curves) - MOST_CLASSES),
        columns=[words for _, words, _, _ in _COLUMNS],
        tried=[_tried(one) for one in found.tried],
    )


def trade_offs(found: Tuned) -> dict[str, Tried]:
    """The last time that the threshold of each class was tried."""
    return {
        one.key[1]: one
        for one in found.tried
        if one.key[0] == "class" and one.key[2] == "threshold" and _there(found, one.key[1])
    }


def _there(found: Tuned, name: str) -> bool:
    """Whether the class was there, or was taken to be."""
    return any(f"value.{name}" in figures for figures in (found.before, found.after))


def _heads(found: Tuned) -> list[dict[str, str]]:
    was, after, gain = found.value
    half = f" ±{gain.half:,.1f}" if gain.half else ""
    heads = [
        {"figure": f"{gain.mean:+,.1f}{half}", "words": "value, a difference seed by seed (95 %)"},
        {"figure": _arrow([was.mean, after.mean], 1), "words": "value, mean over seeds"},
    ]
    for name, words, factor, digits in _COLUMNS[1:]:
        ends = [figures.get(name) for figures in (found.before, found.after)]
        if name != "evicted_bytes" and None not in ends and any(ends):
            heads.append({"figure": _arrow(ends, digits, factor), "words": words})
    return heads


def _arrow(ends: Sequence[float | None], digits: int, factor: float = 1.0) -> str:
    """A figure before and after; once where both are shown alike."""
    texts = ("–" if end is None else f"{end * factor:,.{digits}f}" for end in ends)
    return " → ".join(dict.fromkeys(texts))


def _class(found: Tuned, name: str) -> dict[str, Any]:
    """Before and after of one class."""
    both = (found.before, found.after)
    cells = [
        _arrow([of.get(f"{figure}.{name}") for of in both], digits, factor)
        for figure, factor, digits in (
            ("worthwhile", 1.0, 1),
            ("recall", 100.0, 0),
            ("precision", 100.0, 0),
            ("bytes", 1e-3, 0),
        )
    ]
    return {"name": name, "cells": cells}


def _tried(one: Tried) -> dict[str, Any]:
    """A key with a row of figures for each of its values; the one it had comes first."""
    rows = [(one.held, one.now, "before")]
    rows += [
        (value, figures, "chosen" if value == one.best else "")
        for value, figures in zip(one.values, one.figures, strict=True)
    ]
    return {
        "key": key_text(one.key),
        "rows": [
            {
                "value": _text(value),
                "cells": [_cell(figures, name, factor, n) for name, _, factor, n in _COLUMNS],
                "said": said,
            }
            for value, figures, said in rows
        ],
    }


def _cell(figures: Figures, name: str, factor: float, digits: int) -> str:
    return f"{figures[name] * factor:,.{digits}f}" if name in figures else "–"


def _text(value: Setting | None) -> str:
    return "no limit" if value is None else value_text(value)


def _drawn(curves: Mapping[str, Tried], changes: Mapping[Any, Setting]) -> Plot:
    """A row of plots for each class: value, recall and precision, bytes, energy by threshold."""
    some = dict(list(curves.items())[:MOST_CLASSES])
    figure = new_figure(11.5, 0.7 + 1.9 * len(some))
    grid = figure.subplots(len(some), len(_PANELS), squeeze=False, sharex=True)
    for n, (row, (name, one)) in enumerate(zip(grid, some.items(), strict=True)):
        x, figures = _points(one)
        chosen = changes.get(one.key, one.held)
        last = n + 1 == len(some)
        for axes, (words, lines) in zip(row, _PANELS, strict=True):
            for (key, factor, absent), (colour, stroke, label) in zip(
                lines, _STROKES, strict=False
            ):
                y = [of.get(key.format(name), absent) * factor for of in figures]
                axes.plot(x, y, color=colour, linestyle=stroke, marker="o", markersize=3,
                          label=label if len(lines) > 1 else None)  # fmt: skip
            if isinstance(chosen, int | float):
                axes.axvline(chosen, color="#8C8C8C", linewidth=1.1, linestyle=":")
            axes.set_ylim(0, max(1.08 * axes.dataLim.y1, 1.0))
            frame(axes, "threshold" if last else "", words)
            if len(lines) > 1 and not n:
                axes.legend(frameon=False, fontsize=7, loc="best")
        row[0].set_title(plain(name), loc="left", fontsize=10)
    return plot(figure)


def _points(one: Tried) -> tuple[list[float], Sequence[Figures]]:
    """Thresholds and what they bring, ascending, with the one that was held."""
    pairs = [(float(v), f) for v, f in zip(one.values, one.figures, strict=True)]  # type: ignore[arg-type]
    if isinstance(one.held, int | float) and one.held not in one.values:
        pairs.append((float(one.held), one.now))
    order = np.argsort([value for value, _ in pairs])
    return [pairs[n][0] for n in order], [pairs[n][1] for n in order]
