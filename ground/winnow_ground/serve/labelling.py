"""Pages on which people say what tiles show: sets, pages of tiles, decisions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from winnow_base.errors import CatalogueError
from winnow_ground.labelling.agreement import agreement
from winnow_ground.labelling.answers import (
    ANSWERS,
    LATER,
    AnswerError,
    Kept,
    answers_in,
    answers_of,
)
from winnow_ground.labelling.pictures import CONTEXTS, digests, seen
from winnow_ground.labelling.sets import (
    LEAST_PAGE,
    MOST_PAGE,
    PAGE,
    LabelSet,
    Progress,
    Wanted,
    make_set,
    order_for,
    people,
    progress,
    set_of,
    sets,
)
from winnow_ground.labelling.settle import decide, decisions, open_tiles, take_back
from winnow_ground.palette import Palette
from winnow_ground.serve.asked import query_of
from winnow_ground.serve.labelling_sent import keep_all, net_of, text, whole
from winnow_ground.serve.people import Role, needs, person_of
from winnow_ground.serve.searching import KEPT, UNREADABLE
from winnow_ground.serve.site import Section, Site, json_of, number_of

BACKGROUND: Final = "other"
MOST_SENT: Final = 500
"""Answers of one request."""
MOST_FROM_SEARCH: Final = 5000
MOST_OPEN: Final = 100
"""Tiles that the page of decisions shows at once."""


def section(site: Site) -> Section:
    """The pages for labelling."""
    pages = _Pages(site)
    return Section(
        "Label",
        "/label",
        [
            Route("/label", pages.sets),
            Route("/label/new", pages.new, methods=["GET"]),
            Route("/label/new", pages.make, methods=["POST"]),
            Route("/label/answers", pages.answers, methods=["POST"]),
            Route("/label/decisions", pages.decisions, methods=["POST"]),
            Route("/label/tile/{tile}/around/{wide}", pages.around),
            Route("/label/{set}", pages.label),
            Route("/label/{set}/decide", pages.decide),
        ],
    )


class _Pages:
    """What is answered."""

    def __init__(self, site: Site) -> None:
        self._site, self._live, self._pictures = site, site.live, site.pictures

    async def sets(self, request: Request) -> Response:
        """All sets, and how far people are."""
        person = person_of(request)

        def read(db: sqlite3.Connection) -> list[dict[str, Any]]:
            return [
                {
                    "set": one,
                    "mine": progress(db, one, person.name),
                    "people": people(db, one),
                    "open": len(open_tiles(db, one).disputed),
                }
                for one in sets(db)
            ]

        told = await self._live.read(read)
        return self._site.page(
            request,
            "serve/label-sets.html.j2",
            title="Label",
            sets=told,
            may_label=person.role >= Role.LABEL,
            may_decide=person.role >= Role.MANAGE,
        )

    @needs(Role.LABEL)
    async def new(self, request: Request) -> Response:
        """A form that makes a set of what a search finds."""
        query, _ = query_of(request.query_params)
        await self._live.ready()
        found, _ = await run_in_threadpool(self._live.find, query, 0, 0)
        classes = sorted(query.chosen.get("class", ()))
        return self._site.page(
            request,
            "serve/label-new.html.j2",
            title="A set to label",
            detections=found.total,
            most=min(found.total, MOST_FROM_SEARCH),
            suspected=classes[0] if len(classes) == 1 else "",
            classes=await self._classes(),
            pages=(LEAST_PAGE, PAGE, MOST_PAGE),
            address=request.url.query,
        )

    @needs(Role.LABEL)
    async def make(self, request: Request) -> Response:
        """Make the set of a search."""
        told = await json_of(request)
        query, _ = query_of(request.query_params)
        most, page = whole(told, "most", 1, MOST_FROM_SEARCH), whole(told, "page", 0, 10**6)
        await self._live.ready()
        found, _ = await run_in_threadpool(self._live.find, query, 0, most)
        ids = found.rows[:most].tolist() if most else []
        suspected = text(told, "class") or None

        def make(db: sqlite3.Connection, _: int) -> int:
            there = seen(db, ids)
            tiles = [tile for tile in ids if tile in there and there[tile].pictured]
            how = {"way": "search", "query": request.url.query, "absent": len(ids) - len(tiles)}
            wanted = Wanted(
                text(told, "name"), tiles, suspected, page, bool(told.get("hidden")), 0, how,
                person_of(request).name,
            )  # fmt: skip
            return make_set(db, wanted)

        try:
            return JSONResponse({"set": await self._live.change(make)})
        except AnswerError as error:
            raise HTTPException(400, str(error)) from error
        except CatalogueError as error:
            if error.where is not None:
                raise  # of the file
            raise HTTPException(400, str(error)) from error

    @needs(Role.LABEL)
    async def label(self, request: Request) -> Response:
        """A page of tiles of a set."""
        name, only = person_of(request).name, request.query_params.get("only", "")
        wanted = request.query_params.get("page", "")

        def read(db: sqlite3.Connection) -> tuple[LabelSet, Progress, int, int, list[int], Any]:
            one = _set(db, number_of(request, "set"))
            order = order_for(db, one, name)
            mine = answers_of(db, name, order)
            if only == LATER:
                order = [tile for tile in order if tile in mine and mine[tile].answer == LATER]
            count = max(1, -(-len(order) // one.page))
            page = _page_number(wanted, count)
            if page is None:
                page = _first_left(order, mine, one.page)
            part = order[page * one.page : (page + 1) * one.page]
            return one, progress(db, one, name), page, count, part, _tiles(db, part, one, mine)

        one, done, page, count, part, (rows, there) = await self._live.read(read)
        marks = await run_in_threadpool(digests, self._pictures, there)
        told = [{**rows[tile], "sha256": marks.get(tile, "")} for tile in part if tile in rows]
        classes = await self._classes()
        palette = Palette(await run_in_threadpool(self._live.classes))
        return self._site.page(
            request,
            "serve/label.html.j2",
            title=f"Label {one.name}",
            set=one,
            progress=done,
            page=page,
            pages=count,
            only=only,
            contexts=CONTEXTS[1:],
            told={
                "set": one.id, "made": one.at, "person": name, "suspected": one.class_name,
                "hidden": one.hidden, "tiles": told, "page": page, "pages": count, "only": only,
                "answered": done.answered, "later": done.later, "total": done.tiles,
                "classes": [{"name": n, "colour": palette[n]} for n in classes],
                "around": CONTEXTS[1:],
            },
        )  # fmt: skip

    @needs(Role.LABEL)
    async def answers(self, request: Request) -> Response:
        """Keep what a browser sends; what is answered here is on the disk.

        Each answer is kept or refused by itself, and one that is sent again counts once.
        """
        sent = (await json_of(request)).get("answers")
        if not isinstance(sent, list) or len(sent) > MOST_SENT:
            raise HTTPException(400, f"answers: a list of at most {MOST_SENT}")
        name = person_of(request).name
        return JSONResponse(await self._live.change(lambda db, _: keep_all(db, name, sent)))

    @needs(Role.MANAGE)
    async def decide(self, request: Request) -> Response:
        """Tiles of a set that people disagree on or are unsure of."""

        def read(db: sqlite3.Connection) -> dict[str, Any]:
            one = _set(db, number_of(request, "set"))
            left = open_tiles(db, one)
            decided = decisions(db, one.id)
            said: dict[int, list[Kept]] = {}
            for label in answers_in(db, one.id):
                said.setdefault(label.tile, []).append(label)
            own = [tile for tile in said if tile in decided]
            listed = [*left.disputed, *left.unsure][:MOST_OPEN]
            rows, there = _tiles(db, [*listed, *own[-MOST_OPEN:]], one, {}, told=True)
            return {
                "set": one,
                "agreement": agreement(db, one),
                "listed": [rows[tile] for tile in listed],
                "decided": [rows[tile] for tile in own[-MOST_OPEN:]],
                "decisions": decided,
                "said": said,
                "left": len(left.disputed) + len(left.unsure),
                "pictured": {tile for tile, one in there.items() if one.pictured},
            }

        told = await self._live.read(read)
        return self._site.page(
            request,
            "serve/label-decide.html.j2",
            title=f"Decide: {told['set'].name}",
            classes=await self._classes(),
            around=CONTEXTS[1],
            **told,
        )

    @needs(Role.MANAGE)
    async def decisions(self, request: Request) -> Response:
        """Record a decision, or take it back."""
        told = await json_of(request)
        tile, said = whole(told, "tile", 0, 2**62), text(told, "answer")
        name, comment = person_of(request).name, text(told, "comment")

        def change(db: sqlite3.Connection, _: int) -> None:
            if said == "":
                take_back(db, tile)
            else:
                plain = said in ANSWERS
                decide(db, name, tile, said if plain else "shows", None if plain else said, comment)

        try:
            await self._live.change(change)
        except AnswerError as error:
            raise HTTPException(400, str(error)) from error
        return JSONResponse({"tile": tile})

    async def _classes(self) -> list[str]:
        """What a tile may be said to show; of the background's class people say `nothing`."""
        every = await run_in_threadpool(self._live.classes)
        return [name for name in every if name != BACKGROUND]

    async def around(self, request: Request) -> Response:
        """What lies around a tile; `/tile/N/picture` is the tile itself."""
        wide, tile = number_of(request, "wide"), number_of(request, "tile")
        if wide not in CONTEXTS[1:]:
            raise HTTPException(404, "no such view")
        there = await self._live.read(lambda db: seen(db, [tile]).get(tile))
        if there is None or (there.swath is None and there.look is None):
            raise HTTPException(404, "no picture of its swath is here")
        data = await run_in_threadpool(self._pictures.around, there, wide)
        if data is None:
            raise HTTPException(404, UNREADABLE)
        return Response(data, media_type="image/jpeg", headers=KEPT)


