"""The pages of `winnow serve` (Starlette), put together of their sections.

Nothing is fetched from elsewhere: every answer forbids the browser to load from another place
(Content-Security-Policy), and a request that names another host than this one is refused (DNS
rebinding).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from winnow_ground.serve import benches as bench_pages
from winnow_ground.serve import labelling, mission, searching, swaths
from winnow_ground.serve.entrance import Entrance
from winnow_ground.serve.guard import Guard
from winnow_ground.serve.live import Live
from winnow_ground.serve.refusals import ERRORS, refused
from winnow_ground.serve.site import Make, Site

_STATIC: Final = Path(__file__).parent / "static"
SECTIONS: Final[Sequence[Make]] = (
    searching.section,
    swaths.section,
    mission.section,
    labelling.section,
    bench_pages.section,
)
"""Modules of pages, in the order of the navigation."""


def make_app(
    live: Live,
    entrance: Entrance,
    hosts: Sequence[str],
    *,
    benches: Sequence[Path] = (),
    bundles: Sequence[Path] = (),
) -> Starlette:
    """The pages over a catalogue for who comes in, answering to these names of hosts; `benches` are
    files of `winnow-edge bench --json`, `bundles` those that are compared beside the shipped ones.

    Raises DataError.
    """
    site = Site(live, entrance.asks, tuple(benches), tuple(bundles))
    site.sections += [make(site) for make in SECTIONS]
    return Starlette(
        routes=[
            *entrance.routes(site),
            *(route for section in site.sections for route in section.routes),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
            Middleware(Guard, entrance=entrance),
            Middleware(GZipMiddleware, compresslevel=4),
        ],
        exception_handlers=dict.fromkeys(ERRORS, refused),
    )
