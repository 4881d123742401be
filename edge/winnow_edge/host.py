"""What the board says about itself: processor, clock, temperature, memory, energy.

Everything is read from Linux's /proc and /sys; what a board does not tell is None.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_THERMAL = Path("/sys/class/thermal")
_CPU = Path("/sys/devices/system/cpu")
_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
_HWMON = Path("/sys/class/hwmon")
_PI_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")

INT8_FEATURES = ("avx512_vnni", "avx_vnni", "avx2", "asimddp", "i8mm", "asimd")
"""CPU flags that int8 kernels use: x86 VNNI and AVX2, ARM dot product, i8mm and NEON."""

_PI_FLAGS = {
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage since boot",
    17: "frequency capped since boot",
    18: "throttled since boot",
    19: "soft temperature limit since boot",
}
"""Bits of the firmware's get_throttled (Raspberry Pi documentation, vcgencmd)."""


@dataclass(frozen=True)
class Cpu:
    """The processor: model name, architecture, cores that this process may use, int8 features."""

    model: str
    machine: str
    cores: int
    features: tuple[str, ...]


def cpu() -> Cpu:
    """The processor as /proc/cpuinfo describes it."""
    fields: dict[str, str] = {}
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    board = (_text(Path("/proc/device-tree/model")) or "").strip("\0\n ")
    return Cpu(
        model=board or fields.get("model name") or platform.processor() or "unknown",
        machine=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        features=tuple(name for name in INT8_FEATURES if name in flags),
    )


def governor() -> str | None:
    """The clock governor of the first core, e.g. "performance"."""
    return _text(_CPU / "cpu0/cpufreq/scaling_governor")


def temperature_c() -> float | None:
    """The hottest thermal zone, degrees Celsius."""
    values = [_number(zone / "temp") for zone in sorted(_THERMAL.glob("thermal_zone*"))]
    known = [value / 1000 for value in values if value is not None]
    return max(known) if known else None


def throttling() -> list[str] | None:
    """What held the clock back on a Raspberry Pi, in words (empty: nothing); None elsewhere."""
    text = _text(_PI_THROTTLED)
    if text is None:
        return None
    try:
        bits = int(text, 16)
    except ValueError:
        return None
    return [words for bit, words in _PI_FLAGS.items() if bits >> bit & 1]


def energy_j() -> float | None:
    """A counter of joules used by the processor package (Intel RAPL); None where not readable."""
    value = _number(_RAPL)
    return value / 1e6 if value is not None else None


def power_w() -> float | None:
    """Watts that an INA2xx or other power monitor reads now; None where there is none."""
    for sensor in sorted(_HWMON.glob("hwmon*")):
        if (_text(sensor / "name") or "").startswith("ina"):
            value = _number(sensor / "power1_input")
            if value is not None:
                return value / 1e6
    return None


def rss_mb() -> float:
    """Resident memory of this process now, megabytes (1e6 bytes)."""
    return _status("VmRSS")


def peak_rss_mb() -> float:
    """The most resident memory that this process had, megabytes (1e6 bytes).

    VmHWM rather than getrusage: the latter inherits the parent's peak through fork and exec.
    """
    return _status("VmHWM")


def _status(key: str) -> float:
    for line in (_text(Path("/proc/self/status")) or "").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None
