"""`winnow-edge bench`: how fast a bundle runs here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from winnow_edge.commands.options import amount, samples_of, threads_of
from winnow_edge.errors import EXIT_OK
from winnow_edge.mission import RUNTIMES

if TYPE_CHECKING:
    from winnow_edge.board.bench import BenchResult

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
    p.add_argument("--samples", type=samples_of, metavar="N", help="width of raw lines, in samples")
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
        type=amount(0, 1e5),
        default=10.0,
        help="time to spend on rounds (default: %(default)s)",
    )
    p.add_argument(
        "--power",
        type=amount(0.001, 1e5),
        metavar="W",
        help="the board's power in watts, where no counter is readable",
    )
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    p.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Measure, and print figures for people or JSON."""
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
    print(json.dumps(result.as_json()) if args.json else "\n".join(_text(result)))
    return EXIT_OK


def _text(r: BenchResult) -> Iterator[str]:
    """The figures in groups, each with its unit, and what they come to."""
    asked = "" if r.runtime == r.runtime_requested else f" ({r.runtime_requested} was asked for)"
    yield f"{r.bundle} on {r.runtime}{asked}, {r.swath} swath, {r.rounds} rounds"
    yield f"tile        {_short(r.tile_ms)} ms in the flight loop with one interpreter"
    yield (
        f"net         {_short(r.invoke_ms)} ms a bare invocation: "
        f"least {_short(r.invoke_min_ms)}, 95 % under {_short(r.invoke_p95_ms)}, "
        f"99 % under {_short(r.invoke_p99_ms)} "
        f"({r.invocations:,} invocations after {r.warm_up} to warm up)"
    )
    yield (
        f"efficiency  {r.efficiency:.2f}: the net's share of the loop's time "
        f"(interquartile range {r.efficiency_spread:.2f})"
    )
    yield (
        f"swath       {r.tiles:,} tiles, {r.second_views:,} shown to the net twice, "
        f"{r.detections:,} detections"
    )
    if r.verifier_ms is not None and r.verifier_share is not None:
        yield (
            f"2nd stage   {_short(r.verifier_ms)} ms an invocation, {r.verified or 0:,} "
            f"detections verified, {r.verifier_share * 100:.0f} % of the loop's time"
        )
    yield (
        f"rate        {_short(r.tiles_per_s)} tiles/s, {_short(r.lines_per_s)} lines/s, "
        f"{_short(r.megapixels_per_s)} megapixels/s with {_many(r.threads, 'interpreter')}"
    )
    yield (
        f"speed-up    {r.speed_up:.2f} times one interpreter; bare invocations gain "
        f"{r.bare_speed_up:.2f} times"
    )
    yield f"memory      {r.peak_rss_mb:,.0f} MB at most"
    yield f"board       {', '.join(_board(r))}"
    energy, source = r.energy_mj_per_tile, r.energy_source
    yield "energy      " + (
        f"{_short(energy)} mJ a tile ({source})" if energy is not None else source
    )
    yield from _in_words(r)


def _board(r: BenchResult) -> Iterator[str]:
    yield r.cpu
    yield _many(r.cores, "core")
    yield from r.features
    yield f"governor {r.governor or 'not known'}"
    if r.temperature_c is not None:
        yield f"{r.temperature_c:.0f} °C"
    if r.throttling is not None:
        yield "; ".join(r.throttling) or "not throttled"
    for who, share in (("other processes", r.others_share), ("the host", r.stolen_share)):
        if share is not None:
            yield f"{who} took {share * 100:.0f} % of the processor"


def _in_words(r: BenchResult) -> Iterator[str]:
    """One sentence that says what the board can do, and one more where it cannot be relied on."""
    samples = round(r.megapixels_per_s * 1e6 / r.lines_per_s)
    yield (
        f"This board classifies {_short(r.tiles_per_s)} tiles a second with {r.bundle}: it keeps "
        f"up with a camera of {samples:,} samples that sends a line every "
        f"{_short(1e6 / r.lines_per_s)} microseconds, with {r.peak_rss_mb:,.0f} MB of memory."
    )
    if r.invalid:
        yield f"Do not rely on these figures: {'; '.join(r.invalid)}."


def _short(value: float) -> str:
    """Three digits that mean something.

    >>> _short(0.49412), _short(1263.4)
    ('0.494', '1,263')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _many(n: int, thing: str) -> str:
    return f"{n} {thing}{'s' * (n != 1)}"
