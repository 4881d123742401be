"""Answers that say no, as a page for people and as JSON for programs."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from winnow_base.errors import CatalogueError
from winnow_base.pages import templates
from winnow_ground.serve.asked import UnreadableError
from winnow_ground.serve.live import ReadOnlyError

_TEMPLATES = templates("winnow_ground")


def refusal(request: Request, code: int, said: str) -> Response:
    """An answer that says why, and leads back to the search."""
    if "text/html" in request.headers.get("accept", ""):
        page = _TEMPLATES.get_template("serve/refused.html.j2").render(
            title=said, code=code, person=None, sections=(), here="", asks=False, writable=True
        )
        return HTMLResponse(page, code)
    return JSONResponse({"error": said}, code)


async def refused(request: Request, error: Exception) -> Response:
    """The answer to an error of a page."""
    code, said = 400, str(error)
    if isinstance(error, HTTPException):
        code, said = error.status_code, error.detail
    elif isinstance(error, CatalogueError) and error.where is not None:
        said = f"the catalogue {error.what}"  # not where it lies on this machine
        code = 409 if isinstance(error, ReadOnlyError) else 503
    return refusal(request, code, said)


ERRORS = (UnreadableError, CatalogueError, HTTPException)
"""What `refused` answers."""
