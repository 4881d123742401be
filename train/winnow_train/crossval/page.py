"""What a cross-validation leaves for people: cv.html, its figures as cv.json, suspects.csv, PNGs.

The page shows tiles of the data set, so it is for the disk of whoever holds the data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from winnow_base.console import show_table
from winnow_base.pages import data_url, jpeg_url, now, span, templates
from winnow_base.progress import Progress
from winnow_edge.files import write_file
from winnow_train import report_plots as plots
from winnow_train.chosen import FIGURES
from winnow_train.crossval import noise, rival
from winnow_train.crossval.choose import nested
from winnow_train.crossval.figures import figures
from winnow_train.crossval.outcome import OutOfFold
from winnow_train.datasets import read_dataset
from winnow_train.tiles import decode_all

PAGE, SUSPECTS = "cv.html", "suspects.csv"
SHOWN, SIDE = 48, 112
WORDS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "group_accuracy": "mean accuracy of the groups",
    "ece": "ECE",
    "accuracy_at_090": "accuracy at posterior >= 0.9",
    "abstention_at_090": "abstention at 0.9",
}


def write_page(
    found: OutOfFold,
    out: Path,
    criterion: str,
    *,
    data: Path,
    against: Path | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Judge the out-of-fold answers and write the page, cv.json and suspects.csv into `out`.

    Returns what cv.json holds: `crossval.figures.figures`, `suspects` (how many) and, with
    `against`, `against` as `crossval.rival.against` gives it.
    """
    report = figures(found, criterion)
    judged = nested(found, criterion)[0]
    if against is not None:
        gain = rival.against(found, against, criterion, data, progress)
        report["against"] = {"folder": str(against), **gain}
    doubted: list[noise.Suspect] = []
    if found.head == "softmax":
        doubted = noise.suspects(judged.posterior, found.truth)
    report["suspects"] = len(doubted)
    write_file(out / SUSPECTS, noise.as_csv(doubted, found.names.tolist(), found.classes))
    made = {
        "classes": plots.intervals(report["nested"]["classes"]),
        "confusion": plots.confusion(
            report["nested"]["value"].get("label_sets", report["nested"]["value"])["confusion"],
            report["nested"]["value"].get("label_sets", {}).get("names", list(found.classes)),
        ),
    }
    for name, png in made.items():
        write_file(out / f"{name}.png", png)
    write_file(out / FIGURES, json.dumps(report, indent=1) + "\n")
    shots = _shots(found, doubted[:SHOWN], data)
    write_file(out / PAGE, _page(report, made, shots))
    return report


def _shots(found: OutOfFold, doubted: Sequence[noise.Suspect], data: Path) -> list[dict[str, Any]]:
    """The suspects' pictures with their words."""
    paths = {t.key: t.path for t in read_dataset(found.dataset, data).tiles}
    pixels = decode_all([paths[str(found.names[s.row])] for s in doubted], 3, longest=SIDE)
    return [
        {
            "uri": jpeg_url(tile),
            "name": str(found.names[s.row]),
            "label": found.classes[s.label],
            "looks_like": found.classes[s.looks_like],
            "posterior": s.posterior,
            "weight": s.weight,
        }
        for s, tile in zip(doubted, pixels, strict=True)
    ]


def _page(report: dict[str, Any], made: dict[str, bytes], shots: list[dict[str, Any]]) -> str:
    environment = templates("winnow_train")
    environment.filters["units"] = units
    uris = {name: data_url("image/png", png) for name, png in made.items()}
    return environment.get_template("cv.html.j2").render(
        found=report,
        words=WORDS,
        plots=uris,
        shots=shots,
        made=now(),
    )


def units(unit: str) -> str:
    """The plural of what is drawn.

    >>> units("block of sols"), units("source")
    ('blocks of sols', 'sources')
    """
    return "blocks of sols" if unit.startswith("block") else f"{unit}s"


def print_summary(report: dict[str, Any], out: Path, console: Console | None = None) -> None:
    """Print the figures to quote, for people, on stdout."""
    console = console or Console()
    chosen = report["chosen"]
    console.print(
        f"{report['recipe']['name']}: {report['n']} tiles, {report['sources']} sources, "
        f"{report['groups']} held out as wholes ({report['unit']}), {report['folds']} folds",
        highlight=False,
    )
    for key, words in WORDS.items():
        console.print(f"  {words}: {span(report['nested']['intervals'][key])}", highlight=False)
    table = Table("class", "tiles", "precision", "recall", "F1", padding=0)
    for name, row in report["nested"]["classes"].items():
        cells = [span(row[k]) for k in ("precision", "recall", "f1")]
        table.add_row(name, str(row["support"]), *cells)
    show_table(console, table)
    console.print(
        f"chosen on all folds by {report['criterion']}: temperature {chosen['temperature']:.3f}, "
        f"prior {chosen['prior']:g}, second views under {chosen['borderline']:g}; "
        f"{report['suspects']} labels look wrong ({out / SUSPECTS})",
        highlight=False,
    )
    if "against" in report:
        other = report["against"]
        gain = other["gain"]
        console.print(
            f"against {other['folder']} on {other['tiles']}: accuracy {other['ours']:.4f}, "
            f"theirs {other['theirs']:.4f}, gained {span(gain['accuracy'], 4)}; macro-F1 gained "
            f"{span(gain['macro_f1'], 4)}\n{other['verdict']}",
            highlight=False,
        )
        if rest := other.get("beyond_val"):
            console.print(
                f"on the {rest['n']} tiles outside its val: accuracy gained "
                f"{span(rest['gain']['accuracy'], 4)}, macro-F1 gained "
                f"{span(rest['gain']['macro_f1'], 4)}; {rest['verdict']}",
                highlight=False,
            )
    boot = report["bootstrap"]
    console.print(
        f"in brackets: {boot['level']:.0%} intervals, percentiles of {boot['draws']:,} draws of "
        f"{boot['groups']} {units(boot['unit'])} with replacement; none of fewer than three",
        highlight=False,
    )
