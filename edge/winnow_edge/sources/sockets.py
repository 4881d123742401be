"""Raw lines from a socket: `tcp://HOST:PORT` or `unix:PATH`, to which the board connects."""

from __future__ import annotations

import socket

from winnow_edge.errors import SwathError
from winnow_edge.sources.raw import RawSource

CONNECT_SECONDS = 10.0
#: A peer that lost its power says nothing; after so many silent seconds the kernel asks it, and
#: again, and after so many questions without an answer the connection is broken (tcp(7)).
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_KINDS = ("tcp://", "unix:")


def is_address(path: str) -> bool:
    """Whether a swath is named by the address of a socket."""
    return path.startswith(_KINDS)


def open_socket(
    address: str, *, samples: int | None, bits: int, order: str, stall_s: float | None
) -> RawSource:
    """Connect and hand out what the other side sends until it closes.

    Raises SwathError without `samples`, for an address that makes no sense, or if nobody answers.
    """
    if samples is None:
        raise SwathError(
            "raw lines have no header", where=address, hint="say how wide they are: --samples N"
        )
    try:
        link = _connect(address)
    except OSError as error:
        raise SwathError(
            f"cannot be reached: {error.strerror or error}",
            where=address,
            hint="start what sends the lines first, and check the address",
        ) from None
    link.setblocking(True)
    source = RawSource(
        link.detach(),
        address.rpartition("/")[2] or address,
        samples=samples,
        bits=bits,
        lines=None,
        order=order,
        waits=True,
    )
    source.stall_s = stall_s
    return source


def _connect(address: str) -> socket.socket:
    if address.startswith("unix:"):
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(CONNECT_SECONDS)
            link.connect(address.removeprefix("unix:"))
        except BaseException:
            link.close()
            raise
        return link
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    try:
        if not host or not port:
            raise UnicodeError
        link = socket.create_connection((host, port), CONNECT_SECONDS)
    except UnicodeError:  # also of a name that IDNA cannot encode
        raise SwathError(
            "is no address", where=address, hint="write tcp://HOST:PORT or unix:PATH"
        ) from None
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return link
