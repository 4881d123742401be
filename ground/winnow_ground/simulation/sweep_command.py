"""`winnow simulate --sweep`."""

from __future__ import annotations

import json
from pathlib import Path

from winnow_base.progress import Progress
from winnow_ground.simulation.sweep import run_sweep
from winnow_ground.simulation.sweep_file import load_sweep
from winnow_ground.simulation.sweep_output import as_json as swept_json
from winnow_ground.simulation.sweep_output import lines, write_all


def sweep(
    file: Path, out: Path, *, workers: int | None, scheduler: str | None, as_json: bool
) -> None:
    """Play a sweep file into a folder and say what it came to."""
    design = load_sweep(file)
    with Progress(quiet=as_json).steps() as progress:
        swept = run_sweep(design, out, workers=workers, scheduler=scheduler, progress=progress)
        written = write_all(swept, out)
    if as_json:
        print(json.dumps({**swept_json(swept), "written": [str(path) for path in written]}))
        return
    for line in lines(swept):
        print(line)
    for path in written:
        print(f"wrote {path}")
