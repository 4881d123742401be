"""`winnow convert` and `winnow zoo`: training reads the tiles, conversion quantizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow_base.errors import ModelError
from winnow_base.options import AsJson
from winnow_base.progress import Step

if TYPE_CHECKING:
    from winnow_base.conversion import Conversion
    from winnow_convert.convert import Converted
    from winnow_convert.out_of_fold import FoldNet
    from winnow_convert.source import Source


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("convert")(convert)
    app.command("zoo")(zoo)


def convert(
    model: Annotated[Path, typer.Argument(help="Run folder of `winnow train`.")],
    out: Annotated[Path, typer.Option(help="The bundle to write, NAME.winnow.")],
    data: Annotated[
        Path, typer.Option(envvar="WINNOW_DATA", help="Folder that holds the data sets.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the bundle that is there already.")
    ] = False,
    cv: Annotated[
        Path | None,
        typer.Option(
            "--cv", help="Judge int8 on the folds of this `winnow cv`: the model has seen val."
        ),
    ] = None,
    verifier: Annotated[
        Path | None,
        typer.Option(help="Run folder of a verifier, the second stage: it joins the bundle."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Method: ptq, aeq, qat, or auto, the best of them on val.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Try every method, print one table, keep the best.")
    ] = False,
    calibration: Annotated[
        int | None, typer.Option(help="Calibration tiles, drawn from train alone.")
    ] = None,
    max_accuracy_loss: Annotated[
        float | None, typer.Option(help="Gate: float minus int8 accuracy on val, as a share.")
    ] = None,
    max_recall_loss: Annotated[
        float | None, typer.Option(help="Gate: float minus int8 macro recall on val.")
    ] = None,
    min_agreement: Annotated[
        float | None, typer.Option(help="Gate: share of val tiles with the same best class.")
    ] = None,
    min_rank_correlation: Annotated[
        float | None, typer.Option(help="Gate: correlation of the downlink order.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Gate: bytes of the int8 model.")] = None,
    max_mmac: Annotated[
        float | None, typer.Option(help="Gate: million multiply-accumulates for one tile.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Report the noise per layer; plot NAME.layers.png.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Report work, memory and least time per op.")
    ] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write NAME.float.onnx and NAME.int8.onnx.")
    ] = False,
    c_array: Annotated[
        bool, typer.Option("--c-array", help="Also write the model as C source, for TFLite Micro.")
    ] = False,
    edgetpu: Annotated[
        bool | None,
        typer.Option(
            "--edgetpu/--no-edgetpu",
            help="Put the model of edgetpu_compiler into the bundle.",
            show_default="where the compiler is installed",
        ),
    ] = None,
    json_output: AsJson = False,
) -> None:
    """Quantize a trained MODEL to int8, prove it on val, and write the bundle that flies.

    Calibrates on train and compares float and int8 on val. If the loss is over the gate, it writes
    nothing and ends with exit code 5. A model trained with --chosen has no val left: with --cv the
    nets of its cross-validation are quantized alike and judge the tiles of their folds. Method and
    limits come from the recipe's \\[convert] table; options override them. See docs/convert.md.
    """
    from winnow_base.background import without_background
    from winnow_base.conversion import read_conversion
    from winnow_base.progress import Progress
    from winnow_convert import extras
    from winnow_convert.convert import best_of, write
    from winnow_convert.report import as_json, print_comparison, print_report
    from winnow_convert.second_stage import verifier_of
    from winnow_convert.source import load_source

    given: dict[str, Any] = {
        "method": "auto" if compare else method,
        "calibration": calibration,
        "max_accuracy_loss": max_accuracy_loss,
        "max_recall_loss": max_recall_loss,
        "min_agreement": min_agreement,
        "min_rank_correlation": min_rank_correlation,
        "max_bytes": max_bytes,
        "max_mmac": max_mmac,
    }
    _check_out(out, force)
    source = load_source(model)
    options = read_conversion(source.recipe_options, given, source.folder)
    if missing := without_background(source.classes, options.background, source.head):
        Progress().warn(missing)
    larger = None if verifier is None else _verifier_for(source, verifier)
    with Progress().steps(transient=False) as progress:
        tried = _tried(source, cv, data, options, progress)
        converted = best_of(tried)
        second = None if larger is None else _converted_verifier(larger, given, progress)
    if not json_output and len(tried) > 1:
        print_comparison(tried)
    if converted.failures and not json_output:
        print_report(converted, None)
    compiled = extras.compile_for_edgetpu(converted, edgetpu)
    if second is not None and not json_output:
        print_report(second, None)
    joined = None if second is None else verifier_of(second)
    bundle = write(converted, out, compiled.model if compiled else None, joined)
    found = extras.Extras(converted, bundle, layers=layers, profiled=profile, compiled=compiled)
    if onnx:
        found.export_onnx()
    if c_array:
        found.export_c()
    if json_output:
        typer.echo(as_json(converted, bundle, tried, found.as_json(), second))
    else:
        print_report(converted, bundle)
        found.print()


def _tried(
    source: Source, cv: Path | None, data: Path, options: Conversion, progress: Step
) -> dict[str, Converted]:
    """Every method asked for, judged on val or on the folds of a cross-validation."""
    from winnow_convert.convert import compare_methods
    from winnow_convert.out_of_fold import compare_out_of_fold
    from winnow_train.tasks import read_like

    train = read_like(source.description, data, "train", progress)
    if cv is None:
        _refuse_seen(source)
        val = read_like(source.description, data, "val", progress)
        return compare_methods(source, train, val, options, progress)
    nets = _nets_of_folds(cv, source, data, progress)
    return compare_out_of_fold(source, train, nets, options, progress)


def _verifier_for(first: Source, folder: Path) -> Source:
    """The second stage of `first`, to be quantized."""
    from winnow_convert.second_stage import check_fits
    from winnow_convert.source import load_source

    second = load_source(folder)
    check_fits(second, first)
    return second


def _converted_verifier(second: Source, given: dict[str, Any], progress: Step) -> Converted:
    """The best int8 form of the second stage. Sizes on the command line are the first stage's."""
    from winnow_base.conversion import read_conversion
    from winnow_convert.convert import best_of, compare_methods
    from winnow_convert.second_stage import within_the_limit
    from winnow_train.verifier import read_pairs

    own = {key: value for key, value in given.items() if key not in ("max_bytes", "max_mmac")}
    options = within_the_limit(read_conversion(second.recipe_options, own, second.folder))
    train, val = (read_pairs(second.folder, split) for split in ("train", "val"))
    return best_of(compare_methods(second, train, val, options, progress))


