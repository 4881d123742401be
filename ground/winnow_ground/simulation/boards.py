"""Boards: time and energy of a tile, and the power of the idle board, each figure with its source.

The figures are estimates for `hirise-windows` and a tile of 128 x 128 pixels, made from published
measurements of another net by the ratio of multiply-accumulates. `winnow-edge bench` on the board
itself measures the time; `[simulation.board] bench` takes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from winnow_base.errors import DataError
from winnow_edge.files import read_small
from winnow_edge.mission import Mission
from winnow_edge.simulation_tables import Board
from winnow_edge.tables import Reader, setting

_MMAC: Final = 43.2
"""Of `hirise-windows`, as `winnow bench` counts them."""
_SSD_MMAC: Final = 800.0
"""Of SSD with MobileNet v2 (Sandler et al. 2018, doi:10.1109/CVPR.2018.00474, table 6)."""
_SSD: Final = (
    "SSD MobileNet v2, 300 x 300, TensorFlow Lite (github.com/aallan/benchmarking-ml-on-the-edge)"
)


@dataclass(frozen=True)
class Profile:
    """`ssd_ms` of the net that was measured, `slower` than there, `active_w` beyond `idle_w`, and
    where each is from."""

    ssd_ms: float
    active_w: float
    idle_w: float
    time_source: str
    power_source: str
    slower: float = 1.0

    @property
    def ms(self) -> float:
        """Milliseconds of a tile."""
        return self.slower * self.ssd_ms * _MMAC / _SSD_MMAC

    @property
    def mj(self) -> float:
        """Millijoules of a tile beyond the idle board."""
        return self.active_w * self.ms


_PI_4_POWER: Final = (
    "Pi Dramble wiki, power consumption benchmarks: 540 mA at 5 V idle, 1280 mA with stress --cpu 4"
)
PROFILES: Final = {
    "pi-4": Profile(112.6, 3.7, 2.7, f"{_SSD}: Raspberry Pi 4, 112.6 ms", _PI_4_POWER),
    "pi-5": Profile(
        23.5,
        3.7,
        2.7,
        f"{_SSD}: Raspberry Pi 5, 23.5 ms",
        f"those of a Pi 4, for want of others: {_PI_4_POWER}",
    ),
    "zero-2-w": Profile(
        379.6,
        1.4,
        0.6,
        f"{_SSD}: Raspberry Pi 3 B+, 379.6 ms at 1.4 GHz, the same cores; a Zero 2 W has 1.0 GHz",
        "CNX Software, 2021-12-09: 120 mA at 5 V idle; A. Jacobs, 2021: 270 mA more than a Zero W "
        "under load",
        slower=1.4,
    ),
    "coral": Profile(
        18.2,
        2.0,
        2.7,
        f"{_SSD}: Coral USB Accelerator on USB 3, 18.2 ms",
        f"coral.ai/docs/edgetpu/faq: 2 W at work; idle is its host, a Pi 4: {_PI_4_POWER}",
    ),
}
"""Boards of `[simulation.board] profile`; the times are taken as the whole board's."""


@dataclass(frozen=True)
class Computer:
    """What computing costs: `seconds` of a tile at full speed, `second_s` of a detection in the
    second stage, `active_w` beyond `idle_w`."""

    seconds: float = 0.0
    second_s: float = 0.0
    active_w: float = 0.0
    idle_w: float = 0.0


@dataclass(frozen=True)
class _Bench:
    """What is read of the output of `winnow-edge bench --json`."""

    tile_ms: float = setting(..., 1e-6, 1e6, unit="ms")
    verifier_ms: float | None = setting(None, 1e-6, 1e6, unit="ms")


def measured(mission: Mission) -> Mission:
    """The mission with the time of a tile that was measured on its board, where it names such a
    file and no time of its own. Raises DataError for a file that is no output of bench."""
    board = mission.simulation.board
    if board.bench is None or board.ms_per_tile is not None:
        return mission
    path = mission.path.parent / board.bench
    try:
        text = read_small(path)
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", where=path) from error
    reader = Reader(path, DataError, others=True, hint="is it of `winnow-edge bench --json`?")
    found = reader.table(_Bench, reader.json(text))
    second = found.verifier_ms if board.verifier_ms is None else board.verifier_ms
    timed = replace(board, ms_per_tile=found.tile_ms, verifier_ms=second)
    return replace(mission, simulation=replace(mission.simulation, board=timed))


def computer(board: Board) -> Computer:
    """The mission's computer: its own figures, else those of the profile, else none."""
    profile = PROFILES.get(board.profile, Profile(0.0, 0.0, 0.0, "", ""))
    ms = profile.ms if board.ms_per_tile is None else board.ms_per_tile
    # A time of one's own takes the profile's power.
    mj = profile.active_w * ms if board.mj_per_tile is None else board.mj_per_tile
    idle = profile.idle_w if board.idle_w is None else board.idle_w
    # Energy without time is spent at once: a thousandth of a millisecond stands for it.
    seconds = max(ms, 1e-3 if mj else 0.0) / 1e3
    active = mj / 1e3 / seconds if seconds else 0.0
    return Computer(seconds, (board.verifier_ms or 0.0) / 1e3, active, idle)
