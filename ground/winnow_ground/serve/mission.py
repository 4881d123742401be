"""The page of the mission: contacts, what came down, what waits on board, what is asked for."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from winnow_base.pages import templates
from winnow_ground.catalogue import wishes
from winnow_ground.serve.site import Section, Site

MOST_CONTACTS: Final = 60
"""Of each store."""
MOST_SWATHS: Final = 100
WIDE: Final = 1000
"""Units across the bar of the largest contact."""
COLOURS: Final = {
    "record": "#56B4E9", "thumbnail": "#009E73", "image": "#E69F00", "quick_look": "#CC79A7",
    "audit": "#F0E442", "question": "#D55E00", "region": "#0072B2",
}  # fmt: skip
"""Kinds of products, in the colours of Okabe and Ito (2008); the others are grey."""
_OTHER: Final = "#8C8C8C"


def section(site: Site) -> Section:
    """The mission's page, which follows while receptions are added."""
    pages = _Pages(site)
    return Section(
        "Mission",
        "/mission",
        [Route("/mission", pages.mission), Route("/mission/now", pages.now)],
    )


@dataclass
class Contact:
    """A contact, and what of each kind came down in it: number and bytes."""

    store: int
    number: int
    containers: int
    products: int
    bytes: int
    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)

    def bars(self, largest: int) -> list[dict[str, Any]]:
        """Its kinds as parts of a bar."""
        bars, at = [], 0.0
        for kind in sorted(self.kinds, key=_order):
            count, size = self.kinds[kind]
            wide = WIDE * size / max(largest, 1)
            bars.append({"kind": kind, "count": count, "bytes": size, "at": at, "wide": wide,
                         "colour": COLOURS.get(kind, _OTHER)})  # fmt: skip
            at += wide
        return bars


@dataclass(frozen=True)
class Waiting:
    """A swath: what of its products is here, and how many there are by its own word (None: it has
    not told yet)."""

    id: int
    name: str
    here: int
    bytes: int
    told: int | None
    complete: bool
    detections: int | None

    @property
    def left(self) -> int | None:
        """Products that are still on board, or were evicted there."""
        return None if self.told is None else max(0, self.told - self.here)


class _Pages:
    """What is answered; what is told of a state of the catalogue is made once."""

    def __init__(self, site: Site) -> None:
        self._site, self._live = site, site.live
        self._seen = -1
        self._told: dict[str, Any] = {}
        self._contacts: dict[tuple[int, int], Contact] = {}
        # SQLite counts from the start again with every process; a page may be older than this one.
        self._start = secrets.token_hex(4)

    async def mission(self, request: Request) -> Response:
        """The page."""
        words = await self._live.read(self._read)
        title = f"{self._live.path.name}: mission"
        return self._site.page(request, "serve/mission.html.j2", title=title, **words)

    async def now(self, request: Request) -> Response:
        """The part of the page that changes, where it has since `seen`."""
        words = await self._live.read(self._read)
        if request.query_params.get("seen") == str(words["version"]):
            return JSONResponse({"version": words["version"], "part": None})
        template = templates("winnow_ground").get_template("serve/mission_now.html.j2")
        return JSONResponse({"version": words["version"], "part": template.render(**words)})

    def _read(self, db: sqlite3.Connection) -> dict[str, Any]:
        (version,) = db.execute("PRAGMA data_version").fetchone()
        if version != self._seen:
            self._contacts = _contacts(db, self._contacts)
            contacts, swaths = list(self._contacts.values()), _swaths(db)
            largest = max((one.bytes for one in contacts), default=0)
            self._told = {
                "version": f"{self._start}-{version}",
                "contacts": [(one, one.bars(largest)) for one in contacts],
                "swaths": swaths,
                "wishes": wishes.waiting(db)[:MOST_SWATHS],
                "kinds": _kinds(contacts),
                "wide": WIDE,
            }
            self._seen = version
        return self._told


def _order(kind: str) -> tuple[int, str]:
    names = list(COLOURS)
    return (names.index(kind) if kind in COLOURS else len(names), kind)


def _kinds(contacts: Sequence[Contact]) -> dict[str, str]:
    """The kinds that came down, with their colours."""
    there = {kind for one in contacts for kind in one.kinds}
    return {kind: COLOURS.get(kind, _OTHER) for kind in sorted(there, key=_order)}


def _contacts(
    db: sqlite3.Connection, known: Mapping[tuple[int, int], Contact]
) -> dict[tuple[int, int], Contact]:
    """The last contacts of every store, in their order; products are counted of those alone that
    are not `known` as they are."""
    rows = db.execute(
        "SELECT store, number, containers, products, bytes FROM ("
        "SELECT *, row_number() OVER (PARTITION BY store ORDER BY number DESC) AS place"
        " FROM contact) WHERE place <= ? ORDER BY store, number",
        (MOST_CONTACTS,),
    )
    contacts = {(row[0], row[1]): Contact(*row) for row in rows}
    new = set[tuple[int, int]]()
    for key, contact in contacts.items():
        before = known.get(key)
        if before is not None and replace(contact, kinds=before.kinds) == before:
            contacts[key] = before
        else:
            new.add(key)
    if new:
        kinds = db.execute(
            "SELECT store, contact, kind, count(*), sum(bytes) FROM product WHERE contact >= ?"
            " GROUP BY store, contact, kind",
            (min(number for _, number in new),),
        )
        for store, number, kind, count, size in kinds:
            if (store, number) in new:
                contacts[store, number].kinds[kind] = (count, size)
    return contacts


def _swaths(db: sqlite3.Connection) -> list[Waiting]:
    """The latest swaths that came down."""
    rows = db.execute(
        "SELECT id, name, complete, about, (SELECT count(*) FROM product WHERE swath = swath.id),"
        " (SELECT coalesce(sum(bytes), 0) FROM product WHERE swath = swath.id)"
        " FROM swath WHERE store IS NOT NULL ORDER BY id DESC LIMIT ?",
        (MOST_SWATHS,),
    )
    return [_waiting(*row) for row in rows]


def _waiting(number: int, name: str, complete: int, about: str, here: int, size: int) -> Waiting:
    told = _object(about)
    products, detections = told.get("products"), told.get("detections")
    return Waiting(
        number,
        name,
        here,
        size,
        products if type(products) is int and complete else None,
        bool(complete),
        detections if type(detections) is int else None,
    )


def _object(text: str) -> dict[str, Any]:
    """A JSON object; empty where it is none: rows may be others' work."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
