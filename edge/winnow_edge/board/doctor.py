"""Is this board fit to fly: versions, runtimes, processor, clock, disk, store, golden self-test.

Each check yields findings; what it cannot read on this board it says so, and never guesses.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from winnow_edge.board import host
from winnow_edge.bundle import find_bundle, open_bundle, shipped_bundles
from winnow_edge.errors import EXIT_INPUT, EXIT_OK, EXIT_RUNTIME, StoreError, WinnowEdgeError
from winnow_edge.runtimes import (
    REGISTERED,
    available_runtimes,
    edgetpu,
    load_classifier,
    tests_of,
)
from winnow_edge.store.file import SQLITE_VERSION, transaction_ms
from winnow_edge.store.schema import STORE_FILE
from winnow_edge.store.store import Store

PYTHON_MIN = (3, 11)
GLIBC_MIN = (2, 27)
"""The oldest C library that ai-edge-litert's wheels run on (their tag, manylinux_2_27)."""
MEMORY_MIN_MB = 200.0
"""Free memory below which a run may be killed: its peak of 80 MB and room for the system."""
DISK_MIN_MB = 300.0
"""Free disk for a store of the default quota and its log."""
DISK_LEAST_MB = 16.0
"""Free disk below which a store cannot even be begun: its log alone grows to 4 MB."""
SYNC_SLOW_MS = 50.0
HOT_C = 80.0
"""Raspberry Pis slow down from here (Raspberry Pi documentation, "Frequency management")."""
EARLIEST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""Winnow is younger than any clock that shows an earlier time."""
VOLATILE = ("tmpfs", "ramfs", "overlay", "squashfs")
"""File systems that do not outlive a power cut, or cannot be written."""

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    `state` is "ok", "warn" (flies, could be better) or "fail" (keeps it from flying); `found` what
    is there; `mend` what to do about it; `code` the exit code that a failure deserves.
    """

    what: str
    state: str
    found: str
    mend: str | None = None
    code: int = EXIT_RUNTIME


def examine(bundles: Sequence[str] = (), folder: str | os.PathLike[str] = ".") -> Iterator[Finding]:
    """Look at everything; `bundles` (default: those shipped) go through their self-test, `folder`
    is where the store is or will be. Findings come as they are made."""
    for check in (_python, _packages, _processor, _governor, _heat, _memory, _clock, _runtimes):
        yield from check()
    yield from _store(Path(folder))
    yield from _bundles(bundles)


def exit_code(findings: Sequence[Finding]) -> int:
    """0 if nothing fails, 3 if only bundles or the store's content do, else 4."""
    codes = {finding.code for finding in findings if finding.state == FAIL}
    return max(codes, default=EXIT_OK)


def _python() -> Iterator[Finding]:
    version, bits = platform.python_version(), 64 if sys.maxsize > 2**32 else 32
    library, _, release = "-".join(platform.libc_ver()).partition("-")
    found = f"{version}, {bits} bit, {platform.system()} {platform.machine()}, {library} {release}"
    if sys.version_info[:2] < PYTHON_MIN:
        yield Finding("python", FAIL, found, "install Python 3.11 or newer")
    elif bits == 32:
        yield Finding("python", FAIL, found, "install a 64-bit system: runtimes need one")
    elif library == "glibc" and _numbers(release) < GLIBC_MIN:
        yield Finding("python", FAIL, found, "a system with glibc 2.27 or newer")
    else:
        yield Finding("python", OK, found)


def _packages() -> Iterator[Finding]:
    try:
        yield Finding("winnow-edge", OK, importlib.metadata.version("winnow-edge"))
        required = importlib.metadata.requires("winnow-edge") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("winnow-edge", FAIL, "runs, but is not installed", "pip install its wheel")
        return
    for requirement in required:
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
        if match is None:
            continue  # an extra's
        name, least = match.groups()
        mend = f"pip install '{name}>={least}'"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, FAIL, "not installed", mend)
            continue
        old = _numbers(version) < _numbers(least)
        if old:
            yield Finding(name, FAIL, f"{version}, must be {least} or newer", mend)
        else:
            yield Finding(name, OK, version)
    yield Finding("sqlite", OK, SQLITE_VERSION)


