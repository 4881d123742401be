"""`winnow-edge doctor`: is this board fit to fly?"""

from __future__ import annotations

import argparse
import dataclasses
import json

from winnow_edge.errors import EXIT_OK, EXIT_RUNTIME


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `doctor` to the command line."""
    p = commands.add_parser(
        "doctor",
        help="is this board fit to fly?",
        description="Check Python, packages, processor, clock, memory, runtimes and disk, run the "
        "golden self-test of the bundles, and say how to mend what is wrong.",
        epilog="exit codes: 0 fit (perhaps with notes), 4 something must be mended",
    )
    p.add_argument("bundle", metavar="BUNDLE", nargs="?", help="default: those installed with it")
    p.add_argument("--store", default=".", metavar="DIR", help="where the store will be")
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    p.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print what was found; EXIT_RUNTIME if anything is bad."""
    from winnow_edge.doctor import BAD, examine

    findings = examine(args.bundle, args.store)
    fit = all(finding.state != BAD for finding in findings)
    if args.json:
        report = {"fit": fit, "findings": [dataclasses.asdict(f) for f in findings]}
        print(json.dumps(report))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            print(f"{finding.state:<5}{finding.what:<{width}}  {finding.found}")
            if finding.mend:
                print(f"{'':<{5 + width}}  -> {finding.mend}")
        print("fit to fly" if fit else "not fit to fly: mend what is marked bad")
    return EXIT_OK if fit else EXIT_RUNTIME