def _refuse_seen(source: Source) -> None:
    if source.description.get("training", {}).get("held") == []:
        raise ModelError(
            "learned from every labelled tile, so val says nothing",
            where=source.folder,
            hint="give the folder of its cross-validation with --cv",
        )


def _nets_of_folds(cv: Path, source: Source, data: Path, progress: Step) -> Iterator[FoldNet]:
    """The nets of a cross-validation with their tiles, one after the other.

    Raises ModelError where it is not the one that chose the settings of `source`.
    """
    from winnow_convert.out_of_fold import FoldNet
    from winnow_convert.source import load_source
    from winnow_train.chosen import read_chosen
    from winnow_train.crossval.outcome import load
    from winnow_train.recipe import parse_recipe
    from winnow_train.tasks import read_like

    recipe = parse_recipe(source.description["recipe"], where=str(source.folder))
    settings = read_chosen(cv, recipe).settings
    if settings.temperature != source.temperature:
        raise ModelError(
            "was not trained with what this cross-validation chose",
            where=source.folder,
            hint="winnow train RECIPE --chosen " + str(cv),
        )
    found = load(cv)
    for fold in dict.fromkeys(sorted(found.fold.tolist())):
        net = load_source(cv / f"fold-{fold}")
        shift = found.shift[found.fold == fold][0]
        given = (settings.prior - net.description["training"]["prior"]) * shift
        train, held = (read_like(net.description, data, s, progress) for s in ("train", "val"))
        yield FoldNet(net, train, held, given)


def zoo(
    out: Annotated[
        Path | None, typer.Option(help="Write the page here instead of standard output.")
    ] = None,
) -> None:
    """The model zoo: tasks, sizes, figures and origin of the shipped bundles, as Markdown.

    Read from the bundles' own manifests. docs/zoo.md is made by `winnow zoo --out docs/zoo.md`,
    again after every change of a shipped bundle.
    """
    from winnow_convert.zoo import page
    from winnow_edge.files import write_file

    if out is None:
        typer.echo(page(), nl=False)
    else:
        write_file(out, page())


def _check_out(out: Path, force: bool) -> None:
    """Refuse an unwritable place, or a bundle that is there, before minutes of work, not after."""
    import os

    from winnow_edge.errors import OutputError

    folder = out.parent
    if not folder.is_dir():
        raise OutputError("no such folder", where=folder, hint="create it or give another --out")
    if out.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError("cannot be written", where=out, hint="give --out a writable path")
    if out.exists() and not force:
        raise OutputError("is there already", where=out, hint="name another --out, or add --force")
