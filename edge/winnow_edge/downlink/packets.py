"""Containers in CCSDS space packets: what goes over the link.

A container travels in one or more space packets (CCSDS 133.0-B-2), each closed by the 16-bit
cyclic redundancy check that CCSDS uses for frames (132.0-B-3 section 4.1.6, 232.0-B-4 section
4.1.4: CRC-16 with polynomial 0x1021, preset to ones; also the packet error control of
ECSS-E-ST-70-41C).

>>> one, two = packetize(b"abcde", apid=0x2A5, count=16383, packet_bytes=12)
>>> one[:2].hex(" ")    # version 0, type 0 (telemetry), no secondary header, APID 0x2a5
'02 a5'
>>> one[2:4].hex(" ")   # sequence flags 01 (first segment), sequence count 16383
'7f ff'
>>> one[4:6].hex(" ")   # octets after the header, less one
'00 05'
>>> one[6:10]           # four octets of the container
b'abcd'
>>> one[10:].hex(" ")   # CRC-16 of the ten octets before it
'17 ef'
>>> two.hex(" ")        # flags 10 (last segment), count back at 0, "e"
'02 a5 80 00 00 02 65 4b b5'

With a time code (`link.time_code`) the secondary header flag is set, and a CCSDS unsegmented time
code (`clock.cuc`, P-field and all) stands between header and data.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from spacepackets.ccsds.spacepacket import (
    CCSDS_HEADER_LEN,
    MAX_SEQ_COUNT,
    SequenceFlags,
    SpacePacketHeader,
)

from winnow_edge.clock.cuc import CUC_BYTES, Instant

CRC_LEN: Final = 2
CRC_PRESET: Final = 0xFFFF
PACKET_OVERHEAD: Final[int] = CCSDS_HEADER_LEN + CRC_LEN
MIN_PACKET: Final = PACKET_OVERHEAD + 1
MAX_PACKET: Final[int] = CCSDS_HEADER_LEN + 65_536
SEQUENCE_MODULO: Final[int] = MAX_SEQ_COUNT + 1


@dataclass(frozen=True, slots=True)
class Packet:
    """A space packet whose check was right; `data` without headers and check, `time` of its time
    code, if it has one."""

    apid: int
    flags: SequenceFlags
    count: int
    data: bytes
    time: Instant | None = None


def packets_for(length: int, packet_bytes: int, *, timed: bool = False) -> int:
    """How many packets of at most `packet_bytes` octets, `timed` with a time code, carry a
    container of `length` octets."""
    return -(-length // (packet_bytes - _overhead(timed)))


def link_bytes(length: int, packet_bytes: int, *, timed: bool = False) -> int:
    """Octets on the link of a container of `length` octets, every header and check counted."""
    return length + _overhead(timed) * packets_for(length, packet_bytes, timed=timed)


def _overhead(timed: bool) -> int:
    return PACKET_OVERHEAD + (CUC_BYTES if timed else 0)


def packetize(
    container: bytes,
    *,
    apid: int,
    count: int,
    packet_bytes: int,
    stamp: Callable[[], bytes] | None = None,
) -> Iterator[bytes]:
    """The space packets (type TM) that carry a container.

    `count` is the 14-bit sequence count of the first of them, `packet_bytes` the most octets of
    a packet in all. `stamp` gives each its time code, `CUC_BYTES` octets; None: there is no
    secondary header. Raises ValueError, with the first packet, for sizes and application process
    identifiers that no space packet has.
    """
    timed = stamp is not None
    least = _overhead(timed) + 1
    if not least <= packet_bytes <= MAX_PACKET:
        raise ValueError(f"packets of {packet_bytes} octets: legal is {least} to {MAX_PACKET}")
    room = packet_bytes - _overhead(timed)
    last = packets_for(len(container), packet_bytes, timed=timed) - 1
    for number in range(last + 1):
        payload = container[number * room : (number + 1) * room]
        if last == 0:
            flags = SequenceFlags.UNSEGMENTED
        elif number == 0:
            flags = SequenceFlags.FIRST_SEGMENT
        elif number == last:
            flags = SequenceFlags.LAST_SEGMENT
        else:
            flags = SequenceFlags.CONTINUATION_SEGMENT
        secondary = b"" if stamp is None else stamp()
        header = SpacePacketHeader.tm(
            apid=apid,
            seq_count=(count + number) % SEQUENCE_MODULO,
            # One less than the length of what follows the header, by the standard.
            data_len=len(secondary) + len(payload) + CRC_LEN - 1,
            seq_flags=flags,
            sec_header_flag=timed,
        )
        packet = bytes(header.pack()) + secondary + payload
        yield packet + crc_hqx(packet, CRC_PRESET).to_bytes(CRC_LEN, "big")
