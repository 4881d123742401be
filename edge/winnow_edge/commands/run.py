"""`winnow-edge run`: classify swaths into the store."""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from winnow_edge.commands.options import amount, place, samples_of, threads_of, utc, whole
from winnow_edge.commands.watching import asked_to_end, progress_line
from winnow_edge.errors import (
    EXIT_OK,
    EXIT_USAGE,
    StoreDamagedError,
    StoreTroubleError,
    SwathError,
    SwathKnownError,
    Trouble,
)
from winnow_edge.files import printable
from winnow_edge.mission import RUNTIMES, Mission
from winnow_edge.output import Results, tell

if TYPE_CHECKING:
    from winnow_edge.loop.flight import Flight

ALL = 0
"""Value of --passes for a listener that is ended by SIGTERM alone."""

_EXAMPLES = """\
examples:
  winnow-edge run mission.toml strip.jpg
  winnow-edge run mission.toml *.jpg --store passes/7 --json
  winnow-edge run mission.toml /data/incoming --incoming
  camera | winnow-edge run mission.toml - --samples 2048 --name pass-12
  winnow-edge run mission.toml tcp://camera.local:5000 --samples 2048 --name pass-13 --stall 30
  winnow-edge run mission.toml tcp-listen://0.0.0.0:5000 --samples 2048 --name pass --passes all

tcp:// and unix: connect to the sender of lines; tcp-listen:// and unix-listen: wait for it, one
peer at a time. Each connection is a swath. With --passes swaths are NAME-1, NAME-2 and so on, from
the first that the store does not know. A peer that breaks off and connects anew begins another
swath; its earlier lines are kept as a swath cut short. Anybody who reaches a port may send: listen
at the address of the camera's own network.

A killed run goes on where it was when it is started again (of a pipe or socket: with the same
--name, and the lines sent again from the first). SIGTERM and SIGHUP finish the block at hand,
commit it and exit with 0. A swath that is cut short or damaged is kept as far as it could be read;
the run exits with 0 and names the missing part (`truncated` with --json).
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `run` to the command line."""
    p = commands.add_parser(
        "run",
        help="classify swaths into the store",
        description="Read each swath line by line, classify its tiles, keep records, "
        "thumbnails and images in the store, and print the counts.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("mission", metavar="MISSION", help="mission file (TOML)")
    p.add_argument(
        "swaths",
        metavar="SWATH",
        nargs="+",
        help="PNG, JPEG, PGM or raw lines. Raw lines also come from - (standard input), a "
        "named pipe, tcp://HOST:PORT or unix:PATH; tcp-listen://HOST:PORT and "
        "unix-listen:PATH wait for a peer",
    )
    p.add_argument(
        "--incoming",
        action="store_true",
        help="SWATH is a folder: run all files in it, those too that come meanwhile. A finished "
        "file is moved to SWATH/done, one that fails twice to SWATH/set-aside",
    )
    p.add_argument(
        "--patience",
        type=float,
        metavar="SECONDS",
        default=300.0,
        help="with --incoming, pipes and sockets: how long to try again, with longer and longer "
        "waits, while the store is busy or its disk full or failing (default: %(default)g). After "
        "that a disk that is full gets records alone, and one that fails gives way to a store in "
        "memory",
    )
    p.add_argument("--store", default="winnow-store", metavar="DIR", help="default: %(default)s")
    p.add_argument("--json", action="store_true", help="one JSON object per swath on stdout")
    p.add_argument("--samples", type=samples_of, metavar="N", help="width of raw lines, in samples")
    p.add_argument("--bits", type=int, choices=(8, 16), help="bits per raw sample")
    p.add_argument(
        "--stall",
        type=amount(0.1, 1e6),
        metavar="SECONDS",
        help="end a pipe or socket that is silent for so long (default: wait). A peer that "
        "has yet to connect is always waited for; one that sends no line gives way to "
        "the next after 60 s. A line may take ten times as long",
    )
    p.add_argument(
        "--passes",
        type=_passes,
        metavar="N|all",
        default=1,
        help="with an address to listen at: swaths to take, one per connection (default: "
        "%(default)s; all: until SIGTERM)",
    )
    p.add_argument(
        "--instrument",
        metavar="NAME",
        help="instrument of the mission file (default: the first whose `match` fits)",
    )
    p.add_argument(
        "--start",
        type=utc,
        metavar="UTC",
        help="when the swath's first line was seen, such as 2022-01-30T14:43:59.182Z",
    )
    p.add_argument(
        "--place",
        type=place,
        metavar="LAT[,LON]",
        help="where the swath is, in degrees north and east",
    )
    p.add_argument(
        "--geometry",
        type=Path,
        metavar="FILE",
        help="when and where its lines were seen (default: SWATH.geometry.jsonl, SWATH.nmea or "
        "SWATH.LBL beside the swath; docs/time-and-place.md)",
    )
    p.add_argument("--name", help="name of the swath in the store (default: its file name)")
    p.add_argument(
        "--threads",
        type=threads_of,
        metavar="N|auto",
        help="number of interpreters; auto: one per core",
    )
    p.add_argument("--runtime", choices=RUNTIMES, help="instead of the mission's")
    p.add_argument("--bundle", metavar="BUNDLE", help="instead of the instrument's")
    p.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the swaths one after the other. A bad one does not keep the next from being run."""
    if args.incoming and (len(args.swaths) > 1 or args.passes != 1):
        tell("winnow-edge run: --incoming is for a single folder")
        return EXIT_USAGE
    told = args.start or args.place or args.geometry
    if told and (args.incoming or len(args.swaths) > 1 or args.passes != 1):
        tell("winnow-edge run: --start, --place and --geometry are for a single swath")
        return EXIT_USAGE
    if args.name is not None and (args.incoming or len(args.swaths) > 1):
        tell("winnow-edge run: --name is for a single swath")
        return EXIT_USAGE
    from winnow_edge.sources.sockets import is_listening

    others = [path for path in args.swaths if not is_listening(path)]
    if args.passes != 1 and others:
        what = "addresses that are listened at (tcp-listen://, unix-listen:)"
        tell(f"winnow-edge run: --passes is for {what}, not for {others[0]}")
        return EXIT_USAGE
    from winnow_edge.board.systemd import notify, watched
    from winnow_edge.commands.folder import opened
    from winnow_edge.mission import load_mission

    mission = with_overrides(load_mission(args.mission), args)
    with asked_to_end() as stopped:
        stop = watched(stopped)
        notify("READY=1")
        waits = args.incoming or any(map(_is_live, args.swaths))
        with opened(mission, args.store, args.patience if waits else 0, stop) as flight:
            return _fly(args, flight, stop)


def _fly(args: argparse.Namespace, flight: Flight, stop: Callable[[], bool]) -> int:
    """Run all swaths; the exit code. Raises OutputError where results could not be printed."""
    from winnow_edge.commands.folder import take_in

    results = Results(stop)
    if args.incoming:
        one = partial(_run_one, args, flight, stop, results, name=None, link=None)
        code = take_in(args.swaths[0], args.store, args.patience, flight, stop, one)
    else:
        code = _run_all(args, flight, stop, results)
    if results.fault is not None and code == EXIT_OK:
        raise results.fault
    return code


def _run_all(
    args: argparse.Namespace, flight: Flight, stop: Callable[[], bool], results: Results
) -> int:
    """The swaths that were named, and the exit code."""
    from winnow_edge.board.incoming import Patience
    from winnow_edge.commands.folder import wait_for_store

    code, patience = EXIT_OK, Patience(args.patience, stop)
    for path, name, link in _swaths(args, flight, stop):
        if stop():
            break
        try:
            _run_one(args, flight, stop, results, path, name, link)
        except (StoreTroubleError, StoreDamagedError) as error:
            if args.passes != ALL:
                failing = isinstance(error, StoreTroubleError) and error.trouble is Trouble.FAILING
                if failing and _is_live(path) and not flight.in_memory:
                    flight.reopen(fails=True)  # for the next run
                raise
            # This pass is cut short; the peer hears of it, and may send it again.
            if link is not None:
                link.close()
            wait_for_store(flight, patience, error, stop)
        except (SwathError, SwathKnownError) as error:
            if len(args.swaths) == 1 and (link is None or args.passes == 1):
                raise
            tell(f"winnow-edge: {error}")
            # Of passes without end a bad one is not how the run ended.
            code = code if link is not None and args.passes == ALL else error.exit_code
        else:
            patience.renew()
    return code


def _is_live(path: str) -> bool:
    """Whether lines come from a camera, which waits for nobody."""
    from winnow_edge.sources.sockets import is_address

    with contextlib.suppress(OSError):
        mode = Path(path).stat().st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)
    return is_address(path)


def _run_one(
    args: argparse.Namespace,
    flight: Flight,
    stop: Callable[[], bool],
    results: Results,
    path: str,
    name: str | None,
    link: socket.socket | None,
) -> bool:
    """Run a swath and print its counts; whether it is complete."""
    from winnow_edge.place.door import Asked

    if link is None and (link := _connected(path, args, flight, stop)) is None and stop():
        return False
    summary = flight.run(
        path,
        instrument=args.instrument,
        samples=args.samples,
        bits=args.bits,
        name=name,
        progress=progress_line(path),
        stop=stop,
        link=link,
        asked=Asked(args.start, args.place, args.geometry),
    )
    text = "\n".join(map(printable, summary.as_text().splitlines()))
    results.say(json.dumps(summary.as_json()) if args.json else text)
    return summary.complete


def _connected(
    path: str, args: argparse.Namespace, flight: Flight, stop: Callable[[], bool]
) -> socket.socket | None:
    """The connection to a swath that is a socket; None where it is none, or `stop` ended the wait.
    Lines of unknown width are refused before, by who opens them."""
    from winnow_edge.sources.sockets import address_of, connect, name_of

    address = address_of(path)
    if address is None:
        return None
    _, camera = flight.mission.instrument_for(args.name or name_of(address), args.instrument)
    return connect(address, stop) if args.samples or camera.samples else None


def _swaths(
    args: argparse.Namespace, flight: Flight, stop: Callable[[], bool]
) -> Iterator[tuple[str, str | None, socket.socket | None]]:
    """Each swath's path or address, its name if it is given one, and the connection that came in
    where the address is listened at."""
    from winnow_edge.sources.sockets import is_listening

    for path in args.swaths:
        if is_listening(path):
            yield from _passes_at(path, args, flight, stop)
        else:
            yield path, args.name, None


def _passes_at(
    address: str, args: argparse.Namespace, flight: Flight, stop: Callable[[], bool]
) -> Iterator[tuple[str, str, socket.socket]]:
    """The connections that come in at an address, one after the other."""
    from winnow_edge.sources.listening import Listener
    from winnow_edge.sources.sockets import name_of

    base, number = args.name or name_of(address), 1
    name = base if args.passes == 1 else f"{base}-{number}"
    _, camera = flight.mission.instrument_for(name, args.instrument)
    if (samples := args.samples or camera.samples) is None:
        raise SwathError(
            "raw lines have no header", where=address, hint="give their width: --samples N"
        )
    line = samples * (args.bits or camera.bits) // 8
    if args.passes == 1 and (known := flight.store.swath(name)) is not None and known.complete:
        raise SwathKnownError(
            f"a swath {name!r} is complete already",
            where=flight.store.path,
            hint="give this one another --name",
        )

    def waiting() -> bool:
        flight.idle()
        return stop()

    with Listener(address) as listening:
        tell(f"winnow-edge: listening at {listening.address}")
        taken = 0
        while (link := listening.accept(waiting, camera.stall_s, line)) is not None:
            taken += 1
            if taken == args.passes:
                listening.close()  # who comes now is refused, and not left waiting for nothing
            while args.passes != 1 and flight.store.swath(name) is not None:
                number += 1
                name = f"{base}-{number}"
            with link:
                yield address, name, link
            if taken == args.passes:
                return


def with_overrides(mission: Mission, args: argparse.Namespace) -> Mission:
    """The mission with what the command line says instead."""
    compute = mission.compute
    if args.runtime is not None:
        compute = replace(compute, runtime=args.runtime)
    if args.threads is not None:
        compute = replace(compute, threads=args.threads)
    instruments = mission.instruments
    if args.bundle is not None:
        # Relative to the working directory, as everything on a command line.
        path = Path(args.bundle)
        bundle = str(path.resolve()) if path.is_file() else args.bundle
        instruments = {k: replace(v, bundle=bundle) for k, v in instruments.items()}
    if args.stall is not None:
        instruments = {k: replace(v, stall_s=args.stall) for k, v in instruments.items()}
    return replace(mission, compute=compute, instruments=instruments)


_passes_from_1 = whole(1, 10**9)


def _passes(text: str) -> int:
    return ALL if text == "all" else _passes_from_1(text)
