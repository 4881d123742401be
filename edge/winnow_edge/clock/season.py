"""The season on Mars: the solar longitude Ls, 0° at the northern spring equinox.

M. Allison and M. McEwen, "A post-Pathfinder evaluation of areocentric solar coordinates with
improved timing recipes for Mars seasonal/diurnal climate studies", Planetary and Space Science 48
(2000), 215-235, with the constants that NASA GISS gives for it since (Mars24, "Algorithm and Worked
Examples"): within 0.01° from 1874 to 2127.
"""

from __future__ import annotations

import math
from typing import Final

from winnow_edge.clock.cuc import NS, Instant
from winnow_edge.clock.utc import EPOCH_UNIX_S

_J2000: Final = 946_728_000 - EPOCH_UNIX_S  # noon of 2000-01-01 in seconds of 1958
_TT_AHEAD: Final = 32.184  # TT - TAI, seconds
_PERTURBERS: Final = (
    (0.0071, 2.2353, 49.409),
    (0.0057, 2.7543, 168.173),
    (0.0039, 1.1177, 191.837),
    (0.0037, 15.7866, 21.736),
    (0.0021, 2.1354, 15.704),
    (0.0020, 2.4694, 95.528),
    (0.0018, 32.8493, 49.095),
)
"""Of each planetary perturbation: amplitude (degrees), period (Julian years), phase (degrees)."""


def solar_longitude(instant: Instant) -> float:
    """Ls in degrees, 0 up to 360, of an instant on the scale TAI.

    >>> from winnow_edge.clock.utc import parse_utc
    >>> round(solar_longitude(parse_utc("2000-01-06T00:00:00Z")), 5)  # example of Mars24
    277.18759
    """
    days = (instant.ns / NS - _J2000 + _TT_AHEAD) / 86_400
    anomaly = math.radians(19.3871 + 0.52402073 * days)  # mean anomaly M
    mean_sun = 270.3871 + 0.524038496 * days  # right ascension of the fictitious mean sun
    perturbed = sum(
        size * math.cos(math.radians(0.985626 * days / period + phase))
        for size, period, phase in _PERTURBERS
    )
    centre = (
        (10.691 + 3e-7 * days) * math.sin(anomaly)
        + 0.623 * math.sin(2 * anomaly)
        + 0.050 * math.sin(3 * anomaly)
        + 0.005 * math.sin(4 * anomaly)
        + 0.0005 * math.sin(5 * anomaly)
        + perturbed
    )
    return (mean_sun + centre) % 360.0
