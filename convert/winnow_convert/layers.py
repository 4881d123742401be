"""Where the loss comes from: signal-to-quantization-noise of every activation and weight.

The float and the int8 flatbuffer of one graph hold the same tensors under the same names. Both run
over calibration tiles with every intermediate kept, and per tensor
``SQNR = 10 log10(sum x^2 / sum (x - q)^2)`` in decibels, with x the float value and q the
dequantized int8 value, so an activation's figure includes the noise that it inherits.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.console import quiet_stderr
from winnow_base.errors import ModelError
from winnow_convert.flatbuffer import read_graph, with_outputs

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LayerNoise:
    """One op's output: `sqnr` of the activation in dB, `saturated` the share of its float values
    that lie beyond the int8 range, `weight_sqnr` of its weights in dB (None: it has none)."""

    index: int
    op: str
    name: str
    shape: tuple[int, ...]
    scale: float
    sqnr: float
    saturated: float
    weight_sqnr: float | None


def layer_noise(floats: bytes, int8: bytes, tiles: UInt8Array) -> list[LayerNoise]:
    """Noise of every int8 op's output, in graph order, over `tiles` uint8 (n, h, w, c)."""
    old, new = KeepingInterpreter(floats), KeepingInterpreter(int8)
    wanted = {t["name"]: t for t in old.tensors}
    ops = [op for op in new.ops if len(op["outputs"])]
    pairs = [
        (op, new.by_index[op["outputs"][0]], wanted[name])
        for op in ops
        if (name := new.by_index[op["outputs"][0]]["name"]) in wanted
    ]
    signal, noise, ends, count = (np.zeros(len(pairs)) for _ in range(4))
    for tile in tiles:
        old.run(tile[np.newaxis].astype(np.float32))
        new.run((tile[np.newaxis] ^ np.uint8(0x80)).view(np.int8))
        for k, (_, mine, theirs) in enumerate(pairs):
            x = old.value(theirs).astype(np.float64).ravel()
            q = new.value(mine).ravel()
            scale, zero = mine["quantization"]
            real = scale * (q.astype(np.float64) - zero)
            signal[k] += float(x @ x)
            noise[k] += float((x - real) @ (x - real))
            # A ReLU's zeros lie at the end of the range, not beyond it.
            low, high = scale * (-128.5 - zero), scale * (127.5 - zero)
            ends[k] += int(((x < low) | (x > high)).sum())
            count[k] += q.size
    return [
        LayerNoise(
            index=int(op["index"]),
            op=str(op["op_name"]),
            name=str(mine["name"]).split(";")[0],
            shape=tuple(int(n) for n in mine["shape"]),
            scale=float(mine["quantization"][0]),
            sqnr=_decibels(signal[k], noise[k]),
            saturated=float(ends[k] / count[k]) if count[k] else 0.0,
            weight_sqnr=_weight_noise(op, old, new, wanted),
        )
        for k, (op, mine, _) in enumerate(pairs)
    ]


class KeepingInterpreter:
    """A flatbuffer that shows what its layers give, run by the kernels that fly (XNNPACK).

    A delegate keeps what passes between its ops to itself, so the tensors to `keep` (indices; the
    outputs of all ops if not given) become outputs of the graph. `tensors` and `ops` are LiteRT's
    details of the model, `input` those of its input.
    """

    def __init__(self, flatbuffer: bytes, keep: Sequence[int] | None = None) -> None:
        litert = importlib.import_module("ai_edge_litert.interpreter")
        if keep is None:
            keep = [t.index for op in read_graph(flatbuffer).ops for t in op.outputs]
        with quiet_stderr():
            self._interpreter = litert.Interpreter(
                model_content=with_outputs(flatbuffer, keep), num_threads=1
            )
            try:
                self._interpreter.allocate_tensors()
            except RuntimeError as error:  # scales that no kernel takes
                raise ModelError(
                    "its int8 form does not run: what its layers give has no sound range",
                    hint="the net is ruined: train it again at a lower learning rate",
                ) from error
        self.tensors: list[dict[str, Any]] = self._interpreter.get_tensor_details()
        self.by_index = {t["index"]: t for t in self.tensors}
        self.ops: list[dict[str, Any]] = [
            op for op in self._interpreter._get_ops_details() if op["op_name"] != "DELEGATE"
        ]
        self.input: dict[str, Any] = self._interpreter.get_input_details()[0]

    def run(self, tile: Any) -> None:
        """Run one tile of shape (1, height, width, channels)."""
        self._interpreter.set_tensor(self.input["index"], tile)
        self._interpreter.invoke()

    def value(self, tensor: dict[str, Any]) -> Any:
        """What a tensor held after the last run, if it is a constant or kept."""
        return self._interpreter.get_tensor(tensor["index"])


def _weight_noise(
    op: dict[str, Any], old: KeepingInterpreter, new: KeepingInterpreter, wanted: dict[str, Any]
) -> float | None:
    """SQNR of the op's int8 constant (its second input) against the float one of the same name."""
    if "CONV" not in op["op_name"] and "FULLY" not in op["op_name"]:
        return None
    weights = new.by_index[op["inputs"][1]]
    theirs = wanted.get(weights["name"])
    if theirs is None:
        return None
    quantized = weights["quantization_parameters"]
    q = new.value(weights).astype(np.float64)
    shape = [1] * q.ndim
    shape[quantized["quantized_dimension"]] = -1
    real = q * np.reshape(quantized["scales"], shape)
    x = old.value(theirs).astype(np.float64)
    if x.shape != real.shape:
        return None
    return _decibels(float((x * x).sum()), float(((x - real) ** 2).sum()))


def _decibels(signal: float, noise: float) -> float:
    return float(10 * np.log10(signal / noise)) if noise > 0 and signal > 0 else float("inf")
