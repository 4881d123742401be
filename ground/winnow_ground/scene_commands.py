"""`winnow scene` and `winnow demo`, registered on the `winnow` application."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from winnow_base.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(name="scene")(scene)
    app.command(name="demo")(demo)


def scene(
    out: Annotated[Path, typer.Option(help="Folder for the strips and their truth.")],
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="First seed.")] = 1,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Strips, one seed each.")] = 1,
    lines: Annotated[int, typer.Option(min=256, max=20_000, help="Lines of the frame.")] = 5120,
    samples: Annotated[int, typer.Option(min=256, max=4096, help="Samples of a line.")] = 2048,
    as_json: AsJson = False,
) -> None:
    """Render Mars-like strips with known truth: scene-SEED.png and scene-SEED.truth.json.

    Fractal ground, craters, dark and frosted dunes, dusty slopes with streaks, fresh impacts and
    pits in polar ice, under a low sun and in a tilted frame without data. The same seed and size
    give the same pixels.
    """
    from winnow_ground.scene.files import truth_json, write_scene
    from winnow_ground.scene.layout import render_scene

    console = Console(stderr=True)
    written = []
    for number in range(seed, seed + count):
        path = out / f"scene-{number}.png"
        with console.status(f"rendering {path} ({number - seed + 1} of {count})"):
            strip = render_scene(lines=lines, samples=samples, seed=number)
            write_scene(strip, path, out / f"scene-{number}.truth.json")
        features = collections.Counter(f.class_name for f in strip.features)
        if as_json:
            truth = truth_json(strip, path.name)
            written.append({**truth, "features": dict(features), "path": str(path)})
        else:
            found = ", ".join(f"{n} {name}" for name, n in sorted(features.items()))
            print(f"{path}: {lines} lines of {samples} samples; {found}")
    if as_json:
        print(json.dumps(written))


def demo(
    swath: Annotated[
        Path | None, typer.Option(help="Any image instead of the rendered strip (no truth then).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the strip.")] = 1,
    lines: Annotated[int, typer.Option(min=256, max=20_000, help="Lines of the strip.")] = 5120,
    share: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Contact, as a share of all product bytes.")
    ] = 0.05,
    as_json: AsJson = False,
) -> None:
    """The whole path once: a strip in, the best products of one short contact out.

    Renders a Mars-like strip with known truth, flies the shipped bundle over it, sends one contact
    as CCSDS packets under the mission's policy and one under first-in-first-out, receives both,
    writes a report and prints what each brought down.
    """
    from winnow_ground.demo import run_demo, summary_lines

    figures = run_demo(out=out, swath=swath, seed=seed, lines=lines, share=share)
    if as_json:
        print(json.dumps(figures))
    else:
        print("\n".join(summary_lines(figures)))
