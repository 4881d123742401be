"""Who asks: people with a name and a role, and the routes that need one."""

from __future__ import annotations

import enum
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MOST_NAME: Final = 64


class Role(enum.IntEnum):
    """What a person may do; each role may do all that is under it."""

    LOOK = 0
    LABEL = 1
    MANAGE = 2


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a browser."""

    name: str
    role: Role


def person_of(request: Request) -> Person:
    """Who sends a request; on every page but that of the login there is one."""
    person: Person = request.state.person
    return person


Answer = Callable[[Request], Awaitable[Response]]
Method = Callable[[Any, Request], Awaitable[Response]]


def needs(role: Role) -> Callable[[Method], Method]:
    """A decorator of methods that answer requests: people of lesser roles get a 403.

    Requests that change anything need LABEL at the least without it (`guard.Guard`).
    """

    def of(method: Method) -> Method:
        @functools.wraps(method)
        async def answer(self: Any, request: Request) -> Response:
            check(person_of(request), role)
            return await method(self, request)

        return answer

    return of


def check(person: Person, role: Role) -> None:
    """Raises HTTPException (403) where the person's role is a lesser one."""
    if person.role < role:
        have, want = person.role.name.lower(), role.name.lower()
        raise HTTPException(403, f"{person.name} may {have}; this needs the role {want}")


def legal_name(name: str) -> bool:
    """Whether a person may be called so: it stands in files, cookies and tables of labels."""
    return 0 < len(name) <= MOST_NAME and name.isprintable() and name == name.strip()
