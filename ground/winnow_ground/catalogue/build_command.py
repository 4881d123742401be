"""`winnow catalogue build`."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from winnow_base.errors import DataError
from winnow_base.options import AsJson, BundleName, Scales

if TYPE_CHECKING:
    from winnow_base.progress import Step
    from winnow_edge.mission import Mission
    from winnow_ground.catalogue.build import Built

_SHOWN = 20
"""Bad pictures that are listed by name; `--json` has all."""
_AUDIT_SHARE, _ASK_FROM, _MOST_BYTES = 0.002, 0.5, 100_000
"""Without a mission file: the share of tiles drawn to be looked at by people, from which posterior
a tile counts as a question, and the bytes of their thumbnails, were they sent."""


def build_command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Pictures, in folders below it too.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The catalogue; made if new.")],
    bundle: BundleName = None,
    mission: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Classify as this mission file flies."),
    ] = None,
    scales: Scales = None,
    every: Annotated[
        bool,
        typer.Option(
            "--every-tile", help="Keep all tiles, not detections, audit and questions alone."
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes (default: one a core).")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://HOST:PORT", help="A Dask cluster's scheduler instead."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Classify an archive of pictures, with the code that flies, into a catalogue.

    Every picture is in the catalogue whole or not at all: the same command goes on where it was
    killed, and adds what is new. Pictures that cannot be read are listed, and the others go on.
    Pictures stay where they are; the catalogue names them.

        winnow catalogue build archive --bundle hirise-windows --to mars.db

        winnow catalogue build archive --to mars.db --scheduler tcp://host:8786
    """
    from winnow_ground.catalogue.build import build

    flown_as = mission_of(bundle, mission, scales)
    with _watched(quiet=as_json) as progress:
        built = build(
            folder, to, flown_as, every=every, workers=workers, scheduler=scheduler,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print(json.dumps(dataclasses.asdict(built)))
    else:
        _tell(built, to)
    if built.bad and len(built.bad) == built.pictures:
        raise DataError("holds no picture that can be classified", where=folder)


def mission_of(bundle: str | None, mission: Path | None, scales: str | None) -> Mission:
    """The mission that an archive is classified by. Raises what `look.plan` raises."""
    from winnow_edge.mission import Ask, Audit
    from winnow_ground.look import Options, plan
    from winnow_ground.look_commands import scales_of

    flown_as, _ = plan(Options(bundle, mission, scales=scales_of(scales)))
    # No quick looks: the picture itself is there.
    looks = dataclasses.replace(flown_as.quick_look, bytes=0)
    flown_as = dataclasses.replace(flown_as, quick_look=looks)
    if mission is not None:
        return flown_as
    return dataclasses.replace(
        flown_as,
        name="archive",
        audit=Audit(share=_AUDIT_SHARE, bytes=_MOST_BYTES),
        ask=Ask(posterior=_ASK_FROM, bytes=_MOST_BYTES),
    )


@contextmanager
def _watched(*, quiet: bool) -> Iterator[Step]:
    """A bar on a terminal; elsewhere a line for every tenth, on standard error."""
    from winnow_base.progress import Progress

    watched = Progress(quiet=quiet)
    began, said = time.monotonic(), -1
    first: int | None = None
    with watched.steps() as bar:

        def step(name: str, done: int, total: int | None) -> None:
            nonlocal first, said
            first = done if first is None else first
            tenth = 10 * done // total if total else 0
            if quiet or watched.console.is_terminal or tenth == said:
                bar(name, done, total)
                return
            said, spent = tenth, time.monotonic() - began
            rate = f", {60 * (done - first) / spent:,.0f} a minute" if done > first else ""
            watched.note(f"{name}: {done:,} of {total:,} pictures{rate}")

        yield step


def _tell(built: Built, to: Path) -> None:
    from winnow_ground.words import count

    busy = built.busy_s / (built.seconds * built.workers) if built.seconds else 0.0
    print(
        f"{to}: {count(built.added, 'picture')} classified in {built.seconds:,.1f} s, "
        f"{count(built.detections, 'detection')}, {count(built.tiles, 'tile')} kept"
        + (f"; {count(built.workers, 'worker')}, {busy:.0%} busy" if built.added else "")
    )
    if built.completed:
        print(
            f"{count(built.completed, 'picture')} of before completed with the tiles not kept then"
        )
    if built.known:
        print(f"{built.known:,} were there already" + _otherwise(built))
    for number, words in (
        (built.moved, "moved: the catalogue follows"),
        (built.copies, "left out: copies of others"),
    ):
        if number:
            print(f"note: {count(number, 'picture')} {words}")
    if built.others:
        print(f"note: no pictures by their names: {_kinds(built)}")
    for name, words in built.notes[:_SHOWN]:
        print(f"note: {name}: {words}")
    for name, words in built.bad[:_SHOWN]:
        print(f"winnow: {name}: {words}", file=sys.stderr)
    more = len(built.bad) - _SHOWN
    if more > 0:
        print(f"winnow: and {more:,} more that cannot be classified", file=sys.stderr)


def _otherwise(built: Built) -> str:
    if not built.otherwise:
        return ""
    return f"; {built.otherwise:,} of them were classified with other settings, and stay so"


def _kinds(built: Built) -> str:
    return ", ".join(f"{number:,} {suffix}" for suffix, number in sorted(built.others.items()))
