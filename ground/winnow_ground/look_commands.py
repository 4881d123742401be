"""`winnow look`, registered on the `winnow` application."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow_base.options import AsJson, BundleName, Scales
from winnow_ground.commands import help_of

if TYPE_CHECKING:
    from winnow_ground.look import Looked


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("look", help=help_of(look_command))(look_command)


def look_command(
    pictures: Annotated[
        list[Path],
        typer.Argument(metavar="PICTURE...", help="PNG, JPEG or PGM files, and folders of them."),
    ],
    bundle: BundleName = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CLASS=]P",
            help="Posterior from which a tile is a detection, of one class or of all; repeatable.",
        ),
    ] = None,
    scales: Scales = None,
    mission: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Look as this mission file flies: tiles, thresholds."),
    ] = None,
    frame: Annotated[
        bool, typer.Option("--frame", help="Show the net every picture whole (rover cameras).")
    ] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the page and maps.")] = Path(
        "look"
    ),
    as_json: AsJson = False,
) -> None:
    """Show what a bundle detects on pictures: a map of each as PNG, and a page about all.

    The pictures go through the loop that flies, without a store or a link that you would have to
    set up. Detections are boxes in the colour of their class, numbered from the most certain.

    Where NAME.truth.json lies beside NAME.png, features that are there are counted as found or
    missed (dotted), and detections of none as false (crossed). Without truth every figure is by
    the model's word, and the page says what that was worth where it was measured.

        winnow look strip.jpg

        winnow look scenes/ --threshold crater=0.6 --scales 1,2,4,8

        winnow look mastcam/ --bundle msl-surface --frame --out rover
    """
    from winnow_base.files import make_folder
    from winnow_base.progress import Progress
    from winnow_ground.look import Failed, Options, look, pictures_of, plan, timed
    from winnow_ground.look_page import LookWriter, told

    options = Options(bundle, mission, _thresholds(threshold or []), scales_of(scales), frame)
    paths = pictures_of(pictures)
    flown_as, manifest = plan(options)
    writer = LookWriter(make_folder(out), flown_as, manifest, len(paths))
    with Progress(quiet=as_json).steps() as show:
        for one, seconds in timed(look(paths, flown_as, manifest, show)):
            if isinstance(one, Failed):
                if len(paths) == 1:
                    raise one.error
                print(f"winnow: {one.error}", file=sys.stderr)
            writer.add(one)
            if not isinstance(one, Failed) and not as_json:
                tiles = f"{one.tiles:,} tiles in {seconds:.1f} s"
                print(f"{one.name}: {told(one)}; {tiles}", flush=True)
    page = writer.write()
    cautions = [line for c in writer.cautions() for line in c.sentences] + writer.notices()
    if as_json:
        print(json.dumps(_json(writer.looked, writer.pngs, page, cautions)))
    else:
        for line in cautions:
            print(f"note: {line}")
        print(f"page: {page}")
    if writer.failed:
        raise typer.Exit(max(one.error.exit_code for one in writer.failed))


def _thresholds(given: list[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            posterior = float(value)
        except ValueError:
            posterior = -1.0
        if not 0 <= posterior <= 1:
            raise typer.BadParameter(
                f"{text!r} is not [CLASS=]P with P from 0 to 1", param_hint="--threshold"
            )
        found[name.strip()] = posterior
    return found


def scales_of(given: str | None) -> tuple[int, ...]:
    """The binnings that an option lists; none of None. Raises BadParameter."""
    try:
        return tuple(int(part) for part in given.split(",")) if given is not None else ()
    except ValueError:
        raise typer.BadParameter(
            f"{given!r} is not a list of whole numbers such as 1,2,4", param_hint="--scales"
        ) from None


def _json(
    looked: list[Looked], pngs: list[Path], page: Path, cautions: list[str]
) -> dict[str, Any]:
    return {
        "page": str(page),
        "cautions": cautions,
        "pictures": [
            {
                "picture": str(one.path),
                "png": str(png),
                "lines": one.summary.lines,
                "samples": one.summary.samples,
                "tiles": one.tiles,
                "truncated": one.summary.truncated,
                "by_class": dict(one.by_class),
                "truth": None
                if one.laid is None
                else {
                    name: {"there": t.there, "found": t.found, "false": t.false}
                    for name, t in one.laid.classes.items()
                },
                "detections": [
                    {
                        "class": f.class_name,
                        "posterior": round(f.posterior, 5),
                        "line": f.box.line,
                        "sample": f.box.sample,
                        "lines": f.box.lines,
                        "samples": f.box.samples,
                        "true": f.true,
                    }
                    for f in one.found
                ],
            }
            for one, png in zip(looked, pngs, strict=True)
        ],
    }
