"""`winnow select`, registered on the `winnow` application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from winnow_base.options import AsJson
from winnow_ground.commands import help_of
from winnow_ground.labelling.commands import File, user_name

_WAYS = ("unsure", "disputed", "novel", "audit")


def register(app: typer.Typer) -> None:
    """Add `winnow select` to `app`."""
    app.command("select", help=help_of(select), no_args_is_help=True)(select)


def select(
    catalogue: File,
    to: Annotated[str, typer.Option("--to", metavar="SET", help="Name of the new set.")],
    way: Annotated[str, typer.Option(metavar="WAY", help=", ".join(_WAYS))] = "unsure",
    class_name: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="Of this class alone.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, max=100_000, help="Tiles; an audit takes all.")] = 200,
    page: Annotated[int, typer.Option(min=20, max=200, help="Tiles on a page.")] = 60,
    shown: Annotated[
        bool, typer.Option("--shown/--hidden", help="The net's answer, before a person's.")
    ] = False,
    labelled: Annotated[bool, typer.Option("--labelled", help="Take labelled tiles too.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw, and of people's orders.")] = 0,
    share: Annotated[
        float | None,
        typer.Option(min=1e-9, max=1.0, help="An audit draws anew, this share of all tiles."),
    ] = None,
    mission: Annotated[
        Path | None,
        typer.Option(metavar="MISSION", help="An audit draws as its \\[audit] says."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose the tiles that are worth a person's time, as a set to label.

    [b]unsure[/b]: smallest margin of the posterior. [b]disputed[/b]: nets, views or scales that lie
    over each other and differ. [b]novel[/b]: pictures least like those that are labelled, by
    brightness, contrast and texture. [b]audit[/b]: tiles that were drawn at random when the net
    ran, or that are drawn now (--share, --mission), to estimate recall and precision with
    `winnow label audit`.

        winnow select mars.db --to craters --class crater --most 300

        winnow select mars.db --to audit-1 --way audit --mission mission.toml
    """
    from contextlib import closing

    from winnow_base.errors import CatalogueError
    from winnow_edge.mission import load_mission
    from winnow_ground.catalogue.schema import changes, open_catalogue, saying
    from winnow_ground.labelling import choose
    from winnow_ground.labelling.answers import class_id
    from winnow_ground.labelling.audits import unfair
    from winnow_ground.labelling.sets import Wanted, find_set, make_set
    from winnow_ground.words import count

    if way not in _WAYS:
        raise typer.BadParameter(f"is one of {', '.join(_WAYS)}", param_hint="--way")
    if way == "audit" and class_name is not None:
        raise typer.BadParameter("an audit is of all classes", param_hint="--class")
    draw = None if share is None else choose.Draw(seed, share)
    if mission is not None:
        told = load_mission(mission).audit
        draw = choose.Draw(told.seed, told.share)
    with closing(open_catalogue(catalogue, write=True)) as db:
        with saying(catalogue):
            if class_name is not None:
                class_id(db, class_name)
            if way == "audit":
                chosen = choose.audit(db, draw)
            else:
                chosen = choose.WAYS[way](db, choose.Among(class_name, labelled), most)
        if not chosen.tiles:
            hint = f"{count(chosen.absent, 'tile')} would be, and no picture of them is here"
            raise CatalogueError("no tile is left to choose", where=catalogue, hint=hint)
        wanted = Wanted(
            to, chosen.tiles, class_name, page, not shown, seed, chosen.how, user_name(),
            chosen.scores,
        )  # fmt: skip
        with changes(db, catalogue):
            make_set(db, wanted)
        biased = unfair(db, find_set(db, to)) if way == "audit" else None
    if as_json:
        print(json.dumps({"set": to, "tiles": len(chosen.tiles), "absent": chosen.absent,
                          **chosen.how}))  # fmt: skip
        return
    print(f"{to}: {count(len(chosen.tiles), 'tile')}, {way}")
    if chosen.absent:
        what = "were drawn" if way == "audit" else "would have been chosen"
        print(f"{count(chosen.absent, 'more tile')} {what}: no picture of them is here")
    if biased:
        print(f"recall cannot be told: {biased}")
    print(f"winnow serve {catalogue}")
