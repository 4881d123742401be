"""What the board says about itself: processor, clock, temperature, memory, energy.

Everything is read from Linux's /proc and /sys; what a board does not tell is None.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

_THERMAL = Path("/sys/class/thermal")
CPU = Path("/sys/devices/system/cpu")
_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
_HWMON = Path("/sys/class/hwmon")
PI_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")

INT8_FEATURES = (
    "amx_int8", "avx512_vnni", "avx_vnni", "avx2", "i8mm", "asimddp", "asimd",
)  # fmt: skip
"""CPU flags that int8 kernels use: x86 AMX, VNNI and AVX2; ARM i8mm, dot product and NEON."""

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
    return _text(CPU / "cpu0/cpufreq/scaling_governor")


def governors() -> tuple[str, ...]:
    """The different clock governors of all cores, sorted; empty where the clock is not ours."""
    files = CPU.glob("cpu[0-9]*/cpufreq/scaling_governor")
    return tuple(sorted({name for file in files if (name := _text(file))}))


def clock_mhz() -> tuple[float, float] | None:
    """What the slowest core's clock may be set to and what its hardware can do, MHz."""
    limits = []
    for folder in CPU.glob("cpu[0-9]*/cpufreq"):
        allowed, able = _number(folder / "scaling_max_freq"), _number(folder / "cpuinfo_max_freq")
        if allowed and able:
            limits.append((allowed / 1000, able / 1000))
    return min(limits, key=lambda pair: pair[0] / pair[1], default=None)


def temperature_c() -> float | None:
    """The hottest thermal zone, degrees Celsius."""
    values = [_number(zone / "temp") for zone in sorted(_THERMAL.glob("thermal_zone*"))]
    known = [value / 1000 for value in values if value is not None]
    return max(known) if known else None


def throttling() -> list[str] | None:
    """What held the clock back, in words (empty: nothing); None where nobody tells.

    A Raspberry Pi's firmware is asked through sysfs or `vcgencmd`, an x86 core for its count of
    thermal events.
    """
    text = _text(PI_THROTTLED) or _vcgencmd("get_throttled")
    if text is not None:
        try:
            bits = int(text.removeprefix("throttled="), 16)
        except ValueError:
            return None
        return [words for bit, words in _PI_FLAGS.items() if bits >> bit & 1]
    files = CPU.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    counts = [count for file in files if (count := _number(file)) is not None]
    if not counts:
        return None
    events = int(sum(counts))
    return [f"{events} thermal events since boot"] if events else []


@dataclass(frozen=True)
class Taken:
    """Shares of all cores' time that other processes and the host of a virtual machine took; None
    where the kernel does not tell."""

    others: float | None
    stolen: float | None


@dataclass(frozen=True)
class ProcessorTime:
    """Seconds since boot over all cores (proc(5), /proc/stat), and those of this process."""

    total: float
    busy: float
    stolen: float
    own: float

    @classmethod
    def now(cls) -> ProcessorTime:
        """Read the counters."""
        line = (_text(Path("/proc/stat")) or "").partition("\n")[0].split()
        ticks = [int(field) for field in line[1:9]] if line[:1] == ["cpu"] else []
        user, nice, system, idle, wait, irq, softirq, stolen = (*ticks, *[0] * 8)[:8]
        second = os.sysconf("SC_CLK_TCK")
        busy = user + nice + system + irq + softirq
        own = os.times()
        return cls(
            (busy + idle + wait + stolen) / second,
            busy / second,
            stolen / second,
            own.user + own.system,
        )

    def since(self) -> Taken:
        """What was taken from this process since these counters were read."""
        after = ProcessorTime.now()
        total = after.total - self.total
        if total <= 0:
            return Taken(None, None)
        others = after.busy - self.busy - (after.own - self.own)
        return Taken(max(others, 0.0) / total, (after.stolen - self.stolen) / total)


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


def _vcgencmd(question: str) -> str | None:
    """What a Raspberry Pi's firmware answers; None elsewhere, or without leave to ask it."""
    try:
        done = subprocess.run(
            ["vcgencmd", question], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


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
