"""`winnow train` and `winnow evaluate`; Keras is imported inside the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import winnow_train.crossval.commands
import winnow_train.data.commands
import winnow_train.second.commands
import winnow_train.weights_commands
from winnow_base.options import (
    AsJson,
    Changes,
    DataFolder,
    OptionalDataFolder,
    Threads,
    WeightsFolder,
)
from winnow_edge.bundle import SUFFIX
from winnow_train.backend import quiet_backend


def register(app: typer.Typer) -> None:
    """Add this package's commands to `app`."""
    app.command("train")(train)
    app.command("evaluate")(evaluate)
    winnow_train.crossval.commands.register(app)
    winnow_train.second.commands.register(app)
    winnow_train.data.commands.register(app)
    winnow_train.weights_commands.register(app)


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, or the bare name of a shipped one.")
    ],
    data: DataFolder,
    out: Annotated[Path, typer.Option("--out", help="Run folder; a killed run goes on from it.")],
    weights_dir: WeightsFolder = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher", help="Run folder, bundle, or name of a shipped bundle; may be repeated."
        ),
    ] = None,
    changes: Changes = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Train on all labelled tiles; there is no val.")
    ] = False,
    chosen: Annotated[
        Path | None,
        typer.Option("--chosen", help="As --all, with what the `winnow cv` of this folder chose."),
    ] = None,
    threads: Threads = 0,
) -> None:
    """Train a recipe into a run folder: model.keras, model.json, training.jsonl, checkpoint.

    Example: winnow train hirise-landmarks --data DATA --weights-dir WEIGHTS --out runs/landmarks

    model.json holds the recipe with every --set in it.
    """
    from winnow_train.chosen import read_chosen
    from winnow_train.evaluate import find_model
    from winnow_train.preflight import refuse_unready
    from winnow_train.recipe import find_recipe, read_recipe

    wanted = read_recipe(find_recipe(recipe), changes or ())
    picked = read_chosen(chosen, wanted) if chosen else None
    held = () if everything or picked else None
    teachers = tuple(map(find_model, teacher or ()))
    refuse_unready(wanted, data, weights_dir=weights_dir, teachers=teachers, held=held)
    quiet_backend(threads)
    from winnow_base.progress import Progress
    from winnow_train.run import train as run

    card = run(
        wanted,
        data,
        out,
        weights_dir=weights_dir,
        teachers=teachers,
        progress=Progress(),
        held=held,
        chosen=picked,
        suspects=picked.weights if picked else None,
    )
    found = card["metrics"]
    if "accuracy" not in found:
        typer.echo(f"{out}: {card['name']}  {found['split']}")
        return
    typer.echo(
        f"{out}: {card['name']}  {found['split']} accuracy {found['accuracy']:.4f}  "
        f"macro-F1 {found['macro_f1']:.4f}  ECE {found['ece']:.4f}  "
        f"temperature {card['temperature']:.3f}"
    )


