"""`winnow request`, registered on the `winnow` application."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from winnow_base.options import AsJson
from winnow_edge.files import printable
from winnow_ground.commands import help_of

_MOST = 2**31 - 1


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("request", help=help_of(request_command))(request_command)


def request_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of `winnow receive`.")],
    swath: Annotated[str, typer.Argument(metavar="SWATH", help="Name of the swath.")],
    line: Annotated[int, typer.Option(min=0, max=_MOST, metavar="N", help="First line.")],
    lines: Annotated[int, typer.Option(min=1, max=_MOST, metavar="N", help="How many.")],
    sample: Annotated[int, typer.Option(min=0, max=_MOST, metavar="N", help="First sample.")] = 0,
    samples: Annotated[
        int | None,
        typer.Option(min=1, max=_MOST, metavar="N", help="How many (default: to the last)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The list (default: requests.json in DIR)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a region of a swath as raw samples, without loss.

    The region is put on a list that goes up with the next contact. The board cuts it from the
    swath's file, if that is there still; otherwise it says why not. `winnow receive` writes it as a
    PNG of as many bits as the camera has.

        winnow request received strip.raw --line 1200 --lines 256 --sample 512 --samples 256
        winnow-edge downlink mission.toml --store store --request received/requests.json
        --swaths incoming/done --contact 480 --out pass-2.bin
    """
    from winnow_edge.products.kinds import Box
    from winnow_ground.received import load_received
    from winnow_ground.regions import REQUESTS_FILE, ask

    if samples is None:
        known = load_received(folder).swaths.values()
        widths = [i["samples"] for i in known if i.get("swath") == swath and i.get("samples")]
        samples = max(1, (widths[0] if widths else sample + 1) - sample)
    request = ask(folder, swath, Box(line, sample, lines, samples), out)
    path = out or folder / REQUESTS_FILE
    if as_json:
        print(json.dumps({"file": str(path), **dataclasses.asdict(request)}))
    else:
        size = f"{request.lines:,} lines of {request.samples:,} samples"
        print(printable(f"{path}: request {request.id}, {size} of {request.swath}"))
