"""The harness of all benchmarks: arguments, turns, medians, the line on the machine, the table.

A benchmark is a module with a `main()`, run from the repository's root:

    python -m benchmarks.speed.nets --help
    make bench                              # all of them in their short forms
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
SKIPPED = 77
"""Exit code of a benchmark that lacks its data, as automake has it."""

Way = Callable[[], object]


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A command line with the module's docstring as help, `--short` and `--json`."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="seconds, not minutes: does it run?")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def turns(
    ways: Mapping[str, Way],
    rounds: int,
    *,
    calls: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of a call of every way, one value a round; all ways take turns in every round.

    A first round warms up and does not count. With `time.thread_time` or `time.process_time` as the
    clock the figures mean something on a machine that does other work too.
    """
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = clock()
            for _ in range(calls):
                way()
            if number:
                spent[name].append((clock() - started) / calls)
    return spent


def medians(spent: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of every way's rounds."""
    return {name: statistics.median(values) for name, values in spent.items()}


def ratios(spent: Mapping[str, list[float]]) -> dict[str, float]:
    """The median over the rounds of every way's ratio to the first way in the same round."""
    first = next(iter(spent.values()))
    return {
        name: statistics.median(value / one for value, one in zip(values, first, strict=True))
        for name, values in spent.items()
    }


def machine() -> str:
    """One line on the machine, its load, the versions that matter and the commit."""
    names = {k.strip(): v.strip() for k, _, v in _lines("/proc/cpuinfo")}
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return ", ".join(
        [
            names.get("model name", platform.machine()),
            f"{len(os.sched_getaffinity(0))} cores",
            f"load {os.getloadavg()[0]:.1f}",
            f"Python {platform.python_version()}",
            *(f"{package} {version(package)}" for package in ("ai-edge-litert", "numpy")),
            f"commit {commit or 'unknown'}",
        ]
    )


def _lines(path: str) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in Path(path).read_text(encoding="utf-8").splitlines()]


def report(
    args: argparse.Namespace, rows: Iterable[Mapping[str, object]], notes: Iterable[str] = ()
) -> None:
    """Print the rows as a Markdown table under the keys of the first, the notes, the machine."""
    rows, notes = list(rows), list(notes)
    if args.json:
        print(json.dumps({"rows": rows, "notes": notes, "machine": machine()}))
        return
    if rows:
        print(markdown(rows), end="\n\n")
    for note in notes:
        print(note)
    print(machine(), flush=True)


def markdown(rows: list[Mapping[str, object]]) -> str:
    """A Markdown table; numbers are shortened to three digits or to their whole part."""
    head = list(rows[0])
    cells = [[_cell(row.get(key, "")) for key in head] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *cells])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def data_root(args: argparse.Namespace, *needed: str) -> Path:
    """`--data`, else $WINNOW_DATA, else ../shared/data; skips where a `needed` folder lacks."""
    given = getattr(args, "data", None) or os.environ.get("WINNOW_DATA")
    root = Path(given or ROOT.parent / "shared" / "data")
    for name in needed:
        if not (root / name).is_dir():
            skip(f"no folder {name} in {root}; name the data with --data or WINNOW_DATA")
    return root


def skip(reason: str) -> NoReturn:
    """End the benchmark with the reason why it cannot run here."""
    print(f"skipped: {reason}", file=sys.stderr)
    raise SystemExit(SKIPPED)
