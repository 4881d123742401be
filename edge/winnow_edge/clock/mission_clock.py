"""The mission clock: it counts on whatever happens to the wall clock, and over restarts.

Mission time is the time since the machine started plus a base. After a restart the base is chosen
so that mission time goes on behind every time that was given out before: of every kept state a
minute ahead is claimed (`ceiling_ns`), and the next start begins there. How far mission time is
from TAI is known from a time service (NTP, read by adjtimex), or because somebody said so
(`winnow-edge time set`). It holds until the next restart, whatever the wall clock does. A wall
clock that leaps is an event.

Nothing here reads a clock or a file: a state and a moment of the machine give the next state.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from winnow_edge.clock.cuc import NS, Instant
from winnow_edge.clock.host import Moment
from winnow_edge.clock.utc import format_utc, from_unix, parse_utc
from winnow_edge.tables import Reader, setting

AHEAD_NS: Final = 60 * NS
LEAP_NS: Final = NS
"""A wall clock that is off by more since it was last looked at has leapt, ..."""
SLEW: Final = 1000
"""... but for one part in so many of the time between, by which a time service may steer it."""
STEER_NS: Final = NS // 100
"""Mission time follows a time service that is off by more."""
MOST_EVENTS: Final = 16
FIRST_YEAR, LAST_YEAR = "2020-01-01", "2090-01-01"
"""A wall clock before or after has never been set."""
_FIRST, _LAST = parse_utc(FIRST_YEAR).ns, parse_utc(LAST_YEAR).ns
SOURCES: Final = ("ground", "gnss", "ntp")
"""Who may say what time it is."""
_MOST: Final = 2**62
_MOST_WALL: Final = 2**96
"""A wall clock may say anything, even years that nanoseconds of 64 bits do not reach."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """What is kept between readings; all times in nanoseconds.

    `boot` counts the machine's starts from 1. Mission time is `base_ns` plus the time since the
    start; `boot_ns` is that time when the state was kept, `wall_off_ns` how far the wall clock (of
    1970) was ahead of mission time. TAI is mission time plus `tai_off_ns`, if known, by the word of
    `source`, given at mission time `told_ns`. `events` are the last `MOST_EVENTS`, `counted` is how
    many there were in all.
    """

    boot: int = setting(..., 0, _MOST)
    boot_id: str = setting(...)
    boot_ns: int = setting(..., -_MOST, _MOST)
    base_ns: int = setting(..., -_MOST, _MOST)
    ceiling_ns: int = setting(..., -_MOST, _MOST)
    wall_off_ns: int = setting(..., -_MOST_WALL, _MOST_WALL)
    sane: bool = setting(True)
    """Whether the wall clock was between `FIRST_YEAR` and `LAST_YEAR`."""
    tai_off_ns: int | None = setting(None, -_MOST, _MOST)
    source: str | None = setting(None)
    told_ns: int = setting(0, -_MOST, _MOST)
    synchronised: bool = setting(False)
    counted: int = setting(0, 0, _MOST)
    events: tuple[dict[str, Any], ...] = setting(())

    def mission_ns(self, boot_ns: int) -> int:
        """Mission time so long after the machine's start."""
        return self.base_ns + boot_ns

    def instant(self, boot_ns: int) -> Instant:
        """The time then: TAI where it is known, else mission time."""
        mission_ns = self.mission_ns(boot_ns)
        if self.tai_off_ns is None:
            return Instant(mission_ns, tai=False)
        return Instant(mission_ns + self.tai_off_ns)

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, raw: Any) -> ClockState:
        """The inverse of `as_json`. Raises ValueError for anything else."""
        state = Reader("clock", lambda what, **_: ValueError(what)).table(cls, raw)
        if (state.source is None) != (state.tai_off_ns is None):
            raise ValueError("a time without a source, or a source without a time")
        return state


def first(moment: Moment, *, why: str = "first start") -> ClockState:
    """The state of a clock that has none: it begins to count at 0."""
    state = ClockState(1, moment.boot_id, moment.boot_ns, -moment.boot_ns, 0, moment.wall_ns)
    return advance(_with_event(state, moment, "boot", why=why), moment)


