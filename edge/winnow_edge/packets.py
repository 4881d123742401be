"""Containers of products in CCSDS space packets: what goes over the link, both ways round.

A container (ours) holds whole products and ends in nothing half: header `CONTAINER`, then for each
product a header `ITEM` and its bytes. It travels in one or more space packets (CCSDS 133.0-B-2),
each closed by the 16-bit cyclic redundancy check of CCSDS 132.0-B-3 section 4.1.6 (CRC-16 with
polynomial 0x1021, preset to ones; also the packet error control of ECSS-E-ST-70-41C). The layouts
are documented octet by octet in docs/downlink-format.md. Whatever arrives, no decoder raises
anything but PacketError, and the reader of a stream counts damage instead of raising.
"""

from __future__ import annotations

import struct
import zlib
from binascii import crc_hqx
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from spacepackets.ccsds.spacepacket import (
    CCSDS_HEADER_LEN,
    MAX_APID,
    MAX_SEQ_COUNT,
    SequenceFlags,
    SpacePacketHeader,
)

from winnow_edge.errors import PacketError
from winnow_edge.records import Kind

MAGIC: Final = b"WN"
VERSION: Final = 1
CONTAINER: Final = struct.Struct(">2sBBIIHHII")
"""magic, version u8, reserved u8 (0), store u32, container u32, contact u16, product count u16,
length of the products u32, CRC-32 (IEEE 802.3) of all octets of the container but these four."""
ITEM: Final = struct.Struct(">II")
"""product id u32, kind in the upper 8 bits and length in the lower 24 bits of u32."""
MAX_PRODUCT: Final = 2**24 - 1
MAX_CONTAINER: Final = CONTAINER.size + 2**25

