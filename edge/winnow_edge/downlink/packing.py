"""Packing: which ranked products go into which container, within a contact's byte budget.

It looks at numbers, kinds and sizes alone, so the simulator packs with it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from winnow_edge.downlink.container import CONTAINER, ITEM
from winnow_edge.downlink.packets import link_bytes
from winnow_edge.mission import Link
from winnow_edge.products.kinds import Kind
from winnow_edge.products.ranking import Order
from winnow_edge.products.table import ProductTable


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product on its way into a container."""

    id: int
    kind: Kind
    bytes: int


class Hold:
    """Containers being filled with intact products within a byte budget, every header and check
    counted."""

    def __init__(self, link: Link, budget: int, intact: Callable[[Candidate], bool]) -> None:
        self.link, self.budget, self.intact = link, budget, intact
        self.containers: list[list[Candidate]] = []
        self.closed = 0  # link bytes of all containers but the last
        self.length = 0  # octets of the last container
        self.full_for: float = math.inf
        """The size from which on no product fits any more."""

    def left(self) -> int:
        return self.budget - self._cost(self.closed, self.length)

    def take(self, group: list[Candidate]) -> bool:
        """Add these products, or none of them if they do not fit the budget or one is damaged.

        What is in `full_for` octets or more then fits no more: a bigger product costs more, and
        the room only shrinks.
        """
        closed, length = self.closed, self.length
        opens: list[bool] = []
        for product in group:
            size = ITEM.size + product.bytes
            full = length == 0 or length + size > self.link.container_bytes
            if full:
                closed, length = self._cost(closed, length), CONTAINER.size
            opens.append(full)
            length += size
        if self._cost(closed, length) > self.budget:
            if len(group) == 1:
                self.full_for = min(self.full_for, group[0].bytes)
            return False
        if not all(map(self.intact, group)):
            return False
        for product, full in zip(group, opens, strict=True):
            if full:
                self.containers.append([])
            self.containers[-1].append(product)
        self.closed, self.length = closed, length
        return True

    def _cost(self, closed: int, length: int) -> int:
        link = self.link
        more = link_bytes(length, link.packet_bytes, timed=link.time_code) if length else 0
        return closed + more


def fill(
    table: ProductTable,
    order: Order,
    announcements: dict[int, Candidate],
    hold: Hold,
) -> list[list[Candidate]]:
    """Products for each container, in order of sending; on the link they cost at most the budget.

    Products are taken in `order`; one that does not fit what is left of the budget is passed over,
    so that smaller ones can still use it.
    """
    columns = table.columns[order]
    smallest = int(columns["bytes"].min()) if len(columns) else 0
    waiting = dict(announcements)
    wanted = (columns[name].tolist() for name in ("id", "swath", "kind", "bytes"))
    for number, swath, kind, size in zip(*wanted, strict=True):
        if size >= hold.full_for and kind != Kind.SWATH:
            continue
        announcement = waiting.get(swath)
        if announcement and not hold.intact(announcement):
            del waiting[swath]
            announcement = None
        if kind == Kind.SWATH:
            # Older swath products, and those that went before their swath, are done with.
            group = [announcement] if announcement and announcement.id == number else []
        else:
            product = Candidate(number, Kind(kind), size)
            group = [announcement, product] if announcement else [product]
        if group and hold.take(group):
            waiting.pop(swath, None)
        elif hold.full_for <= smallest or hold.left() < smallest + ITEM.size:
            break
    return hold.containers
