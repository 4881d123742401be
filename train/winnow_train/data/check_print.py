"""A check's findings for people, on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from winnow_base.console import show_table
from winnow_train.data.check import Check, Pair


def print_check(found: Check, limit: int) -> None:
    """Print counts, then every kind of fault with at most `limit` examples."""
    console = Console()
    listing = found.listing
    table = Table("class", *found.counts, title=f"{listing.name}: {len(found.tiles)} tiles")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in listing.classes:
        table.add_row(name, *(str(c[name]) if c[name] else "." for c in found.counts.values()))
    table.add_section()
    table.add_row("tiles", *(str(sum(c.values())) for c in found.counts.values()))
    table.add_row("sources", *(str(n) for n in found.sources.values()))
    show_table(console, table)

    def kind(what: str, lines: Sequence[str]) -> None:
        console.print(f"{what}: {len(lines)}", highlight=False, markup=False)
        for line in lines[:limit]:
            console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)
        if len(lines) > limit:
            console.print(f"    ... and {len(lines) - limit} more", highlight=False)

    console.print(f"repeated rows (dropped): {listing.repeated}", highlight=False)
    kind("malformed rows", listing.malformed)
    kind("unknown class ids", listing.unknown_ids)
    kind("contradicting rows", listing.contradictory)
    kind("rows that name an absent tile", found.absent)
    kind("empty files", found.empty)
    kind("unreadable images", found.unreadable)
    kind("images without a row", listing.unlabelled)
    kind("sources in two sets", [f"{s}: {', '.join(h)}" for s, h in found.leaking.items()])
    lacking = [f"{s}: {', '.join(names)}" for s, names in found.empty_classes.items()]
    kind("sets that lack a class", lacking)
    conflicts = [f"{k}: {' / '.join(v)}" for k, v in found.conflicts.items()]
    kind("landmarks with two labels", conflicts)
    console.print(
        f"pairs that look alike (hashes within {found.threshold} bits): {len(found.duplicates)}",
        highlight=False,
    )
    kind("  of these in two sets", [_pair(p) for p in found.across_splits()])
    kind("  of these with two labels", [_pair(p) for p in found.other_label()])
    for name, other in found.related.items():
        console.print(
            f"against {name}: {other['shared_sources']} sources in both, "
            f"{len(other['sources_in_another_split'])} of them in another set there; "
            f"{other['shared_landmark_names']} landmark names in both, "
            f"{other['of_these_the_same_picture']} of them the same picture; "
            f"{len(other['duplicates'])} pictures in both",
            highlight=False,
            soft_wrap=True,
        )


def _pair(pair: Pair) -> str:
    a, b = pair.a, pair.b
    return (
        f"{a.path.name} ({a.split}, {a.label}) and {b.path.name} ({b.split}, {b.label}): "
        f"{pair.bits} bits, correlation {pair.correlation:.3f}"
    )
