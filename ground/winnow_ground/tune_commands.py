"""`winnow tune`, registered on the `winnow` application."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow_base.options import AsJson
from winnow_ground.commands import help_of

if TYPE_CHECKING:
    from winnow_ground.simulation.tune import Setting, Tuned
    from winnow_ground.simulation.variants import Key


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("tune", help=help_of(tune_command))(tune_command)


def tune_command(
    mission: Annotated[
        Path, typer.Argument(metavar="MISSION.toml", help="Mission file with \\[simulation].")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Mission file to write, beside the mission."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds that are chosen on.")] = 2,
    judges: Annotated[int, typer.Option(min=2, max=1000, help="Seeds that are judged on.")] = 5,
    plays: Annotated[int, typer.Option(min=1, help="About so many missions are played.")] = 400,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes.")] = 1,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keeps what the net said.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Page of the trade-offs to write (HTML).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace the file at --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the settings that deliver most: policy, scales, hop, and of every class its threshold,
    the utility it is ranked by, and its bytes in a contact.

    The mission is played with one key changed after the other, on the scores that the net gave
    once. Value stays what the mission file says that each class is worth. What was chosen on some
    seeds is judged on others. With --out, the mission file is written with what brings most, its
    comments kept. With --page, one page shows what every value that was tried brings, class by
    class: value, recall, precision, bytes and energy.

        winnow tune missions/cubesat.toml --out missions/cubesat-tuned.toml --page tuned.html
    """
    from winnow_base.errors import DataError
    from winnow_base.files import make_folder
    from winnow_base.progress import Progress
    from winnow_edge.files import write_file
    from winnow_ground.simulation import tune_page
    from winnow_ground.simulation.tune import tune

    if out is not None:
        _tomlkit()
        if out.resolve().parent != mission.resolve().parent:
            raise DataError(
                "must lie beside the mission, whose paths are relative to its folder",
                where=out,
                hint=f"e.g. {mission.with_name(mission.stem + '-tuned.toml')}",
            )
        if out.exists() and not yes:
            raise DataError("is there already", where=out, hint="give another --out, or --yes")
    if page is not None:
        if page.exists() and not page.is_file():
            raise DataError("is no file", where=page, hint="give another --page")
        make_folder(page.parent)
    with Progress(quiet=as_json).steps() as progress:
        found = tune(
            mission, seeds=seeds, judges=judges, most=plays, workers=workers, cache=cache,
            progress=progress,
        )  # fmt: skip
    if out is not None:
        _write(mission, out, found.changes)
    if page is not None:
        write_file(page, tune_page.page(found))
    if as_json:
        typer.echo(json.dumps(_as_json(found)))
        return
    _show(found)
    for path in (out, page):
        if path is not None:
            typer.echo(f"wrote {path}")


def _write(mission: Path, out: Path, changes: dict[Key, Setting]) -> None:
    """The mission file with changed keys, all else as it was."""
    from winnow_edge.files import read_small, write_file
    from winnow_edge.mission import parse_mission

    tomlkit = _tomlkit()
    document: Any = tomlkit.parse(read_small(mission).decode("utf-8"))
    for key, value in changes.items():
        table = document
        for name in key[:-1]:
            if name not in table:
                table[name] = tomlkit.table(is_super_table=name == "class")
            table = table[name]
        table[key[-1]] = value
    text = tomlkit.dumps(document)
    parse_mission(text, out)
    write_file(out, text)


def _tomlkit() -> ModuleType:
    try:
        import tomlkit
    except ImportError:
        from winnow_base.errors import MissingExtraError

        raise MissingExtraError(
            "tomlkit is not installed", hint="pip install 'winnow-ground[sweep]'"
        ) from None
    module: ModuleType = tomlkit
    return module


def _show(found: Tuned) -> None:
    from rich.table import Table

    from winnow_base.console import report_console, show_table
    from winnow_ground.simulation.tune import value_text
    from winnow_ground.simulation.variants import key_text

    for key, value in found.changes.items():
        typer.echo(f"{key_text(key)} = {value_text(value)}")
    if not found.changes:
        typer.echo("no change brings more")
    table = Table("class", "value", "recall", "precision", "kB of pictures")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in found.classes:
        if any(f"value.{name}" in figures for figures in (found.before, found.after)):
            table.add_row(name, *_cells(found, name))
    show_table(report_console(), table)
    was, now, gain = found.value
    half = f" ±{gain.half:,.1f}" if gain.half else ""
    typer.echo(
        f"value {was.mean:,.1f} -> {now.mean:,.1f} ({gain.mean:+,.1f}{half}) on "
        f"{len(found.judged_on)} seeds that it was not chosen on; {found.plays} missions played"
    )
    energy = [f"{figures.get('energy_wh', 0.0):,.2f}" for figures in (found.before, found.after)]
    down = [f"{figures['bytes_down'] / 1e6:,.2f}" for figures in (found.before, found.after)]
    typer.echo(f"energy {energy[0]} -> {energy[1]} Wh, down {down[0]} -> {down[1]} MB")
    for note in found.notes:
        typer.echo(f"note: {note}")


def _cells(found: Tuned, name: str) -> list[str]:
    """Before and after of a class."""

    def both(figure: str, factor: float, digits: int) -> str:
        some = [of.get(f"{figure}.{name}") for of in (found.before, found.after)]
        return " -> ".join("-" if v is None else f"{v * factor:,.{digits}f}" for v in some)

    return [
        both("worthwhile", 1, 1),
        both("recall", 100, 0) + " %",
        both("precision", 100, 0) + " %",
        both("bytes", 1e-3, 0),
    ]


def _as_json(found: Tuned) -> dict[str, Any]:
    from winnow_ground.simulation.variants import key_text

    was, now, gain = found.value
    return {
        "changes": [{"key": list(key), "value": value} for key, value in found.changes.items()],
        "value": {"before": was.mean, "after": now.mean, "gain": gain.mean, "half": gain.half},
        "before": found.before,
        "after": found.after,
        "tried": [
            {
                "key": key_text(t.key),
                "values": list(t.values),
                "figures": list(t.figures),
                "held": t.held,
                "best": t.best,
                "gain": t.gain,
            }
            for t in found.tried
        ],
        "chosen_on": list(found.chosen_on),
        "judged_on": list(found.judged_on),
        "plays": found.plays,
        "notes": list(found.notes),
    }
