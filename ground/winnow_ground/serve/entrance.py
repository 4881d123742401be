"""How people come in: one local person, or names and passwords with sessions.

A session is a random number in a cookie that no script reads and no other site sends; who it is
lies here. It ends when its person logs out, is taken out of the password file or gets another
password, or sends nothing for `IDLE_S`.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import anyio
from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from winnow_base.errors import DataError
from winnow_ground.serve.attempts import Attempts
from winnow_ground.serve.passwords import MOST_PASSWORD, Entry, is_password, load_passwords
from winnow_ground.serve.people import MOST_NAME, Person, person_of
from winnow_ground.serve.site import Site, form_of

IDLE_S: Final = 12 * 3600.0
MOST_SESSIONS: Final = 10_000
MOST_WAITING: Final = 20
"""Logins that wait for their turn to be checked; each check takes a thread and 32 MB."""
LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
STATIC: Final = "/static/"
"""Files of the pages; with the login all that needs no person."""


class Entrance(Protocol):
    """How the person of a request is known."""

    asks: bool
    """Whether there is a login page."""

    def person(self, request: Request) -> Person | None: ...
    def routes(self, site: Site) -> Sequence[BaseRoute]: ...


@dataclass(frozen=True)
class Local:
    """Everybody who reaches the server is one person."""

    one: Person
    asks: bool = False

    def person(self, request: Request) -> Person | None:
        """That person."""
        return self.one

    def routes(self, site: Site) -> Sequence[BaseRoute]:
        """None."""
        return ()


@dataclass
class _Session:
    name: str
    hash: str
    seen: float


class Passwords:
    """People of a password file, which may change meanwhile. Raises DataError where it is none."""

    asks = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._people: dict[str, Entry] = {}
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._attempts = Attempts()
        self._one = anyio.CapacityLimiter(1)
        self._waiting = 0
        self.people()

    def people(self) -> dict[str, Entry]:
        """Who is in the file now. Raises DataError."""
        try:
            found = self._path.stat()
        except OSError as error:
            self._stamp = ()
            raise DataError(error.strerror or "cannot be read", where=self._path) from error
        stamp = found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
        if stamp != self._stamp:
            self._stamp = ()
            self._people = load_passwords(self._path)
            self._stamp = stamp
        return self._people

    def person(self, request: Request) -> Person | None:
        """Whose session the request's cookie names. Raises DataError where the file is damaged."""
        key = _key(request.cookies.get(_cookie(request), ""))
        session, now = self._sessions.get(key), time.monotonic()
        if session is None:
            return None
        entry = self.people().get(session.name)
        if entry is None or entry.hash != session.hash or now - session.seen > IDLE_S:
            del self._sessions[key]
            return None
        session.seen = now
        self._sessions.move_to_end(key)
        return Person(session.name, entry.role)

    def routes(self, site: Site) -> Sequence[BaseRoute]:
        """Login and logout."""
        pages = _Pages(self, site)
        return (
            Route(LOGIN, pages.login, methods=["GET"]),
            Route(LOGIN, pages.enter, methods=["POST"]),
            Route(LOGOUT, pages.leave, methods=["POST"]),
            Route("/who", pages.who),
        )

    async def enter(self, name: str, password: str, address: str) -> tuple[str | None, float]:
        """A new session's token if the password is right (else None), and seconds to wait before
        the next try where this one was not looked at."""
        wait = self._attempts.wait(name, address, time.monotonic())
        if wait > 0:
            return None, wait
        if self._waiting >= MOST_WAITING:
            return None, 5.0
        entry = self.people().get(name)
        self._waiting += 1
        try:
            right = await to_thread.run_sync(is_password, entry, password, limiter=self._one)
        finally:
            self._waiting -= 1
        if not right or entry is None:
            return None, 0.0
        self._attempts.passed(name, address)
        token = secrets.token_urlsafe(32)
        self._sessions[_key(token)] = _Session(name, entry.hash, time.monotonic())
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return token, 0.0

    def leave(self, token: str) -> None:
        """End a session."""
        self._sessions.pop(_key(token), None)


def _cookie(request: Request) -> str:
    """Cookies are of a host, whatever the port: two servers on one must not take each other's."""
    server = request.scope.get("server")
    return f"winnow-{server[1]}" if server and server[1] else "winnow"


def _key(token: str) -> str:
    """Sessions are kept under a digest: how long a look-up takes tells nothing about a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class _Pages:
    """Login and logout."""

    def __init__(self, entrance: Passwords, site: Site) -> None:
        self._entrance, self._site = entrance, site

    async def login(self, request: Request) -> Response:
        """The form."""
        return self._form(request, _next(request.query_params.get("next", "")))

    async def enter(self, request: Request) -> Response:
        """A name and a password."""
        form = await form_of(request)
        name, password = form.get("name", ""), form.get("password", "")
        then = _next(form.get("next", ""))
        if len(name) > MOST_NAME or len(password) > MOST_PASSWORD:
            return self._form(request, then, "Name or password is wrong.", 401)
        address = request.client.host if request.client else ""
        try:
            token, wait = await self._entrance.enter(name, password, address)
        except DataError as error:
            raise HTTPException(503, f"nobody can log in: {error.what}") from error
        if wait:
            said = f"Too many tries. Wait {wait:.0f} s."
            answer = self._form(request, then, said, 429)
            answer.headers["Retry-After"] = str(int(wait) + 1)
            return answer
        if token is None:
            return self._form(request, then, "Name or password is wrong.", 401)
        cookie = _cookie(request)
        self._entrance.leave(request.cookies.get(cookie, ""))
        answer = RedirectResponse(then, 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(cookie, token, httponly=True, samesite="strict", secure=secure)
        return answer

    async def leave(self, request: Request) -> Response:
        """Log out."""
        cookie = _cookie(request)
        self._entrance.leave(request.cookies.get(cookie, ""))
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(cookie, httponly=True, samesite="strict")
        return answer

    async def who(self, request: Request) -> Response:
        """Whether a session is there: a link from another site arrives without the cookie."""
        return Response(person_of(request).name, media_type="text/plain")

    def _form(self, request: Request, then: str, said: str = "", code: int = 200) -> Response:
        words = {"title": "Log in", "then": then, "said": said}
        return self._site.page(request, "serve/login.html.j2", code=code, **words)


def _next(address: str) -> str:
    """Where to go after the login: a page of this server and of no other."""
    here = address.startswith("/") and address[1:2] not in ("/", "\\") and address.isprintable()
    return address if here and not address.startswith("/log") else "/"
