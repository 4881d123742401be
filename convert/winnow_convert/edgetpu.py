"""`edgetpu_compiler`, called where it is installed, and its log read.

The compiler is Google's, closed, and in no package registry (coral.ai/docs/edgetpu/compiler; its
last version, 16.0.384591198, is of 2021, for x86-64 Debian). Without it
`winnow_convert.readiness` says what it would do.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from winnow_base.errors import MissingExtraError, ModelError

COMPILER = "edgetpu_compiler"
SECONDS = 240.0
"""The compiler itself gives up after 180 s."""
MAPPED = "Mapped to Edge TPU"
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class CompilerLog:
    """What the compiler said: its `version`, the `ops` by name and status (an op may have several)
    with their count, bytes of parameters kept on the device (`cached_bytes`) and fetched for every
    tile (`streamed_bytes`)."""

    version: str
    ops: dict[tuple[str, str], int]
    cached_bytes: int
    streamed_bytes: int

    @property
    def total(self) -> int:
        """Number of ops."""
        return sum(self.ops.values())

    @property
    def mapped(self) -> int:
        """Number of ops that run on the device."""
        return sum(n for (_, status), n in self.ops.items() if status == MAPPED)

    @property
    def refused(self) -> dict[tuple[str, str], int]:
        """Those of `ops` that run on the CPU, their status the reason."""
        return {key: n for key, n in self.ops.items() if key[1] != MAPPED}


@dataclass(frozen=True)
class Compiled:
    """`model`, a flatbuffer for the device, and the log of its compilation."""

    model: bytes
    log: CompilerLog


def find_compiler() -> str | None:
    """Where `edgetpu_compiler` is installed."""
    return shutil.which(COMPILER)


def compile_model(flatbuffer: bytes, name: str) -> Compiled:
    """An int8 flatbuffer compiled for the Edge TPU.

    Raises MissingExtraError where the compiler is not installed, and ModelError with its reason
    where it does not compile the model.
    """
    compiler = find_compiler()
    if compiler is None:
        raise MissingExtraError(
            f"{COMPILER} is not installed",
            hint="see coral.ai/docs/edgetpu/compiler, or leave out --edgetpu",
        )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.tflite"
        source.write_bytes(flatbuffer)
        command = [compiler, "--show_operations", "--out_dir", folder, str(source)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except OSError as error:
            raise ModelError(f"cannot be run: {error.strerror}", where=compiler) from None
        except subprocess.TimeoutExpired:
            raise ModelError(f"took over {SECONDS:g} s with {name}", where=compiler) from None
        compiled = source.with_name("model_edgetpu.tflite")
        if done.returncode != 0 or not compiled.is_file():
            reason = _reason(done.stdout + "\n" + done.stderr)
            raise ModelError(f"does not take {name}: {reason}", where=compiler)
        log = parse_log(done.stdout)
        if not log.ops:
            raise ModelError("its log names no ops: another version?", where=compiler)
        return Compiled(compiled.read_bytes(), log)


def parse_log(log: str) -> CompilerLog:
    """Read what `edgetpu_compiler --show_operations` prints."""
    version = re.search(r"^Edge TPU Compiler version (\S+)", log, re.MULTILINE)
    ops: dict[tuple[str, str], int] = {}
    for row in re.finditer(r"^([A-Z][A-Z0-9_]+)[ \t]+(\d+)[ \t]+(\S.*?)\s*$", log, re.MULTILINE):
        key = row[1], row[3]
        ops[key] = ops.get(key, 0) + int(row[2])
    return CompilerLog(
        version=version[1] if version else "unknown",
        ops=ops,
        cached_bytes=_size(log, "On-chip memory used for caching model parameters"),
        streamed_bytes=_size(log, "Off-chip memory used for streaming uncached model parameters"),
    )


def _size(log: str, what: str) -> int:
    found = re.search(rf"^{what}: (\d+(?:\.\d+)?)([KMG]iB|B)\b", log, re.MULTILINE)
    return round(float(found[1]) * _UNITS[found[2]]) if found else 0


def _reason(log: str) -> str:
    """The line that says why: what follows "ERROR:" or "Invalid model", else the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [x for x in lines if x.startswith(("ERROR", "Invalid", "Internal", "Unsupported"))]
    return (telling or lines[-1:] or ["it said nothing"])[0]
