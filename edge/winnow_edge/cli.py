"""The `winnow-edge` command: what runs on the board."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from winnow_edge.commands import bench, doctor, downlink, info, run, schema, store, time, version
from winnow_edge.errors import EXIT_OK, EXIT_RUNTIME, WinnowEdgeError
from winnow_edge.output import Printable, checked_stdout, tell

COMMANDS = (run, downlink, info, bench, doctor, store, time, schema)
_EPILOG = """\
exit codes: 0 done, 2 usage, 3 bad swath, mission file, bundle or store, 4 hardware or runtime,
6 trouble that passes (store busy, disk full or failing): the same command may be tried again.
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
    code = EXIT_OK
    try:
        with checked_stdout():
            code = _run(arguments)
    except WinnowEdgeError as error:
        tell(f"winnow-edge: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        tell("winnow-edge: interrupted; committed products are safe")
        return 130
    except MemoryError:
        tell("winnow-edge: out of memory; committed products are safe")
        return EXIT_RUNTIME
    except BrokenPipeError:
        return code  # the reader of our results is gone: nobody to tell, and nothing was lost
    return code


def _run(arguments: Sequence[str] | None) -> int:
    args = parser().parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Printable("winnow-edge: %(message)s"))
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, handlers=[handler])
    code: int = args.func(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
