"""What all pages share: the catalogue, the frame with its navigation, what requests carry."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from winnow_base.pages import templates
from winnow_ground.labelling.pictures import Pictures
from winnow_ground.serve.live import Live

MOST_BODY: Final = 1_000_000
MOST_FORM: Final = 16_384
_TEMPLATES: Final = templates("winnow_ground")


@dataclass(frozen=True)
class Section:
    """Pages that belong together: their routes, and their entry in the navigation."""

    name: str
    """What the entry says; empty: there is none."""
    address: str
    routes: Sequence[BaseRoute]


@dataclass
class Site:
    """What is served: the catalogue, and the sections in the order of the navigation."""

    live: Live
    asks: bool = False
    """Whether people log in."""
    benches: tuple[Path, ...] = ()
    """Files of `winnow-edge bench --json`."""
    bundles: tuple[Path, ...] = ()
    """Bundles that are compared beside those shipped."""
    pictures: Pictures = field(default_factory=Pictures)
    """Reads pictures of tiles for all pages: what it keeps decoded is kept once."""
    sections: list[Section] = field(default_factory=list)

    def page(self, request: Request, template: str, *, code: int = 200, **words: Any) -> Response:
        """A page in the frame. The template has, beside `words`: `person` (None: nobody is logged
        in), `sections`, `here` (the address), `asks`, and `writable` (whether the catalogue is)."""
        person = getattr(request.state, "person", None)
        told = {"person": person, "sections": self.sections, "here": request.scope["path"],
                "asks": self.asks, "writable": self.live.writable}  # fmt: skip
        return HTMLResponse(_TEMPLATES.get_template(template).render(**told, **words), code)


Make = Callable[[Site], Section]
"""What a module of pages exports as `section`."""


def number_of(request: Request, name: str) -> int:
    """A row's number in the address. Raises HTTPException (404)."""
    text = request.path_params[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise HTTPException(404, f"no such {name}")
    return int(text)


async def body_of(request: Request, most: int = MOST_BODY) -> bytes:
    """The body of a request. Raises HTTPException (413) where it has more octets."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise HTTPException(413, f"at most {most:,} bytes")
        parts.append(part)
    return b"".join(parts)


async def json_of(request: Request, most: int = MOST_BODY) -> dict[str, Any]:
    """The JSON object that a request carries. Raises HTTPException (400, 413)."""
    try:
        told = json.loads(await body_of(request, most))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is no JSON") from error
    if not isinstance(told, dict):
        raise HTTPException(400, "the body is no JSON object")
    return told


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form (application/x-www-form-urlencoded), the last of each name."""
    data = await body_of(request, MOST_FORM)
    try:
        return dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=50))
    except ValueError as error:
        raise HTTPException(400, "the body is no form") from error
