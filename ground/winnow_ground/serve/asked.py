"""Queries as addresses tell them: everything that a browser sends is checked here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Protocol

from winnow_ground.catalogue.columns import ORDERS
from winnow_ground.catalogue.facets import Query

FACETS: Final = ("class", "instrument", "bundle", "verdict", "year")
MOST_CHOSEN: Final = 50
MOST_TEXT: Final = 200
PAGE: Final = 60
MOST_PAGES: Final = 1_000_000


class Parameters(Protocol):
    """The parameters of an address."""

    def get(self, key: str, default: str) -> str: ...
    def getlist(self, key: str) -> Sequence[str]: ...


class UnreadableError(ValueError):
    """A parameter makes no sense; the message says which."""


def query_of(told: Parameters) -> tuple[Query, int]:
    """The query of an address and the number of its page, from 0. Raises UnreadableError."""
    chosen = {}
    for facet in FACETS:
        values = told.getlist(facet)
        if len(values) > MOST_CHOSEN or any(len(value) > MOST_TEXT for value in values):
            raise UnreadableError(f"{facet}: at most {MOST_CHOSEN} short values")
        if values:
            chosen[facet] = frozenset(values)
    text = told.get("text", "")
    since, until = told.get("since", ""), told.get("until", "")
    if max(map(len, (text, since, until))) > MOST_TEXT:
        raise UnreadableError(f"text: at most {MOST_TEXT} characters")
    order = told.get("order", "confidence")
    if order not in ORDERS:
        raise UnreadableError(f"order: one of {', '.join(ORDERS)}")
    query = Query(
        chosen,
        _number(told, "low", 0.0, 1.0),
        _number(told, "high", 1.0, 1.0),
        int(_number(told, "least", 0.0, 1e6)),
        text,
        _box(told.get("box", "")),
        since,
        until,
        order,
    )
    return query, int(_number(told, "page", 0.0, MOST_PAGES))


def _number(told: Parameters, name: str, default: float, most: float) -> float:
    text = told.get(name, "") or repr(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise UnreadableError(f"{name}: a number from 0 to {most:g}")
    return value


def _box(text: str) -> tuple[float, float, float, float] | None:
    if not text:
        return None
    try:
        south, west, north, east = map(float, text.split(","))
    except ValueError:
        south = west = north = east = math.nan
    if not (-90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
        raise UnreadableError("box: south,west,north,east in degrees")
    return south, west, north, east
