"""`winnow deploy`, registered on the `winnow` application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from winnow_base.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(name="deploy")(deploy)


def deploy(
    host: Annotated[str, typer.Argument(metavar="USER@HOST", help="The board, as ssh takes it.")],
    mission: Annotated[Path, typer.Argument(metavar="MISSION", help="Mission file (TOML).")],
    bundle: Annotated[
        str | None, typer.Option(help="Fly this bundle instead of the mission's.")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option(help="The edge wheel (default: built from this source tree).")
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="Folder on the board, relative to its home folder.")
    ] = "winnow",
    swath_input: Annotated[
        str,
        typer.Option(
            help="Folder that swaths are moved to, a named pipe or a device, on the board; or "
            "tcp://HOST:PORT, unix:PATH to connect to, tcp-listen://HOST:PORT, unix-listen:PATH "
            "to listen at."
        ),
    ] = "incoming",
    samples: Annotated[int | None, typer.Option(min=1, help="Width of raw lines.")] = None,
    identity: Annotated[Path | None, typer.Option(help="Private key for ssh.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of ssh.")] = None,
    ssh_option: Annotated[
        list[str] | None, typer.Option("--ssh-option", help="Option for ssh -o; may be repeated.")
    ] = None,
    python: Annotated[str | None, typer.Option(help="Python on the board.")] = None,
    service: Annotated[
        str,
        typer.Option(help="The systemd that starts it: auto, system (needs root), user or none."),
    ] = "auto",
    board_index: Annotated[
        bool,
        typer.Option(help="The board fetches the packages that the wheel needs by itself."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Look at the board, print the units, change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Install the edge, a mission and its bundles on a board over ssh, and start its service.

    The new installation is put beside the one that flies, is examined by `winnow-edge doctor`, and
    then takes its place. A failing step is named and leaves the old one flying. The board needs ssh
    with a key and Python 3.11 or newer with venv. It needs no internet: packages are fetched here.
    The same deploy twice changes nothing.
    """
    from winnow_ground.board import Board
    from winnow_ground.deploy import SERVICES
    from winnow_ground.deploy import deploy as run
    from winnow_ground.unit_files import Options

    if service not in SERVICES:
        raise typer.BadParameter(f"must be one of {', '.join(SERVICES)}", param_hint="--service")
    if host.startswith("-"):
        raise typer.BadParameter("must be [user@]host", param_hint="USER@HOST")
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    with console.status("deploying") as status:

        def say(words: str) -> None:
            console.print(words)
            status.update(words.splitlines()[0])

        outcome = run(
            Board(host, identity, port, tuple(ssh_option or ())),
            mission,
            Options(
                prefix=prefix,
                swath_input=swath_input,
                samples=samples,
                bundle=bundle,
                wheel=wheel,
                python=python,
                service=service,
                board_index=board_index,
            ),
            say=say,
            dry_run=dry_run,
        )
    if as_json:
        report: dict[str, object] = {"release": outcome.release, "changed": outcome.changed}
        report |= {"service": outcome.service, "doctor": outcome.doctor, "next": outcome.next}
        print(json.dumps(report))
    elif dry_run:
        print(f"{host}: nothing was changed")
    else:
        done = "deployed" if outcome.changed else "nothing to change,"
        print(f"{host}: {done} {outcome.release} (service: {outcome.service})")
        print(f"next: {outcome.next}")
