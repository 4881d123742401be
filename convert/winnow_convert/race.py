"""Nets side by side: bytes and time of an invocation here, least times on boards that fly.

Everything is run by LiteRT on one thread, in short bursts and in turns, so that what else the
machine does weighs on all alike. Float nets are run as float flatbuffers of the same graph.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from winnow_base.console import quiet_stderr
from winnow_base.errors import ModelError
from winnow_base.progress import Step
from winnow_convert.flatbuffer import read_graph
from winnow_convert.profile import BOARDS, Board, least_ms
from winnow_convert.source import DESCRIPTION_FILE, MODEL_FILE
from winnow_edge.board import host
from winnow_edge.board.bench import OTHERS_MAX
from winnow_edge.bundle import find_bundle, open_bundle

_IDENTIFIER: Final = b"TFL3"  # octets 4 to 7 of a TFLite flatbuffer
BURST_SECONDS = 0.05
"""Each net is run for about so long before the next one's turn."""
FEWEST_ROUNDS = 5
WARM_UP = 10
LEAST = 5
"""Invocations of a burst, however slow the net."""
ALIKE = 1.05
"""Times of processor that differ by less are called alike."""

_A72, _A76, _TPU = BOARDS
_A53 = (
    "LLVM AArch64SchedA53.td: one SIMD multiplication a cycle, SMLAL of 8 int8 products; "
    "JESD209-2: LPDDR2 with at most 1066 MT/s, 32 bits wide; product brief: "
)


def _a53(name: str, hertz: float, brief: str) -> Board:
    return Board(name, 8 * hertz, 8 * hertz, 1066e6 * 4, None, True, _A53 + brief)


FLOWN: Final = {
    "Zero 2 W": _a53("Cortex-A53", 1.0e9, "Raspberry Pi Zero 2 W, 1 GHz"),
    "Pi 3": _a53("Cortex-A53", 1.2e9, "Raspberry Pi 3 Model B, 1.2 GHz"),
    "Pi 4": _A72,
    "Pi 5": _A76,
    "Coral USB": _TPU,
}
"""Boards by short name; one core each."""


@dataclass(frozen=True)
class Net:
    """A net to be timed: `kind` is float or int8, `bytes` those of the flatbuffer."""

    name: str
    kind: str
    flatbuffer: bytes

    @property
    def bytes(self) -> int:
        """Of the flatbuffer."""
        return len(self.flatbuffer)


@dataclass(frozen=True)
class Timed:
    """A net and its figures: `ms` an invocation took (median over rounds of a burst's median),
    `cpu_ms` of processor time, `mmac` million multiply-accumulates, `least_ms` by board, which are
    lower bounds (`profile`; empty for float nets)."""

    net: Net
    ms: float
    cpu_ms: float
    mmac: float
    least_ms: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.net.name,
            "kind": self.net.kind,
            "bytes": self.net.bytes,
            "ms": round(self.ms, 4),
            "cpu_ms": round(self.cpu_ms, 4),
            "mmac": round(self.mmac, 3),
            "board_least_ms": {name: round(ms, 3) for name, ms in self.least_ms.items()},
        }


@dataclass(frozen=True)
class Race:
    """All nets, how often each was run, and the share of the processor that others took."""

    nets: tuple[Timed, ...]
    rounds: int
    others: float | None

    @property
    def busy(self) -> bool:
        """Whether others took so much that times on the clock say little."""
        return self.others is not None and self.others > OTHERS_MAX

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "machine": host.cpu().model,
            "rounds": self.rounds,
            "others_share": None if self.others is None else round(self.others, 3),
            "nets": [timed.as_json() for timed in self.nets],
            "boards": {name: board.source for name, board in FLOWN.items()},
            "verdict": verdict(self.nets),
        }


def open_net(what: str) -> Net:
    """A bundle by file or shipped name, a `.tflite` file, or a run folder of `winnow train`.

    Only a run folder needs TensorFlow, which makes a float flatbuffer of it. Raises ModelError,
    BundleError, MissingExtraError.
    """
    path = Path(what)
    if path.is_dir() or path.name in (MODEL_FILE, DESCRIPTION_FILE):
        from winnow_convert.ptq import to_float
        from winnow_convert.source import load_source

        source = load_source(path)
        return Net(f"{source.name} (float)", "float", to_float(source))
    if path.suffix == ".tflite" or path.suffix == ".keras":
        return _flatbuffer(path)
    bundle = open_bundle(find_bundle(what))
    return Net(bundle.manifest.name, "int8", bundle.model)


