"""A place on a body, and how records carry it.

Latitude is planetocentric or planetographic as whoever told it has it, longitude counts eastwards.

>>> encode_place(Place(-71.0, 246.4)).hex(" ")
'9b 05 b1 af 37 c1'
>>> decode_place(bytes.fromhex("9b 05 b1 af 37 c1"))
Place(latitude=-71.0, longitude=-113.6)
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PLACE_BYTES: Final = 6
_MOST: Final = 2**23 - 1
"""90° of latitude and 180° of longitude: steps of 1.2 and 2.4 m on Earth, 0.6 and 1.3 m on Mars."""
_UNKNOWN: Final = -(2**23)
"""Stands for a longitude that nobody knows."""


class Place(NamedTuple):
    """`latitude` -90 to 90 and `longitude` east in degrees; None: not known."""

    latitude: float
    longitude: float | None


def encode_place(place: Place) -> bytes:
    """`PLACE_BYTES` octets: latitude i24 in 90/(2**23 - 1)°, longitude i24 in 180/(2**23 - 1)°,
    -2**23 where it is not known."""
    longitude = np.nan if place.longitude is None else place.longitude
    (octets,) = encode_places(np.array([place.latitude]), np.array([longitude], np.float64))
    return octets


def encode_places(latitude: Floats, longitude: Floats) -> list[bytes]:
    """As `encode_place`, of many; a latitude that is NaN gives no octets."""
    known = np.isfinite(latitude)
    north = np.rint(np.where(known, latitude, 0.0) / 90 * _MOST)
    east = np.where(np.isfinite(longitude), longitude, 0.0)
    east = np.rint(((east + 180) % 360 - 180) / 180 * _MOST)
    east = np.where(np.isfinite(longitude), np.maximum(east, -_MOST), _UNKNOWN)
    pairs = np.stack([north, east], axis=-1).astype(">i4").view(np.uint8).reshape(-1, 2, 4)
    octets = np.ascontiguousarray(pairs[:, :, 1:]).reshape(-1, PLACE_BYTES)
    return [o.tobytes() if k else b"" for o, k in zip(octets, known.tolist(), strict=True)]


def decode_place(octets: bytes) -> Place:
    """The inverse of `encode_place`, rounded to 0.00001°."""
    north = int.from_bytes(octets[:3], "big", signed=True)
    east = int.from_bytes(octets[3:PLACE_BYTES], "big", signed=True)
    longitude = None if east == _UNKNOWN else round(east / _MOST * 180, 5)
    return Place(round(max(north, -_MOST) / _MOST * 90, 5), longitude)
