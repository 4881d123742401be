"""A full HiRISE observation streamed through `winnow-edge run -`: time, peak memory, growth.

20,048 samples x 126,000 lines (2.5 GB) are made by this process and piped into a run on the shipped
bundle at browse scale (binning 10). The terrain is a seeded patch written over and over, shifted
from line to line, so that making it costs little; its time is in the figures all the same. Resident
memory of the run is read from the kernel when line 10,000 has left the pipe and again at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import harness
from winnow_edge.board.bench import rendered

EARLY = 10_000
PIPE_BYTES = 1 << 20
"""What may be written and not yet read."""
LINE_TIME_S = 75e-6
"""HiRISE takes a line in about 75 microseconds at full resolution (McEwen et al. 2007)."""


def memory_mb(pid: int, key: str) -> float:
    """VmRSS or VmHWM of a process, megabytes (1e6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} is gone")


def stream(lines: int, samples: int, scale: int, threads: str, bundle: str) -> dict[str, object]:
    """Run it once; times in seconds, memory in MB."""
    # Each block of 512 lines is a window of this patch; windows start at another sample each time.
    patch = rendered(512, samples + 4096)
    blocks = [np.ascontiguousarray(patch[:, at : at + samples]) for at in (0, 1111, 2222, 3333)]
    with tempfile.TemporaryDirectory(prefix="winnow-stream-") as folder:
        mission = Path(folder) / "mission.toml"
        mission.write_text(
            f'name = "stream"\n[instrument.camera]\nbundle = "{bundle}"\n'
            f"[tiling]\nscales = [{scale}]\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "winnow_edge.cli", "run", str(mission), "-"]
        options = ["--samples", str(samples), "--threads", threads, "--json"]
        started = time.perf_counter()
        with subprocess.Popen(
            [*command, *options, "--store", str(Path(folder) / "store")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as run:
            assert run.stdin is not None
            assert run.stdout is not None
            pipe, early, written = run.stdin.fileno(), 0.0, 0
            while written < lines:
                count = min(512, lines - written)
                data = memoryview(blocks[written // 512 % len(blocks)][:count]).cast("B")
                while data:
                    data = data[os.write(pipe, data) :]
                if written < EARLY + PIPE_BYTES // samples <= written + count:
                    early = memory_mb(run.pid, "VmRSS")
                written += count
            late, peak = memory_mb(run.pid, "VmRSS"), memory_mb(run.pid, "VmHWM")
            run.stdin.close()
            summary = json.loads(run.stdout.read())
        seconds = time.perf_counter() - started
        cpu = os.times()
    return {
        "lines": lines,
        "samples": samples,
        "scale": scale,
        "threads": summary["threads"],
        "tiles": summary["tiles"],
        "seconds": round(seconds, 2),
        "seconds_of_loop": summary["seconds"],
        "cpu_seconds_of_run": round(cpu.children_user + cpu.children_system, 2),
        "instrument_seconds": round(lines * LINE_TIME_S, 2),
        "faster_than_instrument": round(lines * LINE_TIME_S / seconds, 2),
        "rss_mb_at_10000": round(early, 1),
        "rss_mb_at_end": round(late, 1),
        "growth_mb": round(late - early, 1),
        "peak_rss_mb": round(peak, 1),
    }


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--lines", type=int, default=126_000)
    parser.add_argument("--samples", type=int, default=20_048)
    parser.add_argument("--scale", type=int, default=10)
    parser.add_argument("--threads", default="auto")
    parser.add_argument("--bundle", default="hirise-landmarks")
    args = parser.parse_args()
    lines = 12_000 if args.short else args.lines
    result = stream(lines, args.samples, args.scale, args.threads, args.bundle)
    harness.report(args, [{"figure": name, "value": value} for name, value in result.items()])


if __name__ == "__main__":
    main()