CRC_LEN: Final = 2
CRC_PRESET: Final = 0xFFFF
PACKET_OVERHEAD: Final[int] = CCSDS_HEADER_LEN + CRC_LEN
MIN_PACKET: Final = PACKET_OVERHEAD + 1
MAX_PACKET: Final[int] = CCSDS_HEADER_LEN + 65_536
SEQUENCE_MODULO: Final[int] = MAX_SEQ_COUNT + 1
_CHUNK: Final = 65_536
_KINDS: Final = frozenset(int(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Item:
    """A product in a container; `id` numbers the products of a store."""

    id: int
    kind: Kind
    data: bytes


@dataclass(frozen=True, slots=True)
class Container:
    """Whole products sent together; acknowledged together.

    `store_id` tells one store's numbers from another's, `contact` counts its contacts from 1,
    `id` its containers from 1 over all contacts.
    """

    store_id: int
    contact: int
    id: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Packet:
    """A space packet whose check was right; `data` without header and check."""

    apid: int
    flags: SequenceFlags
    count: int
    data: bytes


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


def encode_container(container: Container) -> bytes:
    """The octets of a container. Raises ValueError if a field does not fit its place."""
    try:
        parts = []
        for item in container.items:
            if len(item.data) > MAX_PRODUCT:
                raise ValueError(f"product {item.id} has {len(item.data)} bytes, over 2**24 - 1")
            parts += [ITEM.pack(item.id, item.kind << 24 | len(item.data)), item.data]
        body = b"".join(parts)
        head = CONTAINER.pack(
            MAGIC,
            VERSION,
            0,
            container.store_id,
            container.id,
            container.contact,
            len(container.items),
            len(body),
            0,
        )[:-4]
    except struct.error as error:
        raise ValueError(f"container {container.id} does not fit its header: {error}") from error
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "big") + body


def decode_container(data: bytes) -> Container:
    """The inverse of `encode_container`. Raises PacketError saying what is wrong."""
    if len(data) < CONTAINER.size:
        raise PacketError(f"a container of {len(data)} octets has no header of {CONTAINER.size}")
    magic, version, _, store, number, contact, count, length, crc = CONTAINER.unpack_from(data)
    where = f"contact {contact}, container {number}"
    if magic != MAGIC:
        raise PacketError("is not a Winnow container")
    if version != VERSION:
        raise PacketError(f"container format {version}, this program knows {VERSION}", where=where)
    if length != len(data) - CONTAINER.size:
        raise PacketError(f"{length} octets declared, {len(data) - CONTAINER.size} there")
    if zlib.crc32(data[CONTAINER.size :], zlib.crc32(data[: CONTAINER.size - 4])) != crc:
        raise PacketError("the CRC-32 differs", where=where)
    return Container(store, contact, number, tuple(_items(data, count, where)))


def _items(data: bytes, count: int, where: str) -> Iterator[Item]:
    at = CONTAINER.size
    for _ in range(count):
        if at + ITEM.size > len(data):
            raise PacketError("ends inside a product's header", where=where)
        number, kind_length = ITEM.unpack_from(data, at)
        kind, length = kind_length >> 24, kind_length & MAX_PRODUCT
        at += ITEM.size
        if at + length > len(data):
            raise PacketError(f"ends inside product {number}", where=where)
        if kind not in _KINDS:
            raise PacketError(f"product {number} is of unknown kind {kind}", where=where)
        yield Item(number, Kind(kind), bytes(data[at : at + length]))
        at += length
    if at != len(data):
        raise PacketError(f"{len(data) - at} octets after the last product", where=where)


def container_length(sizes: Sequence[int]) -> int:
    """Octets of a container that holds products of these sizes."""
    return CONTAINER.size + sum(sizes) + ITEM.size * len(sizes)


def packets_for(length: int, packet_bytes: int) -> int:
    """How many packets of at most `packet_bytes` octets carry a container of `length` octets."""
    return -(-length // (packet_bytes - PACKET_OVERHEAD))


def link_bytes(length: int, packet_bytes: int) -> int:
    """Octets on the link of a container of `length` octets, every header and check counted."""
    return length + PACKET_OVERHEAD * packets_for(length, packet_bytes)


def packetize(container: bytes, *, apid: int, count: int, packet_bytes: int) -> Iterator[bytes]:
    """The space packets (type TM, no secondary header) that carry a container.

    `count` is the 14-bit sequence count of the first of them, `packet_bytes` the most octets of
    a packet in all.
    """
    room = packet_bytes - PACKET_OVERHEAD
    last = packets_for(len(container), packet_bytes) - 1
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
        header = SpacePacketHeader.tm(
            apid=apid,
            seq_count=(count + number) % SEQUENCE_MODULO,
            # One less than the length of what follows the header, by the standard.
            data_len=len(payload) + CRC_LEN - 1,
            seq_flags=flags,
        )
        packet = bytes(header.pack()) + payload
        yield packet + crc_hqx(packet, CRC_PRESET).to_bytes(CRC_LEN, "big")


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

    def __iter__(self) -> Iterator[Packet]:
        while self._fill() >= MIN_PACKET:
            length = self._length(self.at)
            if self._sound(self.at, length):
                packet = self._take(length)
                if packet is not None:
                    yield packet
            elif self._follows(length) and self._find_sound(self.at + length) is None:
                if self._apid(self.at) == self.apid:
                    self.counts.crc_failures += 1
                else:
                    self.counts.foreign += 1
                self.at += length
            else:
                self._search()
        self.counts.skipped_bytes += len(self.buffer) - self.at

    def _fill(self) -> int:
        """Read until the longest packet and the next header are there; bytes that are there."""
        if self.at > _CHUNK:
            del self.buffer[: self.at]
            self.at = 0
        while not self.ended and len(self.buffer) - self.at < MAX_PACKET + CCSDS_HEADER_LEN:
            chunk = self.stream.read(_CHUNK)
            self.ended = not chunk
            self.buffer += chunk
        return len(self.buffer) - self.at

    def _length(self, at: int) -> int:
        return PACKET_OVERHEAD - CRC_LEN + 1 + int.from_bytes(self.buffer[at + 4 : at + 6], "big")

    def _apid(self, at: int) -> int | None:
        """The APID of a header of version 0, type TM, no secondary header; None otherwise."""
        word = int.from_bytes(self.buffer[at : at + 2], "big")
        return word if word <= MAX_APID else None

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
        self.apid = header.apid
        self.counts.packets += 1
        payload = raw[CCSDS_HEADER_LEN:-CRC_LEN]
        return Packet(header.apid, SequenceFlags(header.seq_flags), header.seq_count, payload)

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

        Our headers begin with the two octets of the APID. As long as it is not known, the magic of
        a container tells where one starts; without it any garbage would have to be checked.
        """
        if self.apid is None:
            needle, before = MAGIC + bytes([VERSION]), PACKET_OVERHEAD - CRC_LEN
        else:
            needle, before = self.apid.to_bytes(2, "big"), 0
        place = self.buffer.find(needle, self.at + 1 + before) - before
        while self.at < place < end:
            if self._sound(place, self._length(place)):
                return place
            place = self.buffer.find(needle, place + 1 + before) - before
        return None
