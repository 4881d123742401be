"""`winnow cv`; Keras is imported inside the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from winnow_base.options import AsJson, Changes, DataFolder, Threads, WeightsFolder


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("cv")(cv)


def cv(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, or the bare name of a shipped one.")
    ],
    data: DataFolder,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the folds; a killed one goes on from it.")
    ],
    folds: Annotated[int, typer.Option("--folds", min=2, help="Into how many folds.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Assigns the sources to folds.")] = 0,
    block: Annotated[
        int, typer.Option("--block", min=1, help="Sols that are held out together, rover data.")
    ] = 10,
    eras: Annotated[
        bool,
        typer.Option("--eras", help="The folds are eras, equal spans of all sols, rover data."),
    ] = False,
    fold_file: Annotated[
        Path | None,
        typer.Option("--fold-file", help="Take the folds from this folds.csv; 0: never held out."),
    ] = None,
    criterion: Annotated[
        str,
        typer.Option("--choose", help="Choose the prior by likelihood, accuracy or macro-f1."),
    ] = "likelihood",
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", help="Another cross-validation's folder, or a model, on the same tiles."
        ),
    ] = None,
    suspects: Annotated[
        Path | None,
        typer.Option("--suspects", help="Weigh the tiles of a suspects.csv down in training."),
    ] = None,
    weights_dir: WeightsFolder = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher",
            help="Run folder or bundle that teaches every fold as it is, instead of teachers "
            "trained anew; its own sources are not judged; may be repeated.",
        ),
    ] = None,
    changes: Changes = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Cross-validate a RECIPE by source: what it is worth on sources that its nets never saw.

    Example: winnow cv msl-surface --data DATA --weights-dir WEIGHTS --out cv/msl --eras --folds 3

    Trains the recipe, and the teachers it names, once per fold on the labelled tiles of train and
    val together. The folder holds out-of-fold.npz, cv.json, cv.html with every figure and its
    interval over sources, and suspects.csv. `winnow train RECIPE --chosen FOLDER` trains the net
    that flies with what was chosen here.
    """
    from winnow_train.backend import quiet_backend
    from winnow_train.crossval import noise
    from winnow_train.crossval.choose import refuse_unknown
    from winnow_train.recipe import find_recipe, read_recipe

    refuse_unknown(criterion)
    if eras and fold_file:
        raise typer.BadParameter("a fold file names its folds itself", param_hint="--eras")
    path = find_recipe(recipe)
    wanted = read_recipe(path, changes or ())
    weighed = noise.read_weights(suspects) if suspects else {}
    quiet_backend(threads)
    from winnow_base.progress import Progress
    from winnow_train.chosen import Settings
    from winnow_train.crossval import rival
    from winnow_train.crossval.cross import cross_validate, export_chosen
    from winnow_train.crossval.page import print_summary, write_page

    if against is not None:
        rival.refuse_unfit(against, wanted, data)
    progress = Progress()
    found = cross_validate(
        wanted,
        data,
        out,
        folds=folds,
        seed=seed,
        sols=block,
        eras=eras,
        fold_file=fold_file,
        suspects=weighed,
        weights_dir=weights_dir,
        teachers=tuple(teacher or ()),
        recipes=path.parent,
        progress=progress,
    )
    report = write_page(found, out, criterion, data=data, against=against, progress=progress)
    settings = Settings(**report["chosen"])
    teachers = tuple(teacher or ())
    export_chosen(
        wanted,
        data,
        out,
        settings,
        weights_dir=weights_dir,
        teachers=teachers,
        progress=progress,
    )
    if as_json:
        typer.echo(json.dumps(report))
    else:
        print_summary(report, out)
