"""Containers and space packets: golden octets, round trips, and every kind of damage."""

from __future__ import annotations

import io
import itertools
from binascii import crc_hqx
from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spacepackets.ccsds.spacepacket import SequenceFlags, SpacePacketHeader

from winnow_edge.clock.cuc import MOST_NS, Instant, encode_cuc
from winnow_edge.clock.utc import parse_utc
from winnow_edge.downlink.container import (
    CONTAINER,
    ITEM,
    Container,
    Item,
    container_length,
    decode_container,
    encode_container,
)
from winnow_edge.downlink.packets import (
    CRC_PRESET,
    MAX_PACKET,
    SEQUENCE_MODULO,
    link_bytes,
    packetize,
    packets_for,
)
from winnow_edge.downlink.reader import LinkCounts, read_containers, read_packets
from winnow_edge.errors import PacketError
from winnow_edge.products.kinds import Kind
from winnow_edge.products.worth import PRODUCT_HEADER_BYTES

SMALL = Container(
    0xDEADBEEF, 7, 0x0102, (Item(0x11, Kind.RECORD, b"abc"), Item(0x12, Kind.SWATH, b"{}"))
)
GOLDEN_CONTAINER = bytes.fromhex(
    "574e"  # "WN"
    "02"  # format version
    "00"  # reserved
    "deadbeef"  # store
    "00000102"  # container 258
    "00000007"  # contact 7
    "0002"  # 2 products
    "00000019"  # 25 octets of products
    "e104aad9"  # CRC-32 of all the others
    "000000000011"  # product 17
    "01000003"  # kind 1 (record), 3 octets
    "616263"
    "000000000012"  # product 18
    "00000002"  # kind 0 (swath), 2 octets
    "7b7d"
)
GOLDEN_UNSEGMENTED = (
    bytes.fromhex(
        "0057"  # version 0, type TM, no secondary header, APID 0x57
        "fffe"  # unsegmented (11), sequence count 0x3ffe
        "0034"  # 53 octets follow, less one
    )
    + GOLDEN_CONTAINER
    + bytes.fromhex("4c75")  # CRC-16 of all before
)
GOLDEN_SEGMENTS = [
    bytes.fromhex("00577ffe0015") + GOLDEN_CONTAINER[:20] + bytes.fromhex("e1b4"),  # first
    bytes.fromhex("00573fff0015") + GOLDEN_CONTAINER[20:40] + bytes.fromhex("7bf9"),  # more
    bytes.fromhex("00578000000c") + GOLDEN_CONTAINER[40:] + bytes.fromhex("005e"),  # last
]

GOLDEN_TIMED = (
    bytes.fromhex(
        "0857"  # version 0, type TM, secondary header, APID 0x57
        "fffe"  # unsegmented (11), sequence count 0x3ffe
        "003b"  # 60 octets follow, less one
        "1e"  # P-field: CUC from 1958 TAI, 4 octets of seconds, 2 of their fraction
        "788902d4"  # 2,022,245,076 s: 2022-01-30T14:43:59 UTC
        "8000"  # half a second
    )
    + GOLDEN_CONTAINER
    + bytes.fromhex("d0d3")  # CRC-16 of all before
)

items = st.builds(
    Item, st.integers(0, 2**48 - 1), st.sampled_from(Kind), st.binary(min_size=1, max_size=300)
)


def containers(minimum: int = 1) -> st.SearchStrategy[list[Container]]:
    """Containers of one store, numbered from 1."""
    return st.lists(st.lists(items, min_size=1, max_size=6), min_size=minimum, max_size=6).map(
        lambda lists: [Container(5, 1, n + 1, tuple(i)) for n, i in enumerate(lists)]
    )


def packets_of(
    sent: Iterable[Container],
    packet_bytes: int = 64,
    apid: int = 0x57,
    count: int = 0,
    stamp: Callable[[], bytes] | None = None,
) -> list[bytes]:
    """All packets of some containers, one sequence."""
    packets: list[bytes] = []
    for container in sent:
        packets += packetize(
            encode_container(container),
            apid=apid,
            count=(count + len(packets)) % SEQUENCE_MODULO,
            packet_bytes=packet_bytes,
            stamp=stamp,
        )
    return packets


def receive(stream: bytes, apid: int | None = None) -> tuple[list[Container], LinkCounts]:
    counts = LinkCounts()
    return list(read_containers(io.BytesIO(stream), counts, apid=apid)), counts


def test_the_check_is_the_standards() -> None:
    # The catalogued check value of CRC-16/CCITT-FALSE ("CRC-16/IBM-3740").
    assert crc_hqx(b"123456789", CRC_PRESET) == 0x29B1


def test_container_has_its_documented_octets() -> None:
    assert encode_container(SMALL) == GOLDEN_CONTAINER
    assert decode_container(GOLDEN_CONTAINER) == SMALL


