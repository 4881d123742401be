"""CCSDS unsegmented time codes: golden octets, every width, round trips, and damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.clock.cuc import CUC_BYTES, MOST_NS, NS, Instant, decode_cuc, encode_cuc
from winnow_edge.errors import PacketError

UNIT_NS = NS / 2**16


@pytest.mark.parametrize(
    ("instant", "octets"),
    [
        # P-field 0 001 11 10: no second octet, epoch of 1958 TAI, 3 + 1 octets, 2 octets
        (Instant(0), "1e 00000000 0000"),
        (Instant(NS), "1e 00000001 0000"),
        (Instant(NS // 2), "1e 00000000 8000"),
        (Instant(2**31 * NS + NS // 4), "1e 80000000 4000"),
        (Instant(MOST_NS), "1e ffffffff ffff"),
        # 0 010 11 10: the agency's epoch, here the mission clock's
        (Instant(90 * NS, tai=False), "2e 0000005a 0000"),
    ],
)
def test_codes_have_their_octets(instant: Instant, octets: str) -> None:
    assert encode_cuc(instant) == bytes.fromhex(octets)
    found, length = decode_cuc(bytes.fromhex(octets))
    assert (found.tai, length) == (instant.tai, CUC_BYTES)
    assert abs(found.ns - instant.ns) <= UNIT_NS


@pytest.mark.parametrize(
    ("octets", "ns"),
    [
        ("10 07", 7 * NS),  # one octet of seconds, no fraction
        ("1f 00000007 400000", 7 * NS + NS // 4),  # three octets of fraction
        ("9f 00 00000007 400000", 7 * NS + NS // 4),  # a second P-field octet that adds nothing
        ("9c 20 01 00000000", 2**32 * NS),  # one more octet of seconds: 2094 and after
        ("9c 04 00000007 80", 7 * NS + NS // 2),  # one more octet of fraction
        ("9f 7c 00000000000007 " + "80" + "00" * 9, 7 * NS + NS // 2),  # the widest: 7 and 10
    ],
)
def test_any_width_of_the_standard_is_read(octets: str, ns: int) -> None:
    data = bytes.fromhex(octets)
    assert decode_cuc(data + b"more") == (Instant(ns), len(data))


@given(st.integers(0, MOST_NS), st.booleans())
def test_instants_come_back(ns: int, tai: bool) -> None:
    code = encode_cuc(Instant(ns, tai))
    found, length = decode_cuc(code)
    assert (length, found.tai) == (len(code), tai)
    assert abs(found.ns - ns) <= UNIT_NS / 2 + 1
    assert encode_cuc(found) == code


@given(st.lists(st.integers(0, MOST_NS), min_size=2))
def test_codes_sort_as_their_instants(times: list[int]) -> None:
    codes = [encode_cuc(Instant(ns)) for ns in sorted(times)]
    assert codes == sorted(codes)


@pytest.mark.parametrize("ns", [-NS, MOST_NS + NS, 2**80])
def test_what_does_not_fit_is_refused(ns: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_cuc(Instant(ns))


@given(st.binary(max_size=24))
def test_octets_are_read_or_refused(data: bytes) -> None:
    try:
        found, length = decode_cuc(data)
    except PacketError:
        return
    assert length <= len(data)
    assert found.ns >= 0


@pytest.mark.parametrize(
    "octets", ["", "1e", "1e 0000", "9e", "00 00", "40 0000", "50 00", "9e 80 000000000000"]
)
def test_what_is_no_code_is_refused(octets: str) -> None:
    with pytest.raises(PacketError):
        decode_cuc(bytes.fromhex(octets))
