"""Places between entries, and how records carry them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from winnow_edge.clock.cuc import Instant
from winnow_edge.place.geometry import UNKNOWN, Geometry, Moments
from winnow_edge.place.place import PLACE_BYTES, Place, decode_place, encode_place, encode_places
from winnow_edge.place.track import MAX_STEP_DEG, Fixed, Track

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 360)


def apart(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The angle between two places in degrees."""
    vectors = []
    for north, east in np.radians([one, other]):
        flat = np.cos(north)
        vectors.append([flat * np.cos(east), flat * np.sin(east), np.sin(north)])
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(*vectors)), np.dot(*vectors))))


def place_at(track: Track, line: float, sample: float = 0.0) -> tuple[float, float]:
    north, east = track.at(np.array([line]), np.array([sample]))
    return float(north[0]), float(east[0])


@pytest.mark.parametrize(
    ("place", "octets"),
    [
        (Place(0.0, 0.0), "000000 000000"),
        (Place(90.0, 0.0), "7fffff 000000"),
        (Place(-90.0, 180.0), "800001 800001"),
        (Place(45.0, 90.0), "400000 400000"),
        (Place(-71.0, None), "9b05b1 800000"),
    ],
)
def test_places_have_their_octets(place: Place, octets: str) -> None:
    assert encode_place(place) == bytes.fromhex(octets)


@given(latitudes, st.none() | longitudes)
def test_places_come_back(north: float, east: float | None) -> None:
    octets = encode_place(Place(north, east))
    found = decode_place(octets)
    assert len(octets) == PLACE_BYTES
    assert abs(found.latitude - north) < 2e-5
    if east is None:
        assert found.longitude is None
    else:
        assert found.longitude is not None
        assert abs((found.longitude - east + 180) % 360 - 180) < 3e-5


@given(st.binary(min_size=PLACE_BYTES, max_size=PLACE_BYTES))
def test_any_octets_are_a_place(octets: bytes) -> None:
    found = decode_place(octets)
    assert -90 <= found.latitude <= 90
    assert found.longitude is None or -180 <= found.longitude <= 180


def test_of_a_place_that_is_not_known_there_are_no_octets() -> None:
    assert encode_places(np.array([np.nan, 1.0]), np.array([5.0, np.nan]))[0] == b""


@example([0, 1, 2, 3, 4], 90.0, 0.0, 16.0, 0.0, 0.0)
@given(
    st.lists(st.integers(0, 100_000), min_size=2, max_size=8, unique=True),
    latitudes, longitudes, st.floats(0.01, 20), st.floats(0, 360), st.floats(0, 1),
)  # fmt: skip
def test_between_entries_the_way_is_straight_and_even(
    lines: list[int], north: float, east: float, step: float, heading: float, share: float
) -> None:
    # A great circle, some of them over a pole or the date line.
    entries = np.array(sorted(lines), np.float64)
    north, east, heading = np.radians([north, east, heading])
    up = np.array([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    to_north = np.array(
        [-np.sin(north) * np.cos(east), -np.sin(north) * np.sin(east), np.cos(north)]
    )
    to_east = np.array([-np.sin(east), np.cos(east), 0.0])
    ahead = np.cos(heading) * to_north + np.sin(heading) * to_east
    angles = np.radians(np.arange(len(entries)) * min(step, 160 / len(entries)))
    x, y, z = np.outer(up, np.cos(angles)) + np.outer(ahead, np.sin(angles))
    places = np.degrees(np.stack([np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)], axis=-1))
    track = Track(entries, places[:, 0], places[:, 1])
    assert track.breaks == 0
    # At an entry it is there, between two nowhere else than between them.
    for line, place in zip(entries, places, strict=True):
        assert apart(place_at(track, line), tuple(place)) < 1e-4
    line = entries[0] + share * (entries[1] - entries[0])
    found, whole = place_at(track, line), apart(tuple(places[0]), tuple(places[1]))
    first, last = apart(found, tuple(places[0])), apart(found, tuple(places[1]))
    assert abs(first + last - whole) < 1e-4
    assert abs(first - share * whole) < 1e-4


@given(latitudes, longitudes, st.floats(-1e6, 1e6))
def test_outside_of_the_entries_nothing_is_known(north: float, east: float, line: float) -> None:
    track = Track(np.array([10.0, 20.0]), np.full(2, north), np.full(2, east))
    assert np.isnan(place_at(track, line)).all() == (not 10 <= line <= 20)


def test_over_steps_that_nobody_flies_nothing_is_known() -> None:
    track = Track(np.array([0.0, 10.0, 20.0]), np.array([0.0, MAX_STEP_DEG + 1, 40]), np.zeros(3))
    assert track.breaks == 1
    assert np.isnan(place_at(track, 5)[0])
    assert place_at(track, 15)[0] == pytest.approx(35.5, abs=0.1)


def test_corners_give_every_sample_its_place() -> None:
    track = Track(
        np.array([0.0, 10.0]), np.zeros(2), np.array([180.0, 180.0]),
        left=np.array([[0.0, 179.0], [1.0, 179.0]]), right=np.array([[0.0, -179.0], [1.0, -179.0]]),
        samples=101,
    )  # fmt: skip
    assert place_at(track, 0, 0) == pytest.approx((0, 179))
    assert abs(place_at(track, 0, 50)[1]) == pytest.approx(180)
    assert place_at(track, 10, 75) == pytest.approx((1, -179.5), abs=1e-3)


def test_without_longitudes_latitude_alone_is_known() -> None:
    north, east = place_at(
        Track(np.array([0.0, 9]), np.array([-71.0, -72]), np.full(2, np.nan)), 4.5
    )
    assert north == pytest.approx(-71.5)
    assert np.isnan(east)
    assert np.isnan(Fixed(Place(-71.0, None)).at(np.zeros(2), np.zeros(2))[1]).all()


@given(st.integers(0, 10**18), st.floats(0.1, 1e6), st.integers(0, 10**6))
def test_every_line_has_a_time(ns: int, step: float, line: int) -> None:
    found = Geometry(start=Instant(ns), line_time_us=step).instants(np.array([float(line)]))[0]
    assert abs(int(found) - ns - line * step * 1000) <= max(1, line * step * 1e-9)


def test_times_are_known_between_moments_and_with_a_line_time_beyond() -> None:
    moments = Moments(np.array([10.0, 20.0]), np.array([10**18, 10**18 + 1000], np.int64))
    lines = np.array([0.0, 10.0, 15.0, 20.0, 30.0])
    found = Geometry(moments=moments, start=Instant(0)).instants(lines)
    assert found.tolist() == [UNKNOWN, 10**18, 10**18 + 500, 10**18 + 1000, UNKNOWN]
    found = Geometry(moments=moments, start=Instant(0), line_time_us=1.0).instants(lines)
    assert (found - 10**18).tolist() == [-10_000, 0, 500, 1000, 11_000]


def test_times_beyond_all_codes_are_not_known() -> None:
    found = Geometry(start=Instant(4 * 10**18), line_time_us=1e9).instants(np.array([0.0, 1e9]))
    assert found.tolist() == [4 * 10**18, UNKNOWN]
