"""What stands before every page: who asks, from where, and what the answer may load.

A request that changes anything must come from a page of this server (`Sec-Fetch-Site` or `Origin`,
which browsers send and scripts of other sites cannot set) and carry a header that makes browsers
ask this server before they send it from elsewhere; forms of login and logout have no such header.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from winnow_base.errors import DataError
from winnow_ground.serve.entrance import LOGIN, LOGOUT, STATIC, Entrance
from winnow_ground.serve.people import Role
from winnow_ground.serve.refusals import refusal

MARK: Final = "x-winnow"
"""The header of requests that change something; its value does not matter."""
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS: Final = frozenset({LOGIN, LOGOUT})
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' "
    "'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none, browsers send forms with the origin `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """The outermost of the application; sets `request.state.person`."""

    def __init__(self, app: ASGIApp, entrance: Entrance) -> None:
        self._app, self._entrance = app, entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                fresh = "no-cache" if scope["path"].startswith(STATIC) else "no-store"
                headers.setdefault("Cache-Control", fresh)
            await send(message)

        request = Request(scope, receive)
        app = self._refused(request) or self._app
        await app(scope, receive, guarded)

    def _refused(self, request: Request) -> Response | None:
        """The answer to who may not come in; else None, and the person is known."""
        # Not `request.url`, which is put together with the Host header that anybody may choose.
        path, changing = request.scope["path"], request.method not in _READS
        if changing and not _from_here(request):
            return refusal(request, 403, "the request comes from another site")
        if changing and path not in _FORMS and MARK not in request.headers:
            return refusal(request, 403, f"the request lacks the header {MARK}")
        try:
            person = self._entrance.person(request)
        except DataError as error:
            return refusal(request, 503, f"nobody can log in: {error.what}")
        if person is not None:
            request.state.person = person
            if changing and path not in _FORMS and person.role < Role.LABEL:
                return refusal(request, 403, f"{person.name} may look and change nothing")
            return None
        if path == LOGIN or path.startswith(STATIC):
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            query = request.scope["query_string"].decode("latin-1")
            asked = f"{path}?{query}" if query else path
            return RedirectResponse(f"{LOGIN}?next={quote(asked)}", 303)
        return refusal(request, 401, "log in first")


def _from_here(request: Request) -> bool:
    """Whether a page of this server sends the request."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is not None:
        # `null`, of a frame without an origin, names no host.
        return origin.partition("://")[2] == request.headers.get("host")
    return site is not None
