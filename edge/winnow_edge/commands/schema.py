"""`winnow-edge schema`: the keys of the mission file, for editors and for people."""

from __future__ import annotations

import argparse
import json

from winnow_edge.schema import mission_page, mission_schema


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `schema` command."""
    parser = subparsers.add_parser(
        "schema",
        help="print the JSON Schema of the mission file",
        description="Print the JSON Schema (draft 2020-12) of the mission file. An editor with a "
        "TOML language server completes and checks a mission file whose first line is "
        "`#:schema ./mission.schema.json`.",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the reference page, docs/mission.md"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the schema or the page."""
    if args.markdown:
        print(mission_page())
    else:
        print(json.dumps(mission_schema(), indent=1, ensure_ascii=False))
    return 0
