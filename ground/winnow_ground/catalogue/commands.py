"""`winnow catalogue`, registered on the `winnow` application."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from winnow_base.options import AsJson
from winnow_ground.catalogue.build_command import build_command
from winnow_ground.commands import help_of

if TYPE_CHECKING:
    from winnow_ground.catalogue.columns import Columns, Found
    from winnow_ground.catalogue.facets import Query
    from winnow_ground.catalogue.rows import Detection

_MOST_NAMED = 12
"""Values of a facet that a terminal lists."""
File = Annotated[Path, typer.Argument(metavar="CATALOGUE", help="A catalogue's file.")]


def register(app: typer.Typer) -> None:
    """Add `winnow catalogue` to `app`."""
    group = typer.Typer(
        name="catalogue",
        help="All that came down, or was classified here, in one SQLite file: add receptions, "
        "build from an archive of pictures, search by class, confidence, date and place, export.",
    )
    group.command("add", help=help_of(add), no_args_is_help=True)(add)
    group.command("build", help=help_of(build_command), no_args_is_help=True)(build_command)
    group.command("search", help=help_of(search), no_args_is_help=True)(search)
    group.command("info", help=help_of(info), no_args_is_help=True)(info)
    group.command("requests", help=help_of(requests), no_args_is_help=True)(requests)
    app.add_typer(group, no_args_is_help=True)


def add(
    receptions: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of `winnow receive`.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The catalogue; made if new.")],
    as_json: AsJson = False,
) -> None:
    """Put what came down into a catalogue; what it has already stays, labels too.

    The catalogue refers to the pictures where they lie: keep the folders.

        winnow catalogue add received --to mars.db
    """
    from winnow_ground.catalogue.add import add_reception
    from winnow_ground.received import load_received
    from winnow_ground.words import count

    told = []
    for folder in receptions:
        added = add_reception(to, load_received(folder))
        told.append({"folder": str(folder), "swaths": added.swaths, "tiles": added.tiles,
                     "products": added.products})  # fmt: skip
        if not as_json:
            print(
                f"{to}: {folder} brought {count(added.swaths, 'swath')}, "
                f"{count(added.tiles, 'tile')}, {count(added.products, 'product')}"
            )
    if as_json:
        print(json.dumps(told))


def search(
    catalogue: File,
    class_name: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="May be repeated.")
    ] = None,
    instrument: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None,
    bundle: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None,
    verdict: Annotated[list[str] | None, typer.Option(metavar="WORD")] = None,
    year: Annotated[list[str] | None, typer.Option(metavar="YEAR")] = None,
    confidence: Annotated[
        tuple[float, float], typer.Option(metavar="LOW HIGH", help="Bounds of the posterior.")
    ] = (0.0, 1.0),
    least: Annotated[
        int, typer.Option(min=0, help="Only swaths with so many of the chosen classes.")
    ] = 0,
    text: Annotated[str, typer.Option(help="Stands in the swath's name.")] = "",
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="SOUTH WEST NORTH EAST", help="Degrees, of the swath's place."),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="UTC", help="Start of the swath, e.g. 2026-03.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="UTC")] = "",
    order: Annotated[
        str, typer.Option(help="confidence, unsure, value, novelty, newest or swath.")
    ] = "confidence",
    mission: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Utilities of classes, for --order value.")
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Detections that are listed.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write all that was found: .csv, .json, .coco.json (COCO), .stac.json "
            "(STAC), .pds4.xml (a PDS4 label; its table is beside it, .csv).",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search detections; every count is shown as it would be under the other choices.

        winnow catalogue search mars.db --class spider --confidence 0.8 1 --box -90 -180 -60 180

        winnow catalogue search mars.db --class crater --least 20 --out craters.coco.json
    """  # fmt: skip
    from winnow_ground.catalogue.columns import ORDERS, Columns
    from winnow_ground.catalogue.facets import Query
    from winnow_ground.catalogue.forms import write
    from winnow_ground.catalogue.kept import Beside
    from winnow_ground.catalogue.rows import detections
    from winnow_ground.catalogue.schema import open_catalogue, saying
    from winnow_ground.catalogue.worth import utilities_of

    if order not in ORDERS:
        raise typer.BadParameter(f"is one of {', '.join(ORDERS)}", param_hint="--order")
    named = {"class": class_name, "instrument": instrument, "bundle": bundle,
             "verdict": verdict, "year": year}  # fmt: skip
    chosen = {facet: frozenset(names) for facet, names in named.items() if names}
    worth = utilities_of(mission) if mission is not None else {}
    query = Query(chosen, *confidence, least, text, box, since, until, order, worth)
    db = open_catalogue(catalogue)
    try:
        with saying(catalogue):
            columns = Columns(db, beside=Beside(catalogue))
            _refuse_unknown(columns, query)
            found = columns.find(query, most=len(columns) if out else most)
            listed = list(detections(db, found.rows[:most]))
            if out is not None:
                write(lambda: detections(db, found.rows), out)
    finally:
        db.close()
    if as_json:
        print(json.dumps(_as_json(found, listed)))
    else:
        _show(found, listed, out)


