"""Battery, sun and heat between two events."""

from __future__ import annotations

import math

import pytest

from winnow_edge.simulation_tables import Heat, Power
from winnow_ground.simulation.power import Battery, Sun, Temperature


def test_a_surplus_is_taken_up_in_part_and_a_full_battery_spills_the_rest() -> None:
    battery = Battery(Power(battery_wh=1, charged=0.5, charge_efficiency=0.5))
    battery.advance(100, load_w=2, solar_w=6)
    assert battery.charge == 1800 + 100 * 0.5 * 4
    battery.advance(1000, load_w=2, solar_w=6)
    assert battery.charge == 3600 and battery.spilled == pytest.approx(2000 + 2000 - 3600)
    battery.advance(900, load_w=2, solar_w=0)
    assert battery.charge == 1800 and battery.least == 1800
    assert battery.used == 2 * 2000


def test_it_tells_when_it_crosses_a_level() -> None:
    battery = Battery(Power(battery_wh=1, depth_of_discharge=0.4))
    assert battery.floor == pytest.approx(0.6 * 3600)
    assert battery.reaches(battery.floor, 2, 0) == pytest.approx(720)
    assert battery.reaches(battery.floor, 2, 6) == math.inf
    assert battery.again == pytest.approx(battery.floor + 0.1 * 0.4 * 3600)


def test_eclipses_come_regularly_or_as_the_orbit_says() -> None:
    power = Power(period_s=100, eclipse_s=40)
    sun = Sun.of(power, 250, None)
    assert [sun.shines(at) for at in (0, 39, 40, 99, 100, 140, 241)] == [
        False, False, True, True, False, True, True,
    ]  # fmt: skip
    assert sun.share(200) == pytest.approx(0.6)
    told = Sun.of(power, 250, [(10, 20)])
    assert told.shines(0) and not told.shines(10) and told.shines(20)
    assert Sun.of(Power(), 250, None).share(250) == 1.0


def test_temperature_is_an_exponential_that_turns_at_its_limit() -> None:
    heat = Heat(ambient_c=20, kelvin_per_w=10, seconds=100, limit_c=60)
    board = Temperature(heat)
    when = board.turns(6)
    assert when == pytest.approx(100 * math.log(60 / 20))
    board.advance(when, 6)
    assert board.now == pytest.approx(60)
    board.throttled = True
    cooling = board.turns(2)
    board.advance(cooling, 2)
    assert board.now == pytest.approx(55)
    assert Temperature(heat).turns(3) == math.inf
    assert Temperature(Heat()).turns(1e9) == math.inf
