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
        bench: What `winnow-edge bench --json` wrote on the board, a file relative to the mission
            file: its `tile_ms` is the time of a tile.
        ms_per_tile: Time that a tile takes, all cores at work.
        verifier_ms: Time that the second stage takes for a detection.
        mj_per_tile: Energy that a tile takes beyond the idle board.
        idle_w: Power of the board while it computes nothing.
        boot_s: Time that the board takes to start again after a reset.
    """

    profile: str = setting("own", choices=BOARDS)
    bench: str | None = setting(None, absent="none")
    ms_per_tile: float | None = setting(
        None, 0.0, 1e6, unit="ms", absent="that of `bench` or the profile"
    )
    verifier_ms: float | None = setting(None, 0.0, 1e6, unit="ms", absent="that of `bench`, or 0")
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
class Schedule:
    """When swaths are taken, as `winnow simulate` has it: one after the other, or as said here.

    Attributes:
        file: CSV of what is taken when, relative to the mission file; docs/missions.md has its
            columns.
        first_s: Time of the first swath, from the beginning of the contact plan.
        every_s: Time from the beginning of one swath to the next. 0: each follows the last.
        count: Swaths that are taken. 0: with `every_s` until the last contact, else each one once.
        order: Which swath is next: in turn, or drawn from `seed`.
        seconds: Time that a swath takes.
    """

    file: str | None = setting(None, absent="none")
    first_s: float = setting(0.0, 0.0, 1e12, unit="s")
    every_s: float = setting(0.0, 0.0, 1e9, unit="s")
    count: int = setting(0, 0, 1_000_000, unit="swaths")
    order: str = setting("turn", choices=("turn", "random"))
    seconds: float | None = setting(None, 0.0, 1e9, unit="s", absent="lines times line_time_us")


@dataclass(frozen=True, slots=True)
class Scenes:
    """Rendered strips that are swaths of `winnow simulate`, as `winnow scene` makes them.

    Attributes:
        count: How many are rendered.
        seed: Seed of the first; the next has the next.
        lines: Lines of each.
        samples: Samples of a line.
        names: What they are called, in turn, before their seed: an instrument's `match` finds them.
        truth: Whether their features are the truth; false where the net knows other classes.
    """

    count: int = setting(0, 0, 1000, unit="swaths")
    seed: int = setting(1, 0, 2**32 - 1)
    lines: int = setting(5120, 256, 20_000, unit="lines")
    samples: int = setting(2048, 256, 4096, unit="samples")
    names: tuple[str, ...] = setting(("scene",), fewest=1)
    truth: bool = setting(True)


@dataclass(frozen=True, slots=True)
class Replay:
    """Labelled tiles laid out side by side as swaths of `winnow simulate`, their truth known.

    Attributes:
        tiles: Folder with a folder per class, published HiRISE landmarks, or a CSV file of `file`
            and `class`, relative to the mission file.
        split: Set of the tiles, where they are split.
        instrument: Camera that took them.
        swaths: Swaths that are laid out, where no schedule says how many.
        columns: Tiles side by side.
        rows: Rows of tiles of a swath.
        share: Share of the tiles that are of a class, by name; the others are background. Without
            it the mix is that of the labelled tiles.
        seed: Seed that draws them.
    """

    tiles: str | None = setting(None, absent="none")
    split: str = setting("val")
    instrument: str = setting("", absent="the first")
    swaths: int = setting(1, 1, 1_000_000, unit="swaths")
    columns: int = setting(16, 1, 4096, unit="tiles")
    rows: int = setting(64, 1, 1_000_000, unit="tiles")
    share: dict[str, float] = setting(dict, 0.0, 1.0, unit="share", absent="as the tiles are")
    seed: int = setting(1, 0, 2**32 - 1)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Swaths and contacts of `winnow simulate`.

    Attributes:
        swaths: Paths or globs, relative to the mission file.
        plan: A contact plan (docs/contacts.md), relative to the mission file.
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
    schedule: Schedule = setting(Schedule)
    scenes: Scenes = setting(Scenes)
    replay: Replay = setting(Replay)
    board: Board = setting(Board)
    power: Power = setting(Power)
    heat: Heat = setting(Heat)
    failures: Failures = setting(Failures)