def test_packets_have_their_documented_octets() -> None:
    whole = list(packetize(GOLDEN_CONTAINER, apid=0x57, count=0x3FFE, packet_bytes=64))
    assert whole == [GOLDEN_UNSEGMENTED]
    parts = list(packetize(GOLDEN_CONTAINER, apid=0x57, count=0x3FFE, packet_bytes=28))
    assert parts == GOLDEN_SEGMENTS
    assert receive(b"".join(parts)) == ([SMALL], LinkCounts(packets=3, containers=1))


def test_a_packet_with_a_time_code_has_its_documented_octets() -> None:
    at = parse_utc("2022-01-30T14:43:59.5Z")
    packets = packetize(
        GOLDEN_CONTAINER, apid=0x57, count=0x3FFE, packet_bytes=80, stamp=lambda: encode_cuc(at)
    )
    assert list(packets) == [GOLDEN_TIMED]
    header = SpacePacketHeader.unpack(GOLDEN_TIMED)
    assert (header.sec_header_flag, header.packet_len) == (True, len(GOLDEN_TIMED))
    (packet,) = read_packets(io.BytesIO(GOLDEN_TIMED), LinkCounts())
    assert (packet.time, packet.data) == (at, GOLDEN_CONTAINER)


@given(containers(), st.integers(16, 700), st.integers(0, MOST_NS), st.booleans())
def test_containers_with_time_codes_come_back(
    sent: list[Container], packet_bytes: int, ns: int, tai: bool
) -> None:
    moments = itertools.count(0)
    stamp = lambda: encode_cuc(Instant(min(ns + next(moments), MOST_NS), tai))  # noqa: E731
    packets = packets_of(sent, packet_bytes, stamp=stamp)
    assert max(map(len, packets)) <= packet_bytes
    lengths = [len(encode_container(c)) for c in sent]
    assert sum(map(len, packets)) == sum(link_bytes(n, packet_bytes, timed=True) for n in lengths)
    assert len(packets) == sum(packets_for(n, packet_bytes, timed=True) for n in lengths)
    assert receive(b"".join(packets))[0] == sent
    # Lost packets and garbage in between: what is whole is found again.
    torn = packets[0][: len(packets[0]) // 2]
    assert receive(torn + b"".join(packets), apid=0x57)[0] == sent
    times = [p.time for p in read_packets(io.BytesIO(b"".join(packets)), LinkCounts())]
    assert all(t is not None and t.tai == tai and abs(t.ns - ns) < 20_000 for t in times)


def test_a_foreign_secondary_header_is_counted() -> None:
    head = bytes(
        SpacePacketHeader.tm(
            apid=0x57, seq_count=0, data_len=9, seq_flags=SequenceFlags.UNSEGMENTED,
            sec_header_flag=True,
        ).pack()
    )  # fmt: skip
    packet = head + b"\x40" + bytes(7)  # a P-field of days (CDS)
    packet += crc_hqx(packet, CRC_PRESET).to_bytes(2, "big")
    counts = LinkCounts()
    (ours,) = read_packets(io.BytesIO(packet + GOLDEN_TIMED), counts)
    assert ours.time is not None
    assert (counts.foreign, counts.packets, counts.skipped_bytes) == (1, 1, 0)


def test_another_reader_of_the_standard_agrees() -> None:
    flags = [SpacePacketHeader.unpack(p).seq_flags for p in GOLDEN_SEGMENTS]
    assert flags == [
        SequenceFlags.FIRST_SEGMENT,
        SequenceFlags.CONTINUATION_SEGMENT,
        SequenceFlags.LAST_SEGMENT,
    ]
    for packet in GOLDEN_SEGMENTS:
        header = SpacePacketHeader.unpack(packet)
        assert header.packet_len == len(packet)
        assert header.apid == 0x57


@given(containers(), st.integers(9, 700), st.integers(0, SEQUENCE_MODULO - 1))
def test_containers_come_back(sent: list[Container], packet_bytes: int, count: int) -> None:
    packets = packets_of(sent, packet_bytes, count=count)
    assert max(map(len, packets)) <= packet_bytes
    lengths = [container_length([len(i.data) for i in c.items]) for c in sent]
    assert lengths == [len(encode_container(c)) for c in sent]
    assert sum(map(len, packets)) == sum(link_bytes(n, packet_bytes) for n in lengths)
    assert len(packets) == sum(packets_for(n, packet_bytes) for n in lengths)
    received, counts = receive(b"".join(packets))
    assert received == sent
    assert counts == LinkCounts(packets=len(packets), containers=len(sent))


@given(st.binary(max_size=2000), st.sampled_from([None, 0, 0x57]))
def test_garbage_is_counted_not_raised(data: bytes, apid: int | None) -> None:
    received, counts = receive(data, apid)
    assert received == []
    assert counts.containers == 0


@given(st.binary(max_size=300))
def test_a_container_of_garbage_is_a_packet_error(data: bytes) -> None:
    with pytest.raises(PacketError):
        decode_container(data)
    with suppress(PacketError):
        decode_container(GOLDEN_CONTAINER[: CONTAINER.size - 8] + data)


@given(st.integers(0, len(GOLDEN_CONTAINER) - 1), st.integers(1, 255))
def test_a_container_with_a_changed_octet_is_a_packet_error(at: int, change: int) -> None:
    bad = bytearray(GOLDEN_CONTAINER)
    bad[at] ^= change
    with pytest.raises(PacketError):
        decode_container(bytes(bad))


@given(st.lists(items, max_size=4), st.integers(0, 5), st.data())
def test_a_container_that_lies_with_a_right_check_is_a_packet_error(
    inside: list[Item], count: int, data: st.DataObject
) -> None:
    """Our own encoder gone wrong: the checksum fits, the fields inside do not."""
    import zlib

    whole = bytearray(encode_container(Container(1, 1, 1, tuple(inside))))
    whole[16:18] = count.to_bytes(2, "big")
    if len(whole) > CONTAINER.size:
        at = data.draw(st.integers(CONTAINER.size, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    check = zlib.crc32(whole[CONTAINER.size :], zlib.crc32(whole[: CONTAINER.size - 4]))
    whole[CONTAINER.size - 4 : CONTAINER.size] = check.to_bytes(4, "big")
    with suppress(PacketError):
        assert len(decode_container(bytes(whole)).items) == count


@given(containers(minimum=3), st.data())
def test_a_damaged_packet_costs_its_container_alone(
    sent: list[Container], data: st.DataObject
) -> None:
    """Payload or check changed: the header still leads to the next packet."""
    packets = packets_of(sent)
    victim = data.draw(st.integers(1, len(packets) - 1))
    bad = bytearray(packets[victim])
    bad[data.draw(st.integers(6, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    packets[victim] = bytes(bad)
    received, counts = receive(b"".join(packets))
    assert counts.crc_failures == 1
    assert counts.packets == len(packets) - 1
    assert len(received) == len(sent) - 1
    assert all(container in sent for container in received)
    if victim < len(packets) - 1:
        assert (counts.gaps, counts.missing) == (1, 1)


@given(containers(minimum=2), st.data())
def test_any_damage_loses_only_what_it_touches(sent: list[Container], data: st.DataObject) -> None:
    """Any octets of one packet changed, cut out, or garbage put before it."""
    packets = packets_of(sent)
    victim = data.draw(st.integers(0, len(packets) - 1))
    packet = packets[victim]
    at = data.draw(st.integers(0, len(packet) - 1))
    garbage = data.draw(st.binary(max_size=80))
    how = data.draw(st.sampled_from(["change", "cut", "insert"]))
    if how == "change":
        packet = packet[:at] + garbage[: len(packet) - at] + packet[at + len(garbage) :]
    elif how == "cut":
        packet = packet[:at]
    else:
        packet = garbage + packet
    stream = b"".join([*packets[:victim], packet, *packets[victim + 1 :]])
    received, counts = receive(stream, apid=0x57)
    assert all(container in sent for container in received)
    assert len(received) >= len(sent) - 1
    if how == "insert":
        assert received == sent
        assert counts.skipped_bytes + 9 * counts.crc_failures >= len(garbage) * bool(garbage)


@pytest.mark.parametrize("where", [4, 8])  # its length, its data
def test_packets_count_though_the_first_of_every_container_is_damaged(where: int) -> None:
    sent = [Container(1, 1, n, (Item(n, Kind.RECORD, bytes(300)),)) for n in (1, 2, 3)]
    stream = b""
    count = 0
    for container in sent:
        first, *others = packetize(
            encode_container(container), apid=0x57, count=count, packet_bytes=64
        )
        bad = bytearray(first)
        bad[where] ^= 0xFF
        stream += bytes(bad) + b"".join(others)
        count += 1 + len(others)
    received, counts = receive(stream)
    assert received == []
    assert counts.packets == count - 3
    assert counts.broken >= 1


def test_a_length_that_points_at_the_end_hides_nothing() -> None:
    """A damaged length field may lead to a place that looks right."""
    packets = packets_of([SMALL] * 4, 28)
    for last in range(1, len(packets)):
        bad = bytearray(packets[0])
        reach = sum(map(len, packets[: last + 1]))
        bad[4:6] = (reach - 7).to_bytes(2, "big")
        received, counts = receive(b"".join([bytes(bad), *packets[1:]]), apid=0x57)
        assert received == [SMALL] * 3
        assert counts.packets == len(packets) - 1


@given(containers(minimum=2), st.data())
def test_contacts_cut_short_and_laid_end_to_end(sent: list[Container], data: st.DataObject) -> None:
    packets = packets_of(sent)
    ends = list(itertools.accumulate(map(len, packets)))
    first = b"".join(packets)
    cut = data.draw(st.integers(0, len(first)))
    again = [Container(5, 2, 100 + c.id, c.items) for c in sent]
    second = b"".join(packets_of(again, count=3000))
    # Nobody can tell a cut where what follows is by chance what was cut off.
    lost = first[cut : min(end for end in (*ends, len(first)) if end >= cut)]
    assume(not lost or not second.startswith(lost))
    received, _ = receive(first[:cut] + second)
    assert received[-len(again) :] == again
    assert received[: -len(again)] == sent[: len(received) - len(again)]


@given(st.integers(1, 20), containers(minimum=2))
def test_lost_packets_are_gaps(lost: int, sent: list[Container]) -> None:
    before, after = sent[:-1], sent[-1:]
    head = packets_of(before)
    stream = head + packets_of(after, count=len(head) + lost)
    received, counts = receive(b"".join(stream))
    assert received == sent
    assert (counts.gaps, counts.missing, counts.broken) == (1, lost, 0)


def test_the_sequence_count_goes_round_without_a_gap() -> None:
    packets = packets_of([SMALL] * 4, 28, count=SEQUENCE_MODULO - 5)
    received, counts = receive(b"".join(packets))
    assert received == [SMALL] * 4
    assert (counts.gaps, counts.missing) == (0, 0)


def test_packets_sent_twice_are_counted_and_dropped() -> None:
    received, counts = receive(b"".join(p + p for p in GOLDEN_SEGMENTS))
    assert received == [SMALL]
    assert counts.duplicates == 3


def test_a_missing_middle_breaks_the_container() -> None:
    received, counts = receive(GOLDEN_SEGMENTS[0] + GOLDEN_SEGMENTS[2] + GOLDEN_UNSEGMENTED)
    assert received == [SMALL]
    assert (counts.broken, counts.containers) == (1, 1)


def test_a_beginning_without_end_is_broken() -> None:
    for stream in (GOLDEN_SEGMENTS[0], GOLDEN_SEGMENTS[0] + GOLDEN_SEGMENTS[1]):
        received, counts = receive(stream)
        assert received == []
        assert counts.broken == 1


def test_idle_and_foreign_packets_are_passed_over() -> None:
    idle = bytes.fromhex("07ff c000 0009") + bytes(10)  # APID 0x7ff: idle, without our check
    foreign = packets_of([SMALL], apid=0x123)
    a, b, c = GOLDEN_SEGMENTS
    received, counts = receive(b"".join([a, idle, b, *foreign, c]))
    assert received == [SMALL]
    assert counts.foreign == 2
    assert counts.skipped_bytes == 0


def test_the_largest_packet_is_read() -> None:
    big = Container(1, 1, 1, (Item(1, Kind.IMAGE, bytes(range(256)) * 300),))
    packets = packets_of([big], MAX_PACKET)
    assert len(packets[0]) == MAX_PACKET
    assert receive(b"".join(packets) * 2)[0] == [big, big]


@settings(max_examples=30)
@given(st.data())
def test_a_stream_that_comes_in_drops_is_read_alike(drops: st.DataObject) -> None:
    """A pipe gives as many octets as it likes."""

    class Dripping(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.rest = data

        def read(self, size: int = -1) -> bytes:
            count = drops.draw(st.integers(1, 200))
            part, self.rest = self.rest[:count], self.rest[count:]
            return part

    stream = b"".join(packets_of([SMALL] * 5, 28)) + b"\x00\x57garbage"
    counts = LinkCounts()
    received = list(read_containers(Dripping(stream), counts))  # type: ignore[arg-type]
    assert (received, counts) == receive(stream)


def test_products_too_large_for_their_length_field_are_refused() -> None:
    huge = Item(1, Kind.IMAGE, bytes(2**24))
    with pytest.raises(ValueError, match=r"2\*\*24"):
        encode_container(Container(1, 1, 1, (huge,)))
    with pytest.raises(ValueError, match="fit"):
        encode_container(Container(2**32, 1, 1, ()))


@pytest.mark.parametrize("packet_bytes", [0, 5, 8, 65_543])
def test_no_packets_are_made_of_a_size_that_the_standard_has_not(packet_bytes: int) -> None:
    with pytest.raises(ValueError, match="legal is 9 to 65542"):
        list(packetize(b"abc", apid=1, count=0, packet_bytes=packet_bytes))


def test_the_ranking_counts_what_a_product_costs_in_a_container() -> None:
    assert ITEM.size == PRODUCT_HEADER_BYTES
