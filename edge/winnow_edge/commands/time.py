"""`winnow-edge time`: what the mission clock says, and telling it what time it is."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from winnow_edge.errors import EXIT_OK, EXIT_USAGE
from winnow_edge.output import tell as say

if TYPE_CHECKING:
    from winnow_edge.clock.host import Moment
    from winnow_edge.clock.mission_clock import ClockState

_EXAMPLES = """\
examples:
  winnow-edge time show --store winnow-store
  winnow-edge time set 2026-11-22T00:40:00Z --store winnow-store
  winnow-edge time set "$(gps-utc)" --source gnss --store winnow-store

Mission time counts on whatever the machine's own clock does, and over restarts. Where a time
service (NTP, or a receiver that feeds one) keeps the machine's clock, UTC follows it; else UTC is
as told by `set`, until the next restart. `set` leaves the machine's clock as it is.
"""
_SHOWN = 8


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `time` to the command line."""
    parser = subparsers.add_parser(
        "time",
        help="show the mission clock, or tell it the time",
        description="Show the mission clock of a store, or tell it what time it is.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(metavar="show|set", required=True)
    show = kinds.add_parser("show", help="print mission time, UTC, its source and the last events")
    show.set_defaults(func=_show)
    told = kinds.add_parser("set", help="tell the clock what time it is")
    told.add_argument("utc", metavar="UTC", help="such as 2026-11-22T00:40:00Z")
    told.add_argument(
        "--source", choices=("ground", "gnss"), default="ground", help="default: %(default)s"
    )
    told.set_defaults(func=_set)
    for one in (show, told):
        one.add_argument(
            "--store",
            metavar="DIR",
            default="winnow-store",
            help="store folder (default: %(default)s)",
        )
        one.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _show(args: argparse.Namespace) -> int:
    from winnow_edge.clock.host import read_host
    from winnow_edge.store.clock import peek
    from winnow_edge.store.memory import opened

    with opened(args.store, mission=None, read_only=True) as store:
        moment = read_host()
        _print(_told(peek(store, moment), moment), args.json)
    return EXIT_OK


def _set(args: argparse.Namespace) -> int:
    from winnow_edge.clock.host import read_host
    from winnow_edge.clock.utc import parse_utc
    from winnow_edge.store.clock import tell
    from winnow_edge.store.memory import opened

    moment = read_host()
    try:
        now = parse_utc(args.utc)
        # On a full disk the store's reserve is room enough for the clock.
        with opened(args.store, mission=None, grows=False) as store:
            state = tell(store, now, args.source, moment)
    except ValueError as error:
        say(f"winnow-edge time set: {error}; give UTC such as 2026-11-22T00:40:00Z")
        return EXIT_USAGE
    _print(_told(state, moment), args.json)
    if moment.kept:
        say(
            "winnow-edge time set: a time service keeps this machine's clock; "
            "the next reading follows it again"
        )
    return EXIT_OK


def _told(state: ClockState, moment: Moment) -> dict[str, Any]:
    """The clock in JSON values."""
    from winnow_edge.clock.cuc import NS
    from winnow_edge.clock.utc import format_utc, from_unix

    now = state.instant(moment.boot_ns)
    try:
        wall = format_utc(from_unix(moment.wall_ns))
    except ValueError:
        wall = None
    return {
        "boot": state.boot,
        "mission_s": round(state.mission_ns(moment.boot_ns) / NS, 3),
        "utc": format_utc(now) if now.tai else None,
        "source": state.source,
        "synchronised": state.synchronised,
        "told_s": round(state.told_ns / NS, 3) if state.source else None,
        "wall": wall,
        "wall_kept": moment.kept,
        "counted": state.counted,
        "events": list(state.events),
    }


def _print(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(told))
        return
    utc = "unknown; a time service or `winnow-edge time set` tells it"
    if told["utc"]:
        held = "synchronised" if told["synchronised"] else "no longer synchronised"
        utc = f"{told['utc']}, by {told['source']}, {held}"
    kept = {
        True: "a time service keeps it",
        False: "nobody keeps it",
        None: "the system does not say whether a time service keeps it",
    }[told["wall_kept"]]
    print(f"mission time  {told['mission_s']:.3f} s, boot {told['boot']}")
    print(f"UTC           {utc}")
    print(f"wall clock    {told['wall'] or 'makes no sense'}; {kept}")
    shown = told["events"][-_SHOWN:]
    print(f"events        {told['counted']}, of these the last {len(shown)}:")
    for event in shown:
        more = "".join(f", {key} {event[key]}" for key in ("source", "by_s", "why") if key in event)
        at = f"boot {event['boot']:>3}  {event['mission_s']:>14.3f} s"
        print(f"  {at}  {event['event']}{more}")
