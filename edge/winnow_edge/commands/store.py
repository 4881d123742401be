"""`winnow-edge store`: look into a store, take out of it, check it, mend it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow_edge.errors import EXIT_INPUT, EXIT_OK
from winnow_edge.files import printable
from winnow_edge.output import tell

if TYPE_CHECKING:
    from winnow_edge.store.store import Store

_DESCRIPTION = """\
Look into a store, take products out of it, check it, and mend it. STORE is the folder that
`winnow-edge run` and `downlink` are given with --store. docs/store.md describes every column.
"""

_EPILOG = """\
examples:
  winnow-edge store list winnow-store                    every swath and what is on board of it
  winnow-edge store show winnow-store                    the store as a whole
  winnow-edge store show winnow-store strip.jpg          one swath, by name or number
  winnow-edge store show winnow-store --product 17       one product: where it lies, is it intact
  winnow-edge store export winnow-store --out files      JPEGs, records.csv, a JSON file per swath
  winnow-edge store check winnow-store                   reads everything, compares every checksum
  winnow-edge store vacuum winnow-store                  gives free pages back to the disk
  winnow-edge store salvage winnow-store                 makes a damaged store anew

list, show, export and check change nothing, and may be used while a run goes on. salvage keeps the
damaged file beside the new one, as store.db.damaged (the last one alone), and says what is lost.
exit codes: 0 done or sound, 3 no store or a damaged one, 6 another process uses it: try again.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `store` to the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    p = commands.add_parser(
        "store",
        help="look into a store, check it, mend it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=raw,
    )
    tasks = p.add_subparsers(metavar="TASK", required=True)
    for name, task, about in (
        ("list", _list, "every swath and what is on board of it"),
        ("show", _show, "the store as a whole, one swath, or one product"),
        ("export", _export, "the products on board as files"),
        ("check", _check, "read everything, compare every checksum"),
        ("vacuum", _vacuum, "give free pages back to the disk"),
        ("salvage", _salvage, "make a damaged store anew of what can be read"),
    ):
        part = tasks.add_parser(name, help=about, description=f"{about.capitalize()}.")
        part.add_argument("folder", metavar="STORE", type=Path, help="folder of the store")
        part.add_argument("--json", action="store_true", help="one JSON object on stdout")
        part.set_defaults(func=task)
        if name == "show":
            part.add_argument("swath", metavar="SWATH", nargs="?", help="its name or number")
            part.add_argument("--product", metavar="N", type=int, help="a product by its number")
        if name == "export":
            part.add_argument("--swath", metavar="SWATH", help="of this swath alone")
            part.add_argument(
                "--out", metavar="DIR", type=Path, required=True, help="folder for the files"
            )


def _opened(folder: Path) -> Store:
    from winnow_edge.store.memory import there
    from winnow_edge.store.store import Store

    if (kept := there(folder)) is not None:
        tell(f"winnow-edge: its disk failed, and a store in memory goes on: {kept}")
    return Store.open(folder, mission=None, read_only=True)


def _list(args: argparse.Namespace) -> int:
    from winnow_edge.store.contents import swaths

    with _opened(args.folder) as store:
        found = swaths(store)
    if args.json:
        print(json.dumps({"swaths": found}))
        return EXIT_OK
    for swath in found:
        lines = "?" if swath["lines"] is None else f"{swath['lines']:,}"
        state = f"{lines} lines" if swath["complete"] else f"unfinished at line {lines}"
        on_board = ", ".join(
            _many(n, k) for k, n in swath["on_board"].items() if n and k != "swath"
        )
        print(f"{swath['id']:>4}  {printable(swath['swath'])}: {state}")
        print(f"      on board {on_board or 'nothing'}, {swath['bytes']:,} bytes")
    if not found:
        print("no swaths")
    return EXIT_OK


def _show(args: argparse.Namespace) -> int:
    from winnow_edge.store.contents import of_product, of_swath, overview

    with _opened(args.folder) as store:
        if args.product is not None:
            found = of_product(store, args.product)
        elif args.swath is not None:
            found = of_swath(store, args.swath)
        else:
            found = overview(store, args.folder)
    print(json.dumps(found) if args.json else _lines(found))
    return EXIT_OK if found.get("sound", True) else EXIT_INPUT


