"""The `winnow` command: train, evaluate, convert, simulate, receive, report.

Each package registers its own commands; the one that needs two of them, `convert`, lies here. Heavy
imports (Keras, TensorFlow, matplotlib) happen inside the commands, so that `winnow --help` stays
quick and the receiving half needs no TensorFlow.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import winnow_cli.bench
import winnow_cli.convert
import winnow_cli.new
import winnow_cli.retrain
import winnow_ground.audit_commands
import winnow_ground.catalogue.commands
import winnow_ground.commands
import winnow_ground.contact_commands
import winnow_ground.deploy_commands
import winnow_ground.feed
import winnow_ground.labelling.commands
import winnow_ground.labelling.select_command
import winnow_ground.look_commands
import winnow_ground.place_commands
import winnow_ground.receive_command
import winnow_ground.request_commands
import winnow_ground.scene_commands
import winnow_ground.serve.commands
import winnow_ground.tune_commands
import winnow_train.commands
from winnow_edge.errors import WinnowEdgeError
from winnow_edge.output import checked_stdout, tell
from winnow_ground.versions import describe

app = typer.Typer(
    name="winnow",
    help="The ground half of Winnow: train and quantize nets, simulate missions, receive "
    "and report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)
winnow_train.commands.register(app)
winnow_cli.convert.register(app)
winnow_cli.new.register(app)
winnow_cli.retrain.register(app)
winnow_cli.bench.register(app)
winnow_ground.receive_command.register(app)
winnow_ground.commands.register(app)
winnow_ground.audit_commands.register(app)
winnow_ground.catalogue.commands.register(app)
winnow_ground.contact_commands.register(app)
winnow_ground.deploy_commands.register(app)
winnow_ground.feed.register(app)
winnow_ground.labelling.commands.register(app)
winnow_ground.labelling.select_command.register(app)
winnow_ground.look_commands.register(app)
winnow_ground.place_commands.register(app)
winnow_ground.request_commands.register(app)
winnow_ground.scene_commands.register(app)
winnow_ground.tune_commands.register(app)
winnow_ground.serve.commands.register(app)


def _print_versions(wanted: bool) -> None:
    if wanted:
        print("\n".join(describe()))
        raise typer.Exit


@app.callback()
def front_door(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_print_versions,
            help="Versions of what is installed, and which extras are not.",
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run `winnow`; an expected error prints one line on stderr and sets the exit code."""
    try:
        with checked_stdout():
            app()
    except WinnowEdgeError as error:
        tell(f"winnow: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        tell("winnow: interrupted")
        sys.exit(130)
    except SystemExit as leaving:
        if leaving.code == 130:  # Typer makes this of Ctrl-C, without a word
            tell("winnow: interrupted; the same command goes on or starts anew")
        raise
    except BrokenPipeError:
        sys.exit(0)
