"""Winnow beside the tools one would otherwise use: the same swath, the same tiles, the same net.

Every contender is a process of its own that reads one grey PGM, cuts it into tiles of the net's
size at half-tile hop and classifies each on one thread (Winnow also on every core). They take
turns, round by round; times are medians over the rounds, without imports and loading of the net,
with reading the swath. Peak memory is the kernel's VmHWM of each process. Winnow's time includes
work that the others do not do: screening, decisions, product encoding and commits to its store.

`make bench-peers` sets it up and runs it twice: on a browse strip, and on a wider swath, where it
tells how much a contender holds in memory (Keras left out: it would take 12 GB).

Contenders that are not installed, or die, are left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.peers.contenders import CONTENDERS

CHILD = (sys.executable, "-m", "benchmarks.peers.contenders")


@dataclass(frozen=True)
class Contender:
    """A contender's process, and the file of its standard error."""

    process: Any
    said: Path

    def last_words(self) -> str:
        """The last line that it said, once it is dead."""
        self.process.communicate()  # closes its pipes, broken or not
        said = self.said.read_text(encoding="utf-8", errors="replace")
        return (said.strip().splitlines() or ["no reason given"])[-1]


def start(name: str, args: argparse.Namespace, swath: Path) -> tuple[Contender | None, str | None]:
    """A contender, or None and why there is none."""
    for asked, model in (("rasterio-ort", args.onnx), ("keras", args.keras)):
        if name == asked and not Path(model).is_file():
            return None, f"no model at {model}"
    # A file, not a pipe: nobody reads before the end, and a full pipe would hold up who writes.
    said = swath.with_name(f"{name}.stderr")
    with said.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*CHILD, name, str(swath), args.bundle, args.onnx, args.keras],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    contender = Contender(process, said)
    assert process.stdout is not None
    if not process.stdout.readline():
        return None, contender.last_words()
    return contender, None


def ask(contender: Contender) -> tuple[dict[str, Any], str | None]:
    """Run a contender's job once; nothing and why not, if it died of it."""
    process = contender.process
    try:
        process.stdin.write("go\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # the line below says why
    if line := process.stdout.readline():
        return json.loads(line), None
    last = contender.last_words()
    return {}, f"ended with {process.returncode}: {last}"


def compare(
    args: argparse.Namespace, folder: Path
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """All contenders in turns: the answers of each that came through, and why others did not."""
    from winnow_edge.board.bench import rendered

    swath = folder / "swath.pgm"
    with swath.open("wb") as file:
        file.write(f"P5 {args.samples} {args.lines} 255\n".encode())
        for first in range(0, args.lines, 512):
            file.write(rendered(min(512, args.lines - first), args.samples).tobytes())
    missing = dict.fromkeys(args.without, "as asked")
    alive: dict[str, Contender] = {}
    # All are loaded once; those that wait for their turn sleep.
    for name in [n for n in CONTENDERS if n not in missing]:
        contender, why = start(name, args, swath)
        if contender is None:
            missing[name] = why or ""
        else:
            alive[name] = contender
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in alive}
    for number in range(args.warm_up + args.rounds):
        for name in list(rounds):
            answer, why = ask(alive[name])
            if why is not None:
                missing[name] = why
                del rounds[name], alive[name]
            elif number >= args.warm_up:
                rounds[name].append(answer)
        print(f"round {number + 1} of {args.warm_up + args.rounds} done", file=sys.stderr)
    for contender in alive.values():
        contender.process.communicate()  # the end of its standard input ends it
    return rounds, missing


def row(name: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """A contender's figures: the median of its rounds, and the peak after the last."""
    rate = answers[-1]["tiles"] / statistics.median(a["seconds"] for a in answers)
    peak = answers[-1]["peak_rss_mb"]
    return {
        "": CONTENDERS[name][0],
        "tiles": answers[-1]["tiles"],
        "tiles/s": rate,
        "peak MB": peak,
        "tiles/s per MB": rate / peak,
    }


def main() -> None:
    """Command line."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--lines", type=int, default=4096)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--without", choices=CONTENDERS, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1, help="rounds that do not count")
    parser.add_argument("--bundle", default="hirise-landmarks")
    parser.add_argument("--onnx", default="build/peers/model.onnx")
    parser.add_argument("--keras", default="runs/hirise-landmarks/model.keras")
    args = parser.parse_args()
    if args.short:
        args.lines, args.rounds = 512, 1
    with tempfile.TemporaryDirectory(prefix="winnow-peers-") as folder:
        answers, missing = compare(args, Path(folder))
    rows = {name: row(name, rounds) for name, rounds in answers.items()}
    notes = [f"{args.samples:,} samples x {args.lines:,} lines"]
    peers = [name for name in rows if not name.startswith("winnow")]
    for key in ("tiles/s", "tiles/s per MB"):
        if peers and "winnow-all" in rows:
            best = max(peers, key=lambda name: rows[name][key])
            ratio = rows["winnow-all"][key] / rows[best][key]
            notes.append(f"Winnow, all cores, to the best peer, {key}: {ratio:.2f} ({best})")
    notes += [f"{CONTENDERS[name][0]}: left out ({why})" for name, why in missing.items()]
    harness.report(args, rows.values(), notes)


if __name__ == "__main__":
    main()
