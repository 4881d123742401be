"""Containers: whole products sent together and acknowledged together.

A container (ours) ends in nothing half: header `CONTAINER`, then for each product a header `ITEM`
and its bytes. The layouts are documented octet by octet in docs/downlink-format.md. Whatever
arrives, the decoder raises nothing but PacketError.

>>> from winnow_edge.products.kinds import Kind
>>> octets = encode_container(Container(0x12345678, 3, 7, (Item(5, Kind.RECORD, b"abc"),)))
>>> octets[:4].hex(" ")      # "WN", version 2, reserved
'57 4e 02 00'
>>> octets[4:12].hex(" ")    # store, container
'12 34 56 78 00 00 00 07'
>>> octets[12:18].hex(" ")   # contact, count of products
'00 00 00 03 00 01'
>>> octets[18:22].hex(" ")   # length of what follows the header: one item header, three octets
'00 00 00 0d'
>>> octets[22:26].hex(" ")   # CRC-32 of all octets but these four
'31 f0 e3 6b'
>>> octets[26:].hex(" ")     # product 5; kind 1 (record) and length 3; its bytes
'00 00 00 00 00 05 01 00 00 03 61 62 63'
>>> decode_container(octets).items
(Item(id=5, kind=<Kind.RECORD: 1>, data=b'abc'),)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from winnow_edge.errors import PacketError
from winnow_edge.products.kinds import Kind

MAGIC: Final = b"WN"
VERSION: Final = 2
CONTAINER: Final = struct.Struct(">2sBBIIIHII")
"""magic, version u8, reserved u8 (0), store u32, container u32, contact u32, product count u16,
length of the products u32, CRC-32 (IEEE 802.3) of all octets of the container but these four."""
ITEM: Final = struct.Struct(">HII")
"""product id u48 (its upper 16 bits first), kind in the upper 8 bits and length in the lower 24
bits of u32."""
MAX_PRODUCT: Final = 2**24 - 1
MAX_CONTAINER: Final = CONTAINER.size + 2**25
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


def encode_container(container: Container) -> bytes:
    """The octets of a container. Raises ValueError if a field does not fit its place."""
    try:
        parts = []
        for item in container.items:
            if len(item.data) > MAX_PRODUCT:
                raise ValueError(f"product {item.id} has {len(item.data)} bytes, over 2**24 - 1")
            number = item.id >> 32, item.id & 0xFFFF_FFFF
            parts += [ITEM.pack(*number, item.kind << 24 | len(item.data)), item.data]
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
        upper, lower, kind_length = ITEM.unpack_from(data, at)
        number = upper << 32 | lower
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
