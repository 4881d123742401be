"""The search page, the same as JSON, pictures of tiles, exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from winnow_ground.catalogue.columns import ORDERS, Found
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
        """The search page, whole without a script."""
        query, page = query_of(request.query_params)
        found, listed = await run_in_threadpool(self._live.find, query, page * PAGE, PAGE)
        return self._site.page(
            request,
            "serve/search.html.j2",
            title=f"{self._live.path.name}: search",
            query=query,
            told=await run_in_threadpool(self._told, found, listed, page),
            facets=FACETS,
            orders=ORDERS,
            forms=FORMS,
            address=_address(request, page=None),
        )

    async def found(self, request: Request) -> Response:
        """The same as JSON, for the page's own script and for others."""
        query, page = query_of(request.query_params)
        found, listed = await run_in_threadpool(self._live.find, query, page * PAGE, PAGE)
        return JSONResponse(await run_in_threadpool(self._told, found, listed, page))

    async def export(self, request: Request) -> Response:
        """All that a query finds, as a file."""
        form = f".{request.path_params['form']}"
        if form not in FORMS:
            raise HTTPException(404, f"no such form; there are {', '.join(FORMS)}")
        query, _ = query_of(request.query_params)
        stem = self._live.path.stem
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

    def _told(self, found: Found, listed: Sequence[Detection], page: int) -> dict[str, Any]:
        palette = Palette(self._live.classes())
        pictured = self._live.pictured([one.id for one in listed])
        return {
            "detections": found.total,
            "swaths": found.swaths,
            "facets": {facet: found.facets[facet] for facet in FACETS},
            "page": page,
            "pages": -(-found.total // PAGE),
            "listed": [
                {**_shown(one), "pictured": one.id in pictured, "colour": palette[one.class_name]}
                for one in listed
            ],
        }


def _shown(one: Detection) -> dict[str, Any]:
    """What a browser may know: not where files lie on this machine."""
    told = asdict(one)
    del told["picture"]
    return told


def _without_folder(one: Detection) -> Detection:
    """The detection without the place of its picture on this machine."""
    return replace(one, picture=one.picture and Path(one.picture).name)


def _address(request: Request, **changed: str | None) -> str:
    """The query of this address with some parameters changed, or left out where None."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in changed]
    return urlencode([*kept, *((key, value) for key, value in changed.items() if value)])
