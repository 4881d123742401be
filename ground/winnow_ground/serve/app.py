"""The pages of `winnow serve` (Starlette): search, swath, pictures, exports.

Nothing is written and nothing is fetched from elsewhere: every answer forbids the browser to load
from another place (Content-Security-Policy), and a request that names another host than this one
is refused (DNS rebinding).
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from winnow_base.errors import CatalogueError
from winnow_base.pages import templates
from winnow_ground.catalogue.columns import ORDERS, Found
from winnow_ground.catalogue.rows import FORMS, Detection, write
from winnow_ground.plots import Palette
from winnow_ground.serve.asked import FACETS, PAGE, UnreadableError, query_of
from winnow_ground.serve.live import Live

STATIC: Final = Path(__file__).parent / "static"
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' "
    "'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_TEMPLATES: Final = templates("winnow_ground")


def make_app(catalogue: Path, hosts: Sequence[str] = ("localhost", "127.0.0.1")) -> Starlette:
    """The pages over a catalogue, answering to these names of hosts. Raises CatalogueError."""
    pages = _Pages(Live(catalogue))
    return Starlette(
        routes=[
            Route("/", pages.search),
            Route("/found", pages.found),
            Route("/export/{form}", pages.export),
            Route("/swath/{swath}", pages.swath),
            Route("/swath/{swath}/quick-look", pages.quick_look),
            Route("/tile/{tile}/picture", pages.picture),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
            Middleware(BaseHTTPMiddleware, dispatch=_guarded),
            Middleware(GZipMiddleware),
        ],
        exception_handlers={
            UnreadableError: _refused,
            CatalogueError: _refused,
            HTTPException: _refused,
        },
    )


class _Pages:
    """What is answered, over a catalogue."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def search(self, request: Request) -> Response:
        """The search page, whole without a script."""
        query, page = query_of(request.query_params)
        found, listed = await run_in_threadpool(self._live.find, query, page * PAGE, PAGE)
        return _page(
            "serve/search.html.j2",
            title=f"{self._live.path.name}: search",
            query=query,
            told=self._told(found, listed, page),
            facets=FACETS,
            orders=ORDERS,
            forms=FORMS,
            address=_address(request, page=None),
        )

    async def found(self, request: Request) -> Response:
        """The same as JSON, for the page's own script and for others."""
        query, page = query_of(request.query_params)
        found, listed = await run_in_threadpool(self._live.find, query, page * PAGE, PAGE)
        return JSONResponse(self._told(found, listed, page))

    async def export(self, request: Request) -> Response:
        """All that a query finds, as a file."""
        form = f".{request.path_params['form']}"
        if form not in FORMS:
            raise HTTPException(404, f"no such form; there are {', '.join(FORMS)}")
        query, _ = query_of(request.query_params)
        listed = await run_in_threadpool(self._live.everything, query)
        with tempfile.NamedTemporaryFile(suffix=form, delete=False) as file:
            path = Path(file.name)
        await run_in_threadpool(write, listed, path)
        name = f"{self._live.path.stem}{form}"
        return FileResponse(path, filename=name, background=BackgroundTask(path.unlink))

    async def swath(self, request: Request) -> Response:
        """A swath: its quick look, its detections as boxes, by class and confidence."""
        told = await run_in_threadpool(self._live.swath, _number(request, "swath"))
        if told is None:
            raise HTTPException(404, "no such swath")
        found: list[Detection] = told.pop("found")
        palette = Palette(self._live.classes())
        boxes = [
            {"id": one.id, "class": one.class_name, "posterior": one.posterior, "line": one.line,
             "sample": one.sample, "lines": one.lines, "samples": one.samples, "have": one.have}
            for one in found
        ]  # fmt: skip
        lines = told["lines"] or max((one.line + one.lines for one in found), default=1)
        samples = told["samples"] or max((one.sample + one.samples for one in found), default=1)
        return _page(
            "serve/swath.html.j2",
            title=told["name"],
            swath={**told, "lines": lines, "samples": samples},
            boxes=boxes,
            colours={name: palette[name] for name in sorted({one.class_name for one in found})},
        )

    async def picture(self, request: Request) -> Response:
        """The picture of a tile."""
        path = await run_in_threadpool(self._live.picture, _number(request, "tile"))
        return _file(path)

    async def quick_look(self, request: Request) -> Response:
        """The quick look of a swath."""
        path = await run_in_threadpool(self._live.quick_look, _number(request, "swath"))
        return _file(path)

    def _told(self, found: Found, listed: Sequence[Detection], page: int) -> dict[str, Any]:
        palette = Palette(self._live.classes())
        return {
            "detections": found.total,
            "swaths": found.swaths,
            "facets": {facet: found.facets[facet] for facet in FACETS},
            "page": page,
            "pages": -(-found.total // PAGE),
            "listed": [{**_shown(one), "colour": palette[one.class_name]} for one in listed],
        }


def _number(request: Request, name: str) -> int:
    """A row's number in the address."""
    text = request.path_params[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise HTTPException(404, f"no such {name}")
    return int(text)


def _file(path: Path | None) -> Response:
    if path is None:
        raise HTTPException(404, "no picture of it is here")
    return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})


def _shown(one: Detection) -> dict[str, Any]:
    """What a browser may know: not where files lie on this machine."""
    told = asdict(one)
    pictured = told.pop("picture") is not None
    return {**told, "pictured": pictured}


def _address(request: Request, **changed: str | None) -> str:
    """The query of this address with some parameters changed, or left out where None."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in changed]
    return urlencode([*kept, *((key, value) for key, value in changed.items() if value)])


def _page(name: str, **words: Any) -> Response:
    return HTMLResponse(_TEMPLATES.get_template(name).render(**words))


async def _guarded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await answer(request)
    for name, value in _HEADERS.items():
        response.headers[name] = value
    return response


async def _refused(request: Request, error: Exception) -> Response:
    code, said = 400, str(error)
    if isinstance(error, HTTPException):
        code, said = error.status_code, error.detail
    elif isinstance(error, CatalogueError):
        code = 503
    if "text/html" in request.headers.get("accept", ""):
        page = _TEMPLATES.get_template("serve/refused.html.j2").render(title=said, code=code)
        return HTMLResponse(page, code)
    return JSONResponse({"error": said}, code)
