"""A contact: ranked products in containers and packets, within a byte budget.

Nothing is lost on the way: a product counts as sent only when the output is on the disk, and goes
back into the ranking when the ground reports its container missing or `link.ack_wait` further
contacts have passed without a word. What was acknowledged is never sent again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from winnow_edge.clock.cuc import encode_cuc
from winnow_edge.clock.host import since_boot_ns
from winnow_edge.downlink.container import (
    Container,
    Item,
    container_length,
    encode_container,
)
from winnow_edge.downlink.packets import SEQUENCE_MODULO, packetize, packets_for
from winnow_edge.downlink.packing import Candidate, Hold, fill
from winnow_edge.downlink.telling import tell_clock
from winnow_edge.errors import OutputError, StoreError, StoreTroubleError
from winnow_edge.files import write_aside
from winnow_edge.mission import Link, Mission
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import Order, rank
from winnow_edge.products.table import ProductTable
from winnow_edge.products.worth import utilities
from winnow_edge.store import containers
from winnow_edge.store.clock import tick
from winnow_edge.store.schema import ProductState
from winnow_edge.store.scrub import trust
from winnow_edge.store.store import Store
from winnow_edge.store.writer import announce_lost

log = logging.getLogger(__name__)
_MOST_NAMED = 20
"""Damaged products that are named in a message."""

Policy = str | Callable[[ProductTable], Order]
"""A policy of the mission file by name, or a function that gives the order (simulations)."""


@dataclass(frozen=True, slots=True)
class DownlinkSummary:
    """What one contact carried.

    `bytes` counts every octet on the link and is at most `budget_bytes`; `products` counts by kind,
    `classes` the products of detections by class, `detections` the detections that they are of;
    `value` is the sum of the products' values; `left` is what stays in the ranking (`products`,
    `bytes`); `returned` counts the products that went back into it for want of an acknowledgement,
    `damaged` those that were found damaged in the store, and are given up.
    """

    contact: int
    policy: str
    budget_bytes: int
    bytes: int
    packets: int
    containers: int
    products: dict[str, int]
    classes: dict[str, int]
    detections: dict[str, int]
    value: float
    left: dict[str, int]
    returned: int
    damaged: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Load:
    """A container to be sent: its number, products, and the sequence count of its first packet."""

    id: int
    sequence: int
    products: list[Candidate]

    @property
    def ids(self) -> list[int]:
        """Numbers of the products."""
        return [product.id for product in self.products]


def downlink(
    store: Store,
    mission: Mission,
    *,
    budget_bytes: int,
    out: str | Path | BinaryIO,
    policy: Policy | None = None,
) -> DownlinkSummary:
    """Hold a contact: write the packets of the best products that fit `budget_bytes` to `out`.

    `policy` None is the mission's. `out` is a path where nothing is yet (written aside, synced,
    renamed), a device or named pipe, or an open binary file. Raises OutputError if it cannot be
    written; then everything stays in the ranking and the contact's number is not used again.
    Raises StoreDamagedError before anything is written: opened anew, the store is mended.
    """
    trust(store)
    policy = mission.ranking.policy if policy is None else policy
    link = mission.link
    stamp = _stamp(store) if link.time_code else None
    with _output(out) as stream, ExitStack() as stack:
        _announce_lost(store)
        returned = containers.put_back_overdue(store, store.contacts() + 1, link.ack_wait)
        with store.transaction():
            # Taken under the write lock: it shows the very products that are ranked.
            before = stack.enter_context(store.snapshot())
            contact = containers.begin_contact(store)
            table = store.table()
            order = policy(table) if callable(policy) else _rank(store, table, policy, mission)
            intact = _Intact(store)
            filled = fill(table, order, _announcements(store), Hold(link, budget_bytes, intact))
            damaged = store.give_up(intact.damaged)
            # From here on a container's number means these products, whether or not it gets away.
            loads = _number(store, contact, filled, link)
        packets, octets = _write(before, contact, loads, link, stream, stamp)
    if damaged:
        log.warning("%s: %s", store.path, _named(damaged))
    containers.mark_sent(store, {load.id: load.ids for load in loads})
    sent = np.isin(table.columns["id"], [number for load in loads for number in load.ids])
    return DownlinkSummary(
        contact=contact,
        policy=policy if isinstance(policy, str) else getattr(policy, "__name__", "custom"),
        budget_bytes=budget_bytes,
        bytes=octets,
        packets=packets,
        containers=len(loads),
        products=_by_kind(loads),
        classes=_by_class(table[sent], ("id",)),
        detections=_by_class(table[sent], ("swath", "tile")),
        value=float(utilities(table[sent], mission).sum()),
        left={
            "products": int((~sent).sum()),
            "bytes": int(table.columns["bytes"][~sent].sum(dtype=np.int64)),
        },
        returned=returned,
        damaged=len(damaged),
    )


def _stamp(store: Store) -> Callable[[], bytes]:
    """What gives packets their time codes: the mission clock, as it is known at the beginning of
    the contact. Its events go down too."""
    clock = tick(store)
    try:
        tell_clock(store, clock)
    except StoreTroubleError as error:
        log.info("the clock's events wait: %s", error)
    return lambda: encode_cuc(clock.instant(since_boot_ns()))


def _named(damaged: Sequence[int]) -> str:
    """What is said of damaged products."""
    shown = ", ".join(map(str, damaged[:_MOST_NAMED]))
    more = f" and {len(damaged) - _MOST_NAMED} more" if len(damaged) > _MOST_NAMED else ""
    return f"given up, as they are damaged: products {shown}{more}"


def _rank(store: Store, table: ProductTable, policy: str, mission: Mission) -> Order:
    if policy != "diversity":
        return rank(table, policy, mission)
    sent = store.table(
        (ProductState.SENT, ProductState.ACKNOWLEDGED), kinds=(Kind.THUMBNAIL, Kind.IMAGE)
    )
    return rank(table, policy, mission, known=sent)


def _announce_lost(store: Store) -> None:
    """A disk without room for it keeps no contact from being held."""
    try:
        announce_lost(store)
    except StoreTroubleError as error:
        log.info("swaths are announced anew later: %s", error)


def _announcements(store: Store) -> dict[int, Candidate]:
    """The swath products that must go before the first product of their swath, by swath id.

    Only the newest of a swath counts, and none whose newest the ground is known to have.
    """
    return {
        swath: Candidate(product.id, Kind.SWATH, product.bytes)
        for swath, product in store.announcements().items()
        if product.state is not ProductState.ACKNOWLEDGED
    }


class _Intact:
    """Whether a product's data is what was stored; `damaged` are the numbers of those it is not."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, bool] = {}

    def __call__(self, product: Candidate) -> bool:
        if product.id not in self._known:
            try:
                self._store.data(product.id)
            except StoreTroubleError:
                raise  # of the disk, not of the product: the contact is held later
            except StoreError:
                self._known[product.id] = False
            else:
                self._known[product.id] = True
        return self._known[product.id]

    @property
    def damaged(self) -> list[int]:
        return [number for number, intact in self._known.items() if not intact]