def evaluate(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="A run folder, a .winnow file, or the bare name of a shipped bundle.",
        ),
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", help="hirise-v1, hirise-v3, msl, or folder.")
    ] = "",
    data: OptionalDataFolder = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "val",
    as_json: AsJson = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Also write an evaluation page into this folder."),
    ] = None,
    by_instrument: Annotated[
        bool,
        typer.Option(
            "--by-instrument",
            help="Give every tile to the MODEL of its camera; a MODEL without a camera "
            "takes the rest.",
        ),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", help="Judge this model on the same tiles too; intervals over sources."
        ),
    ] = None,
    swaths: Annotated[
        Path | None,
        typer.Option(
            "--swaths",
            help="Fly a bundle over the pictures of this folder, with truth beside them.",
        ),
    ] = None,
    looks: Annotated[
        str,
        typer.Option(
            "--looks", help="With --swaths: what is known of the pictures beside their truth files."
        ),
    ] = "",
    absent: Annotated[
        list[str] | None,
        typer.Option(
            "--absent", metavar="CLASS", help="With --swaths: a class that is in none of them."
        ),
    ] = None,
    mission: Annotated[
        Path | None,
        typer.Option("--mission", help="With --swaths: fly as this mission file says."),
    ] = None,
    false_per_swath: Annotated[
        float | None,
        typer.Option(
            "--false-per-swath",
            min=0.0,
            help="With --swaths: thresholds with at most so many false alarms of a class each.",
        ),
    ] = None,
    sizes: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--sizes",
            metavar="LEAST MOST",
            help="With --swaths: judge features with sides of so many pixels alone.",
        ),
    ] = None,
) -> None:
    """Accuracy, macro-F1, per-class figures, confusion, calibration and abstention of a model.

    Example: winnow evaluate runs/landmarks --dataset hirise-v3 --data DATA --split val

    One model per camera, against a single one for all: winnow evaluate LEFT RIGHT MAHLI
    --by-instrument --against SINGLE --dataset msl --data DATA

    Whole swaths, each NAME.truth.json beside its picture: winnow evaluate BUNDLE --swaths FOLDER

    Pictures that a cross-validation held out, each flown by the bundle of its fold: winnow evaluate
    cv/fold-1.winnow cv/fold-2.winnow cv/fold-3.winnow --swaths FOLDER
    """
    if swaths is not None:
        if dataset or by_instrument or against is not None:
            raise typer.BadParameter(
                "takes no --dataset, --by-instrument or --against", param_hint="--swaths"
            )
        _evaluate_swaths(
            models, swaths, looks, absent or [], mission, false_per_swath, sizes, as_json, report
        )
        return
    if looks or absent or any(x is not None for x in (mission, false_per_swath, sizes)):
        raise typer.BadParameter(
            "--looks, --absent, --mission, --false-per-swath and --sizes need it",
            param_hint="--swaths",
        )
    if not dataset or data is None:
        raise typer.BadParameter("give it and --data, or --swaths", param_hint="--dataset")
    compare = by_instrument or against is not None
    if len(models) > 1 and not by_instrument:
        raise typer.BadParameter("several models need --by-instrument", param_hint="MODEL...")
    if compare and report is not None:
        raise typer.BadParameter("the page is of one model alone", param_hint="--report")
    from winnow_base.progress import Progress
    from winnow_train.evaluate import evaluate as judge
    from winnow_train.evaluate import find_model, print_table

    models = [find_model(m) for m in models]
    against = find_model(against) if against else None
    if any(m.suffix != SUFFIX for m in (*models, *([against] if against else []))):
        quiet_backend(0)
    if compare:
        from winnow_train.cameras import evaluate as judge_cameras

        found = judge_cameras(models, dataset, data, split, Progress(), against)
    elif report is None:
        found = judge(models[0], dataset, data, split, Progress())
    else:
        from winnow_train.report_page import write_report

        found = write_report(models[0], dataset, data, split, report, Progress())
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_table(found)
        if compare:
            from winnow_train.cameras import print_cameras

            print_cameras(found)


def _evaluate_swaths(
    models: list[Path],
    folder: Path,
    looks: str,
    absent: list[str],
    mission: Path | None,
    false_per_swath: float | None,
    sizes: tuple[float, float] | None,
    as_json: bool,
    report: Path | None,
) -> None:
    from winnow_base.progress import Progress
    from winnow_train.evaluate import find_model
    from winnow_train.swaths.evaluate import evaluate_swaths, print_swaths

    if sizes is not None and not 0 <= sizes[0] <= sizes[1]:
        raise typer.BadParameter("give two sides, the smaller first", param_hint="--sizes")
    found = evaluate_swaths(
        [find_model(model) for model in models],
        folder,
        Progress(),
        looks=looks,
        absent=absent,
        mission=mission,
        false_per_swath=false_per_swath,
        sizes=sizes,
        report=report,
    )
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_swaths(found)
