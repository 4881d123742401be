"""The plots of the evaluation page, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from sklearn.metrics import precision_recall_curve, roc_curve

from winnow_base.figure import INK, new_figure, plain, png

MANY_CLASSES = 12
_BLUE, _RED, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"
_NEVER = "#F1F1F1"
"""Of pairs of classes that were never taken for each other."""


def intervals(detail: Mapping[str, Any]) -> bytes:
    """Recall and F1 of every class with intervals."""
    names = list(detail)
    figure = new_figure(9, 1.6 + 0.42 * len(names))
    axes = figure.add_subplot()
    for offset, key, colour in ((-0.13, "recall", _BLUE), (0.13, "f1", _RED)):
        for row, name in enumerate(names):
            found = detail[name][key]
            if found["value"] is None:
                continue
            if found["low"] is not None:
                ends = [found["low"], found["high"]]
                axes.plot(ends, [row + offset] * 2, color=colour, linewidth=2.2, alpha=0.55)
            face = colour if found["low"] is not None else "white"
            axes.plot(found["value"], row + offset, "o", color=colour, markerfacecolor=face)
        axes.plot([], [], "o-", color=colour, label={"recall": "recall", "f1": "F1"}[key])
    labels = [f"{n}\n{d['support']} tiles, {d['sources']} sources" for n, d in detail.items()]
    axes.set_yticks(range(len(names)), [plain(x) for x in labels], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("with 95 % intervals over sources; hollow: too few sources, or no draw differs")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    _light(axes)
    return png(figure)


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """Counts, the darker the larger their share of the true class; mistakes are bold.

    Cividis is perceptually uniform and looks alike to the colour-blind (Nunez, Anderton and Renslow
    2018, "Optimizing colormaps with consideration for color vision deficiency").
    """
    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The page is some eleven inches wide: many classes get small cells, not small print.
    many = len(classes) > MANY_CLASSES
    cell = 0.36 if many else 0.55
    size = 3.2 + cell * len(classes)
    figure = new_figure(size + 0.8, size)
    axes = figure.add_subplot()
    shades = colormaps["cividis_r"].with_extremes(bad=_NEVER)
    axes.imshow(np.ma.masked_equal(share, 0), cmap=shades, vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(counts), strict=True):
        red, green, blue, _ = shades(share[i, j])
        light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45
        axes.text(
            j, i, str(counts[i, j]), ha="center", va="center", color=INK if light else "white",
            fontsize=9, weight="normal" if i == j else "bold",
        )  # fmt: skip
    names = [plain(c) for c in classes]
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=90 if many else 45,
        ha="center" if many else "right",
        fontsize=9,
    )
    axes.set_yticks(range(len(names)), names, fontsize=9)
    if many:  # lines to follow from a number to its two names
        axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="#D5DBE3", linewidth=0.6)
        axes.tick_params(which="minor", length=0)
        axes.tick_params(axis="x", which="major", top=True, labeltop=True)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return png(figure)


def curves(kind: str, scores: np.ndarray, true: np.ndarray, detail: Mapping[str, Any]) -> bytes:
    """Precision-recall ("pr") or ROC ("roc") curves, a panel per class that is there.

    scores, true: [n, K] in the order of `detail`.
    """
    shown = [(k, n) for k, n in enumerate(detail) if 0 < true[:, k].sum() < len(true)]
    columns = min(4, max(1, len(shown)))
    lines = -(-max(1, len(shown)) // columns)
    figure = new_figure(2.9 * columns, 2.75 * lines + 0.3)
    for place, (k, name) in enumerate(shown, start=1):
        axes = figure.add_subplot(lines, columns, place)
        if kind == "pr":
            precision, recall, _ = precision_recall_curve(true[:, k], scores[:, k])
            axes.step(recall, precision, where="post", color=_BLUE, linewidth=1.8)
            axes.axhline(true[:, k].mean(), color=_GREY, linewidth=1, linestyle=":")
            found, word = detail[name]["average_precision"], "AP"
        else:
            wrong, right, _ = roc_curve(true[:, k], scores[:, k])
            axes.plot(wrong, right, color=_BLUE, linewidth=1.8)
            axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=":")
            found, word = detail[name]["roc_auc"], "AUC"
        text = f"{word} {found['value']:.3f}"
        if found["low"] is not None:
            text += f" [{found['low']:.3f}, {found['high']:.3f}]"
        axes.set_title(f"{plain(name)}\n{text}", fontsize=9.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel("recall" if kind == "pr" else "false positive rate", fontsize=8)
        axes.set_ylabel("precision" if kind == "pr" else "true positive rate", fontsize=8)
        axes.tick_params(labelsize=8)
        _light(axes)
    return png(figure)


def reliability(before: Mapping[str, Any], after: Mapping[str, Any], temperature: float) -> bytes:
    """Reliability diagrams before and after temperature, with the share of tiles per bin."""
    figure = new_figure(10, 4.6)
    titles = ("logits as they are", f"divided by temperature {temperature:.3f}")
    for place, (title, found) in enumerate(zip(titles, (before, after), strict=True), start=1):
        axes = figure.add_subplot(1, 2, place)
        bins = found["bins"]
        total = sum(b["n"] for b in bins)
        width = 1 / 15
        centres = [(b["bin"] + 0.5) * width for b in bins]
        heights = [b["n"] / total for b in bins]
        axes.bar(centres, heights, width * 0.9, color=_GREY, alpha=0.35)
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=":")
        sizes = [18 + 160 * b["n"] / total for b in bins]
        x, y = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
        axes.plot(x, y, color=_BLUE, linewidth=1.2)
        axes.scatter(x, y, s=sizes, color=_BLUE, zorder=3)
        ece = found["ece"]
        span = "" if ece["low"] is None else f"  [{ece['low']:.3f}, {ece['high']:.3f}]"
        axes.set_title(f"{title}\nECE {ece['value']:.3f}{span}", fontsize=11)
        axes.set_xlabel("posterior of the predicted class")
        axes.set_ylabel("accuracy (line); share of tiles (bars)")
        axes.set_xlim(0, 1.01)
        axes.set_ylim(0, 1.03)
        _light(axes)
    return png(figure)


def risk_coverage(curve: Mapping[str, Any], error: float, aurc: Mapping[str, Any]) -> bytes:
    """Error among the most confident tiles against their share."""
    figure = new_figure(7, 4.4)
    axes = figure.add_subplot()
    axes.plot(curve["coverage"], curve["risk"], color=_BLUE, linewidth=2, label="this model")
    coverage = np.linspace(0.001, 1, 400)
    best = np.maximum(coverage - (1 - error), 0) / coverage
    axes.plot(coverage, best, color=_GREEN, linewidth=1.5, linestyle="--", label="errors last")
    axes.axhline(error, color=_GREY, linewidth=1, linestyle=":", label="errors at random")
    span = "" if aurc["low"] is None else f"  [{aurc['low']:.4f}, {aurc['high']:.4f}]"
    axes.set_title(f"AURC {aurc['value']:.4f}{span}", fontsize=11)
    axes.set_xlabel("coverage: share of tiles decided, most confident first")
    axes.set_ylabel("risk: error among them")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, max(*curve["risk"], error, 0.01) * 1.08)
    axes.legend(frameon=False)
    _light(axes)
    return png(figure)


def thresholds(found: Mapping[str, Any]) -> bytes:
    """Accuracy and abstention against the posterior threshold (Wagstaff et al. 2018, figure 5)."""
    figure = new_figure(7.5, 4.6)
    axes = figure.add_subplot()
    x = np.asarray(found["threshold"])
    words = {"accuracy": "accuracy of the tiles decided", "abstention": "share abstained on"}
    for key, colour in (("accuracy", _BLUE), ("abstention", _RED)):
        values = [np.array([_number(p[k]) for p in found[key]]) for k in ("value", "low", "high")]
        axes.fill_between(x, values[1], values[2], color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, values[0], color=colour, linewidth=2, label=words[key])
    axes.axvline(0.9, color=_GREY, linewidth=1, linestyle=":")
    axes.set_xlabel("posterior threshold")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="center left")
    _light(axes)
    return png(figure)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _light(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E3E3E3", linewidth=0.7)
    axes.set_axisbelow(True)
