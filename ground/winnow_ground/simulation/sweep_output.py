"""A sweep for people and programs: Parquet, a page of main effects, a few lines."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.errors import MissingExtraError
from winnow_base.figure import Plot, new_figure, plain, plot
from winnow_edge.files import write_file
from winnow_ground.page import TEMPLATES, picture
from winnow_ground.simulation.stats import Mean, mean_of
from winnow_ground.simulation.sweep import Swept
from winnow_ground.simulation.sweep_file import Axis, Value, shown

PARQUET, PAGE = "sweep.parquet", "sweep.html"
FIGURES = (
    ("value_share", "% of all value", 100.0),
    ("value", "value", 1.0),
    ("recall", "% of features with a picture", 100.0),
    ("age_s", "age of value, h", 1 / 3600),
    ("evicted_bytes", "MB evicted", 1e-6),
    ("bytes_down", "MB down", 1e-6),
    ("energy_wh", "energy, Wh", 1.0),
)
"""Figure, words, factor: the page shows the first three that the runs have and that differ."""
_BINS = 6


@dataclass(frozen=True)
class Effect:
    """What one key does to one figure: a mean for each group of its values, and the share of the
    figure's variance that lies between the groups."""

    axis: Axis
    groups: tuple[tuple[str, Mean], ...]
    share: float


def write_all(swept: Swept, out: Path) -> list[Path]:
    """Write `sweep.parquet` and `sweep.html`. Raises MissingExtraError without `pyarrow`."""
    write_file(out / PARQUET, _parquet(swept))
    write_file(out / PAGE, page(swept))
    return [out / PARQUET, out / PAGE]


def _parquet(swept: Swept) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "pyarrow is not installed", hint="pip install 'winnow-ground[sweep]'"
        ) from None
    columns: dict[str, list[Any]] = {"mission": [row["mission"] for row in swept.rows]}
    for axis in swept.design.axes:
        values = [row["changed"][axis.name] for row in swept.rows]
        kinds = {type(value) for value in values}
        plain_kind = len(kinds) == 1 or kinds == {int, float}
        columns[axis.name] = values if plain_kind else [str(value) for value in values]
        if kinds == {int, float}:
            columns[axis.name] = [float(value) for value in values]
    for name in dict.fromkeys(name for row in swept.rows for name in row["figures"]):
        column = name if name not in columns else f"figure {name}"
        columns[column] = [row["figures"].get(name) for row in swept.rows]
    columns["seconds"] = [row["seconds"] for row in swept.rows]
    octets = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), octets)
    return octets.getvalue()


def chosen(swept: Swept) -> list[tuple[str, str, float]]:
    """The figures that the page shows."""
    kept = []
    for name, words, factor in FIGURES:
        values = [row["figures"].get(name) for row in swept.rows]
        if None not in values and len(set(values)) > 1:
            kept.append((name, words, factor))
    if any(name == "value_share" for name, _, _ in kept):
        kept = [one for one in kept if one[0] != "value"]
    return kept[:3]


def effect(swept: Swept, axis: Axis, figure: str, factor: float) -> Effect:
    """The main effect of a key: means over all other keys."""
    values = [row["changed"][axis.name] for row in swept.rows]
    found = np.array([row["figures"][figure] for row in swept.rows]) * factor
    groups = [(name, found[some]) for name, some in _groups(axis, values)]
    total = float(((found - found.mean()) ** 2).sum())
    between = sum(len(some) * (some.mean() - found.mean()) ** 2 for _, some in groups)
    return Effect(
        axis,
        tuple((name, mean_of(some.tolist())) for name, some in groups),
        float(between / total) if total else 0.0,
    )


def _groups(axis: Axis, values: Sequence[Value]) -> list[tuple[str, npt.NDArray[np.intp]]]:
    """Missions by value: each value its own group, or ranges of about as many missions."""
    distinct = list(dict.fromkeys(values))
    if not all(isinstance(value, int | float) for value in distinct) or len(distinct) <= _BINS + 2:
        if all(isinstance(value, int | float) for value in distinct):
            distinct.sort()
        return [(shown(value), np.flatnonzero([v == value for v in values])) for value in distinct]
    order = np.argsort(np.array(values, np.float64), kind="stable")
    parts = np.array_split(order, min(_BINS, len(order)))
    return [(f"{shown(values[p[0]])} to {shown(values[p[-1]])}", p) for p in parts if len(p)]


