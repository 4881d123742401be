"""When a ground station sees a satellite, how high and how far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow_ground.orbits.intervals import Interval, Times, positive
from winnow_ground.orbits.orbit import Orbit

LIGHT_KM_S = 299_792.458
"""Speed of light, exact."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place on the ground: degrees north and east, metres over the ellipsoid, WGS 84."""

    latitude: float
    longitude: float
    altitude_m: float = 0.0


class View:
    """A satellite as a site sees it."""

    def __init__(self, orbit: Orbit, site: Site) -> None:
        from skyfield.api import wgs84

        self.orbit, self.site = orbit, site
        place = wgs84.latlon(site.latitude, site.longitude, elevation_m=site.altitude_m)
        self._place = np.asarray(place.itrs_xyz.km, np.float64)
        latitude, longitude = np.radians(site.latitude), np.radians(site.longitude)
        # Up is the ellipsoid's normal, not the line from the Earth's centre.
        self._up = np.array(
            [
                np.cos(latitude) * np.cos(longitude),
                np.cos(latitude) * np.sin(longitude),
                np.sin(latitude),
            ]
        )

    def range_km(self, seconds: Times) -> npt.NDArray[np.float64]:
        """How far the satellite is (n)."""
        return np.asarray(np.linalg.norm(self.orbit.over_earth(seconds) - self._place, axis=-1))

    def elevation(self, seconds: Times) -> npt.NDArray[np.float64]:
        """How high the satellite stands, degrees over the horizon (n), without refraction."""
        towards = self.orbit.over_earth(seconds) - self._place
        sine = towards @ self._up / np.linalg.norm(towards, axis=-1)
        return np.asarray(np.degrees(np.arcsin(np.clip(sine, -1, 1))))

    def passes(self, start: float, end: float, mask: float) -> list[Interval]:
        """When the satellite is over `mask` degrees, between `start` and `end` (s)."""
        return positive(lambda t: self.elevation(t) - mask, start, end, self.orbit.step_s)

    def within(self, start: float, end: float, most_km: float) -> list[Interval]:
        """When the satellite is nearer than `most_km`, between `start` and `end` (s)."""
        return positive(lambda t: most_km - self.range_km(t), start, end, self.orbit.step_s)
