"""What the store knows of contacts: its containers, and where their products stand.

A container's number means its products from `plan` on, whether or not it gets away. All functions
but `mark_sent` run inside a transaction of the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from winnow_edge.errors import StoreError
from winnow_edge.store.schema import (
    MAX_CONTACT,
    SOUND_CONTAINER,
    ContainerState,
    Meta,
    ProductState,
)
from winnow_edge.store.store import Store

log = logging.getLogger(__name__)


def begin_contact(store: Store) -> int:
    """The number of a new contact. Raises StoreError if there are no more."""
    contact = store.contacts() + 1
    if contact > MAX_CONTACT:
        raise StoreError(
            f"has held {MAX_CONTACT} contacts, the most it can number",
            where=store.path,
            hint="start another with --store",
        )
    store.set_meta(Meta.CONTACT, contact)
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
        store.db.execute(
            "INSERT INTO container (id, contact, state, products) VALUES (?, ?, ?, ?)",
            (number, contact, ContainerState.PLANNED, np.array(products, ">u4").tobytes()),
        )
    number, _ = next_numbers(store)  # now behind these containers
    store.set_meta(Meta.NEXT_CONTAINER, number)
    store.set_meta(Meta.SEQUENCE, next_sequence)


def mark_sent(store: Store, containers: Mapping[int, Sequence[int]]) -> None:
    """The output with these containers is on its way: they and their products are in flight.

    Of a store that lives on its reserve they are marked one by one, so that the log stays small.
    """
    parts = [{n: ids} for n, ids in containers.items()] if store.short else [containers]
    for part in parts:
        with store.transaction():
            store.db.executemany(
                "UPDATE container SET state = ? WHERE id = ?",
                ((ContainerState.IN_FLIGHT, number) for number in part),
            )
            store.db.executemany(
                "UPDATE product SET state = ? WHERE id = ? AND state = ?",
                (
                    (ProductState.SENT, product, ProductState.STORED)
                    for products in part.values()
                    for product in products
                ),
            )


def states(store: Store, contact: int) -> dict[int, ContainerState]:
    """Where the containers of a contact stand, by number."""
    found = store.select(
        f"SELECT id, state FROM container WHERE contact = ? AND {SOUND_CONTAINER}", (contact,)
    )
    return {number: ContainerState(state) for number, state in found}


def acknowledge(store: Store, containers: Iterable[int]) -> int:
    """These containers have arrived; of how many products that is news."""
    changed = 0
    for number in containers:
        cursor = store.db.executemany(
            "UPDATE product SET state = ? WHERE id = ? AND state <> ?",
            (
                (ProductState.ACKNOWLEDGED, product, ProductState.ACKNOWLEDGED)
                for product in _products_of(store, number)
            ),
        )
        changed += cursor.rowcount
        store.db.execute(
            "UPDATE container SET state = ?, products = x'' WHERE id = ?",
            (ContainerState.ACKNOWLEDGED, number),
        )
    return changed


def put_back(store: Store, containers: Iterable[int]) -> int:
    """The products of lost containers go back into the ranking as if never sent; how many."""
    return _put_back(store, containers, unheard="0")


def put_back_overdue(store: Store, contact: int, ack_wait: int) -> int:
    """Put back what more than `ack_wait` contacts before `contact` have passed without a word of.

    Returns how many products went back into the ranking; each counts once more as unheard of.
    """
    _put_back_damaged(store)
    overdue = store.select(
        "SELECT id FROM container WHERE state = ? AND contact < ?",
        (ContainerState.IN_FLIGHT, contact - ack_wait),
    )
    return _put_back(store, [number for (number,) in overdue], unheard="MIN(unheard + 1, 255)")


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
    store.db.execute(
        "UPDATE container SET state = ?, contact = 0, products = x''"
        f" WHERE NOT coalesce({SOUND_CONTAINER}, 0)",
        (ContainerState.RETURNED,),
    )
    flying = store.select("SELECT id FROM container WHERE state = ?", (ContainerState.IN_FLIGHT,))
    carried = {product for (number,) in flying for product in _products_of(store, number)}
    sent = store.select("SELECT id FROM product WHERE state = ?", (ProductState.SENT,))
    store.db.executemany(
        "UPDATE product SET state = ? WHERE id = ?",
        ((ProductState.STORED, number) for (number,) in sent if number not in carried),
    )


def _put_back(store: Store, containers: Iterable[int], *, unheard: str) -> int:
    """`unheard` is an SQL expression."""
    changed = 0
    for number in containers:
        cursor = store.db.executemany(
            f"UPDATE product SET state = ?, unheard = {unheard} WHERE id = ? AND state = ?",
            (
                (ProductState.STORED, product, ProductState.SENT)
                for product in _products_of(store, number)
            ),
        )
        changed += cursor.rowcount
        store.db.execute(
            "UPDATE container SET state = ? WHERE id = ?", (ContainerState.RETURNED, number)
        )
    return changed


def _products_of(store: Store, container: int) -> list[int]:
    """The products of a container by number; none once it is acknowledged."""
    ((ids,),) = store.select("SELECT products FROM container WHERE id = ?", (container,))
    return [int(number) for number in np.frombuffer(ids, ">u4")]
