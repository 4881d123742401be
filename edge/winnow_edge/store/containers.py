"""What the store knows of contacts: its containers, and where their products stand.

A container's number means its products from `plan` on, whether or not it gets away. All functions
but `mark_sent` and `put_back_overdue` run inside a transaction of the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from winnow_edge.store.rows import set_state
from winnow_edge.store.schema import (
    SEAL_CONTAINERS,
    SOUND_CONTAINER,
    ContainerState,
    Meta,
    ProductState,
    seal_of,
)
from winnow_edge.store.store import Store

log = logging.getLogger(__name__)
MOST_CHANGES: Final = 256
"""Products that a transaction of a contact changes: more would make its log too long."""
KEPT_CONTACTS: Final = 1000
"""Containers of earlier contacts are forgotten, but for those in flight."""


def begin_contact(store: Store) -> int:
    """The number of a new contact."""
    contact = store.contacts() + 1
    store.set_meta(Meta.CONTACT, contact)
    store.db.execute(
        "DELETE FROM container WHERE contact < ? AND state <> ?",
        (contact - KEPT_CONTACTS, ContainerState.IN_FLIGHT),
    )
    return contact


def next_numbers(store: Store) -> tuple[int, int]:
    """Number of the next container, and sequence count of the next packet."""
    return max(1, store.number(Meta.NEXT_CONTAINER)), store.number(Meta.SEQUENCE)


def plan(
    store: Store, contact: int, containers: Mapping[int, Sequence[int]], *, next_sequence: int
) -> None:
    """Keep the product numbers of these containers, numbered one after another.

    `next_sequence` is the sequence count of the first packet after them.
    """
    for number, products in containers.items():
        ids = np.array(products, ">u8").tobytes()
        row = number, contact, int(ContainerState.PLANNED), ids
        store.db.execute("INSERT INTO container VALUES (?, ?, ?, ?, ?)", (*row, seal_of(*row)))
    number, _ = next_numbers(store)  # now behind these containers
    store.set_meta(Meta.NEXT_CONTAINER, number)
    store.set_meta(Meta.SEQUENCE, next_sequence)


def mark_sent(store: Store, containers: Mapping[int, Sequence[int]]) -> None:
    """The output with these containers is on its way: they and their products are in flight.

    A few containers are marked in a transaction, so that the log stays small.
    """
    for part in _few(store, containers):
        with store.transaction():
            for number, products in part.items():
                _set_container(store, number, ContainerState.IN_FLIGHT)
                set_state(store, products, ProductState.SENT, of=(ProductState.STORED,))
        store.select("PRAGMA wal_checkpoint(PASSIVE)")  # the log back into the file


def _few(
    store: Store, containers: Mapping[int, Sequence[int]]
) -> Iterator[dict[int, Sequence[int]]]:
    """The containers in parts of few products; one by one where the store lives on its reserve."""
    part: dict[int, Sequence[int]] = {}
    for number, products in containers.items():
        part[number] = products
        if store.disk.short or sum(map(len, part.values())) >= MOST_CHANGES:
            yield part
            part = {}
    if part:
        yield part


def states(store: Store, contact: int, numbers: Iterable[int]) -> dict[int, ContainerState]:
    """Where those of the containers stand that are of this contact, by number."""
    listed = ", ".join(str(int(number)) for number in numbers)
    found = store.select(
        f"SELECT id, state FROM container WHERE id IN ({listed}) AND contact = ?"
        f" AND {SOUND_CONTAINER}",
        (contact,),
    )
    return {number: ContainerState(state) for number, state in found}


def acknowledge(store: Store, containers: Iterable[int]) -> int:
    """These containers have arrived; of how many products that is news."""
    changed = 0
    for number in containers:
        changed += set_state(
            store,
            _products_of(store, number),
            ProductState.ACKNOWLEDGED,
            of=(ProductState.STORED, ProductState.SENT),
        )
        store.db.execute("UPDATE container SET products = x'' WHERE id = ?", (number,))
        _set_container(store, number, ContainerState.ACKNOWLEDGED)
    return changed


def put_back(store: Store, containers: Iterable[int]) -> int:
    """The products of lost containers go back into the ranking as if never sent; how many."""
    return _put_back(store, containers, heard=True)


def put_back_overdue(store: Store, contact: int, ack_wait: int) -> int:
    """Put back what more than `ack_wait` contacts before `contact` have passed without a word of.

    Returns how many products went back into the ranking; each counts once more as unheard of.
    """
    with store.transaction():
        _put_back_damaged(store)
    overdue = store.select(
        "SELECT id, length(products) / 8 FROM container WHERE state = ? AND contact < ?",
        (ContainerState.IN_FLIGHT, contact - ack_wait),
    )
    changed = at = 0
    while at < len(overdue):
        few = overdue[at : at + 1 + MOST_CHANGES // max(1, overdue[at][1])]
        with store.transaction():
            changed += _put_back(store, [number for number, _ in few], heard=False)
        store.select("PRAGMA wal_checkpoint(PASSIVE)")  # the log back into the file
        at += len(few)
    return changed


def _put_back_damaged(store: Store) -> None:
    """Of a damaged container nobody knows the products: all in flight that no other one carries
    are ranked again. Some may arrive twice; none is waited for in vain."""
    damaged = store.select(f"SELECT id FROM container WHERE NOT coalesce({SOUND_CONTAINER}, 0)")
    if not damaged:
        return
    numbers = ", ".join(str(number) for (number,) in damaged)
    log.warning(
        "%s: containers %s are damaged; what was in them is sent again", store.path, numbers
    )
    for (number,) in damaged:
        row = number, 0, int(ContainerState.RETURNED), b""
        store.db.execute("INSERT OR REPLACE INTO container VALUES (?, ?, ?, ?, ?)",
                         (*row, seal_of(*row)))  # fmt: skip
    flying = store.select("SELECT id FROM container WHERE state = ?", (ContainerState.IN_FLIGHT,))
    carried = {product for (number,) in flying for product in _products_of(store, number)}
    sent = store.select("SELECT id FROM product WHERE state = ?", (ProductState.SENT,))
    back = [number for (number,) in sent if number not in carried]
    set_state(store, back, ProductState.STORED, of=(ProductState.SENT,))


def _put_back(store: Store, containers: Iterable[int], *, heard: bool) -> int:
    """`heard`: the ground has told of these containers."""
    changed = 0
    for number in containers:
        products = _products_of(store, number)
        sent = (ProductState.SENT,)
        if heard:
            changed += set_state(store, products, ProductState.STORED, of=sent, unheard="0")
        else:
            more = "MIN(unheard + 1, 255)"
            changed += set_state(store, products, ProductState.STORED, of=sent, unheard=more)
        _set_container(store, number, ContainerState.RETURNED)
    return changed


def _set_container(store: Store, number: int, state: ContainerState) -> None:
    store.db.execute("UPDATE container SET state = ? WHERE id = ?", (state, number))
    store.db.execute(SEAL_CONTAINERS, (number,))


def _products_of(store: Store, container: int) -> list[int]:
    """The products of a container by number; none once it is acknowledged."""
    ((ids,),) = store.select("SELECT products FROM container WHERE id = ?", (container,))
    return [int(number) for number in np.frombuffer(ids, ">u8")]
