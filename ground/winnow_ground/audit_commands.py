"""`winnow audit`, registered on the `winnow` application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow_base.options import AsJson
from winnow_ground.commands import help_of

if TYPE_CHECKING:
    from winnow_ground.audit import Estimate


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("audit", help=help_of(audit))(audit)


def audit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of `winnow receive`.")],
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The sheet, with `shows` filled in.")
    ] = None,
    mission: Annotated[
        Path | None,
        typer.Option(metavar="MISSION", help="Mission file: the draw is repeated with its seed."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate what the net misses from the tiles that [b]\\[audit][/b] drew at random.

    Without --labels, writes DIR/audit.csv: a line for each tile of the audit that came down. Look
    at its picture, and write into the column [b]shows[/b] the class that it shows, several apart by
    `;`, or `nothing`. With --labels, gives each class's recall with a 95 % interval (Clopper and
    Pearson), counted in tiles, before a second stage.

        winnow audit received
        winnow audit received --labels received/audit.csv --mission mission.toml
    """
    from winnow_edge.mission import load_mission
    from winnow_ground import audit as audits
    from winnow_ground.received import load_received

    received = load_received(folder)
    lines, told = [], dict[str, Any]()
    if mission is not None:
        total, absent = audits.missing(received, load_mission(mission))
        told |= {"drawn": total, "absent": absent}
        lines.append(f"{total:,} tiles were drawn; {total - absent:,} of them have come down")
    if labels is None:
        path = folder / "audit.csv"
        if path.exists():
            from winnow_base.errors import DataError

            raise DataError(
                "is there already", where=path, hint="give it with --labels, or move it away"
            )
        count = audits.write_sheet(received, path)
        told |= {"sheet": str(path), "tiles": count}
        lines.append(f"{path}: {count:,} tiles; fill in `shows`, then give it with --labels")
    else:
        tiles = audits.audited(received, audits.read_sheet(labels))
        found = audits.estimate(tiles) if tiles else []
        told |= {"audited": len(tiles), "classes": [one.as_json() for one in found]}
        lines.append(f"{len(tiles):,} tiles audited; intervals of 95 %, by the tile")
        lines += map(_line, found)
    print(json.dumps(told) if as_json else "\n".join(lines))


def _line(one: Estimate) -> str:
    there = one.found + one.missed
    if one.recall is None:
        return f"{one.class_name}: none of the tiles shows it; {one.false} detected falsely"
    share, low, high = (100 * value for value in one.recall)
    missed, least, most = (100 * value for value in one.missed_share)
    return (
        f"{one.class_name}: found {one.found} of {there}, recall {share:.0f} % ({low:.0f} to "
        f"{high:.0f} %); missed in {missed:.1f} % of all tiles ({least:.1f} to {most:.1f} %); "
        f"{one.false} detected falsely"
    )
