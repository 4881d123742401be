"""`python -m tests.fuzz [DOOR|GROUP|all ...] [--seed S] [--cases N | --case N | --slow]`.

Cases run in a process of their own: one that is killed, or waits without end, is told with its
number like any other. Exit code 0: every case ended in a value or an error of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.doors import DOORS, FAULTY, GROUPS
from tests.fuzz.run import WAIT_S, damaged, limit_address_space, run

KNOWN = {**DOORS, **FAULTY}
_AT = struct.Struct("<32sq")
"""Where the child stands: door and case."""


def main() -> int:
    """Run what the command line asks for."""
    args = _arguments()
    names = [n for asked in args.doors for n in GROUPS.get(asked, [asked])]
    if unknown := [n for n in names if n not in KNOWN]:
        print(f"no door {unknown[0]!r}; there are: {', '.join(DOORS)}", file=sys.stderr)
        return 2
    if args.show:
        with _scratch() as folder:
            print(
                ascii(
                    damaged(names[0], KNOWN[names[0]].maker(names[0])(folder), args.seed, args.case)
                )
            )
        return 0
    if args.child:
        return _child(names, args)
    return _supervised(args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("doors", nargs="*", default=["all"], help=", ".join([*DOORS, *GROUPS]))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, help="cases of each door")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="this case alone")
    parser.add_argument("--slow", action="store_true", help="as many cases as make test-slow")
    parser.add_argument("--show", action="store_true", help="print the input of --case")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _child(names: list[str], args: argparse.Namespace) -> int:
    """Run the cases in this process, telling the parent which it is at."""
    faulthandler.enable()
    logging.disable()
    failed = 0
    with args.child.open("r+b") as file, mmap.mmap(file.fileno(), _AT.size) as told:
        for name in names:
            entry = KNOWN[name]
            with _scratch() as folder:
                door = entry.maker(name)(folder)
                if args.case is not None:
                    cases = range(args.case, args.case + 1)
                else:
                    count = args.cases or (entry.slow if args.slow else entry.quick)
                    cases = range(args.first, args.first + count)

                def begun(case: int, name: bytes = name.encode()) -> None:
                    _AT.pack_into(told, 0, name, case)

                begun(cases.start)
                limit_address_space()
                started = time.process_time()
                failures = run(name, door, args.seed, cases, begun)
                spent = time.process_time() - started
            failed += len(failures)
            for failure in failures:
                print(failure, flush=True)
            each = 1000 * spent / max(len(cases), 1)
            print(f"{name}: {len(cases)} cases, {len(failures)} failures, {each:.2f} ms each")
            sys.stdout.flush()
    return 1 if failed else 0


def _supervised(args: argparse.Namespace) -> int:
    """Run the cases in another process, and say at which it was where it is killed or stuck."""
    with _scratch() as folder:
        told = folder / "at"
        told.write_bytes(bytes(_AT.size))
        command = [sys.executable, "-m", "tests.fuzz", *sys.argv[1:], "--child", str(told)]
        with subprocess.Popen(command) as child:
            at, since = b"", time.monotonic()
            while child.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(1)
                now = told.read_bytes()
                if now != at:
                    at, since = now, time.monotonic()
                elif time.monotonic() - since > 2 * WAIT_S:
                    child.send_signal(signal.SIGABRT)  # faulthandler shows where it is
                    child.wait()
        if child.returncode in (0, 1, 2):
            return child.returncode
        name, case = _AT.unpack(told.read_bytes())
        door = name.rstrip(b"\0").decode() or "(start)"
        ended = signal.Signals(-child.returncode).name if child.returncode < 0 else "an exit"
        print(f"{door}, seed {args.seed}, case {case}: the process was ended by {ended}")
        print(f"python -m tests.fuzz {door} --seed {args.seed} --case {case}")
        return 1


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder in memory, where there is such a file system: a million cases wear a disk."""
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="winnow-fuzz-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