def advance(state: ClockState, moment: Moment) -> ClockState:
    """The state a while later, events with it.

    It differs from `state` only where there is something to keep: the same state back means that
    the claim holds and nothing has happened.
    """
    kept = state
    # Two processes may look a moment apart; a machine that was set back to a copy, further.
    if moment.boot_id != state.boot_id or moment.boot_ns + AHEAD_NS < state.boot_ns:
        state = _restarted(state, moment)
    mission_ns = state.mission_ns(moment.boot_ns)
    leapt = moment.wall_ns - mission_ns - state.wall_off_ns
    if abs(leapt) > LEAP_NS + abs(moment.boot_ns - state.boot_ns) // SLEW:
        state = _with_event(state, moment, "wall clock leapt", by_s=leapt / NS)
    state = _told_by_wall(state, moment)
    if state is kept and mission_ns < state.ceiling_ns:
        return kept
    return dataclasses.replace(
        state,
        boot_ns=moment.boot_ns,
        wall_off_ns=moment.wall_ns - mission_ns,
        ceiling_ns=max(state.ceiling_ns, mission_ns + AHEAD_NS),
    )


def set_time(state: ClockState, moment: Moment, now: Instant, source: str) -> ClockState:
    """The state after `source` has said that it is `now`, on the scale TAI.

    Raises ValueError for a time that no mission flies at.
    """
    if not _FIRST <= now.ns < _LAST:
        raise ValueError(f"{format_utc(now)} is not {FIRST_YEAR} to {LAST_YEAR}")
    state = advance(state, moment)
    return _told(state, moment, now.ns, source)


def _restarted(state: ClockState, moment: Moment) -> ClockState:
    """After a restart nobody knows how long the machine was off: the time has to be told anew."""
    fresh = dataclasses.replace(
        state,
        boot=state.boot + 1,
        boot_id=moment.boot_id,
        boot_ns=moment.boot_ns,
        base_ns=state.ceiling_ns - moment.boot_ns,
        wall_off_ns=moment.wall_ns - state.ceiling_ns,
        tai_off_ns=None,
        source=None,
        synchronised=False,
    )
    return _with_event(fresh, moment, "boot")


def _told_by_wall(state: ClockState, moment: Moment) -> ClockState:
    """What the wall clock says is taken where a time service keeps it, and where it makes sense."""
    try:
        now = from_unix(moment.wall_ns).ns
    except ValueError:
        now = 0
    sane = _FIRST <= now < _LAST
    if sane != state.sane:
        if not sane:
            state = _with_event(state, moment, "wall clock makes no sense")
        state = dataclasses.replace(state, sane=sane)
    if moment.kept is None:
        return state
    if not (moment.kept and sane):
        # What NTP said once still holds, but nobody steers any more.
        lapsed = state.source == "ntp" and state.synchronised
        return dataclasses.replace(state, synchronised=False) if lapsed else state
    off = now - state.mission_ns(moment.boot_ns)
    steered = state.tai_off_ns is not None and abs(off - state.tai_off_ns) <= STEER_NS
    if steered and state.source == "ntp" and state.synchronised:
        return state
    return _told(state, moment, now, "ntp")


def _told(state: ClockState, moment: Moment, now_ns: int, source: str) -> ClockState:
    """Take `source` by its word; more than `LEAP_NS` off what was known is an event."""
    mission_ns = state.mission_ns(moment.boot_ns)
    off = now_ns - mission_ns
    known = state.tai_off_ns
    state = dataclasses.replace(
        state, tai_off_ns=off, source=source, told_ns=mission_ns, synchronised=True
    )
    if known is None:
        return _with_event(state, moment, "time known", source=source)
    if abs(off - known) > LEAP_NS:
        return _with_event(state, moment, "time changed", source=source, by_s=(off - known) / NS)
    return state


def _with_event(state: ClockState, moment: Moment, what: str, **more: Any) -> ClockState:
    mission_ns = state.mission_ns(moment.boot_ns)
    now = state.instant(moment.boot_ns)
    event = {
        "event": what,
        "boot": state.boot,
        "mission_s": round(mission_ns / NS, 3),
        **({"utc": format_utc(now)} if now.tai else {}),
        **{key: round(v, 3) if isinstance(v, float) else v for key, v in more.items()},
    }
    events = (*state.events, event)[-MOST_EVENTS:]
    return dataclasses.replace(state, events=events, counted=state.counted + 1)
