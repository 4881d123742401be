"""What a cross-validated second stage leaves for people: verifier.html, its figures and a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from winnow_base.console import show_table
from winnow_base.figure import new_figure, plain, png
from winnow_base.pages import data_url, now, span, templates
from winnow_edge.files import write_file

PAGE, FIGURES, PLOT = "verifier.html", "verifier.json", "rates.png"
SYSTEMS = {"first": "one stage", "both": "both stages"}
COMPARED = {
    "at_rate": "Thresholds of both kinds from the same rate of false alarms, chosen on the other "
    "folds",
    "behind_own": "Behind the thresholds that the first stage flies with; those of the second "
    "chosen on the other folds",
}
_COLOURS = {"first": "#D55E00", "both": "#0072B2"}


def write_page(found: Mapping[str, Any], out: Path) -> None:
    """Write verifier.html, verifier.json and rates.png into `out`. Raises OutputError."""
    plot = _curves(found)
    write_file(out / PLOT, plot)
    write_file(out / FIGURES, json.dumps(found, indent=1) + "\n")
    environment = templates("winnow_train")
    page = environment.get_template("verifier.html.j2").render(
        found=found,
        systems=SYSTEMS,
        compared=COMPARED,
        plot=data_url("image/png", plot),
        made=now(),
    )
    write_file(out / PAGE, page)


def _curves(found: Mapping[str, Any]) -> bytes:
    """Share found against false alarms in a picture, a panel for each class."""
    names = found["classes"]
    columns = min(len(names), 4) or 1
    rows = -(-len(names) // columns) or 1
    figure = new_figure(3.2 * columns + 0.6, 2.9 * rows + 0.3)
    for number, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, number + 1)
        for key, words in SYSTEMS.items():
            points = sorted(
                (row[key][name]["false_per_swath"], row[key][name]["recall"])
                for row in found["curve"]
                if row[key][name]["recall"] is not None
            )
            across, up = zip(*points, strict=True) if points else ((), ())
            axes.plot(across, up, "o-", color=_COLOURS[key], label=words, markersize=4, alpha=0.8)
        if not points:
            words = "no feature in these pictures"
            axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", fontsize=9)
        axes.set_title(plain(name), fontsize=10)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xscale("symlog", linthresh=0.01)
        axes.set_xlim(-0.002, max(2.0, *(2 * x for x in (*axes.lines[0].get_xdata(), *across)), 0))
        axes.set_xlabel("false alarms in a picture", fontsize=9)
        if number % columns == 0:
            axes.set_ylabel("share found", fontsize=9)
            axes.legend(frameon=False, fontsize=8, loc="upper left")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def print_summary(found: Mapping[str, Any], out: Path, console: Console | None = None) -> None:
    """Print one stage against two, for people, on stdout."""
    console = console or Console()

    def say(words: str) -> None:
        console.print(words, highlight=False, soft_wrap=True)

    boot = found["bootstrap"]
    say(
        f"{found['recipe']['name']} behind {found['first_stage']}: {found['candidates']} "
        f"detections in {found['n']} pictures of {boot['sources']} sources, {found['folds']} folds"
    )
    for key, words in COMPARED.items():
        at = f" ({found['false_per_swath']:g} a picture)" if key == "at_rate" else ""
        say(f"{words}{at}:")
        show_table(console, _table(found[key]))
        say(found[key]["verdict"])
    for name, row in found["chosen"].items():
        say(
            f"chosen on all folds: {name} from {row['first']:.2f} of the first stage, "
            f"{row['second']:.2f} of the second"
        )
    if found["unknown"]:
        say(f"nothing is known of {', '.join(found['unknown'])} in these pictures")
    say(
        f"in brackets: {boot['level']:.0%} intervals, percentiles of {boot['draws']:,} draws of "
        f"{boot['sources']} {boot['unit']}s with replacement; none of fewer than three, none where "
        f"no draw differs"
    )
    say(f"{out / PAGE}; next: winnow convert FIRST_RUN --verifier {out} --out NAME.winnow")


def _table(compared: Mapping[str, Any]) -> Table:
    table = Table(
        "class", "", "found", "pictures", "false", "a picture", "precision", padding=(0, 0)
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for name, gain in compared["gain"].items():
        for key, words in SYSTEMS.items():
            row = compared[key][name]
            table.add_row(
                name if key == "first" else "",
                words,
                f"{row['found']}/{row['features']}",
                f"{row['pictures_found']}/{row['pictures_with']}",
                str(row["false"]),
                f"{row['false_per_swath']:.3f}",
                span(row["precision_shown"], 2),
            )
        table.add_row("", "gain", span(gain["found"]), "", "", span(gain["false"]), gain["verdict"])
    return table
