"""`winnow place`, registered on the `winnow` application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from winnow_base.options import AsJson
from winnow_edge.files import printable
from winnow_ground.commands import help_of


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("place", help=help_of(place_command))(place_command)


def place_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of `winnow receive`.")],
    geometry: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="SWATH.geometry.jsonl, SWATH.nmea or SWATH.LBL."),
    ],
    swath: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The swath (default: the one FILE is named after)."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="UTC", help="When its first line was seen.")
    ] = None,
    line_time: Annotated[
        float | None,
        typer.Option(min=0.1, max=1e9, metavar="US", help="Microseconds between two lines."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give what has come down the times and places of geometry that the board did not have.

    Tiles that came down with a time or a place keep it. What comes down later is placed when the
    command is given again. --start and --line-time count where the spacecraft told none.

        winnow place received strip.geometry.jsonl
    """
    from winnow_edge.clock.utc import parse_utc
    from winnow_ground.place import place

    try:
        told = None if start is None else parse_utc(start)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--start") from None
    done = place(folder, geometry, swath=swath, start=told, line_time_us=line_time)
    if as_json:
        print(json.dumps(done))
        return
    print(
        f"{done['swath']}: {done['products']:,} products of tiles, "
        f"{done['times']:,} got a time, {done['places']:,} a place"
    )
    for fault in done["faults"]:
        print(f"note: {printable(fault)}")
