"""Reading a stream of packets: whatever else is in it, whole containers come out.

Damage is counted, never raised. Where a packet is damaged, cut short or followed by garbage,
reading goes on at the next place where a header fits and the check is right.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from spacepackets.ccsds.spacepacket import (
    CCSDS_HEADER_LEN,
    MAX_APID,
    SequenceFlags,
    SpacePacketHeader,
)

from winnow_edge.clock.cuc import CUC_BYTES, decode_cuc
from winnow_edge.downlink.container import (
    MAGIC,
    MAX_CONTAINER,
    VERSION,
    Container,
    decode_container,
)
from winnow_edge.downlink.packets import (
    CRC_LEN,
    CRC_PRESET,
    MAX_PACKET,
    MIN_PACKET,
    PACKET_OVERHEAD,
    SEQUENCE_MODULO,
    Packet,
)
from winnow_edge.errors import PacketError

_CHUNK: Final = 65_536
_GUESSED: Final = 2 * _CHUNK
"""So far into a stream packets are looked for that no magic of a container tells of."""
_SECONDARY: Final = 0x0800
"""The secondary header flag in a header's first two octets."""


@dataclass(slots=True)
class LinkCounts:
    """What was met while receiving."""

    packets: int = 0
    """Packets of ours, whole and in order or not."""
    crc_failures: int = 0
    """Packets whose check was wrong."""
    foreign: int = 0
    """Packets of another APID, idle packets included."""
    skipped_bytes: int = 0
    """Bytes that belonged to no packet: garbage, or a packet cut short."""
    gaps: int = 0
    """Breaks in the sequence count."""
    missing: int = 0
    """Packets that these breaks stand for."""
    duplicates: int = 0
    """Packets that came twice in a row."""
    containers: int = 0
    """Whole containers."""
    broken: int = 0
    """Containers seen in part, or whose contents broke the format."""


def read_packets(
    stream: BinaryIO, counts: LinkCounts, *, apid: int | None = None
) -> Iterator[Packet]:
    """The packets of ours in a stream of packets laid end to end, whatever else is in it.

    `apid` None takes that of the first packet. Where a packet is damaged, cut short or followed by
    garbage, reading goes on at the next place where a header fits and the check is right.
    """
    yield from _PacketReader(stream, counts, apid)


def read_containers(
    stream: BinaryIO, counts: LinkCounts, *, apid: int | None = None
) -> Iterator[Container]:
    """The whole containers in a stream of packets, in order of arrival."""
    reassembler = Reassembler(counts)
    for packet in read_packets(stream, counts, apid=apid):
        container = reassembler.feed(packet)
        if container is not None:
            yield container
    reassembler.close()


@dataclass(slots=True)
class Reassembler:
    """Puts containers together from packets; what is missing is counted in `counts`."""

    counts: LinkCounts
    _parts: list[bytes] | None = None
    _size: int = 0
    _torn: bool = False  # packets of a container that is counted as broken may still come
    _last: Packet | None = None

    def feed(self, packet: Packet) -> Container | None:
        """Take the next packet; the container that it completes, if any."""
        if packet == self._last:
            self.counts.duplicates += 1
            return None
        self._check_sequence(packet)
        self._last = packet
        if packet.flags in (SequenceFlags.FIRST_SEGMENT, SequenceFlags.UNSEGMENTED):
            if self._parts is not None:
                self._drop()
            self._parts, self._size, self._torn = [], 0, False
        elif self._parts is None:
            if not self._torn:
                self._drop()
            return None
        assert self._parts is not None
        self._parts.append(packet.data)
        self._size += len(packet.data)
        if self._size > MAX_CONTAINER:
            self._drop()
            return None
        if packet.flags in (SequenceFlags.LAST_SEGMENT, SequenceFlags.UNSEGMENTED):
            return self._complete()
        return None

    def close(self) -> None:
        """The stream is at its end: a container begun is broken."""
        if self._parts is not None:
            self._drop()

    def _check_sequence(self, packet: Packet) -> None:
        if self._last is None:
            return
        ahead = (packet.count - self._last.count - 1) % SEQUENCE_MODULO
        if ahead == 0:
            return
        self.counts.gaps += 1
        if ahead < SEQUENCE_MODULO // 2:  # else the count went back: packets are sent again
            self.counts.missing += ahead
        if self._parts is not None:
            self._drop()

    def _complete(self) -> Container | None:
        assert self._parts is not None
        try:
            container = decode_container(b"".join(self._parts))
        except PacketError:
            self._drop()
            return None
        self.counts.containers += 1
        self._parts = None
        return container

    def _drop(self) -> None:
        self.counts.broken += 1
        self._parts, self._torn = None, True