def _processor() -> Iterator[Finding]:
    cpu = host.cpu()
    found = f"{cpu.model}, {cpu.cores} cores, {' '.join(cpu.features) or 'no int8 features'}"
    if {"amx_int8", "avx512_vnni", "avx_vnni", "asimddp", "i8mm"} & set(cpu.features):
        yield Finding("processor", OK, found)
    else:
        mend = "nothing to mend: int8 runs, slower than where there is one"
        yield Finding("processor", WARN, f"{found}; no int8 dot product", mend)


def _governor() -> Iterator[Finding]:
    names = host.governors()
    if not names:
        yield Finding("governor", OK, "the clock is not this system's to set")
    elif names == ("performance",):
        yield Finding("governor", OK, "performance")
    else:
        mend = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        yield Finding("governor", WARN, ", ".join(names), mend)
    clock = host.clock_mhz()
    if clock is not None and clock[0] < clock[1]:
        mend = "raise scaling_max_freq, unless the power budget asks for it"
        yield Finding("clock rate", WARN, f"held to {clock[0]:.0f} of {clock[1]:.0f} MHz", mend)


def _heat() -> Iterator[Finding]:
    degrees, held = host.temperature_c(), host.throttling()
    if degrees is not None:
        hot = degrees >= HOT_C
        mend = "cool it: the clock slows down from 80 °C" if hot else None
        yield Finding("temperature", WARN if hot else OK, f"{degrees:.0f} °C", mend)
    if held:
        mend = "check power supply and cooling, then reboot to clear the flags"
        yield Finding("throttling", WARN, ", ".join(held), mend)
    else:
        found = "none since boot" if held is not None else "not readable here"
        yield Finding("throttling", OK, found)


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
        yield Finding("memory", WARN, found, f"a run wants {MEMORY_MIN_MB:.0f} MB: stop something")


def _clock() -> Iterator[Finding]:
    """A clock that is far off dates nothing wrongly on board (nothing there is ordered by it), but
    pictures and logs are read by its time on the ground."""
    now = datetime.datetime.now(datetime.UTC)
    installed = datetime.datetime.fromtimestamp(Path(__file__).stat().st_mtime, datetime.UTC)
    synchronized = Path("/run/systemd/timesync/synchronized").exists()
    how = "set by network time" if synchronized else "not known to be set by network time"
    found = f"{now:%Y-%m-%d %H:%M:%S} UTC, {how}"
    mend = "set the clock (timedatectl), or give the board one that runs without power"
    if now < EARLIEST:
        yield Finding("clock", WARN, f"{found}; before Winnow was written", mend)
    elif now + datetime.timedelta(days=1) < installed:
        yield Finding("clock", WARN, f"{found}; before it was installed here", mend)
    else:
        yield Finding("clock", OK, found)


def _runtimes() -> Iterator[Finding]:
    usable = available_runtimes()
    for name, reason in usable.items():
        if name == "fake":
            continue
        if reason is None:
            yield Finding(f"runtime {name}", OK, REGISTERED[name].version())
        elif name == "litert":
            yield Finding(f"runtime {name}", FAIL, reason, "pip install ai-edge-litert")
        elif name == "edgetpu" and edgetpu.device() is not None:
            # One is attached and does not work: somebody meant it to.
            mend = "install libedgetpu1-std of the same age as the runtime (docs/deploy.md)"
            yield Finding(f"runtime {name}", WARN, reason, mend)
        else:
            yield Finding(f"runtime {name}", OK, f"not used: {reason}")


