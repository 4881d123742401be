"""The shim: compiled where there is a compiler, and the traces that it writes."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
READS, GROWS, RENAMES, SYNCS = 1, 2, 4, 8
"""Kinds of calls that can be made to fail."""
CHANGES = GROWS | RENAMES | SYNCS
FAILS, SHORT, KILLS = 0, 1, 2
"""How: an error, half of a write, or the process is killed."""
_HEAD = struct.Struct("=6Q")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that changed the folder or put a change on the disk, or a mark of the program.

    `op`: C create a file, T truncate it to `a`, W write `data` at `a`, A allocate `b` octets at
    `a`, S put it on the disk; of names R rename, L link, U unlink, M make and X remove a folder,
    D put a folder on the disk; m shared memory, P a mark, ? a call that the model does not know.
    """

    op: str
    inode: int
    a: int
    b: int
    path: str
    data: bytes


def compiled(folder: Path) -> Path:
    """The shim as a library in `folder`; the test that asks is skipped where none can be made."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        pytest.skip("the shim is for Linux with glibc")
    if compiler is None:
        pytest.skip("no C compiler for the shim; on Debian: apt-get install gcc libc6-dev")
    if not any((Path(p) / "dlfcn.h").exists() for p in ("/usr/include", "/usr/local/include")):
        pytest.skip(
            "no headers of the C library for the shim; on Debian: apt-get install libc6-dev"
        )
    library = folder / "shim.so"
    flags = ["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wno-nonnull-compare"]
    subprocess.run(
        [compiler, *flags, "-o", library, HERE / "shim.c", "-ldl", "-lpthread"], check=True
    )
    return library


def loaded() -> ctypes.CDLL:
    """The shim of this process, which was started under it."""
    shim = ctypes.CDLL(None)
    shim.power_fault.argtypes = [ctypes.c_long, *[ctypes.c_int] * 4]
    shim.power_fault.restype = None
    shim.power_calls.restype = ctypes.c_long
    return shim


def environment(library: Path, root: Path, trace: Path | None) -> Mapping[str, str]:
    """For a process whose changes to `root` are written to `trace`."""
    more = {"POWER_TRACE": str(trace)} if trace is not None else {}
    # A process that forks has one thread.
    more["OPENBLAS_NUM_THREADS"] = "1"
    return {**os.environ, "LD_PRELOAD": str(library), "POWER_ROOT": str(root), **more}


def read(trace: Path) -> Iterator[Call]:
    """The records of a trace."""
    with trace.open("rb") as stream:
        while head := stream.read(_HEAD.size):
            op, inode, a, b, path, size = _HEAD.unpack(head)
            name = os.fsdecode(stream.read(path))
            yield Call(chr(op), inode, a, b, name, stream.read(size))
