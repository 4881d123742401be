"""Plots of a simulation: value over time and bytes, what was missed, and the spacecraft itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from winnow_base.figure import Plot, new_figure, plain, plot
from winnow_ground.simulation.curves import Curve
from winnow_ground.simulation.judge import REASONS
from winnow_ground.simulation.result import Result

STYLES: Final = (
    ("#0072B2", "-"), ("#000000", "--"), ("#009E73", "-."), ("#D55E00", ":"), ("#CC79A7", "-"),
    ("#56B4E9", "--"), ("#E69F00", "-."), ("#8C8C8C", ":"), ("#332288", "-"), ("#999933", "--"),
)  # fmt: skip
"""Colour (Okabe and Ito 2008, then Tol's muted set) and stroke of each policy in turn."""
_REASON_COLOURS: Final = (
    "#8C8C8C", "#BBBBBB", "#CC79A7", "#E69F00", "#F0E442", "#56B4E9", "#D55E00", "#000000",
    "#0072B2",
)  # fmt: skip
_FAINT: Final = "#D9D9D9"
Runs = Sequence[Result]
Styles = Mapping[str, tuple[str, str]]


def styles_of(policies: Sequence[str]) -> Styles:
    """Colour and stroke of each policy, the same in all plots of a page."""
    return {name: STYLES[n % len(STYLES)] for n, name in enumerate(policies)}


def frame(axes: Axes, x: str, y: str) -> None:
    """Name the axes, and leave of the frame what is read."""
    axes.set_xlabel(plain(x))
    axes.set_ylabel(plain(y))
    axes.grid(color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def unit_of(span: float) -> tuple[str, float]:
    """A unit of time that suits a span, and its seconds."""
    if span > 3 * 86_400:
        return "days", 86_400.0
    return ("hours", 3600.0) if span > 5400 else ("minutes", 60.0)


def over_time(results: Mapping[str, Runs], worth: float | None, label: str) -> Plot:
    """Value on the ground after each contact; the band is the 95 % interval over seeds' spread."""
    figure = new_figure(10.5, 4.8)
    axes = figure.add_subplot()
    span = max((h.start + h.seconds for r in results.values() for h in r[0].contacts), default=1.0)
    unit, seconds = unit_of(span)
    styles = styles_of(tuple(results))
    for name, runs in results.items():
        colour, stroke = styles[name]
        x = np.array([h.start + h.seconds for h in runs[0].contacts]) / seconds
        y = np.cumsum([[h.value for h in run.contacts] for run in runs], axis=1)
        x, mean = np.concatenate([[0.0], x]), np.concatenate([[0.0], y.mean(axis=0)])
        axes.step(
            x, mean, where="post", color=colour, linestyle=stroke, linewidth=2, label=plain(name)
        )
        if len(runs) > 1:
            low, high = y.min(axis=0), y.max(axis=0)
            axes.fill_between(x[1:], low, high, step="post", color=colour, alpha=0.18, linewidth=0)
    if worth is not None:
        axes.axhline(worth, color="#8C8C8C", linewidth=1.2, linestyle=(0, (1, 2)))
        axes.annotate("all that is there", (0, worth), (4, -12), textcoords="offset points")
        axes.set_ylim(top=1.05 * worth or 1.0)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    frame(axes, f"{unit} since the beginning", label)
    axes.legend(frameon=False, ncols=2, loc="best")
    return plot(figure)


def against_bytes(results: Mapping[str, Runs], label: str) -> Plot:
    """Value against the bytes that came down, as they came down, in the first run."""
    figure = new_figure(10.5, 4.8)
    axes = figure.add_subplot()
    styles = styles_of(tuple(results))
    for name, runs in results.items():
        colour, stroke = styles[name]
        octets, value = runs[0].curve
        axes.plot(
            np.array(octets) / 1e6, value, color=colour, linestyle=stroke, linewidth=2,
            label=plain(name),
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    frame(axes, "MB of products on the ground", label)
    axes.legend(frameon=False, ncols=2, loc="best")
    return plot(figure)


def by_share(curves: Sequence[Curve], styles: Styles, label: str) -> Plot:
    """Value of the first share of all products' bytes, were all on board and nothing lost."""
    figure = new_figure(10.5, 4.8)
    axes = figure.add_subplot()
    shares = np.geomspace(1e-3, 1.0, 200)
    for curve in curves:
        colour, stroke = styles[curve.policy]
        values = [curve.at(float(share)) for share in shares]
        axes.plot(
            100 * shares, values, color=colour, linestyle=stroke, linewidth=2,
            label=plain(curve.policy),
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks([0.1, 1, 2, 5, 10, 100], ["0.1", "1", "2", "5", "10", "100"])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlim(0.1, 100)
    frame(axes, "% of the bytes of all products", label)
    axes.legend(frameon=False, loc="best")
    return plot(figure)


def why_missed(results: Mapping[str, Runs]) -> Plot:
    """Features without a picture down, by policy and reason; means over seeds."""
    figure = new_figure(10.5, 1.3 + 0.48 * len(results))
    axes = figure.add_subplot()
    for row, runs in enumerate(results.values()):
        left = 0.0
        for reason, colour in zip(REASONS, _REASON_COLOURS, strict=True):
            n = float(np.mean([_total(run, reason) for run in runs]))
            axes.barh(row, n, left=left, color=colour, height=0.66, label=reason if not row else "")
            left += n
    axes.set_yticks(range(len(results)), [plain(name) for name in results])
    axes.invert_yaxis()
    frame(axes, "features without a picture on the ground", "")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=len(REASONS), frameon=False, fontsize=9)
    return plot(figure)


def _total(run: Result, reason: str) -> int:
    return sum(reasons.get(reason, 0) for reasons in run.missed.values())


def recalls(results: Mapping[str, Runs], classes: Sequence[str]) -> Plot:
    """Share of each class's features with a picture down, by policy."""
    figure = new_figure(10.5, 1.2 + 0.16 * max(len(classes), 1) * (len(results) + 1))
    axes = figure.add_subplot()
    high = 0.8 / max(len(results), 1)
    styles = styles_of(tuple(results))
    for n, (name, runs) in enumerate(results.items()):
        colour, _ = styles[name]
        values = [
            100 * float(np.mean([run.figures.get(f"recall.{c}", 0.0) for run in runs]))
            for c in classes
        ]
        rows = np.arange(len(classes)) + (n - (len(results) - 1) / 2) * high
        axes.barh(rows, values, height=high * 0.9, color=colour, label=plain(name))
    axes.set_yticks(range(len(classes)), [plain(name) for name in classes])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    frame(axes, "% of the features with a picture down", "")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return plot(figure)


def spacecraft(run: Result, quota: float, capacity: float, floor: float) -> Plot:
    """Storage, battery and queue over time; `capacity` and `floor` in joules (0: no battery)."""
    series = run.series
    rows: list[tuple[str, npt.NDArray[np.float64], float | None]] = [
        ("on the disk, MB", np.array(series.held) / 1e6, quota / 1e6),
        ("tiles waiting", np.array(series.queue, np.float64), None),
    ]
    if capacity:
        rows.insert(
            1, ("battery, %", 100 * np.array(series.charge) / capacity, 100 * floor / capacity)
        )
    if np.ptp(series.celsius) > 0:
        rows.append(("board, °C", np.array(series.celsius), None))
    figure = new_figure(10.5, 1.1 + 1.35 * len(rows))
    unit, seconds = unit_of(max(series.time, default=1.0))
    x = np.array(series.time) / seconds
    for n, (label, values, line) in enumerate(rows, start=1):
        axes = figure.add_subplot(len(rows), 1, n)
        axes.plot(x, values, color="#0072B2", linewidth=1.3)
        top = max(float(values.max(initial=0.0)), 1e-9)
        if line is not None and line < 4 * top:
            axes.axhline(line, color="#D55E00", linewidth=1.1, linestyle="--")
        axes.set_xlim(0, max(float(x.max(initial=0.0)), 1e-9))
        if not label.startswith("board"):
            axes.set_ylim(bottom=0)
        last = n == len(rows)
        frame(axes, f"{unit} since the beginning" if last else "", label)
        if not last:
            axes.tick_params(labelbottom=False)
    return plot(figure)
