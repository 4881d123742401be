"""Energy and heat: battery, solar panel and loads between two events, and the board's temperature.

Between two events every load is constant, so that charge is linear in time and temperature an
exponential (a first-order thermal model); both say when they will cross their limits.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from winnow_edge.simulation_tables import Heat, Power

AGAIN = 0.1
"""Share of the usable charge with which what was switched off is switched on again."""
HYSTERESIS_K = 5.0


@dataclass(frozen=True)
class Sun:
    """When the panel is in the sun: `eclipses` are (start, end), ascending, in seconds."""

    eclipses: Sequence[tuple[float, float]]

    @classmethod
    def of(cls, power: Power, until: float, eclipses: Sequence[tuple[float, float]] | None) -> Sun:
        """The eclipses of an orbit, or those that the mission file says come regularly."""
        if eclipses is not None:
            return cls(sorted(eclipses))
        if not power.period_s or not power.eclipse_s:
            return cls(())
        count = math.ceil(until / power.period_s) + 1
        starts = [n * power.period_s for n in range(count)]
        return cls([(start, start + min(power.eclipse_s, power.period_s)) for start in starts])

    def shines(self, at: float) -> bool:
        """Whether the panel is in the sun."""
        n = bisect_right(self.eclipses, (at, math.inf)) - 1
        return n < 0 or at >= self.eclipses[n][1]

    def share(self, until: float) -> float:
        """Share of the time to `until` that is in the sun."""
        dark = sum(max(0.0, min(end, until) - start) for start, end in self.eclipses)
        return 1.0 - dark / until if until > 0 else 1.0


class Battery:
    """Charge in joules. Without a capacity energy never lacks, and only what is used is counted."""

    def __init__(self, power: Power) -> None:
        self._power = power
        self.capacity = power.battery_wh * 3600
        self.floor = self.capacity * (1 - power.depth_of_discharge)
        self.charge = self.capacity * power.charged
        self.least, self.used, self.gained, self.spilled = self.charge, 0.0, 0.0, 0.0
        self.unmet = 0.0
        """Joules that loads took that were not there: the bus below an empty battery."""

    @property
    def there(self) -> bool:
        """Whether the mission has a battery that can run down."""
        return self.capacity > 0

    @property
    def again(self) -> float:
        """The charge with which what was switched off is switched on again."""
        return self.floor + AGAIN * (self.capacity - self.floor)

    def flow(self, load_w: float, solar_w: float) -> float:
        """Watts into the battery; what it takes up of a surplus is `charge_efficiency`."""
        net = solar_w - load_w
        return net * self._power.charge_efficiency if net > 0 else net

    def advance(self, seconds: float, load_w: float, solar_w: float) -> None:
        """Let time pass under constant loads."""
        self.used += load_w * seconds
        if not self.there:
            return
        change = self.flow(load_w, solar_w) * seconds
        charge = self.charge + change
        self.gained += max(change, 0.0)
        self.spilled += max(charge - self.capacity, 0.0)
        self.unmet += max(-charge, 0.0)
        self.charge = min(max(charge, 0.0), self.capacity)
        self.least = min(self.least, self.charge)

    def reaches(self, level: float, load_w: float, solar_w: float) -> float:
        """Seconds until the charge is at `level` under constant loads; infinite if never."""
        flow = self.flow(load_w, solar_w)
        missing = level - self.charge
        if not self.there or flow == 0 or missing / flow < 0:
            return math.inf
        return missing / flow


class Temperature:
    """Of the board, in degrees Celsius."""

    def __init__(self, heat: Heat) -> None:
        self._heat = heat
        self.now = heat.ambient_c
        self.most = self.now
        self.throttled = False

    @property
    def there(self) -> bool:
        """Whether the board's power warms it at all."""
        return self._heat.kelvin_per_w > 0

    def final(self, watts: float) -> float:
        """Where it goes to under constant power."""
        return self._heat.ambient_c + self._heat.kelvin_per_w * watts

    def advance(self, seconds: float, watts: float) -> None:
        """Let time pass under constant power."""
        if self.there:
            final = self.final(watts)
            self.now = final + (self.now - final) * math.exp(-seconds / self._heat.seconds)
            self.most = max(self.most, self.now)

    @property
    def turn(self) -> float:
        """The temperature at which the speed changes next."""
        limit = self._heat.limit_c
        return limit - HYSTERESIS_K if self.throttled else limit

    def turns(self, watts: float) -> float:
        """Seconds until the speed changes under constant power; infinite if never."""
        if not self.there:
            return math.inf
        final, level = self.final(watts), self.turn
        if (level - self.now) * (final - level) <= 0 or final == level:
            already = self.now <= level if self.throttled else self.now >= level
            return 0.0 if already else math.inf
        return self._heat.seconds * math.log((final - self.now) / (final - level))
