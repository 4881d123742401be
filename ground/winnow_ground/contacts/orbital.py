"""Contact plans made from an orbit: a TOML file of published elements and ground stations.

`parse_orbital` finds every pass over a station's mask, and eclipses. A pass is one contact. Where
`rates` give the rate by range, its bytes are those of all its parts together.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from winnow_base.errors import PlanError
from winnow_edge.tables import Reader, setting, shortened
from winnow_ground.contacts.plan import FASTEST, Contact, ContactPlan, Range
from winnow_ground.orbits.elements import Elements, choose, load_elements, parse_elements
from winnow_ground.orbits.intervals import common
from winnow_ground.orbits.orbit import STALE_DAYS, Orbit, timescale
from winnow_ground.orbits.passes import LIGHT_KM_S, Site, View
from winnow_ground.orbits.sun import SHADOWS, eclipses


@dataclass(frozen=True)
class RateWithin:
    """A rate that holds up to a range.

    Attributes:
        to_km: The range up to which it holds.
        bps: The rate.
    """

    to_km: float = setting(..., 1.0, 1e6, unit="km")
    bps: float = setting(..., 1.0, 8 * FASTEST, unit="bit/s")


@dataclass(frozen=True)
class Station:
    """A ground station; one table per station.

    Attributes:
        latitude: Degrees north.
        longitude: Degrees east.
        altitude_m: Height over the ellipsoid WGS 84.
        mask: The satellite is seen from this elevation up.
        rate_bps: The rate of a contact.
        rates: Rates by range instead, the nearest first; farther than the last there is no contact.
        confidence: Share of the passes that come about.
        node: The station's number, by default the next from 2 on.
    """

    latitude: float = setting(..., -90.0, 90.0, unit="°")
    longitude: float = setting(..., -180.0, 360.0, unit="°")
    altitude_m: float = setting(0.0, -500.0, 9000.0, unit="m")
    mask: float = setting(5.0, 0.0, 89.0, unit="°")
    rate_bps: float | None = setting(None, 1.0, 8 * FASTEST, unit="bit/s")
    rates: tuple[RateWithin, ...] = setting((), most=64)
    confidence: float = setting(1.0, 0.001, 1.0, unit="share")
    node: int | None = setting(None, 0, 2**53, absent="the next")


@dataclass(frozen=True)
class OrbitalPlan:
    """Contacts of a satellite with ground stations.

    Attributes:
        start: UTC of the beginning, second 0.
        days: Length of the plan.
        elements: File of two-line elements or OMM, relative to this one, or their text.
        satellite: Name or catalogue number, where the elements hold several.
        node: The satellite's number.
        shadow: Shape of the Earth's shadow.
    """

    start: str = setting(...)
    days: float = setting(..., 0.01, 400.0, unit="days")
    elements: str = setting(...)
    stations: dict[str, Station] = setting(..., fewest=1, key="station")
    satellite: str | None = setting(None, absent="the only one")
    node: int = setting(1, 0, 2**53)
    shadow: str = setting("conical", choices=SHADOWS)


def parse_orbital(text: str, path: Path) -> ContactPlan:
    """The plan of a TOML text.

    Raises PlanError with the line of what is malformed or impossible; MissingExtraError without
    `sgp4` and `skyfield`.
    """
    reader = Reader(path, PlanError, text)
    raw = reader.parse()
    if isinstance(start := raw.get("start"), dt.date):  # TOML has dates and times of its own
        raw["start"] = start.isoformat()
    plan = reader.table(OrbitalPlan, raw)
    epoch = _start(plan, reader)
    nodes = _nodes(plan, reader)
    for name, station in plan.stations.items():
        _check_rates(name, station, reader)
    timescale()  # what is missing is said first
    orbit = Orbit(_elements(plan, reader, path), epoch)
    end = plan.days * 86_400
    contacts: list[Contact] = []
    ranges: list[Range] = []
    for name, station in plan.stations.items():
        where = f"{path}:{reader.line_of(('station', name)) or 1}"
        view = View(orbit, Site(station.latitude, station.longitude, station.altitude_m))
        nodes_of = (plan.node, nodes[name])
        for contact in _contacts(view, end, station, nodes_of, where):
            contacts.append(contact)
            far = float(view.range_km(np.linspace(contact.start, contact.end, 9)).mean())
            ranges.append(Range(contact.start, contact.end, *nodes_of, far / LIGHT_KM_S))
    contacts.sort(key=lambda c: (c.start, c.end, c.receiver))
    return ContactPlan(
        path,
        tuple(contacts),
        tuple(ranges),
        epoch,
        names={plan.node: orbit.elements.name or "satellite"}
        | {nodes[name]: name for name in plan.stations},
        eclipses=eclipses(orbit, 0, end, plan.shadow),
        notes=_stale(orbit, end),
        hint=f"no station sees the satellite in {plan.days:g} days: lower a mask, or plan for more",
    )


def _start(plan: OrbitalPlan, reader: Reader) -> dt.datetime:
    try:
        when = dt.datetime.fromisoformat(plan.start)
    except ValueError as error:
        said = f"`start` is {shortened(plan.start, 60)!r}, no time such as 2026-11-22T00:00:00Z"
        raise reader.refusal(("start",), said) from error
    when = when if when.tzinfo else when.replace(tzinfo=dt.UTC)
    if not 1957 < when.year < 2100:
        raise reader.refusal(("start",), f"`start` is in {when.year}, legal is 1958 to 2099")
    return when.astimezone(dt.UTC)


def _nodes(plan: OrbitalPlan, reader: Reader) -> dict[str, int]:
    """The number of every station."""
    nodes: dict[str, int] = {}
    taken = {s.node for s in plan.stations.values() if s.node is not None} | {plan.node}
    free = (n for n in range(2, len(plan.stations) + len(taken) + 3) if n not in taken)
    for name, station in plan.stations.items():
        number = station.node if station.node is not None else next(free)
        if number == plan.node or number in nodes.values():
            said = f"`station.{name}.node` is {number}, which another has"
            raise reader.refusal(("station", name, "node"), said)
        nodes[name] = number
    return nodes


def _check_rates(name: str, station: Station, reader: Reader) -> None:
    at = ("station", name)
    if (station.rate_bps is None) == (not station.rates):
        both = "both `rate_bps` and `rates`" if station.rates else "neither `rate_bps` nor `rates`"
        hint = "rate_bps = 1_000_000, or rates = [{to_km = 1500, bps = 1_000_000}]"
        raise reader.refusal(at, f"[station.{name}] has {both}", hint)
    for near, far in zip(station.rates, station.rates[1:], strict=False):
        if far.to_km <= near.to_km or far.bps >= near.bps:
            said = f"`station.{name}.rates` must go from near and fast to far and slow"
            raise reader.refusal((*at, "rates"), said)


def _elements(plan: OrbitalPlan, reader: Reader, path: Path) -> Elements:
    line = f"{path}:{reader.line_of(('elements',)) or 1}"
    text = plan.elements
    if "\n" in text.strip() or text.lstrip().startswith(("<", "{", "[")):
        where, held = f"{line}: elements", parse_elements(text, f"{line}: elements")
    else:
        file = path.parent / text.strip()
        where, held = str(file), load_elements(file)
    return choose(held, plan.satellite, where)


def _contacts(
    view: View, end: float, station: Station, nodes: tuple[int, int], where: str
) -> Iterator[Contact]:
    """A contact for every pass that is near enough and brings a byte."""
    passes = view.passes(0, end, station.mask)
    rates = station.rates or (RateWithin(math.inf, station.rate_bps or 0),)
    within = [
        passes if math.isinf(rate.to_km) else common(passes, view.within(0, end, rate.to_km))
        for rate in rates
    ]
    for seen in within[-1]:
        bits, nearer = 0.0, 0.0
        for rate, intervals in zip(rates, within, strict=True):
            seconds = math.fsum(b - a for a, b in common([seen], intervals))
            bits += rate.bps * (seconds - nearer)
            nearer = seconds
        octets = math.floor(bits / 8 + 1e-6)
        contact = Contact(*seen, *nodes, bits / 8 / (seen[1] - seen[0]), station.confidence, where)
        if octets:
            yield contact if len(rates) == 1 else replace(contact, octets=octets)


def _stale(orbit: Orbit, end: float) -> tuple[str, ...]:
    """A note where the elements are of too different a time."""
    oldest = max((orbit.age_days(0), orbit.age_days(end)), key=abs)
    if abs(oldest) <= STALE_DAYS:
        return ()
    when = f"{abs(oldest):.0f} days {'before' if oldest > 0 else 'after'}"
    return (
        f"{orbit.elements.where}: the elements are of {orbit.elements.epoch:%Y-%m-%d}, up to {when}"
        f" what is planned; over {STALE_DAYS} days passes are off by seconds to minutes",
    )