def _flatbuffer(path: Path) -> Net:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(error.strerror or "cannot be read", where=path) from None
    if data[4:8] != _IDENTIFIER:
        hint = "give a bundle, a .tflite file or the run folder of `winnow train`"
        raise ModelError("is no TFLite flatbuffer", where=path, hint=hint)
    try:
        graph = read_graph(data)
    except ModelError as error:
        raise ModelError(error.what, where=path, hint="make or fetch it anew") from None
    if len(graph.inputs) != 1 or graph.inputs[0].dtype not in ("FLOAT32", "INT8", "UINT8"):
        raise ModelError("has not one input of float32, int8 or uint8", where=path)
    work = [op.outputs[0].dtype for op in graph.ops if op.macs]
    return Net(path.stem, "int8" if {"INT8", "UINT8"} & set(work) else "float", data)


def race(nets: Sequence[Net], seconds: float, progress: Step) -> Race:
    """Time nets in turns for about so many seconds, and at least FEWEST_ROUNDS rounds."""
    runners = [_Runner(net) for net in nets]
    before = host.ProcessorTime.now()
    started, gone, rounds = time.perf_counter(), 0.0, 0
    while rounds < FEWEST_ROUNDS or gone < seconds:
        for runner in runners:
            runner.burst()
        rounds += 1
        gone = time.perf_counter() - started
        progress(f"timing {len(nets)} nets, seconds", min(int(gone), int(seconds)), int(seconds))
    return Race(tuple(runner.timed() for runner in runners), rounds, before.since().others)


class _Runner:
    """A net in an interpreter of its own, with pixels that do not matter in its input."""

    def __init__(self, net: Net) -> None:
        self._net, self._graph = net, read_graph(net.flatbuffer)
        if any(tensor.dynamic for tensor in self._graph.inputs):
            raise ModelError("has an input of no fixed size", where=net.name)
        litert = importlib.import_module("ai_edge_litert.interpreter")
        try:
            with quiet_stderr():
                self._interpreter = litert.Interpreter(model_content=net.flatbuffer, num_threads=1)
                self._interpreter.allocate_tensors()
            (entry,) = self._interpreter.get_input_details()
            pixels = np.random.default_rng(1).integers(0, 256, entry["shape"])
            shift = 128 if entry["dtype"] == np.int8 else 0
            self._interpreter.set_tensor(entry["index"], (pixels - shift).astype(entry["dtype"]))
            started = time.perf_counter()
            for _ in range(WARM_UP):
                self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            said = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise ModelError(f"does not run on LiteRT: {said}", where=net.name) from None
        each = (time.perf_counter() - started) / WARM_UP
        self._calls = max(LEAST, round(BURST_SECONDS / each))
        self._ms: list[float] = []
        self._cpu_ms: list[float] = []

    def burst(self) -> None:
        """Its turn in a round."""
        invoke, walls = self._interpreter.invoke, []
        cpu = time.thread_time()
        for _ in range(self._calls):
            started = time.perf_counter()
            invoke()
            walls.append(time.perf_counter() - started)
        self._cpu_ms.append((time.thread_time() - cpu) * 1000 / self._calls)
        self._ms.append(statistics.median(walls) * 1000)

    def timed(self) -> Timed:
        """Its figures over all rounds."""
        least = {}
        if self._net.kind == "int8":
            least = {name: least_ms(self._graph, board) for name, board in FLOWN.items()}
        return Timed(
            self._net,
            statistics.median(self._ms),
            statistics.median(self._cpu_ms),
            self._graph.macs / 1e6,
            least,
        )


def verdict(nets: Sequence[Timed]) -> str:
    """One line: int8 against float where both are there, else the fastest against the slowest.

    Compared is processor time, which other processes disturb least.
    """
    floats = [t for t in nets if t.net.kind == "float"]
    small = [t for t in nets if t.net.kind == "int8"]
    if floats and small:
        one, other = floats[0], min(small, key=lambda t: abs(t.mmac - floats[0].mmac))
        same = abs(one.mmac - other.mmac) <= 0.01 * one.mmac
        what = "" if same else f" (another net: {other.mmac:.1f} MMAC against {one.mmac:.1f})"
    else:
        other, one = min(nets, key=lambda t: t.cpu_ms), max(nets, key=lambda t: t.cpu_ms)
        what = ""
    if one is other:
        return f"{one.net.name} takes {_ms(one.cpu_ms)} ms a tile here, {_kb(one.net)} kB"
    ratio = one.cpu_ms / other.cpu_ms
    if max(ratio, 1 / ratio) < ALIKE:
        faster = "about as fast as"
    else:
        faster = (
            f"{ratio:.1f} times as fast as" if ratio > 1 else f"{1 / ratio:.1f} times slower than"
        )
    return (
        f"{other.net.name} in {other.net.kind} is {faster} {one.net.name} here{what}: "
        f"{_ms(other.cpu_ms)} ms against {_ms(one.cpu_ms)}, {_kb(other.net)} kB against "
        f"{_kb(one.net)}"
    )


def _ms(value: float) -> str:
    return f"{value:.3g}"


def _kb(net: Net) -> str:
    return f"{net.bytes / 1000:,.0f}"
