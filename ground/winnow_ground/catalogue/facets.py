"""What is searched for, and which swaths it lets through."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Coded = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""The different values of a facet, sorted, and which of them each swath has."""


@dataclass(frozen=True)
class Query:
    """What is looked for; an empty choice takes all.

    `chosen` maps a facet to the values that are wanted; `lowest` and `highest` bound the
    posterior; `least` is how many finds a swath must have at the least; `text` must stand in the
    swath's name; `box` is south, west, north, east in degrees (west over east: across the date
    line); `since` and `until` bound the start of the swath (UTC, ISO 8601). `worth` maps classes to
    utilities for the order `value`; a class that it lacks is worth 1.
    """

    chosen: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lowest: float = 0.0
    highest: float = 1.0
    least: int = 0
    text: str = ""
    box: tuple[float, float, float, float] | None = None
    since: str = ""
    until: str = ""
    order: str = "confidence"
    worth: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Swaths:
    """All swaths of a catalogue in the order of their ids."""

    ids: npt.NDArray[np.int64]
    values: dict[str, Coded]
    """By facet, all but the class, which each detection has for itself."""
    newest: npt.NDArray[np.int64]
    """Numbers of the swaths, the latest start first."""
    starts: npt.NDArray[np.str_]
    places: npt.NDArray[np.float64]
    """Latitude and longitude in degrees (swaths, 2); NaN where they are not known."""
    plain: list[str]
    """Names without a difference of capitals."""
    mark: bytes
    """A digest of all of it."""

    def passing(self, query: Query) -> dict[str, npt.NDArray[np.bool_]]:
        """Which swaths each of the choices lets through; a facet without a choice is not in it."""
        passing: dict[str, npt.NDArray[np.bool_]] = {}
        for facet, (values, codes) in self.values.items():
            if query.chosen.get(facet):
                passing[facet] = chosen(query, facet, values)[codes]
        if query.text:
            text = query.text.casefold()
            passing["text"] = np.array([text in name for name in self.plain], bool)
        if query.since or query.until:
            known = self.starts != ""
            late = self.starts >= query.since
            passing["date"] = known & late & (self.starts <= (query.until or "~"))
        if query.box is not None:
            passing["box"] = _within(self.places, query.box)
        return passing


NO_SWATHS: Final = Swaths(
    np.zeros(0, np.int64),
    {},
    np.zeros(0, np.int64),
    np.zeros(0, np.str_),
    np.zeros((0, 2)),
    [],
    b"",
)


def read_swaths(db: sqlite3.Connection, known: Swaths = NO_SWATHS) -> Swaths:
    """The swaths of a catalogue: `known` itself where they are still the same."""
    found = db.execute(
        "SELECT swath.id, swath.name, instrument, coalesce(bundle.name, ''),"
        " coalesce(verdict, ''), coalesce(start, ''), latitude, longitude"
        " FROM swath LEFT JOIN bundle ON bundle.id = swath.bundle ORDER BY swath.id"
    ).fetchall()
    mark = hashlib.sha256(repr(found).encode("utf-8", "surrogatepass")).digest()
    if known.mark == mark:
        return known
    starts = np.array([row[5] for row in found], np.str_)
    told = {
        "instrument": [row[2] for row in found],
        "bundle": [row[3] for row in found],
        "verdict": [row[4] for row in found],
        "year": [row[5][:4] for row in found],
        "swath": [row[1] for row in found],
    }
    return Swaths(
        np.array([row[0] for row in found], np.int64),
        {name: _coded(values) for name, values in told.items()},
        np.argsort(starts, kind="stable")[::-1],
        starts,
        np.array([row[6:8] for row in found], np.float64).reshape(-1, 2),
        [row[1].casefold() for row in found],
        mark,
    )


def chosen(query: Query, facet: str, values: Sequence[str] | npt.NDArray[Any]) -> Any:
    """Which of the values of a facet the query takes: bool (values,)."""
    taken = query.chosen.get(facet)
    return np.array([not taken or name in taken for name in values], bool)


def _coded(values: list[str]) -> Coded:
    if not values:
        return np.zeros(0, object), np.zeros(0, np.int64)
    names, codes = np.unique(np.array(values, object), return_inverse=True)
    return names, codes.astype(np.int64)


def _within(
    places: npt.NDArray[np.float64], box: tuple[float, float, float, float]
) -> npt.NDArray[np.bool_]:
    south, west, north, east = box
    latitude, longitude = places.T
    across = (longitude >= west) & (longitude <= east)
    if west > east:
        across = (longitude >= west) | (longitude <= east)
    found: npt.NDArray[np.bool_] = (latitude >= south) & (latitude <= north) & across
    return found
