"""What follows the head of a record or picture: its time and its place, each where it is known.

The time is a CCSDS unsegmented time code of seven octets (`clock.cuc`), the place six octets
(`place.place`). The flags TIMED and PLACED of the head say which of them are there, in this order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow_edge.clock.cuc import CUC_BYTES, Instant, decode_cuc, encode_cuc
from winnow_edge.errors import PacketError
from winnow_edge.place.place import PLACE_BYTES, Floats, Place, decode_place, encode_places
from winnow_edge.products.kinds import Flag


@dataclass(frozen=True)
class Seen:
    """When and where n tiles were seen: `ns` int64 (n,), negative where it is not known, on the
    scale TAI or the mission clock's own; `latitude` and `longitude` float (n,), NaN where they are
    not known."""

    ns: npt.NDArray[np.int64]
    tai: bool
    latitude: Floats
    longitude: Floats

    def time(self, tile: int) -> Instant | None:
        """When one of the tiles was seen."""
        ns = int(self.ns[tile])
        return Instant(ns, self.tai) if ns >= 0 else None

    def place(self, tile: int) -> Place | None:
        """Where it lies."""
        north, east = float(self.latitude[tile]), float(self.longitude[tile])
        if not np.isfinite(north):
            return None
        return Place(north, east if np.isfinite(east) else None)

    def flags(self) -> npt.NDArray[np.uint8]:
        """TIMED and PLACED of each tile, uint8 (n,)."""
        flags = np.zeros(len(self.ns), np.uint8)
        flags[self.ns >= 0] |= np.uint8(Flag.TIMED)
        flags[np.isfinite(self.latitude)] |= np.uint8(Flag.PLACED)
        return flags

    def tails(self) -> list[bytes]:
        """The octets that follow the head of each tile's record."""
        times = [encode_cuc(Instant(ns, self.tai)) if ns >= 0 else b"" for ns in self.ns.tolist()]
        places = encode_places(self.latitude, self.longitude)
        return [time + place for time, place in zip(times, places, strict=True)]


def seen_at(time: Instant | None, place: Place | None) -> Seen:
    """As `Seen`, of one tile."""
    north, east = place if place is not None else (np.nan, np.nan)
    return Seen(
        np.array([-1 if time is None else time.ns], np.int64),
        time is None or time.tai,
        np.array([north], np.float64),
        np.array([np.nan if east is None else east], np.float64),
    )


def read_tail(data: bytes, flags: Flag, at: int) -> tuple[Instant | None, Place | None, int]:
    """Time and place behind a head that ends at `at`, and where they end. Raises PacketError."""
    time = place = None
    if flags & Flag.TIMED:
        time, length = decode_cuc(data[at : at + CUC_BYTES])
        if length != CUC_BYTES:
            raise PacketError(f"a product's time has {length} octets, legal is {CUC_BYTES}")
        at += length
    if flags & Flag.PLACED:
        if len(data) < at + PLACE_BYTES:
            raise PacketError("a product ends within its place")
        place = decode_place(data[at : at + PLACE_BYTES])
        at += PLACE_BYTES
    return time, place, at
