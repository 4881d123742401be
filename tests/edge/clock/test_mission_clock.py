"""The mission clock: it never goes back, whatever the machine's clocks do."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.clock.cuc import NS, Instant
from winnow_edge.clock.host import Moment, read_host
from winnow_edge.clock.mission_clock import MOST_EVENTS, ClockState, advance, first, set_time
from winnow_edge.clock.utc import from_unix, parse_utc

NOON = 1_795_000_000 * NS  # in November 2026, of 1970
YEAR = 31_557_600 * NS
START = Moment(wall_ns=NOON, boot_ns=5 * NS, boot_id="one", kept=False)


def later(moment: Moment, ns: int, *, wall: int | None = None, kept: bool | None = None) -> Moment:
    """`ns` later, the wall clock moved by `wall` (as much, if None)."""
    return dataclasses.replace(
        moment,
        boot_ns=moment.boot_ns + ns,
        wall_ns=moment.wall_ns + (ns if wall is None else wall),
        kept=moment.kept if kept is None else kept,
    )


def events(state: ClockState) -> list[str]:
    return [event["event"] for event in state.events]


def test_it_begins_at_zero_and_counts() -> None:
    state = first(START)
    assert (state.boot, state.mission_ns(START.boot_ns)) == (1, 0)
    assert state.instant(START.boot_ns + 7 * NS) == Instant(7 * NS, tai=False)
    assert events(state) == ["boot"]


def test_nothing_is_to_be_kept_while_nothing_happens() -> None:
    state = first(START)
    assert advance(state, later(START, 30 * NS)) is state
    assert advance(state, later(START, 70 * NS)) != state


@pytest.mark.parametrize("leap", [-10 * YEAR, 80 * YEAR, 3600 * NS, -2 * NS])
def test_a_wall_clock_that_leaps_is_an_event_and_nothing_more(leap: int) -> None:
    state = set_time(first(START), START, from_unix(NOON), "ground")
    moment = later(START, 10 * NS, wall=leap)
    leapt = advance(state, moment)
    assert leapt.mission_ns(moment.boot_ns) == 10 * NS
    assert leapt.instant(moment.boot_ns).ns == from_unix(NOON).ns + 10 * NS
    assert "wall clock leapt" in events(leapt)
    by = next(e["by_s"] for e in leapt.events if e["event"] == "wall clock leapt")
    assert by == pytest.approx(leap / NS - 10, abs=1e-2)
    # Seen once, told once.
    again = advance(leapt, later(moment, 100 * NS))
    assert events(again).count("wall clock leapt") == 1


@pytest.mark.parametrize("year_ns", [-150 * YEAR, -20 * YEAR, 80 * YEAR, 9 * 10**18, 2**90])
def test_a_wall_clock_that_makes_no_sense_is_not_believed(year_ns: int) -> None:
    moment = later(START, NS, wall=year_ns, kept=True)
    state = advance(first(START), moment)
    assert not state.instant(moment.boot_ns).tai
    assert "wall clock makes no sense" in events(state)
    assert state == ClockState.read(json.loads(json.dumps(state.as_json())))
    assert events(first(dataclasses.replace(START, wall_ns=0)))[-1] == "wall clock makes no sense"


def test_a_time_service_is_followed_and_its_corrections_are_events() -> None:
    moment = later(START, 10 * NS, kept=True)
    state = advance(first(START), moment)
    assert (state.source, state.synchronised) == ("ntp", True)
    assert state.instant(moment.boot_ns) == from_unix(moment.wall_ns)
    slow = later(moment, 1000 * NS, wall=1000 * NS + NS // 2)
    state = advance(state, slow)
    assert state.instant(slow.boot_ns) == from_unix(slow.wall_ns)
    assert "time changed" not in events(state)
    back = later(slow, 10 * NS, wall=-3600 * NS)
    state = advance(state, back)
    assert state.instant(back.boot_ns) == from_unix(back.wall_ns)
    assert events(state)[-1] == "time changed"
    lapsed = later(back, 10 * NS, kept=False)
    state = advance(state, lapsed)
    assert (state.source, state.synchronised) == ("ntp", False)
    assert state.instant(lapsed.boot_ns) == from_unix(lapsed.wall_ns)


def test_where_the_system_does_not_say_nothing_changes() -> None:
    silent = dataclasses.replace(START, kept=None)
    assert not first(silent).instant(START.boot_ns).tai
    for kept, told in ((True, "ntp"), (False, "gnss")):
        moment = later(START, 10 * NS, kept=kept)
        state = advance(first(START), moment)
        state = state if kept else set_time(state, moment, from_unix(NOON), "gnss")
        assert (state.source, state.synchronised) == (told, True)
        for wall in (20 * NS, -3600 * NS, -20 * YEAR):
            moment = dataclasses.replace(later(moment, 20 * NS, wall=wall), kept=None)
            before, state = state, advance(state, moment)
            assert (state.source, state.synchronised) == (told, True)
            assert state.tai_off_ns == before.tai_off_ns
        lapsed = advance(state, dataclasses.replace(moment, kept=False))
        assert lapsed.synchronised == (told == "gnss")


REFUSES = """
import ctypes, errno, struct, sys
NUMBERS = {"x86_64": (159, 305), "aarch64": (171, 266)}[sys.argv[1]]
filter = [(0x20, 0, 0, 0)]  # the number of the system call
for n in NUMBERS:
    filter += [(0x15, 0, 1, n), (0x06, 0, 0, 0x50000 | errno.EPERM)]
