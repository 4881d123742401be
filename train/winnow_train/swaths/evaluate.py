"""`winnow evaluate BUNDLE --swaths FOLDER`: fly, judge, tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from winnow_base.console import show_table
from winnow_base.errors import DataError, ModelError
from winnow_base.files import make_folder
from winnow_base.progress import Progress
from winnow_edge.bundle import SUFFIX, Bundle, open_bundle
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import Mission, load_mission
from winnow_train.swaths import judge
from winnow_train.swaths.fly import SCALES, Flown, default_mission, fly
from winnow_train.swaths.match import DUPLICATE, FALSE, SMALLEST, TRUE, known_in, lay_over
from winnow_train.swaths.page import CHOSEN_HERE, EVERYWHERE, sizes_in_words, write_page
from winnow_train.windows.pictures import (
    NO_LOOKS,
    Look,
    Looks,
    Picture,
    find_looks,
    read_looks,
    read_pictures,
)

LOOKS = "looks.json"
"""Name of the looks file that is taken from the folder of pictures itself."""


def evaluate_swaths(
    paths: Sequence[Path],
    folder: Path,
    progress: Progress,
    *,
    looks: str = "",
    absent: Sequence[str] = (),
    mission: Path | None = None,
    false_per_swath: float | None = None,
    sizes: tuple[float, float] | None = None,
    report: Path | None = None,
) -> dict[str, Any]:
    """Figures of the bundles at `paths` on the pictures of `folder` (`judge.figures`).

    Of several bundles, the nets of the folds of a cross-validation, each flies the pictures whose
    source its training held out; pictures that none held out are left aside, with a warning.
    Thresholds are the mission's, else the bundles' (of several the highest) or, with
    `false_per_swath`, the lowest with which a class raises at most so many false alarms in a
    picture: `thresholds_chosen_here`, and figures at them flatter. Features of other sides than
    `sizes` (pixels) are not judged; unless told otherwise, those that are too small for every
    window. Also `model`, `folder`, `scales`. Raises ModelError for what is no bundle, and for
    several that are of no cross-validation; DataError for pictures and truth files that do not
    belong together, an absent class that the bundles do not know, and where nothing is known of
    any picture; OutputError for a `report` that cannot be written, before anything is flown.
    """
    bundles = [_open(path) for path in paths]
    classes = bundles[0].manifest.classes
    missions = [mission_for(bundle, mission) for bundle in bundles]
    thresholds = highest_thresholds(missions, bundles)
    _refuse_strangers(absent, classes)
    pictures = read_pictures(folder, _looks(folder, looks, absent))
    _refuse_ignorance(pictures, classes, folder)
    if report is not None:
        make_folder(report)
    if sizes is None:
        least = bundles[0].manifest.input.height * min(missions[0].tiling.scales)
        sizes = math.ceil(SMALLEST * least), math.inf
    shares = _shared_out(bundles, pictures, progress)
    flown: list[Flown] = []
    for bundle, flown_as, mine in zip(bundles, missions, shares, strict=True):
        if mine:
            flown += fly(bundle, mine, flown_as, progress)
    judged = lay_over(flown, sizes)
    if false_per_swath is not None:
        chosen = judge.choose_thresholds(judged, list(thresholds), false_per_swath)
        thresholds = {**thresholds, **chosen}
    found = {
        **judge.figures(judged, thresholds, sizes),
        "model": ", ".join(map(str, paths)),
        "folder": str(folder),
        "scales": list(missions[0].tiling.scales),
        "thresholds": thresholds,
        "thresholds_chosen_here": false_per_swath is not None,
    }
    if report is not None:
        names = " and ".join(dict.fromkeys(b.manifest.name for b in bundles))
        write_page(judged, found, f"{names} on {folder.name}", report)
    return found


def _open(path: Path) -> Bundle:
    if path.suffix != SUFFIX:
        raise ModelError(
            "only bundles fly", where=path, hint="make one with winnow convert, then judge it"
        )
    return open_bundle(path)


def mission_for(bundle: Bundle, mission: Path | None, scales: Sequence[int] = SCALES) -> Mission:
    """A mission file with `bundle` in every camera, or the default at `scales`."""
    found = load_mission(mission) if mission else default_mission(bundle, scales)
    own = str(bundle.path.resolve())
    cameras = {n: replace(c, bundle=own) for n, c in found.instruments.items()}
    return replace(found, instruments=cameras)


def highest_thresholds(missions: Sequence[Mission], bundles: Sequence[Bundle]) -> dict[str, float]:
    """The highest threshold of every class, over the bundles. Raises ModelError where their classes
    differ."""
    found: dict[str, float] = {}
    for mission, bundle in zip(missions, bundles, strict=True):
        if bundle.manifest.classes != bundles[0].manifest.classes:
            raise ModelError(f"has other classes than {bundles[0].path.name}", where=bundle.path)
        camera = next(iter(mission.instruments))
        for name, threshold in Settings.of(mission, camera, bundle).thresholds.items():
            found[name] = max(threshold, found.get(name, 0.0))
    return found


def _shared_out(
    bundles: Sequence[Bundle], pictures: Sequence[Picture], progress: Progress
) -> list[list[Picture]]:
    """The pictures that each bundle flies: all, or those that its training held out."""
    if len(bundles) == 1:
        return [list(pictures)]
    home: dict[str, int] = {}
    for number, bundle in enumerate(bundles):
        held = bundle.manifest.training.get("held")
        if not held:
            raise ModelError(
                "held out no source, so it cannot be judged beside others",
                where=bundle.path,
                hint="give one bundle, or those of the folds of a `winnow cv`",
            )
        for source in held:
            if home.setdefault(source, number) != number:
                raise ModelError(
                    f"{source} is held out by {bundles[home[source]].path.name} too",
                    where=bundle.path,
                    hint="give the bundles of one cross-validation",
                )
    shares: list[list[Picture]] = [[] for _ in bundles]
    aside = []
    for picture in pictures:
        number = home.get(picture.source, -1)
        (shares[number] if number >= 0 else aside).append(picture)
    if aside and len(aside) == len(pictures):
        raise DataError(
            "every picture was seen in training, or is of no fold", where=pictures[0].path.parent
        )
    if aside:
        progress.warn(f"{len(aside)} pictures were held out by none, e.g. {aside[0].path.name}")
    return shares


def _looks(folder: Path, name: str, absent: Sequence[str]) -> Looks:
    beside = folder / LOOKS
    looks = NO_LOOKS
    if name:
        looks = read_looks(find_looks(name))
    elif beside.is_file():
        looks = read_looks(beside)
    return replace(looks, entries=(*looks.entries, ("*", Look(absent=tuple(absent)))))


def _refuse_strangers(absent: Sequence[str], classes: Sequence[str]) -> None:
    for name in absent:
        if name not in classes:
            raise DataError(
                f"--absent names {name!r}, none of the bundle's classes",
                hint=f"it knows {', '.join(classes)}",
            )


def _refuse_ignorance(pictures: Sequence[Picture], classes: Sequence[str], folder: Path) -> None:
    """Refuse to fly for hours where no class could be judged after."""
    known = frozenset().union(*known_in(pictures))
    if not known:
        raise DataError(
            "nothing is known of these pictures: no box, no looks file, no absent class",
            where=folder,
            hint=f"put NAME.truth.json beside NAME.png, a {LOOKS}, or name --absent CLASS",
        )
    if not known & set(classes):
        raise DataError(
            f"truth is of {', '.join(sorted(known))}, none of the bundle's classes",
            where=folder,
            hint=f"it knows {', '.join(classes)}",
        )


def print_swaths(found: dict[str, Any], console: Console | None = None) -> None:
    """Print an evaluation of swaths for people, on stdout."""
    console = console or Console()

    def say(words: str) -> None:
        console.print(words, highlight=False, soft_wrap=True)

    if found["thresholds_chosen_here"]:
        say(CHOSEN_HERE)
    scales = ", ".join(map(str, found["scales"]))
    say(
        f"{found['model']} on {found['folder']}: {found['n']} pictures of "
        f"{found['bootstrap']['sources']} sources, {found['windows']} windows at scales {scales}"
    )
    say(sizes_in_words(found["sizes"]))
    for table in (_features_table(found), _hits_table(found), _sizes_table(found)):
        show_table(console, table)
    for k, row in found["first"].items():
        say(
            f"first {k} of each: {row[TRUE]} true, {row[DUPLICATE]} duplicates, {row[FALSE]} "
            f"false, {row['unknown']} unknown, precision {_number(row['precision'])}, showing "
            f"{_number(row['precision_shown'])}, everywhere {_number(row['everywhere'])}"
        )
    say(EVERYWHERE)


def _table(*columns: str) -> Table:
    table = Table(*columns, padding=(0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _features_table(found: dict[str, Any]) -> Table:
    """Features by class, and false alarms."""
    table = _table("class", "limit", "features", "recall", "shown", "AP", "per 1,000", "a picture")
    for name, row in found["classes"].items():
        table.add_row(
            name,
            f"{row['threshold']:.2f}",
            str(row["features"]),
            _span(row["recall"]),
            _span(row["recall_shown"]),
            _number(row["average_precision"]),
            f"{row['false_per_1000_windows'] or 0:.2f}",
            f"{row['false_per_swath']:.2f}",
        )
    return table


def _hits_table(found: dict[str, Any]) -> Table:
    """Hits by class and scale, each precision beside that of windows placed everywhere."""
    table = _table("class", "scale", "true", "dupl.", "false", "precision", "showing", "everywhere")
    for name, row in found["classes"].items():
        total = {**row, "scale": "all"}
        for one in (total, *row["by_scale"]):
            table.add_row(
                name if one is total else "",
                *(str(one[key]) for key in ("scale", TRUE, DUPLICATE, FALSE)),
                _span(one["precision"]),
                _span(one["precision_shown"]),
                _number(one["everywhere"]),
            )
    return table


def _sizes_table(found: dict[str, Any]) -> Table:
    table = _table("class", "side, pixels", "features", "found", "shown")
    for name, row in found["classes"].items():
        for size in row["recall_by_size"]:
            to = "..." if size["below"] is None else str(size["below"])
            counts = (str(size[key]) for key in ("features", "found", "shown"))
            table.add_row(name, f"{size['from']} to {to}", *counts)
    return table


def _number(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def _span(figure: dict[str, float | None] | float | None) -> str:
    if not isinstance(figure, dict):
        return _number(figure)
    if figure["value"] is None or figure["low"] is None:
        return _number(figure["value"])
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
