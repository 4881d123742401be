"""The clocks of the machine, read at once: the wall clock, which anybody may set, the time since it
was started, which nobody can, and whether a time service keeps the wall clock (adjtimex(2))."""

from __future__ import annotations

import contextlib
import ctypes
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR: Final = 5
"""What adjtimex(2) returns while the clock is not synchronised."""
_TIMEX_BYTES: Final = 512
"""More than `struct timex` takes on any machine (208 bytes where `long` has 64 bits)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """`wall_ns` since 1970, `boot_ns` since the machine started, sleep included, `boot_id` which
    start that was, `kept` whether a time service keeps the wall clock (NTP, or a receiver that
    feeds one), None where the system does not say."""

    wall_ns: int
    boot_ns: int
    boot_id: str
    kept: bool | None


def since_boot_ns() -> int:
    """Nanoseconds since the machine started."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def read_host() -> Moment:
    """The clocks now. Never fails."""
    boot_id = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        boot_id = _BOOT_ID.read_text("ascii").strip()
    return Moment(time.time_ns(), since_boot_ns(), boot_id, _is_kept())


def _is_kept() -> bool | None:
    # A sandbox may refuse the call, since it can set the clock too: that says nothing of the clock.
    with contextlib.suppress(OSError, AttributeError):
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
        return None if state < 0 else state < _TIME_ERROR
    return None
