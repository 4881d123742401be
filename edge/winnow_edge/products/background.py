"""Background products: the records of many tiles without a detection in one.

The heads of the records, column by column, each as its difference from the tile before, posteriors
in 8 bits instead of 16, then times and places likewise, and all of it deflated (RFC 1950). A tile
costs one or two octets instead of 26, and a few more where its time and place are known. All but
the posterior comes back as it was, that to within 1/510. The layout is documented in
docs/background.md.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from winnow_edge.clock.cuc import CUC_BYTES
from winnow_edge.errors import PacketError
from winnow_edge.place.place import PLACE_BYTES
from winnow_edge.products.encode import HEAD, HEADS
from winnow_edge.products.kinds import Flag

PREFIX: Final = struct.Struct(">IIH")
"""swath u32, index of the first tile u32, tiles u16."""
MOST_TILES: Final = 1024
_STEP: Final = 257
"""65535 / 255: a posterior of 8 bits in steps of 16."""
_TAILS: Final = ((Flag.TIMED, CUC_BYTES), (Flag.PLACED, PLACE_BYTES))
"""What may follow a head, in this order, and its octets."""
_NAMES: Final = HEADS.names or ()

Octets = npt.NDArray[np.uint8]


def encode_background(records: Sequence[bytes]) -> bytes:
    """One product of the records of tiles of one swath, 1 to `MOST_TILES`, by rising index."""
    heads = np.frombuffer(b"".join(record[: HEAD.size] for record in records), HEADS)
    parts = []
    for name in _NAMES:
        column = heads[name].astype(HEADS[name].newbyteorder("="))
        if name == "posterior":
            column = np.rint(column / _STEP).astype(np.uint8)
        first = np.zeros(1, column.dtype)
        differences = np.diff(column, prepend=first)  # modulo the width of the column
        octets = differences.astype(differences.dtype.newbyteorder(">")).view(np.uint8)
        parts.append(octets.reshape(len(heads), -1).T.tobytes())  # the upper octets together
    at = [HEAD.size] * len(records)
    for flag, size in _TAILS:
        tails = []
        for n in np.flatnonzero(heads["flags"] & flag).tolist():
            tails.append(records[n][at[n] : at[n] + size])
            at[n] += size
        octets = np.frombuffer(b"".join(tails), np.uint8).reshape(-1, size)
        parts.append(np.diff(octets, axis=0, prepend=np.zeros((1, size), np.uint8)).T.tobytes())
    prefix = PREFIX.pack(int(heads["swath"][0]), int(heads["tile"][0]), len(heads))
    return prefix + zlib.compress(b"".join(parts), 9)


def decode_background(data: bytes) -> list[bytes]:
    """The records. Raises PacketError."""
    if len(data) < PREFIX.size:
        raise PacketError(f"a background product of {len(data)} octets has no head")
    swath, tile, count = PREFIX.unpack_from(data)
    if not 1 <= count <= MOST_TILES:
        raise PacketError(f"a background product of {count} tiles")
    widths = [1 if n == "posterior" else HEADS[n].itemsize for n in _NAMES]
    octets = _inflated(data[PREFIX.size :], count * (sum(widths) + CUC_BYTES + PLACE_BYTES))
    heads = np.zeros(count, HEADS)
    at = 0
    for name, width in zip(_NAMES, widths, strict=True):
        planes = _planes(octets, at, width, count)
        column = planes.view(f">u{width}")[:, 0].astype(f"u{width}")
        column = np.cumsum(column, dtype=column.dtype)
        heads[name] = column.astype(np.uint16) * _STEP if name == "posterior" else column
        at += count * width
    if heads["swath"][0] != swath or heads["tile"][0] != tile:
        raise PacketError("a background product whose head is of other tiles")
    records = [bytes(record) for record in heads.view(f"V{HEAD.size}").tolist()]
    for flag, size in _TAILS:
        there = np.flatnonzero(heads["flags"] & flag).tolist()
        tails = np.cumsum(_planes(octets, at, size, len(there)), axis=0, dtype=np.uint8)
        for n, tail in zip(there, tails, strict=True):
            records[n] += tail.tobytes()
        at += size * len(there)
    if at != len(octets):
        raise PacketError("a background product of another length than it says")
    return records


def _inflated(data: bytes, most: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        octets = inflate.decompress(data, most + 1)
    except zlib.error as error:
        raise PacketError("a background product cannot be inflated") from error
    if not inflate.eof or inflate.unused_data:
        raise PacketError("a background product of another length than it says")
    return octets


def _planes(octets: bytes, at: int, width: int, count: int) -> Octets:
    """Values of `width` octets each, uint8 (count, width). Raises PacketError."""
    if at + width * count > len(octets):
        raise PacketError("a background product of another length than it says")
    planes = np.frombuffer(octets, np.uint8, count * width, at).reshape(width, count)
    return np.ascontiguousarray(planes.T)
