"""The page of a swath."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from winnow_ground.catalogue.rows import Detection
from winnow_ground.palette import Palette
from winnow_ground.serve.searching import picture_file
from winnow_ground.serve.site import Section, Site, number_of


def section(site: Site) -> Section:
    """Pages that the search leads to; the navigation has no entry for them."""
    pages = _Pages(site)
    return Section(
        "",
        "/swath",
        [
            Route("/swath/{swath}", pages.swath),
            Route("/swath/{swath}/quick-look", pages.quick_look),
        ],
    )


class _Pages:
    """What is answered."""

    def __init__(self, site: Site) -> None:
        self._site, self._live = site, site.live

    async def swath(self, request: Request) -> Response:
        """A swath: its quick look, its detections as boxes, by class and confidence."""
        told = await run_in_threadpool(self._live.swath, number_of(request, "swath"))
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
        return self._site.page(
            request,
            "serve/swath.html.j2",
            title=told["name"],
            swath={**told, "lines": lines, "samples": samples},
            boxes=boxes,
            colours={name: palette[name] for name in sorted({one.class_name for one in found})},
        )

    async def quick_look(self, request: Request) -> Response:
        """The quick look of a swath."""
        path = await run_in_threadpool(self._live.quick_look, number_of(request, "swath"))
        return picture_file(path)
