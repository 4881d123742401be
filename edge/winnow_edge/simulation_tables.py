"""The tables of a mission file that `winnow simulate` alone reads."""

from __future__ import annotations

from dataclasses import dataclass

from winnow_edge.tables import setting

BOARDS = ("own", "pi-4", "pi-5", "zero-2-w", "coral")


@dataclass(frozen=True, slots=True)
class Board:
    """The computer that runs the net, as `winnow simulate` has it.

    Attributes:
        profile: A board whose figures are known (docs/power.md has their sources), or one with
            figures of your own; without any, tiles take neither time nor energy.
        ms_per_tile: Time that a tile takes, all cores at work, as `winnow-edge bench` measures it.
        mj_per_tile: Energy that a tile takes beyond the idle board.
        idle_w: Power of the board while it computes nothing.
        boot_s: Time that the board takes to start again after a reset.
    """

    profile: str = setting("own", choices=BOARDS)
    ms_per_tile: float | None = setting(None, 0.0, 1e6, unit="ms", absent="the profile's")
    mj_per_tile: float | None = setting(None, 0.0, 1e9, unit="mJ", absent="the profile's")
    idle_w: float | None = setting(None, 0.0, 1e6, unit="W", absent="the profile's")
    boot_s: float = setting(40.0, 0.0, 1e6, unit="s")


@dataclass(frozen=True, slots=True)
class Power:
    """Solar panel, battery and loads, as `winnow simulate` has them.

    Attributes:
        battery_wh: Capacity of the battery. 0: energy never lacks.
        depth_of_discharge: Share of the capacity that may be used; below it all but the bus is off.
        charged: Share of the capacity that is there when the simulation begins.
        solar_w: Power of the panel in the sun.
        charge_efficiency: Share of the panel's power over the loads that the battery takes up.
        bus_w: Power of everything that is always on.
        camera_w: Power of the camera while a swath is taken.
        period_s: Time between two eclipses, where no orbit tells. 0: there is none.
        eclipse_s: Time that an eclipse lasts; the first begins with the simulation.
        uj_per_bit: Energy per transmitted bit, headers included.
    """

    battery_wh: float = setting(0.0, 0.0, 1e9, unit="Wh")
    depth_of_discharge: float = setting(0.3, 0.0, 1.0, unit="share")
    charged: float = setting(1.0, 0.0, 1.0, unit="share")
    solar_w: float = setting(0.0, 0.0, 1e9, unit="W")
    charge_efficiency: float = setting(0.9, 0.01, 1.0, unit="share")
    bus_w: float = setting(0.0, 0.0, 1e9, unit="W")
    camera_w: float = setting(0.0, 0.0, 1e9, unit="W")
    period_s: float = setting(0.0, 0.0, 1e9, unit="s")
    eclipse_s: float = setting(0.0, 0.0, 1e9, unit="s")
    uj_per_bit: float = setting(0.0, 0.0, 1e9, unit="µJ")


@dataclass(frozen=True, slots=True)
class Heat:
    """When the board gets too hot and computes more slowly, as `winnow simulate` has it.

    Attributes:
        ambient_c: Temperature that the board goes to with no power.
        kelvin_per_w: What each watt of the board adds to it in the end.
        seconds: Time constant: after it 63 % of a change is there.
        limit_c: From this temperature on the board computes more slowly, until it is 5 K under.
        slower: Share of its speed that is left then.
    """

    ambient_c: float = setting(20.0, -273.0, 1000.0, unit="°C")
    kelvin_per_w: float = setting(0.0, 0.0, 1000.0, unit="K/W")
    seconds: float = setting(600.0, 0.1, 1e6, unit="s")
    limit_c: float = setting(80.0, -273.0, 1000.0, unit="°C")
    slower: float = setting(0.4, 0.01, 1.0, unit="share")


@dataclass(frozen=True, slots=True)
class Failures:
    """What goes wrong, as `winnow simulate` draws it from its seed.

    Attributes:
        resets_per_day: Resets of the board by radiation, a mean; what is not committed is computed
            again.
        missed: Share of the contacts that do not come about.
    """

    resets_per_day: float = setting(0.0, 0.0, 100_000.0, unit="1/day")
    missed: float = setting(0.0, 0.0, 1.0, unit="share")


@dataclass(frozen=True, slots=True)
class Simulation:
    """Swaths and contacts of `winnow simulate`.

    Attributes:
        swaths: Paths or globs, relative to the mission file.
        plan: An ION or HDTN contact plan, relative to the mission file.
        node: The spacecraft's number in the plan.
        contacts: The most contacts to play. 0: all.
        seed: Seed that draws the lost packets, the failures and the random policy.
        seeds: Runs of each policy, with this seed and those after it.
        policies: Policies that are played side by side, beside the mission's own.
    """

    swaths: tuple[str, ...] = setting((), absent="none")
    plan: str | None = setting(None, absent="none")
    node: int | None = setting(None, 0, 2**63, absent="the only node that sends")
    contacts: int = setting(0, 0, 100_000, unit="contacts")
    seed: int = setting(0, 0, 2**32 - 1)
    seeds: int = setting(1, 1, 1000)
    policies: tuple[str, ...] = setting(("fifo", "oracle"))
    board: Board = setting(Board)
    power: Power = setting(Power)
    heat: Heat = setting(Heat)
    failures: Failures = setting(Failures)
