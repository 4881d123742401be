"""`winnow evaluate BUNDLE --swaths FOLDER`: fly, judge, tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from winnow_base.errors import DataError, ModelError
from winnow_base.progress import Progress
from winnow_edge.bundle import SUFFIX, open_bundle
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import load_mission
from winnow_train.swaths import judge
from winnow_train.swaths.fly import default_mission, fly
from winnow_train.swaths.page import CHOSEN_HERE, write_page
from winnow_train.windows.pictures import NO_LOOKS, Looks, find_looks, read_looks, read_pictures

LOOKS = "looks.json"
"""Name of the looks file that is taken from the folder of pictures itself."""


def evaluate_swaths(
    path: Path,
    folder: Path,
    progress: Progress,
    *,
    looks: str = "",
    absent: Sequence[str] = (),
    mission: Path | None = None,
    false_per_swath: float | None = None,
    report: Path | None = None,
) -> dict[str, Any]:
    """Figures of the bundle at `path` on the pictures of `folder` (`judge.figures`).

    Thresholds are the mission's, else the bundle's or, with `false_per_swath`, the lowest with
    which a class raises at most so many false alarms in a picture: `thresholds_chosen_here`, and
    figures at them flatter. Also `model`, `folder`, `scales`. Raises ModelError for what is no
    bundle, DataError for pictures and truth files that do not belong together, an absent class that
    the bundle does not know, and where nothing is known of any picture.
    """
    if path.suffix != SUFFIX:
        raise ModelError(
            "only bundles fly", where=path, hint="make one with winnow convert, then judge it"
        )
    bundle = open_bundle(path)
    flown_as = load_mission(mission) if mission else default_mission(bundle)
    cameras = {n: replace(c, bundle=str(path.resolve())) for n, c in flown_as.instruments.items()}
    flown_as = replace(flown_as, instruments=cameras)
    thresholds = Settings.of(flown_as, next(iter(cameras)), bundle).thresholds
    _refuse_strangers(absent, bundle.manifest.classes)
    pictures = read_pictures(folder, _looks(folder, looks, absent))
    _refuse_ignorance(pictures, bundle.manifest.classes, folder)
    judged = judge.lay_over(fly(bundle, pictures, flown_as, progress))
    if false_per_swath is not None:
        chosen = judge.choose_thresholds(judged, list(thresholds), false_per_swath)
        thresholds = {**thresholds, **chosen}
    found = {
        **judge.figures(judged, thresholds),
        "model": str(path),
        "folder": str(folder),
        "scales": list(flown_as.tiling.scales),
        "thresholds": thresholds,
        "thresholds_chosen_here": false_per_swath is not None,
    }
    if report is not None:
        write_page(judged, found, f"{bundle.manifest.name} on {folder.name}", report)
    return found


def _looks(folder: Path, name: str, absent: Sequence[str]) -> Looks:
    beside = folder / LOOKS
    looks = NO_LOOKS
    if name:
        looks = read_looks(find_looks(name))
    elif beside.is_file():
        looks = read_looks(beside)
    return replace(looks, entries=(*looks.entries, ("*", {"absent": list(absent)})))


def _refuse_strangers(absent: Sequence[str], classes: Sequence[str]) -> None:
    for name in absent:
        if name not in classes:
            raise DataError(
                f"--absent names {name!r}, none of the bundle's classes",
                hint=f"it knows {', '.join(classes)}",
            )


def _refuse_ignorance(pictures: Sequence[Any], classes: Sequence[str], folder: Path) -> None:
    known = {c for p in pictures for c in (*p.absent, *(f.class_name for f in p.features))}
    if not any(p.claimed for p in pictures) and not known:
        raise DataError(
            "nothing is known of these pictures: no truth file, no looks file, no absent class",
            where=folder,
            hint=f"put NAME.truth.json beside NAME.png, a {LOOKS}, or name --absent CLASS",
        )
    if known and not known & set(classes):
        raise DataError(
            f"truth is of {', '.join(sorted(known))}, none of the bundle's classes",
            where=folder,
            hint=f"it knows {', '.join(classes)}",
        )


def print_swaths(found: dict[str, Any], console: Console | None = None) -> None:
    """Print an evaluation of swaths for people, on stdout."""
    console = console or Console()
    scales = ", ".join(map(str, found["scales"]))
    if found["thresholds_chosen_here"]:
        console.print(CHOSEN_HERE, highlight=False)
    console.print(
        f"{found['model']} on {found['folder']}: {found['n']} pictures, {found['windows']} windows "
        f"at scales {scales}",
        highlight=False,
    )
    columns = ("threshold", "features", "recall", "precision", "AP", "false", "per 1,000", "each")
    table = Table("class", *columns)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in found["classes"].items():
        table.add_row(
            name,
            f"{row['threshold']:.2f}",
            str(row["features"]),
            _span(row["recall"]),
            _span(row["precision"]),
            "-" if row["average_precision"] is None else f"{row['average_precision']:.3f}",
            str(row["false"]),
            f"{row['false_per_1000_windows'] or 0:.2f}",
            f"{row['false_per_swath']:.2f}",
        )
    console.print(table)
    sizes = Table("class", "side, pixels", "features", "found")
    for name, row in found["classes"].items():
        for size in row["recall_by_size"]:
            to = "..." if size["below"] is None else str(size["below"])
            span = f"{size['from']} to {to}"
            sizes.add_row(name, span, str(size["features"]), str(size["found"]))
    if sizes.row_count:
        console.print(sizes)
    for k, row in found["first"].items():
        share = "-" if row["precision"] is None else f"{row['precision']:.3f}"
        console.print(
            f"first {k} of each: {row['true']} true, {row['false']} false, "
            f"{row['unknown']} unknown, precision {share}",
            highlight=False,
        )


def _span(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "-"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
