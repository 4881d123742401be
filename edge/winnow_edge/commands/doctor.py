"""`winnow-edge doctor`: is this board fit to fly?"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow_edge.board.doctor import Finding

_EPILOG = """\
Every line is ok, warn (it flies, but could be better) or fail, with what to do about it.
exit codes: 0 fit to fly, perhaps with warnings; 3 a bundle or store is bad; 4 the board is not fit.
"""


_WIDTH = len("bundle hirise-landmarks")
"""Findings are printed as they are made, so their width is settled before."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `doctor` to the command line."""
    p = commands.add_parser(
        "doctor",
        help="is this board fit to fly?",
        description="Check Python, packages, runtimes, processor, clock rate and "
        "throttling, memory, time, disk and store, and run the golden self-test "
        "of the bundles. Every fault comes with its remedy.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "bundles", metavar="BUNDLE", nargs="*", help="bundles to test (default: the shipped ones)"
    )
    p.add_argument(
        "--store",
        default="winnow-store",
        metavar="DIR",
        help="folder of the store, which need not exist yet (default: %(default)s)",
    )
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    p.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print what is found, as it is found; see `doctor.exit_code`."""
    from winnow_edge.board.doctor import FAIL, WARN, examine, exit_code

    found = examine(args.bundles, args.store)
    findings = list(found if args.json else _printed(found))
    code = exit_code(findings)
    counts = {state: sum(f.state == state for f in findings) for state in (WARN, FAIL)}
    if args.json:
        listed = [dataclasses.asdict(f) for f in findings]
        print(json.dumps({"fit": code == 0, "exit_code": code, **counts, "findings": listed}))
    elif code:
        print(f"not fit to fly: {counts[FAIL]} to mend, {counts[WARN]} warnings")
    else:
        print(f"fit to fly, {counts[WARN]} warnings")
    return code


def _printed(found: Iterator[Finding]) -> Iterator[Finding]:
    for finding in found:
        print(f"{finding.state:<5} {finding.what:<{_WIDTH}} {finding.found}", flush=True)
        if finding.mend:
            print(f"{'':<{6 + _WIDTH}} -> {finding.mend}", flush=True)
        yield finding
