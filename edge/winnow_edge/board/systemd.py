"""Life signs for systemd: ready, still alive, stopping (sd_notify(3), without its library).

Outside a unit with `Type=notify` there is no `NOTIFY_SOCKET`, and nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable


def notify(state: str) -> bool:
    """Send `state` ("READY=1", "WATCHDOG=1", "STOPPING=1", "STATUS=words") to the service manager;
    False where there is none. A lost life sign is no error of the flight."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):  # Linux's abstract names
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall(state.encode("utf-8"))
    except OSError:
        return False
    return True


def watched(stop: Callable[[], bool]) -> Callable[[], bool]:
    """`stop`, giving a life sign when it is asked, at most every quarter of `WATCHDOG_USEC`.

    The flight loop asks `stop` between blocks and while it waits for lines. When it hangs, the
    signs end, and the service manager starts the run again, which goes on where it was.
    """
    usec = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not (usec.isdigit() and mine):
        return stop
    every = int(usec) / 4e6
    last: float | None = None  # no sign was given yet, however short ago the board was started

    def asked() -> bool:
        nonlocal last
        now = time.monotonic()
        if last is None or now - last >= every:
            notify("WATCHDOG=1")
            last = now
        return stop()

    return asked
