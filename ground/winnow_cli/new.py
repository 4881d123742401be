"""`winnow new data | recipe | mission`: the first file of everything, commented."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow_base.errors import DataError
from winnow_base.options import AsJson

if TYPE_CHECKING:
    from winnow_train.making.labels import Labels
    from winnow_train.making.plan import Plan

YES = typer.Option("--yes", help="Replace what an earlier call made at --out.")


def register(app: typer.Typer) -> None:
    """Add `winnow new` to `app`."""
    new = typer.Typer(
        name="new", help="Make a data set of your pictures, a recipe for it, a mission file."
    )
    new.command("data", no_args_is_help=True)(data)
    new.command("recipe", no_args_is_help=True)(recipe)
    new.command("mission", no_args_is_help=True)(mission)
    app.add_typer(new, no_args_is_help=True)


def data(
    labels: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER|FILE...",
            help="A folder of pictures (in a folder per class, or with truth files beside them), a "
            "COCO file of boxes (.json), or a CSV file of classes or boxes.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to make.", show_default="none: only show what would be made"),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder of the pictures that a file names.", show_default="the file's"),
    ] = None,
    tile: Annotated[
        int, typer.Option(min=32, max=512, help="Side of tiles cut about boxes, in pixels.")
    ] = 128,
    scales: Annotated[
        str, typer.Option(help="Binnings at which boxes are cut, e.g. 1,2,4, as flown.")
    ] = "1",
    most: Annotated[
        int, typer.Option(min=1, help="Most tiles of a class from one picture at one scale.")
    ] = 60,
    background: Annotated[
        str, typer.Option(help="Class of the tiles cut from ground without boxes.")
    ] = "none",
    source: Annotated[
        str,
        typer.Option(
            help="How a picture's source is read: name (up to the last - or _ and a number), "
            "picture (each its own), folder, or a regular expression with one group.",
            show_default="name; picture where there are boxes",
        ),
    ] = "auto",
    val: Annotated[float, typer.Option(min=0.05, max=0.5, help="Share of tiles in val.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Another seed deals sources otherwise.")] = 1,
    licence: Annotated[str, typer.Option(help="Licence of the pictures, kept with them.")] = "",
    attribution: Annotated[str, typer.Option(help="Whose pictures they are.")] = "",
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Leave tiles of val out that train has too.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave pictures out that cannot be read.")
    ] = False,
    yes: Annotated[bool, YES] = False,
    as_json: AsJson = False,
) -> None:
    """Make pictures into a data set: OUT/train|val/CLASS, split by source.

    Shows a table of classes and sets first; without --out it makes nothing. A source (a site, a
    strip) lies in one set alone, and a picture in both sets is refused, because figures on val
    would flatter. Boxes are cut to tiles, and ground without boxes to tiles of --background.

    Examples:

    winnow new data PICTURES --out DATA

    winnow new data boxes.json --pictures PICTURES --tile 64 --scales 1,2 --out DATA
    """
    from winnow_base.progress import Progress
    from winnow_train.making.plan import Options, make_plan
    from winnow_train.making.write import make_set, refuse_occupied

    if out is not None:
        refuse_occupied(out, replace=yes)
    options = Options(tile, _scales(scales), most, background, source, val, seed, skip_bad=skip_bad)
    progress = Progress()
    plan = make_plan(_read(labels, pictures), options, progress)
    if not as_json:
        _show(plan, "would be made" if out is None else "planned")
    said = {"licence": licence, "attribution": attribution}
    if out is None:
        if as_json:
            typer.echo(json.dumps(_as_json(plan, None, [])))
        else:
            typer.echo("Nothing is made yet: give --out FOLDER.")
        return
    made, notes = make_set(plan, out, said, progress, drop_duplicates=drop_duplicates)
    if as_json:
        typer.echo(json.dumps({**_as_json(plan, out, notes), "n": len(made)}))
        return
    for note in notes:
        typer.echo(f"note: {note}")
    typer.echo(f"{out}: {len(made)} tiles")
    typer.echo(f"next: winnow new recipe {out} --out {out.name}.toml")


def _read(labels: list[Path], pictures: Path | None) -> Labels:
    from winnow_train.making.coco import read_coco
    from winnow_train.making.folders import read_folder
    from winnow_train.making.labels import join
    from winnow_train.making.table import read_table

    readers = {".json": read_coco, ".csv": read_table, ".tsv": read_table}
    found = []
    for path in labels:
        if path.is_dir():
            found.append(read_folder(path))
        elif not path.exists():
            raise DataError("no such folder or file", where=path)
        elif path.suffix.lower() not in readers:
            raise DataError(
                "is no folder, COCO file (.json) or CSV file (.csv)",
                where=path,
                hint="give the folder that holds the pictures",
            )
        else:
            folder = pictures or path.parent
            if not folder.is_dir():
                raise DataError("no such folder", where=folder, hint="see --pictures")
            found.append(readers[path.suffix.lower()](path, folder))
    return join(found)


def _scales(text: str) -> tuple[int, ...]:
    parts = text.replace(" ", "").split(",")
    if not all(p.isdecimal() and p.isascii() and len(p) < 3 and 1 <= int(p) <= 64 for p in parts):
        raise typer.BadParameter("give binnings of 1 to 64, e.g. 1,2,4", param_hint="--scales")
    return tuple(sorted({int(p) for p in parts}))


def _show(plan: Plan, title: str) -> None:
    """The table of classes and sets, the sources of every set, and the notes."""
    from rich.table import Table
    from rich.text import Text

    from winnow_base.console import report_console, show_table

    seen = Counter((plan.folders[t.class_name], plan.set_of(t)) for t in plan.tiles)
    sources = Counter(plan.sets.values())
    table = Table("class", "train", "val", title=f"{len(plan.tiles)} tiles {title}")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in plan.classes:
        said = f"{name} (background)" if name in plan.background else name
        table.add_row(Text(said), *(str(seen[name, s] or ".") for s in ("train", "val")))
    table.add_section()
    table.add_row("sources", *(str(sources[s]) for s in ("train", "val")))
    console = report_console()
    show_table(console, table)
    typer.echo(f"source: {plan.rule}")
    held = sorted(s for s, where in plan.sets.items() if where == "val")
    shown = ", ".join(held[:8]) + (f" and {len(held) - 8} more" if len(held) > 8 else "")
    typer.echo(f"val: {_plain(shown)}")
    for note in plan.notes:
        typer.echo(f"note: {_plain(note)}")


def _plain(text: str) -> str:
    """Names of strangers' files without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _as_json(plan: Plan, out: Path | None, notes: list[str]) -> dict[str, Any]:
    counts = {
        s: dict(Counter(plan.folders[t.class_name] for t in plan.tiles if plan.set_of(t) == s))
        for s in ("train", "val")
    }
    return {
        "out": None if out is None else str(out),
        "n": len(plan.tiles),
        "counts": counts,
        "sources": {s: sorted(k for k, v in plan.sets.items() if v == s) for s in ("train", "val")},
        "source_rule": plan.rule,
        "background": list(plan.background),
        "notes": [*plan.notes, *notes],
    }


