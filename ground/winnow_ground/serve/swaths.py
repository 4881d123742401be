"""The page of a swath: the strip, its detections, what was sent when, what is asked for."""

from __future__ import annotations

import sqlite3
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from winnow_ground.catalogue import wishes
from winnow_ground.catalogue.rows import Detection
from winnow_ground.palette import Palette
from winnow_ground.serve.people import Role, needs, person_of
from winnow_ground.serve.searching import picture_file
from winnow_ground.serve.site import Section, Site, json_of, number_of
from winnow_ground.serve.zoom import NoPyramidError, Pyramid, Pyramids


def section(site: Site) -> Section:
    """Pages that the search leads to; the navigation has no entry for them."""
    pages = _Pages(site)
    return Section(
        "",
        "/swath",
        [
            Route("/swath/{swath}", pages.swath),
            Route("/swath/{swath}/quick-look", pages.quick_look),
            Route("/swath/{swath}/zoom", pages.zoom),
            Route("/swath/{swath}/zoom/{level}/{row}/{column}", pages.tile),
            Route("/swath/{swath}/ask", pages.ask, methods=["POST"]),
            Route("/request/{request}/withdraw", pages.withdraw, methods=["POST"]),
        ],
    )


class _Pages:
    """What is answered."""

    def __init__(self, site: Site) -> None:
        self._site, self._live = site, site.live
        self._pyramids = Pyramids()

    async def swath(self, request: Request) -> Response:
        """The page."""
        number = number_of(request, "swath")
        told = await run_in_threadpool(self._live.swath, number)
        if told is None:
            raise HTTPException(404, "no such swath")
        found: list[Detection] = told.pop("found")
        ids = [one.id for one in found]
        pictured = await run_in_threadpool(self._live.pictured, ids)
        palette = Palette(await run_in_threadpool(self._live.classes))
        boxes = [
            {"id": one.id, "class": one.class_name, "posterior": round(one.posterior, 4),
             "line": one.line, "sample": one.sample, "lines": one.lines, "samples": one.samples,
             "have": one.have, "pictured": one.id in pictured}
            for one in found
        ]  # fmt: skip
        lines = told["lines"] or max((one.line + one.lines for one in found), default=1)
        samples = told["samples"] or max((one.sample + one.samples for one in found), default=1)
        return self._site.page(
            request,
            "serve/swath.html.j2",
            title=told["name"],
            swath={**told, "lines": lines, "samples": samples},
            boxes=boxes,
            colours={name: palette[name] for name in sorted({one.class_name for one in found})},
            sent=await self._live.read(lambda db: _sent(db, number)),
            wishes=await self._live.read(lambda db: wishes.of_swath(db, number)),
        )

    async def quick_look(self, request: Request) -> Response:
        """The quick look of a swath."""
        path = await run_in_threadpool(self._live.quick_look, number_of(request, "swath"))
        return picture_file(path)

    async def zoom(self, request: Request) -> Response:
        """The size and levels of the strip's tiles; they are made now where they are not there."""
        made = await self._pyramid(request)
        told = {"lines": made.lines, "samples": made.samples, "levels": made.levels}
        return JSONResponse(told)

    async def tile(self, request: Request) -> Response:
        """A tile of the strip."""
        made = await self._pyramid(request)
        place = (number_of(request, name) for name in ("level", "row", "column"))
        path = made.tile(*place)
        if path is None:
            raise HTTPException(404, "no such tile")
        return FileResponse(path, headers={"Cache-Control": "private, max-age=3600"})

    async def _pyramid(self, request: Request) -> Pyramid:
        path = await run_in_threadpool(self._live.strip, number_of(request, "swath"))
        if path is None:
            raise HTTPException(404, "the strip itself is not here")
        try:
            return await self._pyramids.of(path)
        except NoPyramidError as error:
            raise HTTPException(404, str(error)) from error

    @needs(Role.LABEL)
    async def ask(self, request: Request) -> Response:
        """Put a box on the list of requests."""
        told, number = await json_of(request, 10_000), number_of(request, "swath")
        wish = wishes.wish_of(told, person_of(request).name)
        made = await self._live.change(lambda db, _: wishes.put(db, number, wish))
        return JSONResponse({"request": made})

    @needs(Role.LABEL)
    async def withdraw(self, request: Request) -> Response:
        """Take a box from the list: one's own, or anybody's who may manage."""
        number, person = number_of(request, "request"), person_of(request)
        of = None if person.role >= Role.MANAGE else person.name
        await self._live.change(lambda db, _: wishes.withdraw(db, number, of))
        return JSONResponse({"request": number})


def _sent(db: sqlite3.Connection, swath: int) -> list[dict[str, Any]]:
    """What came down of a swath, contact by contact: products by kind, and bytes."""
    rows = db.execute(
        "SELECT contact, kind, count(*), sum(bytes), min(container), max(container) FROM product"
        " WHERE swath = ? GROUP BY contact, kind ORDER BY contact, kind",
        (swath,),
    )
    contacts: dict[int, dict[str, Any]] = {}
    for contact, kind, count, size, first, last in rows:
        row = contacts.setdefault(
            contact, {"contact": contact, "kinds": {}, "bytes": 0, "first": first, "last": last}
        )
        row["kinds"][kind] = count
        row["bytes"] += size
        row["first"], row["last"] = min(row["first"], first), max(row["last"], last)
    return list(contacts.values())