filter.append((0x06, 0, 0, 0x7FFF0000))
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in filter))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(filter), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
nulls = [ctypes.c_ulong(0)] * 3
if libc.prctl(38, ctypes.c_ulong(1), *nulls) or libc.prctl(22, ctypes.c_ulong(2), program):
    sys.exit(77)
from winnow_edge.clock.host import read_host
print(read_host().kept)
"""
"""Reads the clocks where adjtimex and clock_adjtime are refused, as in a strict service."""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="the numbers of these system calls are not known here",
)
def test_a_sandbox_that_refuses_the_question_says_nothing_of_the_clock() -> None:
    command = [sys.executable, "-c", REFUSES, platform.machine()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this machine makes no system call filter")
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


def test_after_a_restart_it_goes_on_and_the_time_must_be_told_anew() -> None:
    state = set_time(first(START), START, from_unix(NOON), "gnss")
    last = state.mission_ns(later(START, 59 * NS).boot_ns)
    started = Moment(wall_ns=NOON - YEAR, boot_ns=NS, boot_id="two", kept=False)
    state = advance(state, started)
    assert state.boot == 2
    assert state.mission_ns(started.boot_ns) > last
    assert not state.instant(started.boot_ns).tai
    assert (state.source, state.synchronised) == (None, False)


def test_two_processes_that_look_at_once_see_one_boot() -> None:
    state = advance(first(START), later(START, 70 * NS))
    assert advance(state, later(START, 69 * NS)).boot == 1


@pytest.mark.parametrize("utc", ["1970-01-01", "2019-12-31T23:59:59", "2090-01-02"])
def test_nobody_can_set_a_time_that_no_mission_flies_at(utc: str) -> None:
    with pytest.raises(ValueError, match="2020-01-01 to 2090-01-01"):
        set_time(first(START), START, parse_utc(utc), "ground")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2 * YEAR),  # time that passes
            st.integers(-(2**90), 2**90),  # what the wall clock says instead
            st.sampled_from(["passes", "leaps", "restarts", "is told"]),
            st.none() | st.booleans(),
        ),
        max_size=30,
    )
)
def test_mission_time_never_goes_back(steps: list[tuple[int, int, str, bool | None]]) -> None:
    moment, state = START, first(START)
    shown = 0
    for number, (passed, wall, what, kept) in enumerate(steps):
        moment = dataclasses.replace(later(moment, passed), kept=kept)
        if what == "leaps":
            moment = dataclasses.replace(moment, wall_ns=wall)
        if what == "restarts":
            # Until the power failed, times up to the claim may have been shown.
            shown = state.ceiling_ns
            moment = dataclasses.replace(moment, boot_ns=passed % NS, boot_id=str(number))
        if what == "is told":
            state = set_time(state, moment, parse_utc("2030-01-01"), "gnss")
        state = advance(state, moment)
        now = state.mission_ns(moment.boot_ns)
        assert shown <= now < state.ceiling_ns
        assert len(state.events) <= MOST_EVENTS
        assert state == ClockState.read(json.loads(json.dumps(state.as_json())))
        shown = now


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("boot", "1"), ("boot", None), ("boot", True), ("base_ns", 1.5), ("ceiling_ns", 2**63),
        ("boot_id", 7), ("sane", 1), ("source", 3), ("source", "ntp"), ("events", [1]),
        ("events", 5), ("tai_off_ns", "x"), ("nonsense", 1), ("synchronised", None),
    ],
)  # fmt: skip
def test_a_kept_state_that_makes_no_sense_is_refused(key: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        ClockState.read({**first(START).as_json(), key: value})


def test_the_machine_has_clocks() -> None:
    one, other = read_host(), read_host()
    assert (one.boot_id, one.kept) == (other.boot_id, other.kept)
    assert other.boot_ns >= one.boot_ns
