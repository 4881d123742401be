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

from winnow_base.progress import Step
from winnow_convert.layers import KeepingInterpreter

UInt8Array = npt.NDArray[np.uint8]
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
PASSES = 2
FEWEST_TILES, VALUES = 32, 2048
"""A mean is taken over so many values of a channel, if the calibration tiles give them, and over so
many tiles at least: pixels of one tile are not independent."""
FEWEST_VALUES = 32
"""Unclipped values of a channel that a mean must rest on; with fewer its bias stays."""


def correct_biases(floats: bytes, int8: bytes, tiles: UInt8Array, progress: Step) -> bytes:
    """The int8 flatbuffer with corrected biases.

    `floats` is the same net in float32, `tiles` uint8 (n, height, width, channels). Every layer is
    corrected PASSES times, each time on other tiles: the second pass sees what the first left.
    """
    corrected = bytearray(int8)
    biases = _bias_views(corrected)
    old, new = KeepingInterpreter(floats), KeepingInterpreter(int8)
    wanted = {t["name"]: t for t in old.tensors}
    layers = [
        op
        for op in new.ops
        if op["op_name"] in LAYERS
        and len(op["inputs"]) > 2
        and op["inputs"][2] in biases
        and new.by_index[op["outputs"][0]]["name"] in wanted
    ]
    outputs = [new.by_index[op["outputs"][0]] for op in layers]
    needed = [_tiles_for(out, len(tiles)) for out in outputs]
    for turn in range(PASSES):
        own = np.roll(tiles, -turn * max(needed, default=0) // PASSES, axis=0)
        targets = _float_outputs(old, [wanted[out["name"]] for out in outputs], needed, own)
        for k, (op, out) in enumerate(zip(layers, outputs, strict=True)):
            new = KeepingInterpreter(bytes(corrected), [out["index"]])
            shift = _channel_shift(new, out, targets[k], own)
            scales = new.by_index[op["inputs"][2]]["quantization_parameters"]["scales"]
            biases[op["inputs"][2]] -= np.rint(shift / scales).astype(np.int32)
            progress("correcting biases", turn * len(layers) + k + 1, PASSES * len(layers))
    return bytes(corrected)


def _tiles_for(output: dict[str, Any], available: int) -> int:
    """How many tiles a layer's means need: the fewer pixels its output has, the more."""
    pixels = int(np.prod(output["shape"][1:-1]))
    return min(available, max(FEWEST_TILES, VALUES // max(pixels, 1)))


def _float_outputs(
    old: KeepingInterpreter,
    tensors: list[dict[str, Any]],
    needed: list[int],
    tiles: UInt8Array,
) -> list[list[Any]]:
    """By layer, the float net's outputs (pixels, channels) on as many tiles as are needed."""
    found: list[list[Any]] = [[] for _ in tensors]
    for place in range(max(needed, default=0)):
        old.run(tiles[place][np.newaxis].astype(np.float32))
        for k, tensor in enumerate(tensors):
            if place < needed[k]:
                found[k].append(old.value(tensor).reshape(-1, int(tensor["shape"][-1])))
    return found


def _channel_shift(
    new: KeepingInterpreter, output: dict[str, Any], targets: list[Any], tiles: UInt8Array
) -> npt.NDArray[np.float64]:
    """Mean of int8 minus float per output channel, over the values that neither clips: a fused
    ReLU6 hides the shift of what it clips. 0 where too few are left."""
    scale, zero = output["quantization"]
    low, high = scale * (-128 - zero), scale * (127 - zero)
    total, count = np.zeros((2, int(output["shape"][-1])))
    for tile, x in zip(tiles, targets, strict=False):
        new.run((tile[np.newaxis] ^ np.uint8(0x80)).view(np.int8))
        q = new.value(output).reshape(-1, total.size)
        free = (q > -128) & (q < 127) & (x > low) & (x < high)
        error = np.float32(scale) * (q.astype(np.float32) - zero) - x
        total += np.where(free, error, 0.0).sum(axis=0, dtype=np.float64)
        count += free.sum(axis=0)
    shift: npt.NDArray[np.float64] = np.where(
        count >= FEWEST_VALUES, total / np.maximum(count, 1), 0.0
    )
    return shift


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
