"""`winnow report` and `winnow simulate`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from winnow_base.options import AsJson


def register(app: typer.Typer) -> None:
    """Add this package's commands to `app`."""
    app.command("report", help=help_of(report_command))(report_command)
    app.command("simulate", help=help_of(simulate_command))(simulate_command)


def help_of(command: Callable[..., None]) -> str:
    """A docstring whose paragraphs wrap to any window; examples, indented, keep their lines."""
    parts = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(p if p.startswith("    ") else " ".join(p.split()) for p in parts)


def report_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of `winnow receive`, or of a demo.")
    ],
    swaths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SWATH", help="The swaths themselves, to draw on."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Copy of the spacecraft's store; shows the products still on board."
        ),
    ] = None,
    swath: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="The same; a pattern such as *.jpg may follow."),
    ] = None,
    mission: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Mission file; with --store, value against bytes."),
    ] = None,
    truth: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Truth file (JSON), the features really there; may be repeated."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the report (default: DIR).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page, and PNGs beside it, about what came down.

    The page shows the swath with every detection, class counts, the pictures in order of arrival,
    the course of the downlink, and the troubles on the link. With --store and --mission it also
    shows value against bytes for fifo and the mission's policy. Without --swath the map is a mosaic
    of the pictures that came down. Several swaths are told apart by file name.

        winnow report received --store store --mission mission.toml --swath *.jpg
        winnow report demo-out
    """
    from winnow_ground.report import write_report

    folder, drawn = _with_swaths(folder, swath or (), swaths or (), Path.is_dir)
    with _watching("drawing the report", as_json):
        report = write_report(
            folder,
            store=store,
            swaths=drawn,
            mission=mission,
            truths=truth or (),
            out=out,
        )
    if as_json:
        print(
            json.dumps(
                {
                    "report": str(report.page),
                    "pngs": [str(p) for p in report.pngs],
                    "headline": [{"figure": f, "words": w} for f, w in report.headline],
                    "troubles": list(report.troubles),
                    "cautions": list(report.cautions),
                }
            )
        )
        return
    for figure, words in report.headline:
        print(f"{figure} {words}" if figure[0].isdigit() else f"{figure}: {words}")
    for said in (*report.cautions, *report.troubles):
        print(f"note: {said}")
    print(f"report: {report.page}")


def _with_swaths(
    first: Path, named: Sequence[Path], bare: Sequence[Path], fits: Callable[[Path], bool]
) -> tuple[Path, list[Path]]:
    """The first argument, and the swaths of `--swath` with those that a shell puts behind the first
    of them, where the argument that `fits` may come last: `report --swath *.jpg received`."""
    rest = list(bare)
    if rest and fits(rest[-1]) and not fits(first):
        first, rest = rest[-1], [first, *rest[:-1]]
    return first, [*named, *rest]


def simulate_command(
    mission: Annotated[
        Path | None,
        typer.Argument(metavar="MISSION.toml", help="Mission file with \\[simulation]."),
    ] = None,
    swaths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SWATH", help="Swaths instead of the mission's."),
    ] = None,
    swath: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="The same; a pattern such as *.jpg may follow."),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Contact plan instead of the mission's.")
    ] = None,
    node: Annotated[
        int | None, typer.Option(min=0, help="The spacecraft's node number in the plan.")
    ] = None,
    contacts: Annotated[
        int | None, typer.Option(min=0, help="Most contacts to play (0: all).")
    ] = None,
    loss: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of packets that get lost.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of losses and failures; the first of several.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Runs of each policy, one a seed.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Policy beside the mission's own; repeatable."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a page, JSON and CSV here, and keep scores."),
    ] = None,
    sweep: Annotated[
        Path | None,
        typer.Option(metavar="SWEEP.toml", help="Play many missions into --out; docs/sweeps.md."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="With --sweep: processes (default: one a core)."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://HOST:PORT", help="With --sweep: a Dask cluster's scheduler."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play a mission before it flies: time passes, and policies are compared on the same luck.

    The net runs over the swaths of \\[simulation] once. Then swaths are taken, computed and stored,
    contacts are held by the code that flies, packets get lost, and word of them comes back after
    light time. Board, power, heat and failures are those of \\[simulation.board], .power, .heat and
    .failures. Policies: fifo, random, confidence, utility-per-byte, diversity, rules, oracle,
    perfect-net, send-everything, evenly-spaced.

    Value is utility × posterior. Where NAME.truth.json lies beside every swath, value is counted
    against truth: each true feature pays once. A mission that can never send ends with exit code 5.

        winnow scene --out missions/scenes --count 4
        winnow simulate missions/mars-browse.toml --loss 0.02 --seeds 5 --out simulated
        winnow simulate --sweep sweep.toml --out swept
    """
    from winnow_base.files import make_folder
    from winnow_base.progress import Progress
    from winnow_edge.mission import load_mission
    from winnow_ground.simulation.output import show, write_all
    from winnow_ground.simulation.play import Options, play

    if sweep is not None:
        _sweep(sweep, mission, out, workers, scheduler, as_json)
        return
    if mission is None:
        raise typer.BadParameter("name a mission file, or --sweep", param_hint="MISSION.toml")
    mission, given = _with_swaths(
        mission, swath or (), swaths or (), lambda path: path.suffix == ".toml"
    )
    with Progress(quiet=as_json).steps() as progress:
        options = Options(
            swaths=[str(path) for path in given],
            plan=plan,
            node=node,
            contacts=contacts,
            loss=loss,
            seed=seed,
            seeds=seeds,
            policies=policy or (),
            out=out,
            progress=progress,
        )
        campaign = play(load_mission(mission), options)
        written = write_all(campaign, make_folder(out)) if out is not None else []
    if as_json:
        print(json.dumps({**campaign.as_json(), "written": [str(p) for p in written]}))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 110
    show(campaign, console)
    for path in written:
        print(f"wrote {path}")


def _sweep(
    sweep: Path,
    mission: Path | None,
    out: Path | None,
    workers: int | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    from winnow_ground.simulation import sweep_command

    if mission is not None:
        raise typer.BadParameter("the sweep file names the mission", param_hint="MISSION.toml")
    if out is None:
        raise typer.BadParameter("--sweep needs --out DIR", param_hint="--out")
    sweep_command.sweep(sweep, out, workers=workers, scheduler=scheduler, as_json=as_json)


@contextmanager
def _watching(what: str, quiet: bool) -> Iterator[None]:
    """A spinner on standard error, where somebody watches."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(what):
        yield