def recipe(
    data: Annotated[Path, typer.Argument(help="Folder of the data set, as for --data.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="standard output")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="folder (train|val/CLASS), hirise-v1, hirise-v3 or msl.")
    ] = "folder",
    start: Annotated[
        str,
        typer.Option(
            help="What training starts from: a shipped bundle, a name of `winnow weights list`, "
            "or random.",
            show_default="the shipped bundle of the same channels",
        ),
    ] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights to be trained.")] = "",
    yes: Annotated[bool, YES] = False,
) -> None:
    """Write a commented recipe for a data set: input, net, epochs, background.

    A class called other, none, no-*, background, negative or edge is proposed as background.

    Example: winnow new recipe DATA --out mine.toml
    """
    from winnow_train.making.recipe import next_command, propose, write_recipe

    name = out.stem if out is not None else data.resolve().name or "mine"
    text = write_recipe(name, propose(dataset, data), start=start, licence=licence)
    if _write(text, out, replace=yes):
        assert out is not None
        typer.echo(f"next: {next_command(text, out, data)}")


def mission(
    bundle: Annotated[str, typer.Argument(help="A .winnow file, or the name of a shipped one.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="standard output")
    ] = None,
    scales: Annotated[
        str, typer.Option(help="Binnings to look at, e.g. 1,2,4: features of several sizes.")
    ] = "1",
    yes: Annotated[bool, YES] = False,
) -> None:
    """Write a commented mission file for a bundle; `winnow-edge run` takes it as it is.

    Example: winnow new mission hirise-landmarks --out mission.toml
    """
    from winnow_ground.new_mission import write_mission

    if _write(write_mission(bundle, out, _scales(scales)), out, replace=yes):
        typer.echo(f"next: winnow-edge run {out} PICTURE... --store store")


def _write(text: str, out: Path | None, *, replace: bool) -> bool:
    """Write a text file, or to standard output; returns whether a file was written."""
    from winnow_base.files import make_folder
    from winnow_edge.files import write_aside

    if out is None:
        typer.echo(text, nl=False)
        return False
    make_folder(out.parent)
    with write_aside(out, replace=replace, hint="give another --out, or --yes to replace it") as f:
        f.write(text.encode())
    typer.echo(f"wrote {out}")
    return True
