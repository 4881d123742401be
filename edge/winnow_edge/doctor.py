"""Is this board fit to fly: versions, runtimes, processor, clock, disk, golden self-test."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from winnow_edge import host
from winnow_edge.bundle import find_bundle, open_bundle, shipped_bundles
from winnow_edge.errors import WinnowEdgeError
from winnow_edge.runtimes import available_runtimes, load_classifier

PYTHON_MIN = (3, 11)
MEMORY_MIN_MB = 200.0
"""Free memory below which a run may be killed: its peak of 80 MB and room for the system."""
DISK_MIN_MB = 300.0
"""Free disk for a store of the default quota and its log."""

OK, NOTE, BAD = "ok", "note", "bad"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `state` is "ok", "note" (works, could be better) or "bad"; `mend` says
    what to do about it."""

    what: str
    state: str
    found: str
    mend: str | None = None


def examine(bundle: str | None = None, folder: str | os.PathLike[str] = ".") -> list[Finding]:
    """Look at everything; `bundle` is tested besides the shipped ones, `folder` holds the store."""
    findings: list[Finding] = []
    for check in (_python, _packages, _processor, _clock, _memory, _runtimes):
        findings += check()
    findings += _disk(Path(folder))
    findings += _bundles(bundle)
    return findings


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    if sys.version_info[:2] >= PYTHON_MIN:
        yield Finding("python", OK, f"{version} on {platform.machine()}, {platform.system()}")
    else:
        yield Finding("python", BAD, version, "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    for name in ("winnow-edge", "numpy", "ai-edge-litert", "pillow", "spacepackets"):
        try:
            yield Finding(name, OK, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, BAD, "not installed", f"pip install {name}")
    yield Finding("sqlite", OK, sqlite3.sqlite_version)


def _processor() -> Iterator[Finding]:
    cpu = host.cpu()
    found = f"{cpu.model}, {cpu.cores} cores, {' '.join(cpu.features) or 'no int8 features'}"
    fast = {"avx512_vnni", "avx_vnni", "asimddp", "i8mm"} & set(cpu.features)
    if fast:
        yield Finding("processor", OK, found)
    else:
        yield Finding(
            "processor", NOTE, f"{found}; no int8 dot product", "int8 runs, about half as fast"
        )


def _clock() -> Iterator[Finding]:
    governor, degrees, held = host.governor(), host.temperature_c(), host.throttling()
    if governor is None:
        yield Finding("governor", NOTE, "not readable here", "normal in virtual machines")
    elif governor == "performance":
        yield Finding("governor", OK, governor)
    else:
        mend = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        yield Finding("governor", NOTE, governor, mend)
    if degrees is not None:
        hot = degrees >= 80
        cool = "cool it: Raspberry Pis slow down from 80 °C" if hot else None
        yield Finding("temperature", NOTE if hot else OK, f"{degrees:.0f} °C", cool)
    if held:
        mend = "check power supply and cooling, then reboot to clear the flags"
        yield Finding("throttling", NOTE, ", ".join(held), mend)
    elif held is not None:
        yield Finding("throttling", OK, "none since boot")


def _memory() -> Iterator[Finding]:
    fields = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        fields[key] = int(value.split()[0]) * 1024 / 1e6
    free, total = fields.get("MemAvailable", 0.0), fields.get("MemTotal", 0.0)
    found = f"{free:,.0f} of {total:,.0f} MB free"
    if free >= MEMORY_MIN_MB:
        yield Finding("memory", OK, found)
    else:
        yield Finding("memory", NOTE, found, f"a run wants {MEMORY_MIN_MB:.0f} MB: stop something")


def _runtimes() -> Iterator[Finding]:
    for name, reason in available_runtimes().items():
        if name == "fake":
            continue
        if reason is None:
            yield Finding(f"runtime {name}", OK, "usable")
        else:
            state = BAD if name == "litert" else NOTE
            yield Finding(f"runtime {name}", state, reason, _RUNTIME_MENDS[name])


_RUNTIME_MENDS = {
    "litert": "pip install ai-edge-litert (64-bit systems only)",
    "tflite": "only for boards without LiteRT: pip install 'winnow-edge[tflite]' on Python 3.11",
    "edgetpu": "only for Coral: attach it and apt-get install libedgetpu1-std",
}


def _disk(folder: Path) -> Iterator[Finding]:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e6
    mend = f"a store of the default quota wants {DISK_MIN_MB:.0f} MB"
    if free >= DISK_MIN_MB:
        yield Finding("disk", OK, f"{free:,.0f} MB free at {folder.resolve()}")
    else:
        yield Finding("disk", NOTE, f"{free:,.0f} MB free at {folder.resolve()}", mend)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".winnow-doctor-") as file:
            started = time.perf_counter()
            for _ in range(_SYNCS):
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
            each = (time.perf_counter() - started) / _SYNCS * 1000
    except OSError as error:
        mend = "make the store's folder writable"
        yield Finding("sync", BAD, f"cannot write: {error.strerror}", mend)
        return
    found = f"{each:.1f} ms to put 4 kB on the disk"
    slow = each > 50
    mend_slow = "a faster card: every band waits for the disk" if slow else None
    yield Finding("sync", NOTE if slow else OK, found, mend_slow)


_SYNCS = 10


def _bundles(asked: str | None) -> Iterator[Finding]:
    makers: list[tuple[str, Callable[[], Path]]]
    if asked is not None:
        makers = [(asked, lambda: find_bundle(asked))]
    else:
        makers = [(path.stem, lambda path=path: path) for path in shipped_bundles()]  # type: ignore[misc]
        if not makers:
            yield Finding("bundles", NOTE, "none are installed", "name one: doctor BUNDLE")
    for name, path_of in makers:
        try:
            bundle = open_bundle(path_of())
            classifier = load_classifier(bundle, "auto")
            started = time.perf_counter()
            for _ in range(_INVOCATIONS):
                classifier.invoke_only()
            each = (time.perf_counter() - started) / _INVOCATIONS * 1000
        except WinnowEdgeError as error:
            yield Finding(f"bundle {name}", BAD, error.what, error.hint)
            continue
        tests = len(bundle.golden.tiles)
        found = f"{tests} golden tiles agree on {classifier.actual}; {each:.2f} ms per tile"
        yield Finding(f"bundle {name}", OK, found)


_INVOCATIONS = 30
