"""Bias correction of an int8 flatbuffer.

Rounding weights and activations shifts the mean of every channel, and the shift is passed on and
amplified layer by layer. It is measured on calibration tiles, layer by layer in graph order against
the float model, and taken out of the layer's int32 bias: empirical bias correction (Nagel et al.
2019, arXiv:1906.04721, section 4.2). The corrections of earlier layers are in force when a later
one is measured. Ops, scales and size stay what they were.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_convert.data import Progress
from winnow_convert.layers import KeepingInterpreter

UInt8Array = npt.NDArray[np.uint8]
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
FEWEST = 32
"""Values of a channel off both ends of its range that a mean must rest on."""


def correct_biases(floats: bytes, int8: bytes, tiles: UInt8Array, progress: Progress) -> bytes:
    """The int8 flatbuffer with corrected biases; `floats` is the same net in float32, `tiles`
    uint8 (n, height, width, channels)."""
    corrected = bytearray(int8)
    biases = _bias_views(corrected)
    old = KeepingInterpreter(floats)
    wanted = {t["name"]: t for t in old.tensors}
    layers = [op for op in KeepingInterpreter(int8).ops if op["op_name"] in LAYERS]
    for done, op in enumerate(layers, start=1):
        new = KeepingInterpreter(bytes(corrected))
        out = new.by_index[op["outputs"][0]]
        bias = biases.get(op["inputs"][2]) if len(op["inputs"]) > 2 else None
        if bias is not None and out["name"] in wanted:
            shift = _channel_shift(old, new, wanted[out["name"]], out, tiles)
            scales = _bias_scales(new, op)
            bias -= np.rint(shift / scales).astype(np.int32)
        progress("correcting biases", done, len(layers))
    return bytes(corrected)


def _channel_shift(
    old: KeepingInterpreter,
    new: KeepingInterpreter,
    theirs: dict[str, Any],
    mine: dict[str, Any],
    tiles: UInt8Array,
) -> npt.NDArray[np.float64]:
    """Mean of int8 minus float per output channel, over the values that neither clips: a fused
    ReLU6 hides the shift of what it clips. 0 where too few are left."""
    scale, zero = mine["quantization"]
    low, high = scale * (-128 - zero), scale * (127 - zero)
    total = count = np.zeros(int(mine["shape"][-1]))
    for tile in tiles:
        old.run(tile[np.newaxis].astype(np.float32))
        new.run((tile[np.newaxis] ^ np.uint8(0x80)).view(np.int8))
        x = old.value(theirs).reshape(-1, total.size).astype(np.float64)
        q = new.value(mine).reshape(-1, total.size)
        free = (q > -128) & (q < 127) & (x > low) & (x < high)
        error = scale * (q.astype(np.float64) - zero) - x
        total = total + np.where(free, error, 0.0).sum(axis=0)
        count = count + free.sum(axis=0)
    return np.where(count >= FEWEST, total / np.maximum(count, 1), 0.0)


def _bias_scales(model: KeepingInterpreter, op: dict[str, Any]) -> npt.NDArray[np.float64]:
    details = model.by_index[op["inputs"][2]]["quantization_parameters"]
    return np.asarray(details["scales"], np.float64)


def _bias_views(flatbuffer: bytearray) -> dict[int, npt.NDArray[np.int32]]:
    """Writable views of the int32 constants in a flatbuffer by tensor index; none that several
    tensors share."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    model = schema.Model.GetRootAs(flatbuffer, 0)
    graph = model.Subgraphs(0)
    users: dict[int, list[int]] = {}
    for index in range(graph.TensorsLength()):
        users.setdefault(graph.Tensors(index).Buffer(), []).append(index)
    views = {}
    for buffer, tensors in users.items():
        tensor = graph.Tensors(tensors[0])
        if len(tensors) == 1 and tensor.Type() == schema.TensorType.INT32:
            data = model.Buffers(buffer).DataAsNumpy()
            if isinstance(data, np.ndarray) and data.nbytes:
                views[tensors[0]] = data.view(np.int32)
    return views
