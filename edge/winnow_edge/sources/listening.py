"""Raw lines that are pushed: the board listens at `tcp-listen://HOST:PORT` or `unix-listen:PATH`.

One peer at a time, and a connection is a swath. Peers that come meanwhile wait in the kernel's
queue. One that connects and then closes, breaks off or stalls before its first line is no swath,
and does not keep others waiting for long.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType

from winnow_edge.errors import SwathError
from winnow_edge.sources.sockets import LISTENS, host_and_port, keep_alive

log = logging.getLogger(__name__)

_TCP, _UNIX = LISTENS
_WAIT_SECONDS = 0.2
_LOCK_TRIES = 20
_QUEUE = 1
"""What listen(2) is told. Linux lets one more than that wait while another is read: two. The next
is not refused: its connect() hangs, and times out if nobody is let in meanwhile; a non-blocking one
to a unix socket fails at once (EAGAIN)."""
FIRST_LINE_SECONDS = 60.0
"""So long a peer may send no line while another waits behind it, whatever the instrument's
`stall_s` says: a camera that came first may still be getting ready, but what connects and never
sends (a port scan, a peer that hangs) must not keep the camera out. Under the two minutes or so
after which a connect(2) that hangs times out, so who waits behind it is still there."""
_PEEKED = 4096
"""Octets that a socket of any kind holds unread."""
_HINTS = {
    errno.EADDRINUSE: "something listens there already: end it, or choose another address",
    errno.EACCES: "ports below 1024 and other users' folders are closed: choose another address",
    errno.EAGAIN: "another process is about to listen there: end it, or choose another address",
    errno.EADDRNOTAVAIL: "name an address of this machine, or 0.0.0.0 for all of them",
}


class Listener:
    """Listens at `address` until it is closed; a context manager.

    `address` is as it was given, but with the port that the system chose for port 0. Raises
    SwathError if nothing can be listened at there.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._path: tuple[str, int, int] | None = None
        try:
            self._socket = self._unix() if address.startswith(_UNIX) else self._tcp()
        except OSError as error:
            number = error.errno or 0
            why = os.strerror(number) if number > 0 else error.strerror
            raise SwathError(
                f"cannot be listened at: {why or error}",
                where=address,
                hint=_HINTS.get(number, "check the address"),
            ) from None
        self._socket.setblocking(False)

    def accept(
        self, stop: Callable[[], bool], stall_s: float | None, octets: int = 1
    ) -> socket.socket | None:
        """The connection of the next peer that sends `octets` (at most `_PEEKED` are waited for);
        None once `stop` says so.

        A peer may be silent for `stall_s` seconds (None: for ever), but for FIRST_LINE_SECONDS at
        most where another waits to be let in; without a peer there is no stall. Raises SwathError
        if the system gives no more connections.
        """
        while not stop():
            if not select.select([self._socket], [], [], _WAIT_SECONDS)[0]:
                continue
            try:
                link, peer = self._socket.accept()
            except (BlockingIOError, ConnectionError):
                continue  # it went before it was let in
            except OSError as error:
                raise SwathError(
                    f"cannot let a peer in: {error.strerror}", where=self.address
                ) from None
            link.setblocking(True)
            if link.family != socket.AF_UNIX:
                keep_alive(link)
            why = self._silence(link, stop, stall_s, min(octets, _PEEKED))
            if why is None:
                return link
            link.close()
            if why:
                who = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a peer"
                log.warning("%s: %s %s; waiting for the next", self.address, who, why)
        return None

    def close(self) -> None:
        """Listen no longer; connections that were let in stay."""
        self._socket.close()
        path, self._path = self._path, None
        if path is not None:
            with contextlib.suppress(OSError):
                if path[1:] == _identity(path[0]):  # and not of another that came after us
                    Path(path[0]).unlink()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _silence(
        self, link: socket.socket, stop: Callable[[], bool], stall_s: float | None, octets: int
    ) -> str | None:
        """Wait for the first `octets`, which stay where they are; None when they are there or it
        closes behind some, else why they do not come ("" where `stop` ended the wait)."""
        since, there = monotonic(), 0
        while not stop():
            if select.select([link], [], [], _WAIT_SECONDS)[0]:
                try:
                    now = len(link.recv(octets, socket.MSG_PEEK))
                except OSError as error:
                    return f"broke off without a line ({error.strerror})"
                if now >= octets or (now and _is_closed(link)):
                    return None  # of a line that is cut short its reader tells
                if not now:
                    return "closed without sending anything"
                if now == there:
                    sleep(_WAIT_SECONDS)  # what is there already wakes select() up
                there = now
            silent = monotonic() - since
            if stall_s is not None and silent >= stall_s:
                return None if there else f"sent nothing for {stall_s:g} s"
            if silent >= FIRST_LINE_SECONDS and select.select([self._socket], [], [], 0)[0]:
                what = "less than a line" if there else "nothing"
                return f"sent {what} for {FIRST_LINE_SECONDS:g} s, and another waits"
        return ""

    def _tcp(self) -> socket.socket:
        host, port = host_and_port(self.address, least=0)
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            # A port whose last connection has just ended is free.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.bind(where)
            listening.listen(_QUEUE)
        except BaseException:
            listening.close()
            raise
        if port == 0:
            self.address = self.address.removesuffix("0") + str(listening.getsockname()[1])
        return listening

    def _unix(self) -> socket.socket:
        path = self.address.removeprefix(_UNIX)
        if not path:
            raise SwathError(
                "is no address", where=self.address, hint=f"write {_TCP}HOST:PORT or {_UNIX}PATH"
            )
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            try:
                listening.bind(path)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                with _locked(path):
                    if _is_left_over(path):
                        Path(path).unlink()
                    listening.bind(path)
            self._path = (path, *_identity(path))
            listening.listen(_QUEUE)
        except BaseException:
            listening.close()
            raise
        return listening


def _is_closed(link: socket.socket) -> bool:
    """Whether the peer sends no more, whatever is unread."""
    asking = select.poll()
    asking.register(link, select.POLLRDHUP)
    return bool(asking.poll(0))


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Locks the place of a socket: of two that find it left over, one would take the other's.
    Raises OSError where another process keeps it locked."""
    place = Path(f"{path}.lock")
    for left in range(_LOCK_TRIES, -1, -1):
        lock = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = place.exists() and os.path.samestat(os.fstat(lock), place.stat())
        except OSError as error:
            os.close(lock)
            if not (isinstance(error, BlockingIOError) and left):
                raise
            sleep(_WAIT_SECONDS / 4)
            continue
        if there:
            break
        os.close(lock)  # who had it locked is done, and deleted it
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(lock)


def _is_left_over(path: str) -> bool:
    """Whether a socket lies there to which nobody listens: what a killed process leaves.

    Asked with a datagram socket: to one that is alive it is of the wrong type (EPROTOTYPE), and
    nobody there hears of the question (unix(7)).
    """
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return False  # and bind() says that the name is taken
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        return asking.connect_ex(path) == errno.ECONNREFUSED


def _identity(path: str) -> tuple[int, int]:
    status = Path(path).lstat()
    return status.st_dev, status.st_ino
