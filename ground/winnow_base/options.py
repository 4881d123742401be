"""Options that several commands of `winnow` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Cores to use; 0 takes all of them.")
]
_DATA = typer.Option("--data", help="Folder that holds the data sets' folders.")
DataFolder = Annotated[Path, _DATA]
OptionalDataFolder = Annotated[Path | None, _DATA]
WeightsFolder = Annotated[
    Path | None, typer.Option("--weights-dir", help="Folder of the backbones' weights files.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the recipe, e.g. train.epochs=5 or seed=3; may be repeated.",
    ),
]
Stall = Annotated[
    float, typer.Option("--stall", min=0.1, help="Seconds without a byte that count as a break.")
]
Tries = Annotated[int, typer.Option("--tries", min=1, help="Breaks in a row before giving up.")]
Pause = Annotated[
    float,
    typer.Option("--pause", min=0.0, help="Seconds before the second try; doubles each time."),
]
BundleName = Annotated[
    str | None,
    typer.Option(
        "--bundle",
        metavar="BUNDLE",
        help="A .winnow file or a shipped name (default: hirise-windows).",
    ),
]
Scales = Annotated[
    str | None,
    typer.Option(
        "--scales",
        metavar="N,N...",
        help="How many pixels become one (default: 1,2,4, or the mission's).",
    ),
]