@dataclass(slots=True)
class _PacketReader:
    """Finds packets in a stream, keeping at most a few of the longest in memory."""

    stream: BinaryIO
    counts: LinkCounts
    apid: int | None
    buffer: bytearray = field(default_factory=bytearray)
    at: int = 0
    ended: bool = False
    _guess: int = _GUESSED

    def __iter__(self) -> Iterator[Packet]:
        while self._fill(MIN_PACKET) >= MIN_PACKET:
            length = self._length(self.at)
            self._fill(length)  # no further: of a link that is live, more may come much later
            if self._sound(self.at, length):
                packet = self._take(length)
                if packet is not None:
                    yield packet
                continue
            self._fill(MAX_PACKET + CCSDS_HEADER_LEN)
            if self._follows(length) and self._find_sound(self.at + length) is None:
                if self._apid(self.at) == self.apid:
                    self.counts.crc_failures += 1
                else:
                    self.counts.foreign += 1
                self.at += length
            else:
                self._search()
        self.counts.skipped_bytes += len(self.buffer) - self.at

    def _fill(self, wanted: int) -> int:
        """Read until so many bytes are there, or the end; bytes that are there."""
        if self.at > _CHUNK:
            del self.buffer[: self.at]
            self.at = 0
        while not self.ended and len(self.buffer) - self.at < wanted:
            chunk = self.stream.read(_CHUNK)
            self.ended = not chunk
            self.buffer += chunk
        return len(self.buffer) - self.at

    def _length(self, at: int) -> int:
        return PACKET_OVERHEAD - CRC_LEN + 1 + int.from_bytes(self.buffer[at + 4 : at + 6], "big")

    def _apid(self, at: int) -> int | None:
        """The APID of a header of version 0, type TM; None otherwise."""
        word = int.from_bytes(self.buffer[at : at + 2], "big")
        return word & ~_SECONDARY if word <= MAX_APID | _SECONDARY else None

    def _sound(self, at: int, length: int) -> bool:
        """Whether a whole packet with a right check stands here."""
        if length < MIN_PACKET or at + length > len(self.buffer) or self._apid(at) is None:
            return False
        # Over data and its own check, this CRC comes to zero.
        return crc_hqx(memoryview(self.buffer)[at : at + length], CRC_PRESET) == 0

    def _follows(self, length: int) -> bool:
        """Whether a header of ours, or the end, stands where a packet of `length` would end.

        Then the packet is probably damaged in its data, not in its length.
        """
        after = self.at + length
        if self.apid is None or self._apid(self.at) is None or after > len(self.buffer):
            return False
        return after == len(self.buffer) or self._apid(after) == self.apid

    def _take(self, length: int) -> Packet | None:
        raw = bytes(self.buffer[self.at : self.at + length])
        self.at += length
        header = SpacePacketHeader.unpack(raw[:CCSDS_HEADER_LEN])
        if header.apid == MAX_APID or self.apid not in (None, header.apid):
            self.counts.foreign += 1
            return None
        payload, time = raw[CCSDS_HEADER_LEN:-CRC_LEN], None
        if header.sec_header_flag:
            try:
                time, length = decode_cuc(payload)
            except PacketError:  # somebody else's secondary header
                self.counts.foreign += 1
                return None
            payload = payload[length:]
        self.apid = header.apid
        self.counts.packets += 1
        flags = SequenceFlags(header.seq_flags)
        return Packet(header.apid, flags, header.seq_count, payload, time)

    def _search(self) -> None:
        """Move on to the next place where a header fits and the check is right."""
        start = self.at
        place = self._find_sound(len(self.buffer))
        if place is None:
            # None in here; the last octets may be the beginning of one.
            keep = 0 if self.ended else MAX_PACKET
            place = max(start + 1, len(self.buffer) - keep)
        self.counts.skipped_bytes += place - start
        self.at = place

    def _find_sound(self, end: int) -> int | None:
        """Where the next whole packet of ours with a right check begins, after here, before `end`.

        Our headers begin with the two octets of the APID, the secondary header flag in them or not.
        As long as it is not known, the magic of a container tells where one starts; without it any
        garbage would have to be checked.
        """
        if self.apid is None:
            magic, plain = MAGIC + bytes([VERSION]), PACKET_OVERHEAD - CRC_LEN
            needles = [(magic, plain), (magic, plain + CUC_BYTES)]
        else:
            words = self.apid, self.apid | _SECONDARY
            needles = [(word.to_bytes(2, "big"), 0) for word in words]
        found = (self._next_sound(needle, before, end) for needle, before in needles)
        place = min((place for place in found if place is not None), default=None)
        return place if place is not None or self.apid is not None else self._next_pair(end)

    def _next_pair(self, end: int) -> int | None:
        """Where two whole packets of one APID follow each other, after here, before `end`: what is
        left of ours where the first packet of every container is damaged. Looked for in the first
        `_GUESSED` octets alone, as any garbage has to be checked."""
        for place in range(self.at + 1, min(end, len(self.buffer), self._guess) - MIN_PACKET):
            if self.buffer[place] & 0xF0 or (apid := self._apid(place)) == MAX_APID:
                continue
            length = self._length(place)
            after = place + length
            if after + MIN_PACKET > len(self.buffer) or self._apid(after) != apid:
                continue
            if self._sound(place, length) and self._sound(after, self._length(after)):
                return place
        self._guess = 0
        return None

    def _next_sound(self, needle: bytes, before: int, end: int) -> int | None:
        """As `_find_sound`, of packets that have `needle` so many octets behind their beginning."""
        place = self.buffer.find(needle, self.at + 1 + before) - before
        while self.at < place < end:
            if self._sound(place, self._length(place)):
                return place
            place = self.buffer.find(needle, place + 1 + before) - before
        return None