def _number(store: Store, contact: int, filled: list[list[Candidate]], link: Link) -> list[_Load]:
    """Give containers their numbers for good, and packets their sequence counts."""
    number, sequence = containers.next_numbers(store)
    loads = []
    for products in filled:
        loads.append(_Load(number, sequence, products))
        number += 1
        length = container_length([p.bytes for p in products])
        packets = packets_for(length, link.packet_bytes, timed=link.time_code)
        sequence = (sequence + packets) % SEQUENCE_MODULO
    planned = {load.id: load.ids for load in loads}
    containers.plan(store, contact, planned, next_sequence=sequence)
    return loads


def _write(
    store: Store,
    contact: int,
    loads: list[_Load],
    link: Link,
    stream: BinaryIO,
    stamp: Callable[[], bytes] | None,
) -> tuple[int, int]:
    """Write the packets, one container in memory at a time; packets and octets written."""
    packets = octets = 0
    for load in loads:
        items = tuple(Item(p.id, p.kind, store.data(p.id)) for p in load.products)
        container = encode_container(Container(store.store_id, contact, load.id, items))
        for packet in packetize(
            container,
            apid=link.apid,
            count=load.sequence,
            packet_bytes=link.packet_bytes,
            stamp=stamp,
        ):
            stream.write(packet)
            packets += 1
            octets += len(packet)
    return packets, octets


def _by_kind(loads: list[_Load]) -> dict[str, int]:
    counts = Counter(product.kind for load in loads for product in load.products)
    return {kind.name.lower(): counts[kind] for kind in Kind}


def _by_class(sent: ProductTable, alike: Sequence[str]) -> dict[str, int]:
    """How many differ in the columns `alike`, of the products of detections, by class name, the
    most frequent first: by their ids products, by swath and tile detections."""
    columns = sent.columns[sent.columns["detection"]]
    _, first = np.unique(columns[list(alike)], return_index=True)
    pairs = columns[first][["swath", "class_index"]].tolist()
    counts = Counter(sent.classes[swath][index] for swath, index in pairs)
    return dict(counts.most_common())


@contextmanager
def _output(out: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    """A stream to `out`; when the block is left, what was written is on the disk in its place.

    A packet file may hold what the store already counts as sent, so none is ever overwritten.
    """
    if not isinstance(out, (str, Path)):
        yield out
        out.flush()
        return
    path = Path(out)
    if path.exists() and not path.is_file() and not path.is_dir():
        try:
            with path.open("wb") as stream:
                yield stream
        except OSError as error:
            raise OutputError(error.strerror or "cannot be written", where=path) from error
        return
    with write_aside(path, replace=False, hint="name a new file with --out") as stream:
        yield stream
