"""The `winnow-edge` command: what runs on the board."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from winnow_edge.commands import bench, doctor, downlink, info, run, schema, version
from winnow_edge.errors import EXIT_OK, EXIT_RUNTIME, WinnowEdgeError

COMMANDS = (run, downlink, info, bench, doctor, schema)
_EPILOG = """\
exit codes: 0 done, 2 usage, 3 bad swath, mission file, bundle or store, 4 hardware or runtime.
Results go to stdout, messages to stderr. `winnow-edge COMMAND --help` says more.
"""


def parser() -> argparse.ArgumentParser:
    """The command line of `winnow-edge`; every module of `commands` adds its own part."""
    top = argparse.ArgumentParser(
        prog="winnow-edge",
        description="Winnow on board: classify a swath as its lines arrive, keep the "
        "products in a crash-safe store, send the best first.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("-v", "--verbose", action="store_true", help="print more messages on stderr")
    top.add_argument(
        "--version", action=version.Version, help="print the versions and the runtimes found"
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `winnow-edge` and return its exit code; an expected error is one line on stderr."""
    args = parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING,
        format="winnow-edge: %(message)s",
        stream=sys.stderr,
    )
    try:
        code: int = args.func(args)
        sys.stdout.flush()
    except WinnowEdgeError as error:
        print(f"winnow-edge: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("winnow-edge: interrupted; committed products are safe", file=sys.stderr)
        return 130
    except MemoryError:
        print("winnow-edge: out of memory; committed products are safe", file=sys.stderr)
        return EXIT_RUNTIME
    except BrokenPipeError:
        # The reader of our results is gone: nobody to tell, and nothing was lost.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return code


if __name__ == "__main__":
    sys.exit(main())
