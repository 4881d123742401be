"""Where the Sun is, and when the Earth hides it from a satellite.

The Sun by the low-precision formula of the Astronomical Almanac (section C), good to 0.01 degrees
from 1950 to 2050. Shadows after Montenbruck and Gill, Satellite Orbits (2000), section 3.4: a
cylinder as wide as the Earth, or the cone in which the discs of Earth and Sun overlap.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_ground.orbits.intervals import Times, positive
from winnow_ground.orbits.orbit import Orbit, Places

AU_KM: Final = 149_597_870.7
"""IAU 2012 resolution B2."""
EARTH_KM: Final = 6_378.137
"""Equatorial radius, WGS 84."""
SUN_KM: Final = 695_700.0
"""Nominal radius, IAU 2015 resolution B3."""
SHADOWS: Final = ("conical", "cylindrical")


def sun_place(days: Times) -> Places:
    """The Sun from the Earth's centre at Julian days (n), equator of date, km (n, 3).

    >>> km = sun_place(np.array([2448908.5]))[0]  # 1992 October 13: Meeus, example 25.a
    >>> round(float(np.degrees(np.arctan2(km[1], km[0])) % 360), 2)
    198.38
    """
    n = np.asarray(days, np.float64) - 2_451_545.0
    anomaly = np.radians((357.528 + 0.9856003 * n) % 360)
    longitude = np.radians(
        (280.460 + 0.9856474 * n + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly)) % 360
    )
    tilt = np.radians(23.439 - 0.0000004 * n)
    au = 1.00014 - 0.01671 * np.cos(anomaly) - 0.00014 * np.cos(2 * anomaly)
    x, y = np.cos(longitude), np.sin(longitude)
    towards = np.stack([x, np.cos(tilt) * y, np.sin(tilt) * y], axis=-1)
    return np.asarray(towards * (au * AU_KM)[..., None], np.float64)


def sunlight(places: Places, sun: Places) -> npt.NDArray[np.float64]:
    """Share of the Sun's disc that is seen from places (n, 3) with the Sun at `sun` (n, 3): 0..1.

    Montenbruck and Gill, equations 3.85 to 3.94.
    """
    a, b, c = _discs(places, sun)
    x = (c**2 + a**2 - b**2) / (2 * c)
    y = np.sqrt(np.maximum(a**2 - x**2, 0))
    with np.errstate(invalid="ignore"):
        covered = a**2 * np.arccos(x / a) + b**2 * np.arccos((c - x) / b) - c * y
    part = 1 - covered / (np.pi * a**2)
    whole = np.where(c >= a + b, 1.0, np.where(c <= b - a, 0.0, part))
    # Farther out than the tip of the umbra the Earth covers a part from within.
    return np.where((c < a - b), 1 - (b / a) ** 2, whole)


def eclipses(
    orbit: Orbit, start: float, end: float, shadow: str = "conical"
) -> tuple[tuple[float, float], ...]:
    """When the satellite has no Sun between `start` and `end` (s from the orbit's epoch).

    Within "conical" an eclipse lasts while the Earth hides the Sun's centre, about half of its
    disc. Raises ValueError for another shadow, PlanError as `Orbit.places`.
    """
    if shadow not in SHADOWS:
        raise ValueError(f"{shadow!r} is no shadow; known: {', '.join(SHADOWS)}")

    def hidden(seconds: Times) -> npt.NDArray[np.float64]:
        places, sun = orbit.places(seconds), sun_place(orbit.days(seconds))
        if shadow == "conical":
            _, earth, apart = _discs(places, sun)
            return np.asarray(earth - apart)
        towards = sun / np.linalg.norm(sun, axis=-1, keepdims=True)
        along = (places * towards).sum(axis=-1)
        aside = np.linalg.norm(places - along[:, None] * towards, axis=-1)
        return np.where(along < 0, EARTH_KM - aside, -EARTH_KM - along)

    return tuple(positive(hidden, start, end, orbit.step_s))


def _discs(
    places: Places, sun: Places
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Apparent radii of Sun and Earth and how far apart they are, radians (n each)."""
    to_sun = sun - places
    far = np.linalg.norm(to_sun, axis=-1)
    high = np.linalg.norm(places, axis=-1)
    cosine = -(places * to_sun).sum(axis=-1) / (high * far)
    return (
        np.arcsin(SUN_KM / far),
        np.arcsin(np.minimum(EARTH_KM / high, 1.0)),
        np.arccos(np.clip(cosine, -1, 1)),
    )
