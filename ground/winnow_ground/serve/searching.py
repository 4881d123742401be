"""The search page, the same as JSON, pictures of tiles, exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from winnow_ground.catalogue.columns import ORDERS
from winnow_ground.catalogue.facets import Query
from winnow_ground.catalogue.forms import FORMS, PDS4, pieces
from winnow_ground.catalogue.rows import Detection
from winnow_ground.labelling.pictures import kind_of, seen
from winnow_ground.palette import Palette
from winnow_ground.serve.asked import FACETS, PAGE, query_of
from winnow_ground.serve.site import Section, Site, number_of

_TYPES: Final = dict.fromkeys(FORMS, "application/json; charset=utf-8") | {
    ".csv": "text/csv; charset=utf-8",
    PDS4: "application/xml; charset=utf-8",
}
KEPT: Final = {"Cache-Control": "private, max-age=3600"}
_PATIENCE_S: Final = 0.5
"""How long a page waits for a catalogue that is read, before it says so."""
UNREADABLE: Final = "its file is no picture, or that of its swath is damaged or too large to cut"


def section(site: Site) -> Section:
    """The search and what it shows."""
    pages = _Pages(site)
    return Section(
        "Search",
        "/",
        [
            Route("/", pages.search),
            Route("/found", pages.found),
            Route("/found/read", pages.read),
            Route("/export/{form}", pages.export),
            Route("/tile/{tile}/picture", pages.picture),
        ],
    )


def picture_file(path: Path | None) -> Response:
    """A picture of the catalogue. Raises HTTPException (404) where it is not here, or is none: a
    catalogue that somebody else made may name any file."""
    if path is None:
        raise HTTPException(404, "no picture of it is here")
    try:
        with path.open("rb") as file:
            begin = file.read(8)
    except OSError as error:
        raise HTTPException(404, "the picture cannot be read") from error
    kind = kind_of(begin)
    if kind is None:
        raise HTTPException(404, "the file is no picture")
    return FileResponse(path, media_type=kind, headers=KEPT)


class _Pages:
    """What is answered."""

    def __init__(self, site: Site) -> None:
        self._site, self._live, self._pictures = site, site.live, site.pictures

    async def search(self, request: Request) -> Response:
        """The search page, whole without a script. While the catalogue is read it says so, and its
        script fills it in."""
        query, page = query_of(request.query_params)
        with anyio.move_on_after(_PATIENCE_S):
            await self._live.ready()
        reading = self._live.reading
        return self._site.page(
            request,
            "serve/search.html.j2",
            title=f"{self._live.path.name}: search",
            query=query,
            reading=reading,
            told=_NOT_YET if reading is not None else await self._find(query, page),
            facets=FACETS,
            orders=ORDERS,
            forms=FORMS,
            address=_address(request, page=None),
        )

    async def found(self, request: Request) -> Response:
        """The same as JSON, for the page's own script and for others; it waits until the catalogue
        has been read."""
        query, page = query_of(request.query_params)
        await self._live.ready()
        return JSONResponse(await self._find(query, page))

    async def read(self, request: Request) -> Response:
        """How much of the catalogue has been read."""
        return JSONResponse({"read": self._live.reading})

    async def export(self, request: Request) -> Response:
        """All that a query finds, as a file."""
        form = f".{request.path_params['form']}"
        if form not in FORMS:
            raise HTTPException(404, f"no such form; there are {', '.join(FORMS)}")
        query, _ = query_of(request.query_params)
        stem = self._live.path.stem
        await self._live.ready()
        text = pieces(map(_without_folder, self._live.everything(query)), form, stem)
        name = quote(f"{stem}{form}")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return StreamingResponse(text, media_type=_TYPES[form], headers=headers)

    async def picture(self, request: Request) -> Response:
        """The picture of a tile: its own, or cut out of its swath's."""
        tile = number_of(request, "tile")
        there = await self._live.read(lambda db: seen(db, [tile]).get(tile))
        if there is None or not there.pictured:
            raise HTTPException(404, "no picture of it is here")
        data = await run_in_threadpool(self._pictures.tile, there)
        if data is None:
            raise HTTPException(404, UNREADABLE)
        return Response(data, media_type=kind_of(data), headers=KEPT)

    async def _find(self, query: Query, page: int) -> dict[str, Any]:
        return await run_in_threadpool(self._told, query, page)

    def _told(self, query: Query, page: int) -> dict[str, Any]:
        found, listed = self._live.find(query, page * PAGE, PAGE)
        palette = Palette(self._live.classes())
        pictured = self._live.pictured([one.id for one in listed])
        return {
            "detections": found.total,
            "swaths": found.swaths,
            "facets": found.facets,
            "page": page,
            "pages": -(-found.total // PAGE),
            "listed": [
                {**_shown(one), "pictured": one.id in pictured, "colour": palette[one.class_name]}
                for one in listed
            ],
        }


_NOT_YET: Final = {
    "detections": 0, "swaths": 0, "facets": {facet: {} for facet in FACETS}, "page": 0, "pages": 0,
    "listed": [],
}  # fmt: skip
"""What is told before the catalogue has been read."""
_SHOWN: Final = [name for name in Detection.__dataclass_fields__ if name != "picture"]


def _shown(one: Detection) -> dict[str, Any]:
    """What a browser may know: not where files lie on this machine."""
    return {name: getattr(one, name) for name in _SHOWN}


def _without_folder(one: Detection) -> Detection:
    """The detection without the place of its picture on this machine."""
    return replace(one, picture=one.picture and Path(one.picture).name)


def _address(request: Request, **changed: str | None) -> str:
    """The query of this address with some parameters changed, or left out where None."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in changed]
    return urlencode([*kept, *((key, value) for key, value in changed.items() if value)])
