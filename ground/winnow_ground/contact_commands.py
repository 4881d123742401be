"""`winnow contacts`, registered on the `winnow` application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow_base.options import AsJson
from winnow_ground.commands import help_of
from winnow_ground.words import count

if TYPE_CHECKING:
    from winnow_ground.contacts import ContactPlan, Downlinks


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("contacts", help=help_of(contacts_command))(contacts_command)


def contacts_command(
    plan: Annotated[
        Path,
        typer.Argument(metavar="PLAN", help="ION, HDTN or CSV file, or a .toml with an orbit."),
    ],
    node: Annotated[
        int | None, typer.Option(min=0, help="The spacecraft's node number in the plan.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Write the plan as ion, hdtn or csv.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --to: file to write (default: standard output)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the contacts of a plan: when, how long, with whom, how many bytes.

    A plan is a file of ION, HDTN or CSV, or a TOML file of published elements (two-line, OMM) and
    ground stations, whose passes and eclipses are computed.

        winnow contacts missions/plans/cubesat.toml
        winnow contacts missions/plans/cubesat.toml --to ion --out cubesat.ionrc
    """
    from winnow_ground.contacts import load_plan

    found = load_plan(plan)
    if to is not None:
        _write(found, to, out)
        return
    if out is not None:
        raise typer.BadParameter("needs --to ion, hdtn or csv", param_hint="--out")
    links = found.downlinks(node)
    if as_json:
        typer.echo(json.dumps(_as_json(found, links)))
    else:
        _show(found, links)


def _write(plan: ContactPlan, to: str, out: Path | None) -> None:
    from winnow_edge.files import write_file
    from winnow_ground.contacts.write import FORMATS

    if to not in FORMATS:
        raise typer.BadParameter(f"{to!r} is none of {', '.join(FORMATS)}", param_hint="--to")
    text = FORMATS[to](plan)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_file(out, text)
        typer.echo(f"wrote {out}")


def _as_json(plan: ContactPlan, links: Downlinks) -> dict[str, Any]:
    return {
        "plan": str(plan.path),
        "node": links.node,
        "epoch": plan.epoch.isoformat() if plan.epoch else None,
        "contacts": [
            {
                "start": c.start,
                "end": c.end,
                "receiver": c.receiver,
                "name": plan.name(c.receiver),
                "bytes": c.budget_bytes,
                "light_seconds": c.light_seconds,
                "confidence": c.confidence,
            }
            for c in links.contacts
        ],
        "eclipses": plan.eclipses,
        "notes": list(links.notes),
    }


def _show(plan: ContactPlan, links: Downlinks) -> None:
    from rich.table import Table

    from winnow_base.console import report_console, show_table

    table = Table("start", "seconds", "with", "kbit/s", "bytes", "light s")
    for column in (table.columns[1], *table.columns[3:]):
        column.justify = "right"
    for c in links.contacts:
        table.add_row(
            plan.time_text(c.start),
            f"{c.seconds:,.0f}",
            plan.name(c.receiver),
            f"{c.budget_bytes * 8 / c.seconds / 1000:,.1f}",
            f"{c.budget_bytes:,}",
            f"{c.light_seconds:.3f}",
        )
    show_table(report_console(), table)
    total = sum(c.budget_bytes for c in links.contacts)
    seconds = sum(c.seconds for c in links.contacts)
    who = f"{count(len(links.contacts), 'contact')} of {plan.name(links.node)}"
    typer.echo(f"{who}: {seconds:,.0f} s, {total:,} bytes")
    if plan.eclipses is not None:
        hidden = sum(end - start for start, end in plan.eclipses)
        typer.echo(f"{len(plan.eclipses)} eclipses: {hidden:,.0f} s")
    for note in links.notes:
        typer.echo(f"note: {note}")
