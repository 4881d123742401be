"""`winnow-edge downlink`: hold a contact, write its packets."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow_edge.errors import EXIT_OK, EXIT_USAGE, StoreDamagedError
from winnow_edge.files import printable
from winnow_edge.mission import POLICIES, Mission, load_mission
from winnow_edge.output import tell

if TYPE_CHECKING:
    from winnow_edge.downlink.acknowledgements import AckReport
    from winnow_edge.downlink.requests import Requests
    from winnow_edge.store.store import Store

log = logging.getLogger(__name__)

SECONDS_MAX = 1e9
"""The longest contact, 30 years: at any rate of a mission file its bytes are a finite number."""

DESCRIPTION = """\
Rank the products in the store, and write the best as CCSDS space packets to a file, as many as
the contact carries. Products stay in flight until the ground acknowledges their container (--ack).
After link.ack_wait further contacts without a word they are ranked again. Acknowledged products
are never sent again."""

EPILOG = """\
examples:
  winnow-edge downlink mission.toml --store winnow-store --contact 480 --out pass-1.bin
  winnow-edge downlink mission.toml --bytes 200000 --ack ack.json --out pass-2.bin --json

An existing --out file is never overwritten, because it may hold products that are counted as sent;
a device or named pipe is written straight. The file appears when it is complete and on the disk."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `downlink` to the command line."""
    parser = subparsers.add_parser(
        "downlink",
        help="write the best products that fit a contact as packets",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("mission", metavar="MISSION", help="mission file (TOML)")
    parser.add_argument(
        "--store", metavar="DIR", default="winnow-store", help="store folder (default: %(default)s)"
    )
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument(
        "--bytes", metavar="N", type=_bytes, help="bytes that the contact carries, headers included"
    )
    budget.add_argument(
        "--contact",
        metavar="SECONDS",
        type=_seconds,
        help="length of the contact; link.rate_bps of the mission gives the bytes",
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="packet file to write")
    parser.add_argument(
        "--ack",
        metavar="FILE",
        action="append",
        default=[],
        help="ack.json of `winnow receive`, applied before ranking; may be repeated",
    )
    parser.add_argument(
        "--request",
        metavar="FILE",
        action="append",
        default=[],
        help="requests.json of `winnow request`: raw regions, answered before ranking; may be "
        "repeated",
    )
    parser.add_argument(
        "--swaths",
        metavar="DIR",
        action="append",
        default=[],
        type=Path,
        help="with --request: folder of the swaths' files, such as incoming/done; may be repeated",
    )
    parser.add_argument("--policy", choices=POLICIES, help="instead of the mission's")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; results to standard output, exit code as documented."""
    # Imported here: the flight loop shares this command line and needs none of it.
    from winnow_edge.downlink.acknowledgements import load_ack
    from winnow_edge.downlink.requests import load_requests

    if args.request and not args.swaths:
        tell("winnow-edge downlink: --request needs --swaths DIR, where the swaths' files are")
        return EXIT_USAGE
    mission = load_mission(args.mission)
    requests = [load_requests(path) for path in args.request]
    reports = [load_ack(path) for path in args.ack]
    budget = args.bytes if args.bytes is not None else contact_bytes(mission, args.contact)
    try:
        summary = _held(args, mission, reports, requests, budget)
    except StoreDamagedError as error:
        log.warning("%s", error)
        summary = _held(args, mission, reports, requests, budget)  # opening it anew salvages it
    print(json.dumps(summary) if args.json else _text(summary))
    return EXIT_OK


def _held(
    args: argparse.Namespace,
    mission: Mission,
    reports: Sequence[AckReport],
    requests: Sequence[Requests],
    budget: int,
) -> dict[str, Any]:
    """Hold the contact; what came of it. Raises WinnowEdgeError."""
    from winnow_edge.downlink.acknowledgements import acknowledge
    from winnow_edge.downlink.contact import downlink
    from winnow_edge.downlink.requests import answer
    from winnow_edge.store.memory import opened

    with opened(args.store, mission=mission, back=False, create=False, grows=False) as store:
        _warn_of_strange_classes(mission, {c for swath in store.swaths() for c in swath.classes})
        acks = [acknowledge(store, r) for r in reports if not _is_of_lost(store, r, mission)]
        answers = [one for each in requests for one in answer(store, mission, each, args.swaths)]
        summary = downlink(
            store, mission, budget_bytes=budget, out=args.out, policy=args.policy
        ).as_json()
    return summary | {
        "acknowledged": sum(ack.acknowledged for ack in acks),
        "returned": summary["returned"] + sum(ack.returned for ack in acks),
        "unknown_containers": sum(ack.unknown for ack in acks),
        **({"requests": [one.as_json() for one in answers]} if args.request else {}),
        "out": args.out,
    }


def _is_of_lost(store: Store, report: AckReport, mission: Mission) -> bool:
    """Whether a report, of this mission for all it says, is about a store that is no more, such as
    one in memory that a restart has lost; says so."""
    known = report.store_id in (store.store_id, *store.former())
    if known or report.mission not in (None, mission.name):
        return False
    log.warning(
        "%s: the report is about store %08x, which is no more; it is passed over",
        store.path, report.store_id,
    )  # fmt: skip
    return True


def contact_bytes(mission: Mission, seconds: float) -> int:
    """Whole bytes that a contact of that length carries at the mission's rate."""
    return int(seconds * mission.link.rate_bps / 8)


def _warn_of_strange_classes(mission: Mission, known: set[str]) -> None:
    strange = sorted(set(mission.classes) - known)
    if known and strange:
        log.warning(
            "%s: no swath in the store knows class %s; its utility ranks nothing",
            mission.path,
            ", ".join(repr(name) for name in strange),
        )


def _text(summary: dict[str, Any]) -> str:
    products = ", ".join(
        _many(n, kind.replace("_", " ")) for kind, n in summary["products"].items() if n
    )
    left, found = summary["left"], summary["detections"]
    classes = ", ".join(f"{name} {n:,}" for name, n in found.items())
    of_them = f"{sum(found.values()):,}, {_many(sum(summary['classes'].values()), 'product')}"
    lines = [
        f"contact {summary['contact']}: {summary['bytes']:,} of {summary['budget_bytes']:,} bytes,"
        f" {_many(summary['containers'], 'container')}, {_many(summary['packets'], 'packet')}"
        f" -> {summary['out']}",
        f"products    {products or 'none'}",
        f"detections  {f'{of_them}: {classes}' if found else 'none'}",
        f"left        {_many(left['products'], 'product')}, {left['bytes']:,} bytes",
    ]
    if summary["damaged"]:
        lines.append(f"damaged     {_many(summary['damaged'], 'product')} given up")
    if summary["acknowledged"] or summary["returned"]:
        lines.append(
            f"earlier     {_many(summary['acknowledged'], 'product')} acknowledged,"
            f" {summary['returned']:,} ranked again"
        )
    for one in summary.get("requests", ()):
        said = one["why"] or f"{_many(one['products'], 'product')}, {one['bytes']:,} bytes"
        refused = "refused: " if one["why"] else ""
        lines.append(f"request {one['request']:<4} {one['swath']}: {refused}{said}")
    return "\n".join(map(printable, lines))


def _many(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'s' * (n != 1)}"


def _bytes(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"must be 0 to {SECONDS_MAX:g} seconds")
    return number
