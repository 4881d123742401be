"""CCSDS unsegmented time codes (CCSDS 301.0-B-4 section 3.2, "CUC").

A code is a preamble, the *P-field*, that says how the *T-field* after it is read: how many octets
of seconds, how many of a binary fraction, and from which epoch. `spacepackets` knows the day
segmented code alone. Codes written here have four octets of seconds and two of their fraction:
15.3 µs up to the year 2094.

>>> from winnow_edge.clock.utc import parse_utc
>>> encode_cuc(parse_utc("2022-01-30T14:43:59.5Z")).hex(" ")
'1e 78 89 02 d4 80 00'
>>> decode_cuc(bytes.fromhex("1e 78 89 02 d4 80 00"))
(Instant(ns=2022245076500000000, tai=True), 7)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from winnow_edge.errors import PacketError

COARSE, FINE = 4, 2
CUC_BYTES: Final = 1 + COARSE + FINE
NS: Final = 1_000_000_000
_TAI, _AGENCY = 0b001, 0b010
"""Time code identifications: the epoch is 1958-01-01 TAI (level 1), or the agency's (level 2)."""
_EXTENDED: Final = 0x80
_UNIT: Final = 1 << 8 * FINE
MOST_NS: Final = ((1 << 8 * COARSE) * NS * _UNIT - NS) // _UNIT
"""The last instant that four octets of seconds hold, 2094-02-06 on the scale TAI."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment: `ns` nanoseconds since 1958-01-01 TAI, or, where `tai` is False, since the mission
    clock began to count."""

    ns: int
    tai: bool = True


def encode_cuc(instant: Instant) -> bytes:
    """P-field and T-field, `CUC_BYTES` octets. Raises ValueError for what they cannot hold."""
    units = (instant.ns * _UNIT + NS // 2) // NS
    if not 0 <= units < 1 << 8 * (COARSE + FINE):
        raise ValueError(f"{instant} does not fit {COARSE} octets of seconds")
    epoch = _TAI if instant.tai else _AGENCY
    return bytes([epoch << 4 | (COARSE - 1) << 2 | FINE]) + units.to_bytes(COARSE + FINE, "big")


def decode_cuc(data: bytes) -> tuple[Instant, int]:
    """The instant of a code of any width that the standard allows, and its length in octets.

    What follows the code is left alone. Raises PacketError: it is cut short, or none of CUC.
    """
    if not data:
        raise PacketError("a time code of no octets")
    first, second, at = data[0], 0, 1
    if first & _EXTENDED:
        if len(data) < 2:
            raise PacketError("a time code ends within its P-field")
        second, at = data[1], 2
    epoch = first >> 4 & 0b111
    if epoch not in (_TAI, _AGENCY) or second & _EXTENDED:
        raise PacketError(f"P-field {data[:at].hex()} is of no unsegmented time code")
    coarse = (first >> 2 & 0b11) + 1 + (second >> 5 & 0b11)
    fine = (first & 0b11) + (second >> 2 & 0b111)
    end = at + coarse + fine
    if len(data) < end:
        raise PacketError(f"a time code of {end} octets ends after {len(data)}")
    units, per_second = int.from_bytes(data[at:end], "big"), 1 << 8 * fine
    return Instant((units * NS + per_second // 2) // per_second, epoch == _TAI), end
