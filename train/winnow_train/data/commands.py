"""`winnow data fetch | chunk | check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from winnow_base.errors import DataError
from winnow_base.options import AsJson, DataFolder, Pause, Stall, Tries

BROWSE_NAME = "hirise-browse"


def register(app: typer.Typer) -> None:
    """Add `winnow data` to `app`."""
    data = typer.Typer(
        name="data", help="Fetch the public data sets, cut swaths into tiles, check a data set."
    )
    data.command("fetch", no_args_is_help=True)(fetch)
    data.command("chunk", no_args_is_help=True)(chunk)
    data.command("check", no_args_is_help=True)(check)
    app.add_typer(data, no_args_is_help=True)


def fetch(
    name: Annotated[
        str, typer.Argument(help="hirise-v1, hirise-v3, hirise-v3.2, msl, or hirise-browse.")
    ],
    data: DataFolder,
    observations: Annotated[
        list[str] | None,
        typer.Argument(help="With hirise-browse: observation ids such as ESP_072719_1970."),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url",
            help="A mirror with the layout of zenodo.org, or of the HiRISE PDS node.",
            show_default="the publisher's own server",
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind", help="hirise-browse: browse, abrowse (annotated) or nomap (not projected)."
        ),
    ] = "browse",
    label: Annotated[
        bool, typer.Option("--label", help="hirise-browse: the PDS3 label as well.")
    ] = False,
    stall: Stall = 30.0,
    tries: Tries = 6,
    pause: Pause = 1.0,
    keep_archive: Annotated[
        bool, typer.Option("--keep-archive", help="Keep the zip file beside what was unpacked.")
    ] = False,
) -> None:
    """Fetch a public data set from its DOI, or single HiRISE browse strips.

    A download that was cut off goes on where it stopped when the command is given again. Size and
    digest are checked before unpacking, and the set's folder appears in one step.

    Examples:

    winnow data fetch hirise-v3.2 --data DATA

    winnow data fetch hirise-browse ESP_072719_1970 --data DATA
    """
    from winnow_train.data import fetch as fetching
    from winnow_train.data.catalogue import ARCHIVES, BROWSE
    from winnow_train.data.download import Patience

    patience = Patience(stall, tries, pause)
    if name == BROWSE_NAME:
        if not observations:
            raise typer.BadParameter("name an observation, e.g. ESP_072719_1970")
        if kind not in BROWSE:
            raise typer.BadParameter(f"--kind is one of {', '.join(BROWSE)}")
        for observation in observations:
            wanted = observation.upper()
            paths = fetching.fetch_browse(
                wanted, data, kind=kind, label=label, base_url=base_url, patience=patience
            )
            for path in paths:
                typer.echo(f"{path}: {path.stat().st_size:,} bytes")
            if not paths:
                typer.echo(f"{wanted}: already in {data / 'swaths'}")
        typer.echo(fetching.browse_credit())
        return
    if name not in ARCHIVES:
        raise DataError(
            f"no data set is called {name!r}",
            hint=f"known: {', '.join((*ARCHIVES, BROWSE_NAME))}",
        )
    if observations:
        raise typer.BadParameter(f"{name} is fetched whole; observations go with {BROWSE_NAME}")
    archive = ARCHIVES[name]
    folder = fetching.fetch_archive(
        archive, data, base_url=base_url, patience=patience, keep_archive=keep_archive
    )
    if folder is None:
        folder = data / archive.folder
        typer.echo(f"{folder}: already there; move it away to fetch it again")
    else:
        files = sum(1 for p in folder.rglob("*") if p.is_file())
        typer.echo(f"{folder}: {files:,} files")
    typer.echo(fetching.attribution(fetching.described(folder, archive)))


def chunk(
    swaths: Annotated[
        list[Path], typer.Argument(help="Swaths: PNG, JPEG, PGM, or raw lines with --samples.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the tiles and index.csv.")],
    tile: Annotated[
        int, typer.Option("--tile", min=8, max=8192, help="Side of a tile in pixels.")
    ] = 224,
    hop: Annotated[
        int | None,
        typer.Option("--hop", min=1, help="Step between tiles.", show_default="the tile's side"),
    ] = None,
    scale: Annotated[
        int, typer.Option("--scale", min=1, max=64, help="Box-bin the swath by this first.")
    ] = 1,
    nodata: Annotated[
        int,
        typer.Option("--nodata", min=-1, max=65535, help="Pixels up to this are nodata; -1: none."),
    ] = 0,
    nodata_max: Annotated[
        float,
        typer.Option(
            "--nodata-max", min=0.0, max=1.0, help="Drop tiles with a larger share of nodata."
        ),
    ] = 1.0,
    black_centre: Annotated[
        bool,
        typer.Option("--black-centre", help="Drop tiles whose middle square is all nodata."),
    ] = False,
    bright_pixels: Annotated[
        int,
        typer.Option(
            "--bright-pixels",
            min=0,
            help="Repair pixels this much above all eight neighbours, as the flight loop does.",
            show_default="none are",
        ),
    ] = 0,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Width of raw lines in pixels.")
    ] = None,
    bits: Annotated[int, typer.Option("--bits", help="Bits of a raw sample: 8 or 16.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Cut swaths into a folder of tiles.

    Tiles lie where the flight loop would put them: the last row and column are flush with the end,
    so no pixel is left out. index.csv says where each tile came from, and lists the dropped ones.

    Example: winnow data chunk strip.jpg --out tiles --tile 1024 --nodata-max 0.5 --black-centre
    """
    from winnow_base.progress import Progress
    from winnow_edge.mission import Instrument
    from winnow_train.data.chunk import Cut
    from winnow_train.data.chunk import chunk as cut_up

    if bits not in (8, 16):
        raise typer.BadParameter("--bits is 8 or 16")
    known = None if nodata < 0 else nodata
    cut = Cut(tile, hop or tile, scale, known, nodata_max, black_centre)
    instrument = Instrument(
        bundle="", samples=samples, bits=bits, nodata=known, bright_pixels=bright_pixels
    )
    progress = Progress()
    with progress.steps() as step:
        found = cut_up(swaths, out, cut, instrument, progress=step)
    for swath in found:
        if swath.truncated:
            progress.warn(f"{swath.swath}: {swath.truncated}")
    if as_json:
        typer.echo(json.dumps({"out": str(out), "swaths": [s.as_json() for s in found]}))
        return
    for swath in found:
        gone = ", ".join(f"{n} dropped ({why})" for why, n in swath.dropped.items())
        typer.echo(
            f"{swath.swath}: {swath.lines} lines of {swath.samples} samples; {swath.kept} tiles"
            + (f", {gone}" if gone else "")
            + (f"; {swath.repaired} bright pixels repaired" if swath.repaired else "")
        )


def check(
    name: Annotated[str, typer.Argument(help="hirise-v1, hirise-v3, hirise-v3.2, msl, or folder.")],
    data: DataFolder,
    hamming: Annotated[
        int,
        typer.Option(
            "--hamming", min=0, max=31, help="Bits of 63 in which duplicates' hashes may differ."
        ),
    ] = 10,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Lines shown of each kind; --json has all.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Check a labelled set for faults: bad files, bad rows, leakage, duplicates, conflicts.

    Ends with exit code 3 on any fault that training refuses: a row or a file that cannot be used,
    a source in two sets, a class without a training tile, no tile in train or in val, one class
    alone. Pictures in two sets although their
    sources differ are listed, because they flatter the figures on val.

    Example: winnow data check hirise-v3 --data DATA
    """
    from winnow_base.progress import Progress
    from winnow_train.data.check import check as look
    from winnow_train.data.check_print import print_check

    found = look(name, data, Progress(), threshold=hamming)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        print_check(found, limit)
    if refused := found.refused():
        hint = None
        if name == "folder" and any(words.startswith("no tile in") for words in refused):
            hint = "`winnow new data` splits pictures by source"
        what = f"{name} is not fit for training: {', '.join(refused)}"
        raise DataError(what, where=data, hint=hint)
