"""`winnow label`, registered on the `winnow` application."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow_base.options import AsJson
from winnow_ground.commands import help_of

if TYPE_CHECKING:
    from winnow_ground.labelling.agreement import Kappa
    from winnow_ground.labelling.audits import AuditOutcome

File = Annotated[Path, typer.Argument(metavar="CATALOGUE", help="A catalogue's file.")]
SetName = Annotated[str, typer.Argument(metavar="SET", help="A set of `winnow select`.")]
FORMS = ("csv", "coco", "label-studio", "folder")
Form = Annotated[
    str | None,
    typer.Option(
        metavar="FORM",
        help=f"{', '.join(FORMS)}; else told by the name: .csv, .coco.json, other .json, a folder.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add `winnow label` to `app`."""
    group = typer.Typer(
        name="label",
        help="What people say of tiles: sets, agreement, audits; import and export as CSV, COCO, "
        "Label Studio's JSON or a folder per class. `winnow serve` shows the pages.",
    )
    for name, command in (("sets", sets_command), ("agreement", agreement_command),
                          ("audit", audit_command), ("export", export_command),
                          ("import", import_command)):  # fmt: skip
        group.command(name, help=help_of(command), no_args_is_help=True)(command)
    app.add_typer(group, no_args_is_help=True)