def _refuse_unknown(columns: Columns, query: Query) -> None:
    from winnow_base.errors import CatalogueError

    for facet, names in query.chosen.items():
        known = columns.known(facet)
        for name in sorted(names - known):
            raise CatalogueError(
                f"no {facet} is called {name!r}",
                hint=f"known: {', '.join(sorted(known - {''})[:20]) or 'none'}",
            )


def _as_json(found: Found, listed: list[Detection]) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "detections": found.total,
        "swaths": found.swaths,
        "facets": found.facets,
        "listed": [asdict(one) for one in listed],
    }


def _show(found: Found, listed: list[Detection], out: Path | None) -> None:
    from rich.table import Table

    from winnow_base.console import report_console, show_table
    from winnow_ground.words import count

    print(f"{count(found.total, 'detection')} in {count(found.swaths, 'swath')}")
    for facet in ("class", "instrument", "bundle", "verdict", "year"):
        counts = [f"{name} {n:,}" for name, n in found.facets[facet].items() if name]
        if counts:
            print(f"  {facet}: {', '.join(counts[:_MOST_NAMED])}")
    placed = any(one.latitude is not None for one in listed)
    table = Table("swath", "class", "posterior", "line", "sample", "size", "have")
    if placed:
        table.add_column("place")
    for one in listed:
        degrees = [f"{v:.3f}" for v in (one.latitude, one.longitude) if v is not None]
        table.add_row(
            one.swath, one.class_name, f"{one.posterior:.3f}", f"{one.line:,}", f"{one.sample:,}",
            f"{one.lines}x{one.samples}", one.have, *([" ".join(degrees)] if placed else []),
        )  # fmt: skip
    if listed:
        show_table(report_console(), table)
    if out is not None:
        print(f"{out}: {count(found.total, 'detection')}")


def info(catalogue: File, as_json: AsJson = False) -> None:
    """Tell what a catalogue holds.

        winnow catalogue info mars.db
    """  # fmt: skip
    from winnow_ground.catalogue.schema import TABLES, open_catalogue, saying

    db = open_catalogue(catalogue)
    try:
        with saying(catalogue):
            counts = {
                table: int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
                for table in TABLES
            }
    finally:
        db.close()
    if as_json:
        print(json.dumps(counts))
        return
    for table, count in counts.items():
        print(f"{table:>10} {count:>12,}")


def requests(
    catalogue: File,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="One list (default: requests.json of each reception)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the boxes that people asked for in `winnow serve` into lists for the next uplink.

    A list is that of `winnow request`; what was written is marked as sent. A box that cannot be
    written is told of in a line and waits on; then the exit code is not 0.

        winnow catalogue requests mars.db
        winnow-edge downlink mission.toml --store store --request received/requests.json ...
    """
    from dataclasses import astuple

    from winnow_edge.files import printable
    from winnow_ground.catalogue.wishes import Kept, carry
    from winnow_ground.words import count

    told, code = [], 0
    for one in carry(catalogue, to):
        line, sample, lines, samples = astuple(one.box)
        if isinstance(one, Kept):
            code = max(code, one.error.exit_code)
            what = f"{one.swath}, {lines:,} lines from {line:,}: not written: {one.error}"
            print(printable(what), file=sys.stderr)
            continue
        told.append({"swath": one.swath, "request": one.number, "file": str(one.file),
                     "box": [line, sample, lines, samples]})  # fmt: skip
        if not as_json:
            size = f"{lines:,} lines of {samples:,} samples from {line:,}, {sample:,}"
            print(printable(f"{one.file}: request {one.number}, {size} of {one.swath}"))
    if as_json:
        print(json.dumps(told))
    else:
        print(f"{catalogue}: {count(len(told), 'request')} for the next uplink")
    if code:
        raise typer.Exit(code)
