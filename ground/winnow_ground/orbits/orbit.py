"""Where a satellite is at a time, among the stars and over the turning Earth.

SGP4 gives the place in the frame of the true equator and mean equinox of date (TEME), kilometres
from the Earth's centre; sidereal time of 1982 at UT1 turns it into the Earth's frame (Vallado et
al., Revisiting Spacetrack Report #3, AIAA 2006-6753). Polar motion, at most 15 m, is left out.
UT1 is of the table that skyfield carries.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from winnow_base.errors import MissingExtraError, PlanError
from winnow_ground.orbits.elements import Elements
from winnow_ground.orbits.intervals import Times

if TYPE_CHECKING:
    from skyfield.timelib import Timescale

Places = npt.NDArray[np.float64]
"""Kilometres (n, 3)."""
STALE_DAYS = 14
"""SGP4 is off by kilometres a day: after two weeks passes are off by seconds to minutes."""
_UNIX_DAY = 2_440_587.5
"""Julian day of 1970."""
_UNIX_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Orbit:
    """The orbit of published elements; times are seconds from `epoch`."""

    def __init__(self, elements: Elements, epoch: dt.datetime) -> None:
        self.elements, self.epoch = elements, epoch
        # Two numbers: one of 64 bits would be a Julian day to 40 microseconds only.
        since = epoch - _UNIX_EPOCH
        self._day = since.days + _UNIX_DAY
        self._part = (since - dt.timedelta(days=since.days)) / dt.timedelta(days=1)
        self._ut1_utc_s = float(timescale().from_datetime(epoch).dut1)

    @property
    def step_s(self) -> float:
        """Seconds in which the geometry changes little."""
        return min(60.0, self.elements.period_s / 120)

    def days(self, seconds: Times | float) -> Times:
        """Julian days, UTC (n)."""
        return self._day + self._part + np.asarray(seconds, np.float64) / 86_400

    def age_days(self, seconds: float) -> float:
        """Days between the elements' epoch and a time."""
        return (self.epoch - self.elements.epoch) / dt.timedelta(days=1) + seconds / 86_400

    def places(self, seconds: Times) -> Places:
        """Places among the stars, TEME, km (n, 3).

        Raises PlanError where SGP4 gives none: the satellite has come down, or the elements are of
        another time.
        """
        from sgp4.api import SGP4_ERRORS

        whole = np.full(seconds.shape, self._day)
        code, km, _ = self.elements.satrec.sgp4_array(whole, self._part + seconds / 86_400)
        if code.any():
            first = int(np.flatnonzero(code)[0])
            said = SGP4_ERRORS.get(int(code[first]), f"SGP4 error {code[first]}")
            days = self.age_days(float(seconds[first]))
            raise PlanError(
                f"the elements give no orbit {days:.1f} days from their epoch: {said}",
                where=self.elements.where,
                hint="take elements of the time that is planned for",
            )
        return np.asarray(km, np.float64)

    def over_earth(self, seconds: Times) -> Places:
        """Places in the frame that turns with the Earth (ITRF), km (n, 3)."""
        from skyfield.sgp4lib import theta_GMST1982

        angle, _ = theta_GMST1982(self._day, self._part + (seconds + self._ut1_utc_s) / 86_400)
        x, y, z = self.places(seconds).T
        cos, sin = np.cos(angle), np.sin(angle)
        return np.stack([cos * x + sin * y, cos * y - sin * x, z], axis=-1)


def timescale() -> Timescale:
    """Time scales of the tables in the package: nothing is fetched.

    Raises MissingExtraError without `skyfield`.
    """
    try:
        from skyfield.api import load
    except ImportError:
        raise MissingExtraError(
            "skyfield is not installed", hint="pip install 'winnow-ground[orbits]'"
        ) from None
    scale: Any = load.timescale(builtin=True)
    return scale
