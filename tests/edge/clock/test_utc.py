"""UTC and TAI, leap seconds and limits; the season on Mars."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.clock.cuc import MOST_NS, NS, Instant
from winnow_edge.clock.season import solar_longitude
from winnow_edge.clock.utc import EPOCH_UNIX_S, as_text, format_utc, from_unix, parse_utc

SINCE_1972 = 14 * 366 * 86_400 * NS


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("1972-01-01T00:00:00Z", 10),
        ("1980-01-01", 19),
        ("1999-01-01T00:00:00", 32),
        ("2016-12-31T23:59:59Z", 36),
        ("2017-01-01T00:00:00Z", 37),
        ("2026-11-22T00:40:00Z", 37),
    ],
)
def test_tai_is_ahead_of_utc(text: str, ahead: int) -> None:
    unix = datetime.datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=datetime.UTC)
    seconds = int(unix.timestamp())
    assert parse_utc(text).ns == (seconds - EPOCH_UNIX_S + ahead) * NS
    assert from_unix(seconds * NS) == parse_utc(text)


def test_a_leap_second_is_a_second_of_its_own() -> None:
    times = ["2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"]
    seconds = [parse_utc(t).ns // NS for t in times]
    assert [s - seconds[0] for s in seconds] == [0, 1, 2]
    assert [format_utc(parse_utc(t))[:19] for t in times] == [t[:19] for t in times]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2022-030T14:43:59.182", "2022-01-30T14:43:59.182Z"),
        ("2022-01-30 14:43:59.182", "2022-01-30T14:43:59.182+00:00"),
        ("2020-366", "2020-12-31T00:00:00Z"),
        (" 2022-01-30T14:43 ", "2022-01-30T14:43:00.000000Z"),
    ],
)
def test_one_time_has_many_spellings(one: str, other: str) -> None:
    assert parse_utc(one) == parse_utc(other)


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2022", "2022-13-01", "2022-02-29", "2021-366", "2022-000",
        "2022-01-30T24:00:00", "2022-01-30T14:60:00", "2022-01-30T14:43:61",
        "2022-01-30T14:43:59+01:00", "0000-01-01", "٢٠٢٢-01-30", "1957-12-31T23:59:49",
        "2094-02-07", "2106-02-07T06:28:16Z", "9999-12-31", "2022-01-30T14:43:59." + "9" * 40,
        "N/A",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"UTC|calendar|out of") as caught:
        parse_utc(text)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("unix_s", [-(2**31), 2**32, 2**62 // NS, -(2**62) // NS])
def test_a_wall_clock_out_of_its_mind_is_refused(unix_s: int) -> None:
    with pytest.raises(ValueError, match="out of"):
        from_unix(unix_s * NS)


@given(st.integers(SINCE_1972, MOST_NS - NS))
def test_utc_is_read_as_it_is_written(ns: int) -> None:
    assert abs(parse_utc(format_utc(Instant(ns))).ns - ns) <= 500_000


@given(st.lists(st.integers(SINCE_1972, MOST_NS - NS), min_size=2, max_size=6))
def test_utc_sorts_as_tai(times: list[int]) -> None:
    texts = [format_utc(Instant(ns)) for ns in sorted(times)]
    assert texts == sorted(texts)


def test_mission_time_is_told_in_seconds() -> None:
    assert as_text(Instant(1_500_000_000, tai=False)) == "mission time 1.500 s"


@pytest.mark.parametrize(
    ("utc", "expected", "within"),
    [
        # NASA GISS, Mars24 Sunclock, "Algorithm and Worked Examples"
        ("2000-01-06T00:00:00Z", 277.18758, 1e-4),
        ("2004-01-03T13:46:31Z", 327.32416, 1e-4),
        # SOLAR_LONGITUDE beside START_TIME in the label of HiRISE ESP_072719_1970_RED
        ("2022-01-30T14:43:59.182Z", 166.230027, 0.01),
        # The day on which Mars year 36 began
        ("2021-02-07T12:00:00Z", 0.0, 0.3),
    ],
)
def test_the_season_on_mars(utc: str, expected: float, within: float) -> None:
    off = (solar_longitude(parse_utc(utc)) - expected + 180) % 360 - 180
    assert abs(off) <= within


@given(st.integers(0, MOST_NS))
def test_there_is_always_a_season(ns: int) -> None:
    assert 0 <= solar_longitude(Instant(ns)) < 360