def user_name() -> str:
    """Who types, as the system has it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "nobody"


def sets_command(catalogue: File, as_json: AsJson = False) -> None:
    """List the sets of tiles to label, and how far people are.

        winnow label sets mars.db
    """  # fmt: skip
    from winnow_ground.catalogue.schema import reading
    from winnow_ground.labelling.sets import people, sets
    from winnow_ground.labelling.settle import open_tiles

    with reading(catalogue) as db:
        told: list[dict[str, Any]] = [
            {
                "set": one.name,
                "class": one.class_name,
                "tiles": one.tiles,
                "way": one.how.get("way"),
                "hidden": one.hidden,
                "people": people(db, one),
                "disputed": len(open_tiles(db, one).disputed),
            }
            for one in sets(db)
        ]
    if as_json:
        print(json.dumps(told))
        return
    if not told:
        print(f"{catalogue}: no sets; `winnow select` makes one")
        return
    from rich.table import Table

    from winnow_base.console import report_console, show_table

    table = Table("set", "class", "tiles", "chosen", "answered", "disputed")
    for row in told:
        done = ", ".join(f"{name} {n:,}" for name, n in row["people"].items())
        table.add_row(
            row["set"], row["class"] or "any", f"{row['tiles']:,}", row["way"] or "by hand",
            done or "-", f"{row['disputed']:,}",
        )  # fmt: skip
    show_table(report_console(), table)


def agreement_command(catalogue: File, set_name: SetName, as_json: AsJson = False) -> None:
    """Tell how far people agree on a set: Cohen's kappa of each pair, Fleiss' of all.

    0 is what chance alone would give, 1 is full agreement. `unsure` is an answer like any other,
    `later` is none. Intervals are of 95 %, over tiles drawn again.

        winnow label agreement mars.db craters
    """
    from winnow_ground.catalogue.schema import reading
    from winnow_ground.labelling.agreement import agreement
    from winnow_ground.labelling.sets import find_set
    from winnow_ground.words import count

    with reading(catalogue) as db:
        told = agreement(db, find_set(db, set_name))
    if as_json:
        print(json.dumps(told.as_json()))
        return
    for name, n in told.people.items():
        print(f"{name}: {count(n, 'tile')}")
    for (one, other), kappa in told.pairs.items():
        print(f"{one} and {other}: {_kappa(kappa)}, Cohen's")
    if told.all is not None:
        print(f"all: {_kappa(told.all)}, Fleiss'")
    if not told.pairs:
        print("no tile was answered by two people yet")


def _kappa(one: Kappa) -> str:
    from winnow_ground.words import count

    agreed = f"{100 * one.agreed:.0f} % of {count(one.tiles, 'tile')} agree"
    if one.value is None or one.low is None or one.high is None:
        return f"{agreed}; all gave one answer, so that there is no kappa"
    return f"{agreed}, kappa {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


def audit_command(catalogue: File, set_name: SetName, as_json: AsJson = False) -> None:
    """Estimate recall and precision from a set that `winnow select --way audit` drew.

    Tiles that people agree on, or that were decided, count. Intervals are exact (Clopper and
    Pearson), of 95 %. Of a set that was not drawn at random there is precision alone, of its own
    tiles.

        winnow label audit mars.db audit-1
    """
    from winnow_ground.catalogue.schema import reading
    from winnow_ground.labelling.audits import audit_outcome
    from winnow_ground.labelling.sets import find_set

    with reading(catalogue) as db:
        told = audit_outcome(db, find_set(db, set_name))
    print(json.dumps(told.as_json()) if as_json else "\n".join(_audit_lines(told)))


def _audit_lines(told: AuditOutcome) -> list[str]:
    lines = [
        f"{told.settled:,} of {told.tiles:,} tiles are settled; intervals of 95 %, by the tile"
    ]
    if told.absent:
        lines.append(f"{told.absent:,} more were drawn, and no picture of them is here")
    if not told.fair:
        lines.append(f"recall is not known, precision is of these tiles alone: {told.unfair}")
    for one, right in told.classes:
        words = []
        if told.fair and one.recall is not None:
            share, low, high = (100 * value for value in one.recall)
            there = one.found + one.missed
            words.append(
                f"found {one.found} of {there}, recall {share:.0f} % ({low:.0f} to {high:.0f} %)"
            )
        elif told.fair:
            words.append("none of the tiles shows it")
        if right.share is not None:
            share, low, high = (100 * value for value in right.share)
            words.append(
                f"{right.right} of {right.detected} detections right, precision {share:.0f} % "
                f"({low:.0f} to {high:.0f} %)"
            )
        else:
            words.append("none detected")
        lines.append(f"{one.class_name}: {'; '.join(words)}")
    return lines


def export_command(
    catalogue: File,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help=".csv, .coco.json, .json, or a new folder.")
    ],
    set_name: Annotated[
        str | None, typer.Option("--set", metavar="SET", help="Of it alone.")
    ] = None,
    form: Form = None,
    as_json: AsJson = False,
) -> None:
    """Write labels for other tools: CSV, COCO, Label Studio's JSON, or a folder per class.

    CSV, COCO and Label Studio's JSON have every person's answer. A folder per class has the
    pictures of the tiles that are settled; `winnow new data` makes a data set of it.

        winnow label export mars.db --out labels.csv

        winnow label export mars.db --set craters --out pictures
    """
    from winnow_ground.catalogue.schema import reading
    from winnow_ground.labelling.exchange import coco, folders, lines, studio, tables
    from winnow_ground.labelling.sets import find_set
    from winnow_ground.labelling.settle import settled
    from winnow_ground.words import count

    kind = _form(form, out)
    absent = 0
    with reading(catalogue) as db:
        set_id = None if set_name is None else find_set(db, set_name).id
        if kind == "folder":
            own = None
            if set_id is not None:
                own = [tile for (tile,) in db.execute(
                    "SELECT tile FROM label_set_tile WHERE label_set = ?", (set_id,))]  # fmt: skip
            number, absent = folders.write(db, settled(db, own), out)
        else:
            write = {"csv": tables.write, "coco": coco.write, "label-studio": studio.write}[kind]
            number = write(lines.labels_of(db, set_id), out)
    if as_json:
        print(json.dumps({"out": str(out), "labels": number, "absent": absent}))
        return
    print(f"{out}: {count(number, 'picture' if kind == 'folder' else 'label')}")
    if absent:
        print(f"{count(absent, 'tile')} have no picture that can be read")


def import_command(
    catalogue: File,
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file or folder of labels, as exported.")
    ],
    person: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who says so, where the file does not.")
    ] = None,
    form: Form = None,
    new_classes: Annotated[
        bool, typer.Option("--new-classes", help="Add classes that the catalogue does not have.")
    ] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave labels out whose tile or class is not there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring labels in: all of a file, or nothing if one of them makes no sense.

    What is there already stays and is counted; of two answers of one person for one tile the
    later one counts. A box is taken for the tile that it covers best (intersection over union of
    at least .5).

        winnow label import mars.db labels.csv

        winnow label import mars.db boxes.coco.json --person ann --new-classes
    """
    from contextlib import closing

    from winnow_base.errors import DataError
    from winnow_ground.catalogue.schema import changes, open_catalogue, reading
    from winnow_ground.labelling.exchange import coco, folders, lines, studio, tables
    from winnow_ground.words import count

    kind = _form(form, source)
    if kind == "folder":
        if not source.is_dir():
            raise DataError("is no folder", where=source, hint="or say its --form")
        with reading(catalogue) as db:
            found = folders.read(db, source)
    else:
        read = {"csv": tables.read, "coco": coco.read, "label-studio": studio.read}[kind]
        found = read(source)
    way = lines.Import(person, new_classes, skip)
    with closing(open_catalogue(catalogue, write=True)) as db, changes(db, catalogue):
        lines.bring_in(db, found, way, source)
    if as_json:
        print(json.dumps({"added": way.added, "known": way.known, "skipped": way.skipped,
                          "replaced": way.replaced, "classes": way.classes}))  # fmt: skip
        return
    print(f"{source}: {count(way.added, 'label')} added, {way.known:,} known")
    if way.replaced:
        words = "the file has another one of its person and tile"
        print(f"of them {way.replaced:,} no longer counted at the end: {words}")
    if way.skipped:
        print(f"{count(way.skipped, 'label')} left out: no such tile or class")
    if way.classes:
        print(f"new classes: {', '.join(way.classes)}")


def _form(form: str | None, path: Path) -> str:
    """The form that is asked for, or that the name tells."""
    if form is None:
        endings = {".csv": "csv", ".coco.json": "coco", ".json": "label-studio"}
        ends = (kind for ending, kind in endings.items() if path.name.lower().endswith(ending))
        return next(ends, "folder")
    if form not in FORMS:
        raise typer.BadParameter(f"is one of {', '.join(FORMS)}", param_hint="--form")
    return form
