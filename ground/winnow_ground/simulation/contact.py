"""A contact of a simulated run: ranked, packed and numbered as on board, and lost on the link."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from winnow_edge.downlink.container import container_length
from winnow_edge.downlink.packets import link_bytes, packets_for
from winnow_edge.downlink.packing import Candidate, Hold, fill
from winnow_edge.mission import Link, Mission
from winnow_edge.products.kinds import Kind
from winnow_ground.contacts import Contact
from winnow_ground.simulation.ground_side import Ground
from winnow_ground.simulation.onboard import OnBoard
from winnow_ground.simulation.policies import Drawn, Ranker, candidates


@dataclass(frozen=True)
class Load:
    """A container that is sent: its number, its products, and its octets and packets on the
    link."""

    number: int
    products: list[Candidate]
    octets: int
    packets: int


@dataclass
class Held:
    """One contact of a run.

    `budget_bytes` are what its time and rate allow, `lacking_bytes` of them were not used for want
    of energy or of a running board; `sent_bytes` were sent, headers included. `products` counts by
    kind what was new on the ground, `bytes` its octets, `value` what it added; `returned` products
    went back into the ranking before. `held` is False for a contact that did not come about.
    """

    number: int
    start: float
    seconds: float
    station: int
    budget_bytes: int
    light_s: float = 0.0
    held: bool = True
    lacking_bytes: int = 0
    sent_bytes: int = 0
    packets: int = 0
    lost_packets: int = 0
    containers: int = 0
    whole_containers: int = 0
    products: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    value: float = 0.0
    acknowledged: int = 0
    returned: int = 0
    queue_tiles: int = 0


@dataclass(frozen=True, eq=False)
class Sent:
    """What is sent in a contact."""

    held: Held
    contact: Contact
    loads: list[Load]


class Transmitter:
    """Sends at the rate of the contact: `watts` that it takes now, and where it fell silent."""

    def __init__(self, uj_per_bit: float) -> None:
        self._joules_per_byte = uj_per_bit * 1e-6 * 8
        self.watts = 0.0
        self._now: Sent | None = None
        self._since, self._sending, self._cut = 0.0, False, math.inf

    def power(self, contact: Contact) -> float:
        """Watts that it takes at the rate of a contact."""
        return self._joules_per_byte * contact.budget_bytes / contact.seconds

    def begin(self, sent: Sent, now: float) -> float:
        """Send; the time at which all of it is sent."""
        held, contact = sent.held, sent.contact
        held.sent_bytes = sum(load.octets for load in sent.loads)
        held.packets = sum(load.packets for load in sent.loads)
        held.containers = len(sent.loads)
        self._now, self._since, self._cut = sent, now, math.inf
        self._sending = bool(sent.loads)
        self.watts = self.power(contact) if sent.loads else 0.0
        rate = contact.budget_bytes / contact.seconds
        return min(now + held.sent_bytes / rate if rate else now, contact.end)

    def ended(self, sent: Sent) -> None:
        """All of it is sent."""
        if sent is self._now:
            self.watts, self._sending = 0.0, False

    def break_off(self, now: float) -> None:
        """Fall silent: what has not been sent is lost."""
        if self._now is not None and self._sending:
            contact = self._now.contact
            self._cut = (now - self._since) * contact.budget_bytes / contact.seconds
            self.watts, self._sending = 0.0, False

    def over(self, sent: Sent) -> float:
        """The contact has ended; how many octets of it went out before the radio fell silent."""
        if sent is not self._now:
            return math.inf
        cut = self._cut
        self._now, self.watts, self._sending = None, 0.0, False
        return cut


class Radio:
    """The spacecraft's side of the link: numbers containers, and knows which are in flight."""

    def __init__(self, mission: Mission, board: OnBoard, ranker: Ranker, seed: int) -> None:
        self._mission, self._board, self._ranker = mission, board, ranker
        self._seed = seed
        self._next = 1
        self._flying: dict[int, tuple[int, list[int]]] = {}
        """Of each container in flight its contact and its products' places."""
        self.mail: list[tuple[float, int]] = []
        """When word of a contact reaches the spacecraft, and the contact's number."""

    def hear(self, ground: Ground, now: float) -> tuple[int, int]:
        """Take in what has arrived of the ground's word: products acknowledged and put back."""
        acknowledged = returned = 0
        heard = [contact for when, contact in self.mail if when <= now]
        self.mail = [entry for entry in self.mail if entry[0] > now]
        for contact in heard:
            if not self._flying:
                break
            got, missing = ground.report(contact, min(self._flying))
            for number in sorted(got & self._flying.keys()):
                places = self._flying.pop(number)[1]
                acknowledged += self._board.acknowledge(places)
            for number in sorted(missing & self._flying.keys()):
                returned += self._board.put_back(self._flying.pop(number)[1], unheard=False)
        return acknowledged, returned

    def send(self, budget: int) -> tuple[list[Load], int]:
        """Begin a contact: what is sent in it, and how many products went back into the ranking
        for want of word."""
        board, link = self._board, self._mission.link
        board.contacts += 1
        returned = 0
        for number, (contact, places) in list(self._flying.items()):
            if contact < board.contacts - link.ack_wait:
                del self._flying[number]
                returned += board.put_back(places, unheard=True)
        draws = self._ranker.draws(board) if isinstance(self._ranker, Drawn) else None
        places = candidates(board, self._mission, budget, draws)
        order = self._ranker(board, places)
        hold = Hold(link, budget, lambda _: True)
        loads = []
        for products in fill(board.table(places), order, board.announcements(), hold):
            loads.append(_load(self._next, products, link))
            inside = [product.id - 1 for product in products]
            self._flying[self._next] = (board.contacts, inside)
            board.sent(inside)
            self._next += 1
        return loads, returned

    def arrived(self, loads: Sequence[Load], held: Held, cut: float) -> list[Load]:
        """What of a contact arrives: packets get lost at the mission's rate, at the same places in
        the stream under every policy; of a contact that does not come about, all of them, and
        those behind the first `cut` octets that were sent."""
        rng = self._draws(held.number)
        rng.random()  # whether the contact comes about
        result, sent = [], 0
        for load in loads:
            draws = rng.random(load.packets)
            sent += load.octets
            good = (draws >= self._mission.link.loss) & held.held & (sent <= cut)
            held.lost_packets += int(np.count_nonzero(~good))
            if good.all():
                result.append(load)
        return result

    def comes_about(self, number: int, contact: Contact) -> bool:
        """Whether a contact that is not certain comes about."""
        return bool(self._draws(number).random() < contact.confidence)

    def _draws(self, number: int) -> np.random.Generator:
        """What chance has for a contact: whether it comes about, then a draw for each packet."""
        return np.random.default_rng([self._seed, number])

    def in_flight(self) -> list[int]:
        """Places of the products in flight."""
        return [place for _, places in self._flying.values() for place in places]


def _load(number: int, products: list[Candidate], link: Link) -> Load:
    length = container_length([p.bytes for p in products])
    octets = link_bytes(length, link.packet_bytes, timed=link.time_code)
    packets = packets_for(length, link.packet_bytes, timed=link.time_code)
    return Load(number, products, octets, packets)


def by_kind(kinds: Sequence[int]) -> dict[str, int]:
    """How many products there are of each kind, by its name."""
    counts = np.bincount(np.asarray(kinds, np.int64), minlength=max(Kind) + 1)
    return {kind.name.lower(): int(counts[kind]) for kind in Kind}