def _set(db: sqlite3.Connection, number: int) -> LabelSet:
    one = set_of(db, number)
    if one is None:
        raise HTTPException(404, "no such set")
    return one


def _page_number(text: str, count: int) -> int | None:
    """The page that an address asks for, from 0; None: whichever is next."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise HTTPException(400, "page: a whole number")
    return min(int(text), count - 1)


def _first_left(order: list[int], mine: Mapping[int, Kept], page: int) -> int:
    """The first page with a tile that has no answer; the last where all have one."""
    left = (n for n, tile in enumerate(order) if tile not in mine)
    return next(left, max(len(order) - 1, 0)) // page


def _tiles(
    db: sqlite3.Connection,
    tiles: Iterable[int],
    one: LabelSet,
    mine: Mapping[int, Kept],
    *,
    told: bool = False,
) -> tuple[dict[int, dict[str, Any]], dict[int, Any]]:
    """What a page shows of tiles, and where their pictures are. The net's answer is with those
    that the person has answered, or all where the set does not hide it (`told`)."""
    wanted = list(tiles)
    there, net = seen(db, wanted), net_of(db, wanted)
    rows = {}
    for tile in wanted:
        if tile not in there:
            continue
        own = mine.get(tile)
        given = own and {"answer": own.answer, "class": own.class_name, "comment": own.comment,
                         "client": own.client}  # fmt: skip
        known = told or not one.hidden or (own is not None and own.answer != LATER)
        rows[tile] = {
            "id": tile,
            "mine": given,
            "net": net.get(tile) if known else None,
            "around": there[tile].swath is not None or there[tile].look is not None,
        }
    return rows, there
