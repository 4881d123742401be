"""`winnow weights list | fetch`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from winnow_base.errors import WeightsError
from winnow_base.options import AsJson, Pause, Stall, Tries


def register(app: typer.Typer) -> None:
    """Add `winnow weights` to `app`."""
    weights = typer.Typer(
        name="weights", help="Public ImageNet weights of backbones: which there are, fetch some."
    )
    weights.command("list")(show)
    weights.command("fetch", no_args_is_help=True)(fetch)
    app.add_typer(weights, no_args_is_help=True)


def show(
    as_json: AsJson = False,
) -> None:
    """List the backbones' public weights: names, nets, digests.

    A recipe takes them by name: model.weights = "mobilenet-0.5-128" with the net's own
    model.backbone and model.alpha.
    """
    from rich.table import Table

    from winnow_base.console import report_console, show_table
    from winnow_train.weights import BASE_URL, CATALOGUE

    if as_json:
        rows = {
            w.name: {
                "backbone": w.backbone,
                "alpha": w.alpha,
                "side": w.side,
                "file": w.file,
                "url": f"{BASE_URL}/{w.path}",
                "md5": w.md5,
            }
            for w in CATALOGUE.values()
        }
        typer.echo(json.dumps(rows))
        return
    table = Table("name", "backbone", "alpha", "trained at", "md5")
    for w in CATALOGUE.values():
        alpha = f"{w.alpha:g}" if w.alpha else "-"
        table.add_row(w.name, w.backbone, alpha, f"{w.side} pixels", w.md5 or "none published")
    show_table(report_console(), table)
    typer.echo("ImageNet weights of keras.applications, Apache-2.0. winnow weights fetch NAME")


def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="See `list`.")],
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="Folder to put them into.", show_default="WINNOW_WEIGHTS, else weights"
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url", help="A mirror with the same layout.", show_default="the publisher's"
        ),
    ] = None,
    stall: Stall = 30.0,
    tries: Tries = 6,
    pause: Pause = 1.0,
) -> None:
    """Fetch the public weights of backbones by name, and check them.

    A download that was cut off goes on where it stopped when the command is given again. Files are
    checked against their published digest; where none is, against that of the first fetch.

    Example: winnow weights fetch mobilenet-0.5-128 --to weights
    """
    from winnow_base.progress import Progress
    from winnow_train.data.download import Patience
    from winnow_train.weights import BASE_URL, WEIGHTS_VARIABLE, own_folder, public_weights
    from winnow_train.weights import fetch as bring

    wanted = []
    for name in names:
        if (found := public_weights(name)) is None:
            raise WeightsError(f"no weights are called {name!r}", hint="winnow weights list")
        wanted.append(found)
    folder = to or own_folder() or Path("weights")
    for weights in wanted:
        with Progress().bytes(weights.file) as meter:
            done = bring(
                weights,
                folder,
                base_url=base_url or BASE_URL,
                patience=Patience(stall, tries, pause),
                meter=meter,
            )
        proof = "md5 as published" if weights.md5 else "no digest is published"
        there = "already there, " if done.was_there else ""
        typer.echo(f"{done.path}: {there}{proof}, sha256 {done.sha256}")
    if folder != own_folder():
        typer.echo(f"export {WEIGHTS_VARIABLE}={folder}  # where winnow train looks for them")
