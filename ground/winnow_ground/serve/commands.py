"""`winnow serve`, registered on the `winnow` application."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from winnow_ground.commands import help_of


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("serve", help=help_of(serve))(serve)


def serve(
    catalogue: Annotated[
        Path, typer.Argument(metavar="CATALOGUE", help="A file of `winnow catalogue add`.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8750,
) -> None:
    """Show a catalogue in the browser, on this machine alone (127.0.0.1), until Ctrl-C.

    Search by class, confidence, date and place; look at swaths; export what is found. Everything
    works offline. What `winnow catalogue add` adds meanwhile appears with the next search.

        winnow serve mars.db
    """
    from winnow_base.errors import CatalogueError, MissingExtraError

    try:
        import uvicorn

        from winnow_ground.serve.app import make_app
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name} is not installed", hint="pip install 'winnow-ground[serve]'"
        ) from error
    app = make_app(catalogue)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # who reads the address below may come at once
    except OSError as error:
        listener.close()
        raise CatalogueError(
            f"port {port} cannot be taken: {error.strerror}", hint="name another with --port"
        ) from error
    with listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/  (Ctrl-C ends it)", flush=True)
        config = uvicorn.Config(app, log_level="warning", lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])
