"""Energy beside PASEOS: the same battery, panel, loads and eclipses, minute by minute.

    python -m benchmarks.finding.energy [--short] [--json]

The case is PASEOS's published constellation example (github.com/aidotse/PASEOS,
examples/Constellation_example): a battery of 100,000 Ws, a panel of 50 W, 100 W while the computer
works and 2 W while it does not, at 550 km; work goes on while the charge is over a fifth. Eclipses
are those of a circular orbit whose plane holds the Sun. PASEOS's own models of charge and discharge
are run, second by second, as its `advance_time` does; of its other needs (pykep, whose version 2 is
not there for newer Pythons) they use epochs alone, which are stood in for. It tells the greatest
difference in charge, and when each first stops working. Skipped where `paseos` is not installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, files
from typing import Any

from benchmarks.harness import arguments, report, skip
from winnow_edge.simulation_tables import Power
from winnow_ground.simulation.power import Battery, Sun

CAPACITY_WS, PANEL_W, WORK_W, REST_W, LIMIT = 100_000.0, 50.0, 100.0, 2.0, 0.2
EARTH_M, MU, ALTITUDE_M = 6_371_000.0, 3.986004418e14, 550_000.0
DAY_S = 86_400.0
STEP_S = 1.0
DECIDE_S = 600.0
"""How often the example decides anew what to do; work that empties the battery ends at once."""


def main() -> None:
    """Run both, where PASEOS is there."""
    args = arguments(__doc__).parse_args()
    models = _models()
    if models is None:
        skip("paseos is not installed (pip install --no-deps paseos loguru)")
    until = 4 * 3600.0 if args.short else 24 * 3600.0
    radius = EARTH_M + ALTITUDE_M
    period = 2 * math.pi * math.sqrt(radius**3 / MU)
    dark = period * math.asin(EARTH_M / radius) / math.pi
    eclipses = [(n * period, n * period + dark) for n in range(math.ceil(until / period) + 1)]
    sun = Sun(eclipses)
    theirs = list(_paseos(*models, sun, until))
    ours = list(_ours(sun, until))
    apart = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    report(
        args,
        [
            {
                "hours": until / 3600,
                "period_s": round(period, 1),
                "eclipse_s": round(dark, 1),
                "most_apart_share": round(max(apart), 4),
                "mean_apart_share": round(sum(apart) / len(apart), 5),
                "least_charge_ours": round(min(ours), 4),
                "least_charge_paseos": round(min(theirs), 4),
            }
        ],
    )


def _models() -> tuple[Callable[..., Any], Callable[..., Any], Any] | None:
    """PASEOS's `charge` and `discharge`, and its solar panel."""
    try:
        found = {f.name: f.locate() for f in files("paseos") or () if f.parent.name == "power"}
    except PackageNotFoundError:
        return None
    pykep: Any = types.ModuleType("pykep")
    pykep.epoch = lambda day: types.SimpleNamespace(mjd2000=day)
    pykep.SEC2DAY = 1 / DAY_S
    loaded: dict[str, Any] = {}
    sys.modules |= {"pykep": pykep, "paseos": types.ModuleType("paseos")}
    sys.modules["paseos.power"] = types.ModuleType("paseos.power")
    for name in ("power_device_type", "charge_model", "discharge_model"):
        spec = importlib.util.spec_from_file_location(
            f"paseos.power.{name}", str(found[f"{name}.py"])
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        loaded[name] = module
    importlib.import_module("loguru").logger.disable("paseos")
    panel = loaded["power_device_type"].PowerDeviceType.SolarPanel
    return loaded["charge_model"].charge, loaded["discharge_model"].discharge, panel


class _Actor:
    """A spacecraft as PASEOS's models look at it."""

    def __init__(self, sun: Sun, panel: Any) -> None:
        self._sun, self.power_device_type = sun, panel
        self._battery_level_in_Ws = self._max_battery_level_in_Ws = CAPACITY_WS
        self._charging_rate_in_W = PANEL_W
        self.local_time = types.SimpleNamespace(mjd2000=0.0)

    @property
    def battery_level_in_Ws(self) -> float:  # noqa: N802 PASEOS's name
        return self._battery_level_in_Ws

    def is_in_eclipse(self, at: Any = None) -> bool:
        """Whether it is dark, now or at an epoch."""
        return not self._sun.shines((at or self.local_time).mjd2000 * DAY_S)


def _paseos(
    charge: Callable[..., Any], discharge: Callable[..., Any], panel: Any, sun: Sun, until: float
) -> Iterator[float]:
    """The state of charge every minute."""
    actor, working = _Actor(sun, panel), True
    for second in range(int(until)):
        share = actor.battery_level_in_Ws / CAPACITY_WS
        if second % DECIDE_S == 0:
            working = share > LIMIT
        working = working and share > LIMIT
        discharge(actor, (WORK_W if working else REST_W) * STEP_S)
        charge(actor, STEP_S)
        actor.local_time.mjd2000 += STEP_S / DAY_S
        if (second + 1) % 60 == 0:
            yield actor.battery_level_in_Ws / CAPACITY_WS


def _ours(sun: Sun, until: float) -> Iterator[float]:
    """The same by `Battery`, from event to event: sun and shadow, decisions, the empty battery."""
    power = Power(
        battery_wh=CAPACITY_WS / 3600,
        depth_of_discharge=1 - LIMIT,
        solar_w=PANEL_W,
        charge_efficiency=1.0,
    )
    battery, now, working = Battery(power), 0.0, True
    edges = sorted({at for pair in sun.eclipses for at in pair})
    for minute in range(1, int(until) // 60 + 1):
        while now < 60 * minute:
            if now % DECIDE_S == 0:
                working = battery.charge > battery.floor
            solar = PANEL_W if sun.shines(now) else 0.0
            load = WORK_W if working else REST_W
            # PASEOS puts what the panel gives into the battery and takes all loads out of it.
            ends = [at for at in edges if at > now] + [60.0 * minute]
            end = min(60.0 * minute, *ends)
            empty = battery.reaches(battery.floor, load, solar) if working else math.inf
            spent = min(end - now, empty)
            battery.advance(spent, load, solar)
            now = end if spent < empty else now + spent
            if spent == empty:
                working = False
        yield battery.charge / CAPACITY_WS


if __name__ == "__main__":
    main()
