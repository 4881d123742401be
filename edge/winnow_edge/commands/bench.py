"""`winnow-edge bench`: how fast a bundle runs here."""

from __future__ import annotations

import argparse
import json

from winnow_edge.commands.run import threads_of
from winnow_edge.errors import EXIT_OK
from winnow_edge.mission import RUNTIMES

_EPILOG = """\
The whole flight loop (reading, binning, screening, inference, decision, encoding, commits to a
scratch store) runs over a swath in rounds; figures are medians over the rounds.
efficiency = mean time of a bare invocation / time per net call of the loop, both with one
interpreter. A bundle may show some tiles to the net twice (second_views).
Where the bundle has a second stage, verifier_ms is a bare invocation of it, and verifier_share what
the verified detections of the swath take of the loop's time.
In every round the loop runs alone over the whole swath, between two bursts of bare invocations.
efficiency_spread is the interquartile range over the rounds. The verdict is INVALID where the clock
was not fixed, the board was held back, other processes or a virtual machine's host took more than
5 % of the processor, or the rounds differ too much to mean anything.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `bench` to the command line."""
    p = commands.add_parser(
        "bench",
        help="how fast a bundle runs here",
        description="Time a bundle's net alone and in the whole flight loop.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("bundle", metavar="BUNDLE", help="a .winnow file or the name of a shipped one")
    p.add_argument("--swath", metavar="SWATH", help="a swath file (default: a rendered one)")
    p.add_argument("--samples", type=int, metavar="N", help="width of raw lines, in samples")
    p.add_argument(
        "--threads",
        type=threads_of,
        default=0,
        metavar="N|auto",
        help="interpreters for the rates (default: one per core)",
    )
    p.add_argument("--runtime", choices=RUNTIMES, default="auto")
    p.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        help="time to spend on rounds (default: %(default)s)",
    )
    p.add_argument(
        "--power",
        type=float,
        metavar="W",
        help="the board's power in watts, where no counter is readable",
    )
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    p.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print a table or JSON."""
    from winnow_edge.board.bench import bench
    from winnow_edge.bundle import find_bundle, open_bundle

    result = bench(
        open_bundle(find_bundle(args.bundle)),
        swath=args.swath,
        samples=args.samples,
        threads=args.threads,
        runtime=args.runtime,
        seconds=args.seconds,
        power_w=args.power,
    )
    values = result.as_json()
    if args.json:
        print(json.dumps(values))
    else:
        width = max(len(key) for key in values)
        for key, value in values.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            print(f"{key:<{width}}  {'-' if shown in (None, '') else shown}")
    return EXIT_OK
