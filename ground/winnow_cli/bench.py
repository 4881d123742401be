"""`winnow bench`: float nets and bundles side by side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from winnow_base.options import AsJson

if TYPE_CHECKING:
    from winnow_convert.race import Race


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("bench")(bench)


def bench(
    nets: Annotated[
        list[str],
        typer.Argument(
            help="Bundles (files or shipped names), .tflite files, run folders of `winnow train`.",
        ),
    ],
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600.0, help="Time to spend on rounds.")
    ] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Time nets side by side on this machine, float against int8, and say what boards need.

    A run folder is timed as a float flatbuffer, which needs TensorFlow; everything else does not.
    Times are of bare invocations on one thread; `winnow-edge bench` times the whole flight loop.
    Figures of boards are lower bounds by work and memory, not measurements (docs/benchmarks.md).
    """
    from winnow_base.progress import Progress
    from winnow_convert.race import open_net, race

    opened = [open_net(net) for net in nets]
    with Progress(quiet=as_json).steps() as step:
        found = race(opened, seconds, step)
    if as_json:
        print(json.dumps(found.as_json()))
    else:
        _print(found)


def _print(found: Race) -> None:
    """A table, the boards' sources, and what it comes to."""
    from rich.table import Table

    from winnow_base.console import report_console
    from winnow_convert.race import FLOWN, verdict
    from winnow_edge.board import host

    console = report_console()
    here = Table(title=f"one invocation on one thread of {host.cpu().model}")
    boards = Table(title="least ms of one core of a board, estimated")
    for heading in ("net", "kind"):
        here.add_column(heading, overflow="fold")
    for heading in ("kB", "MMAC", "ms", "ms of processor time"):
        here.add_column(heading, justify="right", no_wrap=True)
    boards.add_column("net", overflow="fold")
    for name in FLOWN:
        boards.add_column(name, justify="right", no_wrap=True)
    for timed in found.nets:
        here.add_row(
            timed.net.name,
            timed.net.kind,
            f"{timed.net.bytes / 1000:,.0f}",
            f"{timed.mmac:,.1f}",
            f"{timed.ms:.3f}",
            f"{timed.cpu_ms:.3f}",
        )
        if timed.least_ms:
            boards.add_row(timed.net.name, *(f"{timed.least_ms[name]:.2f}" for name in FLOWN))
    console.print(here)
    if boards.row_count:
        console.print(boards)
        console.print(
            "Estimated from the work and memory traffic of the net at a board's peak rates: lower "
            "bounds,\nreal kernels take a multiple. No board was measured (docs/benchmarks.md).",
            highlight=False,
        )
    if found.busy:
        console.print(
            f"Other processes took {found.others:.0%} of the processor: trust the ms of CPU.",
            highlight=False,
        )
    console.print(verdict(found.nets), highlight=False, soft_wrap=True)
