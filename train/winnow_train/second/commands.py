"""`winnow verifier`; Keras is imported inside the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from winnow_base.options import AsJson, Changes, DataFolder, Threads, WeightsFolder


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("verifier")(verifier)


def verifier(
    recipe: Annotated[
        str, typer.Argument(help="A verifier's recipe file, or the bare name of a shipped one.")
    ],
    cv: Annotated[
        Path, typer.Option("--cv", help="Folder of the first stage's finished `winnow cv`.")
    ],
    data: DataFolder,
    out: Annotated[Path, typer.Option("--out", help="Run folder; a killed run goes on from it.")],
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[BUNDLE]...",
            help="Bundles of all folds, where they are not FOLDER/fold-1.winnow and so on.",
        ),
    ] = None,
    weights_dir: WeightsFolder = None,
    false_per_swath: Annotated[
        float,
        typer.Option(
            "--false-per-swath",
            min=0.0,
            help="Thresholds of one stage and of both raise so many false alarms of a class in a "
            "picture.",
        ),
    ] = 0.05,
    mission: Annotated[
        Path | None, typer.Option("--mission", help="Fly as this mission file says.")
    ] = None,
    changes: Changes = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a second stage for a cross-validated first stage, and tell whether it pays.

    Example: winnow verifier hirise-verifier --cv cv/windows --data DATA --weights-dir WEIGHTS
    --out runs/verifier

    Every picture is flown by the net of the fold that held it out. A linear head on the features of
    a frozen backbone learns from these detections, from windows and from labelled tiles; heads
    fitted without a fold judge its detections. The run folder holds verifier.html and verifier.json
    with one stage against two, and is what `winnow convert RUN --verifier` takes.
    """
    from winnow_train.backend import quiet_backend
    from winnow_train.recipe import find_recipe
    from winnow_train.second.settings import read_settings

    settings = read_settings(find_recipe(recipe), changes or ())
    quiet_backend(threads)
    from winnow_base.progress import Progress
    from winnow_train.second.make import make_verifier
    from winnow_train.second.page import print_summary, write_page

    found = make_verifier(
        settings,
        cv,
        bundles or (),
        data,
        out,
        weights_dir=weights_dir,
        false_per_swath=false_per_swath,
        mission=mission,
        progress=Progress(),
    )
    write_page(found, out)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_summary(found, out)
