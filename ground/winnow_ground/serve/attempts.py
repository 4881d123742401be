"""How often somebody may try to log in, by name and by address."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rate:
    """So many tries at once, and one more after each `every` seconds."""

    burst: int
    every: float


OF_ADDRESS: Final = Rate(20, 6.0)
OF_NAME: Final = Rate(10, 30.0)
MOST_KEPT: Final = 10_000
"""Names and addresses that are remembered; the longest unseen are forgotten first."""


class Attempts:
    """Tries that are left, as buckets that fill with time.

    A name has a bucket for each address from which its person has logged in before, and one for all
    others: whoever guesses from elsewhere keeps no person out.
    """

    def __init__(self) -> None:
        self._spent: OrderedDict[tuple[str, ...], tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait(self, name: str, address: str, now: float) -> float:
        """Take one try; seconds to wait (then none was taken) or 0. `now` in seconds, monotonic."""
        address = _network(address)
        keys = [(("address", address), OF_ADDRESS), (self._of_name(name, address), OF_NAME)]
        spent = [self._now(key, rate, now) for key, rate in keys]
        wait = max((s + 1 - r.burst) * r.every for s, (_, r) in zip(spent, keys, strict=True))
        if wait > 0:
            return wait
        for (key, _), tries in zip(keys, spent, strict=True):
            self._spent[key] = tries + 1, now
            self._spent.move_to_end(key)
        while len(self._spent) > MOST_KEPT:
            self._spent.popitem(last=False)
        return 0.0

    def passed(self, name: str, address: str) -> None:
        """The person has logged in from there: no tries of a guesser."""
        address = _network(address)
        self._spent.pop(self._of_name(name, address), None)
        if key := self._spent.get(("address", address)):
            self._spent["address", address] = max(0.0, key[0] - 1), key[1]
        self._known[name, address] = None
        self._known.move_to_end((name, address))
        while len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)

    def _of_name(self, name: str, address: str) -> tuple[str, ...]:
        return ("name", name, address) if (name, address) in self._known else ("name", name)

    def _now(self, key: tuple[str, ...], rate: Rate, now: float) -> float:
        spent, then = self._spent.get(key, (0.0, now))
        return max(0.0, spent - (now - then) / rate.every)


def _network(address: str) -> str:
    """The address; of IPv6 the /64, which is what one subscriber has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
