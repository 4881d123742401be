"""An archive into the catalogue: pictures a minute on one core and on all, and what 16,344 take.

    python -m benchmarks.speed.archive [--short] [--json] [--pictures FOLDER] [--rounds N]

Without a folder the pictures are parts of a rendered strip. Both ways take turns: one process on
one core, and `winnow catalogue build` as it is, a worker a core. Efficiency is what a core yields
beside others, of what it yields alone: by the clock, from the first pictures on, so that starting
processes is left out; and by processor time, that of handing out and writing down included, which
means something on a busy machine too.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import arguments, report

ARCHIVE = 16_344
"""Browse pictures of the public archive that the seeds classified."""
CODE = """
import json, os, sys, time
from pathlib import Path
from winnow_ground.catalogue.build import build
from winnow_ground.catalogue.build_command import mission_of

def main():
    folder, catalogue, out, cores = *map(Path, sys.argv[1:4]), int(sys.argv[4])
    if cores == 1:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    seen = []
    def progress(what, done, total):
        seen.append((time.perf_counter(), time.process_time(), done))
    mission = mission_of("hirise-windows", None, None)
    built = build(folder, catalogue, mission, workers=cores, progress=progress)
    begun, spent, first = next(one for one in seen if one[2] >= cores)
    ended, at_last, last = seen[-1]
    # One process classifies itself; of several this one hands out and writes down.
    here = (at_last - spent) / (last - first)
    cpu = here if cores == 1 else here + built.cpu_s / last
    Path(out).write_text(json.dumps({"rate": (last - first) / (ended - begun), "cpu": cpu}))

if __name__ == "__main__":
    main()
"""


def make_pictures(folder: Path, count: int) -> None:
    """Parts of a rendered strip, each another one."""
    from winnow_ground.scene import render_scene

    strip = render_scene(seed=1, lines=4096, samples=2048).image
    for number in range(count):
        part = np.roll(strip, 257 * number, axis=0)[:3072]
        Image.fromarray(part).save(folder / f"{number:03d}.jpg", quality=90)


def measured(folder: Path, cores: int, scratch: Path) -> dict[str, float]:
    """One build, in a process of its own."""
    script, out = scratch / "build.py", scratch / "out.json"
    script.write_text(CODE)
    catalogue = scratch / f"{len(list(scratch.iterdir()))}.db"
    command = [sys.executable, str(script), str(folder), str(catalogue), str(out), str(cores)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, float] = json.loads(out.read_text())
    return found


def main() -> None:
    """Take turns, and tell."""
    parser = arguments(__doc__)
    parser.add_argument("--pictures", type=Path, help="a folder of pictures")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        scratch, folder = Path(name), args.pictures
        if folder is None:
            folder = scratch / "pictures"
            folder.mkdir()
            make_pictures(folder, 4 * cores if args.short else 12 * cores)
        rounds = [
            {n: measured(folder, n, scratch) for n in dict.fromkeys((1, cores))}
            for _ in range(1 if args.short else args.rounds)
        ]
    rows = []
    for n in rounds[0]:
        rate = statistics.median(one[n]["rate"] for one in rounds)
        cpu = statistics.median(one[n]["cpu"] for one in rounds)
        by_clock = [one[n]["rate"] / (n * one[1]["rate"]) for one in rounds]
        by_cpu = [one[1]["cpu"] / one[n]["cpu"] for one in rounds]
        rows.append(
            {
                "cores": n,
                "pictures a minute": round(60 * rate, 1),
                "processor s a picture": round(cpu, 3),
                "efficiency by the clock": round(statistics.median(by_clock), 3),
                "by processor time": round(statistics.median(by_cpu), 3),
            }
        )
    hours = ARCHIVE * float(rows[-1]["processor s a picture"]) / cores / 3600
    taken = ARCHIVE / float(rows[-1]["pictures a minute"]) / 60
    notes = [
        f"{ARCHIVE:,} such pictures: {taken:.1f} h at this rate; {hours:.1f} h on {cores} cores "
        "with nothing else to do, by processor time (a straight line from these pictures)"
    ]
    report(args, rows, notes)


if __name__ == "__main__":
    main()