def page(swept: Swept) -> str:
    """The page of main effects."""
    figures = chosen(swept)
    axes = [axis for axis in swept.design.axes if _varies(swept, axis)]
    effects = [[effect(swept, axis, f, factor) for f, _, factor in figures] for axis in axes]
    rows = [
        {
            "name": axis.name,
            "cells": [
                {
                    "share": f"{100 * one.share:.0f} %",
                    "best": max(one.groups, key=lambda g: g[1].mean)[0],
                    "worst": min(one.groups, key=lambda g: g[1].mean)[0],
                }
                for one in of_axis
            ],
        }
        for axis, of_axis in zip(axes, effects, strict=True)
    ]
    best = sorted(swept.rows, key=lambda r: r["figures"].get("value_share", r["figures"]["value"]))[
        ::-1
    ][:10]
    return TEMPLATES.get_template("sweep.html.j2").render(
        title=f"{swept.design.sweep.mission}, swept",
        lines=lines(swept),
        figures=[words for _, words, _ in figures],
        rows=rows,
        plot=picture(_drawn(effects, [words for _, words, _ in figures]), "Main effects")
        if effects and figures
        else None,
        names=[axis.name for axis in swept.design.axes],
        best=[
            {
                "mission": row["mission"],
                "values": [shown(value) for value in row["changed"].values()],
                "figures": [f"{row['figures'][f] * factor:,.2f}" for f, _, factor in figures],
            }
            for row in best
        ],
    )


def _varies(swept: Swept, axis: Axis) -> bool:
    return len({row["changed"][axis.name] for row in swept.rows}) > 1


def _drawn(effects: Sequence[Sequence[Effect]], words: Sequence[str]) -> Plot:
    """A row of plots for each key, a column for each figure, one scale a column."""
    figure = new_figure(3.6 * len(words) + 1.2, 2.1 * len(effects) + 0.6)
    grid = figure.subplots(len(effects), len(words), squeeze=False, sharey="col")
    for row, of_axis in zip(grid, effects, strict=True):
        for axes, one, word in zip(row, of_axis, words, strict=True):
            names = [name for name, _ in one.groups]
            means = np.array([mean.mean for _, mean in one.groups])
            halves = np.array([mean.half or 0.0 for _, mean in one.groups])
            axes.errorbar(
                range(len(names)), means, halves, marker="o", color="#0072B2", capsize=3,
                linestyle="-" if not one.axis.values or len(names) > 3 else "none",
            )  # fmt: skip
            axes.set_xticks(range(len(names)), [plain(n) for n in names], rotation=20, fontsize=7)
            axes.set_title(plain(one.axis.name), fontsize=9, loc="left")
            axes.set_ylabel(plain(word), fontsize=8)
            axes.grid(color="#D9D9D9", linewidth=0.7)
            axes.set_xlim(-0.5, len(names) - 0.5)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
    figure.tight_layout()
    return plot(figure)


def lines(swept: Swept) -> list[str]:
    """What it came to."""
    sweep, rows = swept.design.sweep, swept.rows
    seeds = f", {sweep.seeds} seeds each" if sweep.seeds > 1 else ""
    said = [f"{len(rows):,} missions by {sweep.method}{seeds}"]
    if swept.again:
        said.append(f"{swept.again:,} of them had been played before")
    if swept.wall_s:
        busy = f"{100 * swept.efficiency:.0f} % of their time in missions"
        said.append(f"{swept.wall_s:,.0f} s, {swept.workers} workers, {busy}")
    for name, words, factor in chosen(swept):
        values = np.array([row["figures"][name] for row in rows]) * factor
        said.append(f"{words}: {values.min():,.2f} to {values.max():,.2f}")
    return said


def as_json(swept: Swept) -> dict[str, Any]:
    """Everything that was found, as JSON values."""
    return {
        "sweep": str(swept.design.path),
        "missions": len(swept.rows),
        "played_before": swept.again,
        "wall_s": swept.wall_s,
        "workers": swept.workers,
        "efficiency": swept.efficiency,
        "rows": [
            {key: row[key] for key in ("mission", "changed", "figures", "seconds")}
            for row in swept.rows
        ],
    }
