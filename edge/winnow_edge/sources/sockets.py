"""Raw lines from a socket: `tcp://HOST:PORT` or `unix:PATH`, to which the board connects.

Where the camera connects instead, see `winnow_edge.sources.listening`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from winnow_edge.errors import SwathError
from winnow_edge.sources.raw import RawSource
from winnow_edge.tables import shortened

CONNECT_SECONDS = 10.0
_WAIT_SECONDS = 0.2
"""How long to wait before asking again whether the run is to end."""
#: A peer that lost its power says nothing; after so many silent seconds the kernel asks it, and
#: again, and after so many questions without an answer the connection is broken (tcp(7)).
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_KINDS = ("tcp://", "unix:")
LISTENS = ("tcp-listen://", "unix-listen:")


def is_address(path: str) -> bool:
    """Whether a swath is named by the address of a socket."""
    return path.startswith((*_KINDS, *LISTENS))


def is_listening(path: str) -> bool:
    """Whether it is an address that the board listens at."""
    return path.startswith(LISTENS)


def open_socket(
    address: str,
    *,
    samples: int | None,
    bits: int,
    order: str,
    stall_s: float | None,
    link: socket.socket | None = None,
) -> RawSource:
    """Connect and hand out what the other side sends until it closes.

    `link` is the connection if there is one already, and is the source's from then on. Raises
    SwathError without `samples`, for an address that makes no sense, or if nobody answers.
    """
    if samples is None:
        raise SwathError(
            "raw lines have no header", where=address, hint="give their width: --samples N"
        )
    link = link or connect(address)
    assert link is not None  # nothing stops that wait
    source = RawSource(
        link.detach(),
        name_of(address),
        samples=samples,
        bits=bits,
        lines=None,
        order=order,
        waits=True,
    )
    source.stall_s = stall_s
    return source


def name_of(address: str) -> str:
    """What a swath from there is called where nobody names it."""
    return address.rpartition("/")[2] or address


def address_of(path: str) -> str | None:
    """The address to connect to for a swath; None where it is no socket of another's."""
    if is_address(path):
        return None if is_listening(path) else path
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            return f"unix:{path}"
    return None


def connect(address: str, stop: Callable[[], bool] = lambda: False) -> socket.socket | None:
    """A blocking connection to `tcp://HOST:PORT` or `unix:PATH`; None once `stop` says so. Raises
    SwathError in one line."""
    if is_listening(address) or not is_address(address):
        raise SwathError(
            "is no address to connect to", where=address, hint="write tcp://HOST:PORT or unix:PATH"
        )
    try:
        link = _connect(address, stop)
    except OSError as error:
        raise SwathError(
            f"cannot be reached: {error.strerror or error}",
            where=address,
            hint="start the other end first, and check the address",
        ) from None
    if link is not None:
        link.setblocking(True)
    return link


def host_and_port(address: str, *, least: int = 1) -> tuple[str, int]:
    """The two of `SCHEME://HOST:PORT`, the port from `least` up. Raises SwathError."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
        # What a socket has no use for was meant for something else: user, password, path, query.
        bare = parts.netloc == address.partition("://")[2] and "@" not in parts.netloc
        if host and port is not None and port >= least and bare:
            host.encode("idna")
            return host, port
    except ValueError:  # UnicodeError too: a name that IDNA cannot encode
        pass
    scheme, _, rest = address.partition("://")
    other = "unix-listen:PATH" if is_listening(address) else "unix:PATH"
    # A password is not for logs.
    shown = shortened(f"{scheme}://{rest.rpartition('@')[2]}")
    raise SwathError("is no address", where=shown, hint=f"write {scheme}://HOST:PORT or {other}")


def keep_alive(link: socket.socket) -> None:
    """Have the kernel ask a silent peer whether it is there (`_KEEPALIVE`)."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _connect(address: str, stop: Callable[[], bool]) -> socket.socket | None:
    if address.startswith("unix:"):
        return _reach(socket.AF_UNIX, address.removeprefix("unix:"), stop)
    fault = OSError("has no address")
    for family, _, _, _, where in _resolve(*host_and_port(address), stop):
        try:
            link = _reach(family, where, stop)
        except OSError as error:
            fault = error
            continue
        if link is not None:
            keep_alive(link)
        return link
    if stop():
        return None
    raise fault


def _resolve(host: str, port: int, stop: Callable[[], bool]) -> list[Any]:
    """What getaddrinfo(3) finds. It cannot be interrupted, so `stop` leaves it behind."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    while asking.is_alive():
        if stop():
            return []
        asking.join(_WAIT_SECONDS)
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])


def _reach(family: int, where: Any, stop: Callable[[], bool]) -> socket.socket | None:
    """A connection within CONNECT_SECONDS; None where `stop` ended the wait. Raises OSError."""
    link = socket.socket(family, socket.SOCK_STREAM)
    link.setblocking(False)
    ends = time.monotonic() + CONNECT_SECONDS
    try:
        code = link.connect_ex(where)
        while code and not stop():
            if code == errno.EINPROGRESS:
                if select.select([], [link], [], _WAIT_SECONDS)[1]:
                    code = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            elif code == errno.EAGAIN:  # as many wait at a unix socket as it lets wait
                time.sleep(_WAIT_SECONDS)
                code = link.connect_ex(where)
            else:
                raise OSError(code, os.strerror(code))
            if code and time.monotonic() >= ends:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    except BaseException:
        link.close()
        raise
    if code:
        link.close()
        return None
    return link
