"""`winnow retrain`: labels of people become the next bundle, if it is better than what flies."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow_base.errors import DataError, GateError
from winnow_base.options import AsJson, DataFolder, Threads
from winnow_ground.commands import help_of

if TYPE_CHECKING:
    from winnow_base.progress import Progress
    from winnow_edge.bundle import Bundle
    from winnow_train.datasets import TileSet
    from winnow_train.recipe import Recipe
    from winnow_train.turn.compare import Gain
    from winnow_train.turn.plan import Flying
    from winnow_train.turn.tiles import Made, NewTile

CANDIDATE, FILE = "candidate.winnow", "turn.json"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("retrain", help=help_of(retrain), no_args_is_help=True)(retrain)


def retrain(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="What flies: a .winnow file or a shipped name.")
    ],
    labels: Annotated[
        Path, typer.Option("--labels", metavar="CATALOGUE", help="The catalogue with the labels.")
    ],
    data: DataFolder,
    to: Annotated[Path, typer.Option("--to", metavar="NEW.winnow", help="The bundle to write.")],
    swaths: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Whole pictures with truth, which both fly."),
    ] = None,
    looks: Annotated[
        str, typer.Option(help="With --swaths: what is known of them beside their truth.")
    ] = "",
    mission: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --swaths: fly as this mission does.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, max=100, help="Passes over all tiles.")] = 4,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1e-7, max=1.0, help="Learning rate (default: the recipe's, 3e-4 at the most)."
        ),
    ] = None,
    mean: Annotated[
        bool,
        typer.Option(
            "--mean/--tuned", help="Fly the mean of the old and the trained weights, or the latter."
        ),
    ] = True,
    most_loss: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Gate: loss of accuracy or F1, as a share.")
    ] = 0.02,
    name: Annotated[
        str, typer.Option(help="The new net's name (default: the old one's, next round).")
    ] = "",
    work: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Tiles and runs (default: beside NEW.winnow)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the bundle that is there already.")
    ] = False,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Train the net that flies on what people labelled, and write it if it is better.

    Old tiles keep their set, new sources get one for good. The recipe is the bundle's own, from
    the bundle's weights, for a few epochs; the mean of old and new weights is taken. Both nets then
    answer the same tiles (old val, new labels of val) and fly the same whole pictures; differences
    are paired, by source. A net that is worse anywhere, or better nowhere, is refused with exit
    code 5.

        winnow retrain craters.winnow --labels mars.db --data tiles --to craters-r2.winnow
    """
    from winnow_base.progress import Progress
    from winnow_edge.bundle import find_bundle, open_bundle
    from winnow_edge.files import write_aside
    from winnow_train.backend import quiet_backend
    from winnow_train.preflight import refuse_unready
    from winnow_train.turn.plan import Flying, Settings

    flying = Flying.of(open_bundle(find_bundle(bundle)))
    _refuse_out(to, flying.bundle.path, force=force)
    progress = Progress(quiet=as_json)
    old = flying.old_tiles(data)
    recipe = flying.recipe_of_turn(old, Settings(epochs, rate, name=name), data)
    folder = work or to.with_name(f"{to.stem}-turn")
    made = _data_set(flying, recipe, old, labels, data, folder, progress)
    refuse_unready(recipe, made.folder, teachers=(flying.bundle.path,))
    quiet_backend(threads)
    from winnow_train.turn.train import train_turn

    run = train_turn(flying, recipe, made.folder, folder, progress, mean=mean)
    new = _converted(run, made.folder, folder / CANDIDATE)
    gains, notes = _compared(flying, new, made, swaths, looks, mission, progress)
    told = _told(flying.bundle, new, made, gains, notes)
    (folder / FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told)) if as_json else _show(flying.bundle, new, made, gains, notes)
    _refuse_worse(gains, most_loss, new)
    with write_aside(to) as stream:
        stream.write(new.path.read_bytes())
    if not as_json:
        print(f"wrote {to} ({to.stat().st_size:,} bytes, sha256 {new.sha256[:16]}…)")
        print(f"next: winnow new mission {to} --out mission.toml, and winnow-edge run it")


def _refuse_out(to: Path, flies: Path, *, force: bool) -> None:
    from winnow_edge.errors import OutputError

    if not to.parent.is_dir():
        raise OutputError("no such folder", where=to.parent, hint="create it, or give another --to")
    if to.is_dir() or (to.exists() and to.samefile(flies)):
        raise OutputError("cannot be written", where=to, hint="what flies stays: name another --to")
    if to.exists() and not force:
        raise OutputError("is there already", where=to, hint="name another --to, or add --force")


def _data_set(
    flying: Flying,
    recipe: Recipe,
    old: TileSet,
    labels: Path,
    data: Path,
    folder: Path,
    progress: Progress,
) -> Made:
    """The tiles of the turn on the disk, and said what they are."""
    from winnow_base.files import make_folder
    from winnow_train.turn.tiles import make_set

    new, left_out = _labelled(flying, old, labels)
    beside = [data / name for name in recipe.windows.folders]
    words = f"labelled by people in {labels.name}"
    made = make_set(make_folder(folder) / "tiles", old, new, words, progress, beside, data=data)
    for why, count in {**left_out, **made.left_out}.items():
        _say(f"{count:,} labelled tiles left out: {why}")
    for source, other in sorted(made.alike.items()):
        where = made.sets[source]
        _say(f"{source} has the picture of {other} of the old tiles, and is in {where} as it is")
    shown = ", ".join(f"{n:,} {name}" for name, n in sorted(made.counts.items()))
    sets = ", ".join(f"{source} in {where}" for source, where in sorted(made.sets.items())[:8])
    _say(f"{len(made.fresh):,} new tiles ({shown}); {sets}")
    return made