def _export(args: argparse.Namespace) -> int:
    from winnow_edge.store.contents import export

    with _opened(args.folder) as store:
        counts = export(store, args.out, args.swath)
    if args.json:
        print(json.dumps({"out": str(args.out), **counts}))
    else:
        written = ", ".join(_many(n, kind) for kind, n in counts.items() if kind != "damaged" and n)
        print(f"{written or 'nothing'} -> {args.out}")
        if counts["damaged"]:
            print(f"left out, as they are damaged: {_many(counts['damaged'], 'product')}")
    return EXIT_INPUT if counts["damaged"] else EXIT_OK


def _check(args: argparse.Namespace) -> int:
    from winnow_edge.store.check import check

    with _opened(args.folder) as store:
        found = check(store)
    if args.json:
        print(json.dumps(found.as_json()))
        return EXIT_OK if found.sound else EXIT_INPUT
    print(f"{_many(found.products, 'product')}, {found.bytes:,} bytes read")
    for fault in found.faults:
        print(f"fault: {printable(fault)}")
    if found.given_up:
        print(f"given up before: {_numbers(found.given_up)}")
    if found.damaged:
        print(f"damaged: {_numbers(found.damaged)}")
    if found.faults:
        print(f"next: winnow-edge store salvage {args.folder}")
    elif found.damaged:
        print("the next contact gives them up; nothing else is lost")
    else:
        print("sound")
    return EXIT_OK if found.sound else EXIT_INPUT


def _vacuum(args: argparse.Namespace) -> int:
    from winnow_edge.store.contents import disk_bytes, vacuum
    from winnow_edge.store.store import Store

    before = disk_bytes(args.folder) if args.folder.is_dir() else 0
    with Store.open(args.folder, mission=None, create=False) as store:
        vacuum(store)
    after = disk_bytes(args.folder)
    if args.json:
        print(json.dumps({"before": before, "after": after}))
    else:
        print(f"{before:,} bytes on the disk before, {after:,} now")
    return EXIT_OK


def _salvage(args: argparse.Namespace) -> int:
    from winnow_edge.store.salvage import salvage

    found = salvage(args.folder)
    if args.json:
        print(json.dumps(found.as_json()))
        return EXIT_OK
    kept = ((found.swaths, "swath"), (found.products, "product"), (found.containers, "container"))
    print("kept     " + ", ".join(_many(n, what) for n, what in kept))
    if found.rebuilt:
        print(f"rebuilt  {', '.join(map(printable, found.rebuilt))}")
    lost: dict[str, int] = {}
    for _, kind, _, _ in found.lost:
        lost[kind.name.lower()] = lost.get(kind.name.lower(), 0) + 1
    print("lost     " + (", ".join(_many(n, kind) for kind, n in lost.items()) or "nothing known"))
    for number, kind, swath, tile in found.lost[:_SHOWN]:
        print(f"         product {number}: {kind.name.lower()} of tile {tile}, swath {swath}")
    if len(found.lost) > _SHOWN:
        print(f"         and {len(found.lost) - _SHOWN:,} more (--json names all)")
    if found.returned:
        print(f"ranked again: {_many(found.returned, 'product')} of containers that are lost")
    if found.anew:
        print("the numbers of the store are lost: it has a new one, and counts as another store")
    forgot = "; that of an earlier salvage is deleted" if found.forgot else ""
    print(f"the damaged file is {found.damaged_file}{forgot}")
    return EXIT_OK


_SHOWN = 20


def _lines(found: dict[str, Any], indent: str = "") -> str:
    """Nested values, one in a line."""
    lines = []
    for key, value in found.items():
        if isinstance(value, dict) and value and indent == "":
            lines.append(f"{key}")
            lines.append(_lines(value, "  "))
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            shown = f"{value:,}" if type(value) is int and key.endswith("bytes") else shown
            lines.append(f"{indent}{key:<{14 - len(indent)}} {printable(shown)}")
    return "\n".join(lines)


def _many(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'s' * (n != 1)}"


def _numbers(products: tuple[int, ...]) -> str:
    """The first of them by number, and how many more."""
    more = f" and {len(products) - _SHOWN:,} more" if len(products) > _SHOWN else ""
    return f"{_many(len(products), 'product')}: {', '.join(map(str, products[:_SHOWN]))}{more}"
