"""Coral Edge TPU through the `libedgetpu` delegate.

A library that does not match the interpreter can take the whole process down, so it is first loaded
in a process of its own. The bundle must carry the model that `edgetpu_compiler` made: an uncompiled
one would run on the CPU without a word.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from winnow_edge.bundle import Bundle
from winnow_edge.errors import RuntimeUnavailableError
from winnow_edge.runtimes import litert
from winnow_edge.runtimes.contract import Runtime, register
from winnow_edge.runtimes.litert import InterpreterClassifier

NAME = "edgetpu"
LIBRARY = "libedgetpu.so.1"
USB_IDS = (("1a6e", "089a"), ("18d1", "9302"))
"""Vendor and product of the USB accelerator before and after its firmware is loaded (Coral docs,
"Get started with the USB Accelerator")."""
PROBE_SECONDS = 30.0

_PROBE = """
import sys
from ai_edge_litert.interpreter import load_delegate
load_delegate(sys.argv[1])
"""
_DELEGATE_VERSION = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.edgetpu_version.restype = ctypes.c_char_p
print(library.edgetpu_version().decode())
"""


def device() -> str | None:
    """Where an Edge TPU is attached (`/dev/apex_N` on PCIe, a USB id), or None."""
    for node in sorted(Path("/dev").glob("apex_*")):
        return str(node)
    for vendor_file in sorted(Path("/sys/bus/usb/devices").glob("*/idVendor")):
        try:
            ids = (
                vendor_file.read_text().strip(),
                vendor_file.with_name("idProduct").read_text().strip(),
            )
        except OSError:
            continue  # unplugged while we looked
        if ids in USB_IDS:
            return f"USB {ids[0]}:{ids[1]}"
    return None


@functools.lru_cache(maxsize=4)
def probe(library: str = LIBRARY) -> str | None:
    """Load the delegate in another process; None if it works, else what happened."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, library],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"loading {library} did not end within {PROBE_SECONDS:g} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"loading {library} crashed (signal {-done.returncode}): wrong version"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"{library} cannot be loaded ({last})"


def why_not() -> str | None:
    """None if an Edge TPU is usable, else the reason."""
    if (reason := litert.why_not()) is not None:
        return reason
    if device() is None:
        return "no Edge TPU is attached"
    return probe()


def load(bundle: Bundle, *, requested: str = NAME) -> InterpreterClassifier:
    """The bundle's compiled model on the Edge TPU.

    Raises RuntimeUnavailableError if device, library or compiled model is missing.
    """
    if (reason := why_not()) is not None:
        raise RuntimeUnavailableError(
            reason, where=NAME, hint="attach one and install libedgetpu1-std, or use litert"
        )
    model = bundle.model_edgetpu
    if model is None:
        raise RuntimeUnavailableError(
            "the bundle carries no model compiled for the Edge TPU",
            where=bundle.path,
            hint="convert it where edgetpu_compiler is installed, or use runtime litert",
        )
    module = import_module("ai_edge_litert.interpreter")
    return InterpreterClassifier(
        bundle,
        requested,
        NAME,
        lambda: module.Interpreter(
            model_content=model, experimental_delegates=[module.load_delegate(LIBRARY)]
        ),
    )


def delegate_version(library: str = LIBRARY) -> str:
    """What libedgetpu says of itself (`edgetpu_version` in its edgetpu_c.h), asked in another
    process because a mismatched library can take the asking one down."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DELEGATE_VERSION, library],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "version unknown"
    return done.stdout.strip() if done.returncode == 0 else "version unknown"


def version() -> str:
    """Where the device is attached, and what its library says of itself."""
    return f"{device()}, {delegate_version()}"


register(Runtime(NAME, why_not, load, version))
