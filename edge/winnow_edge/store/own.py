"""The store's own values: numbers that never go back, and whose store it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol

from winnow_edge.errors import PacketError, StoreError
from winnow_edge.mission import Mission
from winnow_edge.products.encode import decode_swath
from winnow_edge.store.schema import (
    INTACT,
    MAX_CONTACT,
    MAX_PRODUCT,
    MAX_SWATH,
    SOUND_CONTAINER,
    SOUND_PRODUCT,
    Meta,
)

log = logging.getLogger(__name__)
Rows = list[tuple[Any, ...]]


class Store(Protocol):
    """What is asked of a store here (`store.Store`)."""

    path: Path
    mission: Mission | None

    def meta(self, key: Meta) -> Any: ...
    def set_meta(self, key: Meta, value: Any) -> None: ...
    def holds(self, key: Meta) -> bool: ...
    def select(self, sql: str) -> Rows: ...
    def transaction(self) -> AbstractContextManager[None]: ...


_NEWEST: Final = {
    Meta.CONTACT: (f"SELECT MAX(contact) FROM container WHERE {SOUND_CONTAINER}", MAX_CONTACT + 1),
    Meta.NEXT_PRODUCT: (
        f"SELECT MAX(id) + 1 FROM product WHERE id < {MAX_PRODUCT}",
        MAX_PRODUCT + 1,
    ),
    Meta.NEXT_SWATH: (f"SELECT MAX(id) + 1 FROM swath WHERE id < {MAX_SWATH}", MAX_SWATH + 1),
    Meta.NEXT_CONTAINER: (f"SELECT MAX(id) + 1 FROM container WHERE id < {2**32 - 1}", 2**32),
    Meta.SEQUENCE: ("SELECT 0", 2**14),
    Meta.DATA_BYTES: ("SELECT 0", 2**62),
}
"""For each number of the store's own, a query for the least that it can be, and its limit. Rows
whose damage lies in a number beyond it are not counted."""
_LEAP: Final = {Meta.NEXT_PRODUCT: 2**32, Meta.NEXT_SWATH: 2**16, Meta.NEXT_CONTAINER: 2**20}
"""How far a damaged number leaps over what may have been given out and is no longer on board."""
_HOLDS: Final = "SELECT EXISTS (SELECT 1 FROM swath) OR EXISTS (SELECT 1 FROM product)"


def number(store: Store, key: Meta) -> int:
    """A number of the store's own; of a damaged one, the least that it can be."""
    query, limit = _NEWEST[key]
    value = store.meta(key)
    (least,) = store.select(query)[0]
    if type(value) is not int or not 0 <= value < limit:
        value = 0
        if store.holds(key):
            least = (least or 0) + _LEAP.get(key, 0)
    return max(value, least or 0)


def adopt(store: Store, *, read_only: bool) -> None:
    """See that the store is of its mission: a new one belongs to the first that opens it, one whose
    word of it is damaged to that of its swaths. Raises StoreError: it is of another mission, or
    nobody knows of which."""
    if store.mission is None:
        return
    made_for = store.meta(Meta.MISSION)
    if made_for is None:
        made_for = _told_by_swaths(store.select)
        ((holds,),) = store.select(_HOLDS)
        if made_for is None and holds:
            raise StoreError(
                "has lost the name of its mission, and none of its swaths tells it",
                where=store.path,
                hint="name another folder with --store",
            )
    if made_for not in (None, store.mission.name):
        raise StoreError(
            f"belongs to mission {made_for!r}, not {store.mission.name!r}",
            where=store.path,
            hint="name another folder with --store",
        )
    if store.meta(Meta.MISSION) is None and not read_only:
        if store.holds(Meta.MISSION):
            log.warning("%s: its mission was damaged; it is %r", store.path, store.mission.name)
        with store.transaction():
            store.set_meta(Meta.MISSION, store.mission.name)


def _told_by_swaths(select: Callable[[str], Rows]) -> str | None:
    """The mission that the store's swath products name, the newest first; None: none does."""
    sql = (
        f"SELECT data FROM product WHERE kind = 0 AND {SOUND_PRODUCT} AND data IS NOT NULL"
        f" AND {INTACT} ORDER BY id DESC"
    )
    for (data,) in select(sql):
        try:
            name = decode_swath(data).get("mission")
        except PacketError:
            continue
        if isinstance(name, str):
            return name
    return None