def _store(folder: Path) -> Iterator[Finding]:
    place = folder
    try:
        begun = _is_there(folder / STORE_FILE)
        while not _is_there(place):
            place = place.parent
    except (OSError, ValueError) as error:
        why = f"cannot be looked at: {getattr(error, 'strerror', None) or error}"
        yield Finding("store", FAIL, why, "name another folder with --store", EXIT_INPUT)
        return
    free = shutil.disk_usage(place).free / 1e6
    kind = _file_system(place)
    found = f"{free:,.0f} MB free at {place.resolve()} ({kind})"
    if free < DISK_LEAST_MB:
        yield Finding("disk", FAIL, found, "make room: a store cannot be begun")
    elif free < DISK_MIN_MB:
        mend = f"make room: a store of the default quota wants {DISK_MIN_MB:.0f} MB"
        yield Finding("disk", WARN, found, mend)
    elif kind in VOLATILE:
        mend = "put the store on a disk: this one forgets when power is cut"
        yield Finding("disk", WARN, found, mend)
    else:
        yield Finding("disk", OK, found)
    try:
        each = transaction_ms(place)
    except StoreError as error:
        mend = "make the store's folder writable, on a local disk"
        yield Finding("store write", FAIL, f"{place}: {error.what}", mend)
        return
    slow = each > SYNC_SLOW_MS
    mend_slow = "a faster card: every block waits for the disk" if slow else None
    found = f"{each:.1f} ms to put 4 kB and its transaction on the disk"
    yield Finding("store write", WARN if slow else OK, found, mend_slow)
    if begun:
        try:
            with Store.open(folder, mission=None, read_only=True) as store:
                swaths = len(store.swaths())
                damage = store.damage()
        except WinnowEdgeError as error:
            yield Finding("store", FAIL, error.what, error.hint, error.exit_code)
            return
        if damage is None:
            yield Finding("store", OK, f"{swaths} swaths, file intact")
        else:
            mend = "move it away; a new one is made"
            yield Finding("store", FAIL, f"damaged: {damage}", mend, EXIT_INPUT)


def _is_there(path: Path) -> bool:
    """As `Path.exists`. Raises OSError or ValueError for a path that cannot be looked at: closed,
    too long, with a NUL in it."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`, from /proc/self/mounts."""
    best, kind, place = -1, "unknown", str(path.resolve())
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return kind
    for line in mounts.splitlines():
        _, mount, name, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= best:
            best, kind = len(mount), name
    return kind


def _bundles(asked: Sequence[str]) -> Iterator[Finding]:
    names = list(asked) or [str(path) for path in shipped_bundles()]
    if not names:
        yield Finding("bundle", WARN, "none is installed", "name one: doctor BUNDLE")
    for name in names:
        label = f"bundle {Path(name).stem}"
        try:
            bundle = open_bundle(find_bundle(name))
            classifier = load_classifier(bundle, "auto")
            second = bundle.verifier
            if second is not None:
                load_classifier(second, "litert")
        except WinnowEdgeError as error:
            mend = error.hint or "copy or convert it again"
            yield Finding(label, FAIL, str(error.what), mend, error.exit_code)
            continue
        started = time.perf_counter()
        for _ in range(_INVOCATIONS):
            classifier.invoke_only()
        each = (time.perf_counter() - started) / _INVOCATIONS * 1000
        nets = [bundle] if second is None else [bundle, second]
        untested = [net.member for net in nets if not tests_of(net, classifier.actual)]
        if untested:
            found = f"no golden tiles of {', '.join(untested)} for {classifier.actual}"
            yield Finding(label, WARN, f"{found}: not tested", "convert the model again")
            continue
        found = f"{len(bundle.golden.tiles)} golden tiles agree on {classifier.actual}"
        found += f"; {each:.2f} ms per tile"
        if second is not None:
            found += f"; its verifier agrees on {len(second.golden.tiles)} on litert"
        yield Finding(label, OK, found)


_INVOCATIONS = 10


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