def _say(words: str) -> None:
    from winnow_edge.output import tell

    tell(words)


def _labelled(flying: Flying, old: TileSet, labels: Path) -> tuple[list[NewTile], dict[str, int]]:
    """The labels of the catalogue as tiles of the data set, and how many are left out, and why."""
    from winnow_ground.catalogue.schema import open_catalogue, saying
    from winnow_ground.labelling.learnable import learnable
    from winnow_train.turn.plan import classes_of
    from winnow_train.turn.tiles import NewTile

    db = open_catalogue(labels)
    try:
        with saying(labels):
            found = learnable(db)
    finally:
        db.close()
    if not found.tiles:
        raise DataError(
            "holds no label that can be learned from",
            where=labels,
            hint="`winnow serve` shows pages to label, `winnow label` imports labels",
        )
    names = classes_of(flying, [tile.class_name for tile in found.tiles], old)
    new, strange = [], dict[str, int]()
    for tile, class_name in zip(found.tiles, names, strict=True):
        if class_name is None:
            why = f"{tile.class_name or 'nothing'} is no class that the net knows"
            strange[why] = strange.get(why, 0) + 1
            continue
        where = (tile.file, tile.picture, tile.box, tile.scale)
        new.append(NewTile(tile.tile, class_name, tile.swath, *where))
    return new, {**found.left_out, **strange}


def _converted(run: Path, tiles: Path, out: Path) -> Bundle:
    """The run as an int8 bundle. Raises GateError where int8 loses too much."""
    from winnow_base.conversion import read_conversion
    from winnow_base.progress import Progress
    from winnow_convert.convert import best_of, compare_methods, write
    from winnow_convert.source import load_source
    from winnow_train.tasks import read_like

    source = load_source(run)
    options = read_conversion(source.recipe_options, {}, source.folder)
    with Progress().steps() as step:
        train, val = (read_like(source.description, tiles, s, step) for s in ("train", "val"))
        converted = best_of(compare_methods(source, train, val, options, step))
    return write(converted, out)


def _compared(
    flying: Flying,
    new: Bundle,
    made: Made,
    swaths: Path | None,
    looks: str,
    mission: Path | None,
    progress: Progress,
) -> tuple[list[Gain], list[str]]:
    """Both bundles on old val, new labels and whole strips; and what could not be compared."""
    from winnow_train.recipe import parse_recipe
    from winnow_train.tasks import read_task
    from winnow_train.turn.compare import on_strips, on_tiles
    from winnow_train.turn.tiles import fresh_rows

    recipe = parse_recipe(new.manifest.training["recipe"])
    data = dataclasses.replace(
        recipe.data, map={c: recipe.data.map[c] for c in new.manifest.classes}
    )
    task = read_task(data, made.folder, recipe.model.head).split("val")
    fresh = fresh_rows([tile.path for tile in task.tiles.tiles], made)
    parts, notes = {"old val": ~fresh, "new labels": fresh}, []
    if flying.saw_everything:
        notes.append("old val: the net that flies learned from every old tile")
    notes += [f"{name}: no tile of val" for name, rows in parts.items() if not rows.any()]
    gains = on_tiles(task, flying.bundle.path, new.path, parts, progress)
    if swaths is None:
        notes.append("whole strips: none were given (--swaths)")
        return gains, notes
    trained = (flying.bundle.manifest.training, new.manifest.training)
    learned = frozenset(s for told in trained for s in told["sources"]["train"])
    found, aside = on_strips(
        swaths, flying.bundle.path, new.path, learned, progress, mission=mission, looks=looks,
        data=made.folder,
    )  # fmt: skip
    if aside:
        notes.append(
            f"whole strips: {aside} left out, as a net learned from their source or pixels"
        )
    return gains + found, notes


def _refuse_worse(gains: list[Gain], most_loss: float, new: Bundle) -> None:
    worse = [gain.said for gain in gains if gain.is_worse(most_loss)]
    hint = f"nothing was written; the net is kept in {new.path}"
    if worse:
        raise GateError(f"worse than what flies: {'; '.join(worse)}", where=new.path, hint=hint)
    if not any(gain.value > 0 for gain in gains):
        raise GateError("better than what flies in nothing", where=new.path, hint=hint)


def _told(
    flies: Bundle, new: Bundle, made: Made, gains: list[Gain], notes: list[str]
) -> dict[str, Any]:
    """The turn as JSON values."""
    return {
        "flies": {"name": flies.manifest.name, "sha256": flies.sha256},
        "new": {"name": new.manifest.name, "sha256": new.sha256, "path": str(new.path)},
        "tiles": {"new": len(made.fresh), "by_class": dict(made.counts), "sets": dict(made.sets)},
        "gains": [gain.as_json() for gain in gains],
        "notes": notes,
    }


def _show(flies: Bundle, new: Bundle, made: Made, gains: list[Gain], notes: list[str]) -> None:
    from rich.table import Table

    from winnow_base.console import report_console, show_table

    table = Table("on", "figure", "n", "sources", "flies", "new", "gained [95 %]", "McNemar p")
    for column in table.columns[2:]:
        column.justify = "right"
    for gain in gains:
        span = "" if gain.low is None else f" [{gain.low:+.3f}, {gain.high:+.3f}]"
        table.add_row(
            gain.on, gain.figure, f"{gain.n:,}", f"{gain.sources:,}", f"{gain.flying:.3f}",
            f"{gain.new:.3f}", f"{gain.value:+.3f}{span}",
            "" if gain.p is None else f"{gain.p:.3f}",
        )  # fmt: skip
    print(f"{new.manifest.name} against {flies.manifest.name}; intervals draw sources")
    show_table(report_console(), table)
    for note in notes:
        print(f"note: {note}")
