"""ai-edge-quantizer's static int8, with activation ranges measured here.

Its own calibrator smooths ranges over samples by a moving average, which costs accuracy; one batch
of all calibration tiles avoids that but needs a graph of that batch size. Minimum and maximum over
the tiles, taken tensor by tensor, are the same numbers.

A bias is stored in int32 steps of input scale times weight scale. Channels that training has
emptied keep weights of 1e-20 beside biases near 1, and no such bias fits: TensorFlow's converter
widens their weight scale, ai-edge-quantizer 0.10 wraps around. They get one weight that is just
large enough first.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.console import quiet_stderr
from winnow_base.errors import MissingExtraError, ModelError
from winnow_convert.flatbuffer import read_graph, with_data_inside
from winnow_convert.layers import KeepingInterpreter
from winnow_convert.ptq import to_float
from winnow_convert.source import MODEL_FILE, Source

UInt8Array = npt.NDArray[np.uint8]
SMALLEST_STEP = SMALLEST_WEIGHT = 1e-12
"""Above zero, for activations and channels that are nothing but zeros."""


def quantize(source: Source, calibration: UInt8Array) -> bytes:
    """The int8 flatbuffer of a model; see `winnow_convert.ptq.quantize`.

    Raises MissingExtraError without ai-edge-quantizer, ModelError where it cannot quantize a model.
    """
    try:
        with quiet_stderr():
            quantizer = importlib.import_module("ai_edge_quantizer.quantizer")
            recipe = importlib.import_module("ai_edge_quantizer.recipe")
    except ImportError as error:
        raise MissingExtraError(
            f"method aeq needs ai-edge-quantizer ({error})",
            hint="pip install 'winnow-ground[convert]'",
        ) from None
    floats = to_float(source)
    ranges = activation_ranges(floats, calibration)
    floats = fill_empty_channels(floats, ranges)
    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            job = quantizer.Quantizer(floats)
            job.load_quantization_recipe(recipe.static_wi8_ai8())
            result = job.quantize(_statistics(ranges), enable_progress_report=False)
            return with_data_inside(bytes(result.quantized_model))
    except (RuntimeError, ValueError) as error:
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"ai-edge-quantizer: {text[0]}", where=source.folder / MODEL_FILE
        ) from None


def fill_empty_channels(
    floats: bytes, ranges: dict[str, tuple[tuple[int, ...], float, float]]
) -> bytes:
    """The float flatbuffer with a small weight in every channel whose bias would not fit in int32.

    The weight makes the bias 2^30 steps, so a channel changes by less than 127 * 255 / 2^30, a
    thirty-thousandth, of its bias.
    """
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    filled = bytearray(floats)
    raw = schema.Model.GetRootAs(filled, 0)
    graph = read_graph(floats)
    for op in graph.ops:
        if not op.macs or len(op.inputs) < 3 or op.inputs[0].name not in ranges:
            continue
        source, weights, bias = op.inputs[:3]
        _, low, high = ranges[source.name]
        step = (max(high, 0.0) - min(low, 0.0)) / 255
        kernel, offset = (
            raw.Buffers(raw.Subgraphs(0).Tensors(t.index).Buffer()).DataAsNumpy().view(np.float32)
            for t in (weights, bias)
        )
        # Channels are last in depthwise kernels, first in all others.
        depthwise = op.name == "DEPTHWISE_CONV_2D"
        rows = kernel.reshape(-1, len(offset)).T if depthwise else kernel.reshape(len(offset), -1)
        least = 127 * np.abs(offset) / (max(step, SMALLEST_STEP) * 2**30) + SMALLEST_WEIGHT
        empty = np.abs(rows).max(axis=1) < least
        rows[empty, 0] = least[empty]
    return bytes(filled)


def activation_ranges(
    floats: bytes, tiles: UInt8Array
) -> dict[str, tuple[tuple[int, ...], float, float]]:
    """By tensor name its shape, least and greatest value over the tiles; 0..255 for the input."""
    interpreter = KeepingInterpreter(floats)
    outputs = {int(i) for op in interpreter.ops for i in op["outputs"]}
    tensors = [t for t in interpreter.tensors if t["index"] in outputs]
    low = {t["name"]: np.inf for t in tensors}
    high = {t["name"]: -np.inf for t in tensors}
    for tile in tiles:
        interpreter.run(tile[np.newaxis].astype(np.float32))
        for tensor in tensors:
            values, name = interpreter.value(tensor), tensor["name"]
            low[name] = min(low[name], float(values.min()))
            high[name] = max(high[name], float(values.max()))
    ranges = {t["name"]: (tuple(t["shape"]), low[t["name"]], high[t["name"]]) for t in tensors}
    source = interpreter.input
    ranges[source["name"]] = (tuple(source["shape"]), 0.0, 255.0)
    return ranges


def _statistics(ranges: dict[str, tuple[tuple[int, ...], float, float]]) -> dict[str, Any]:
    """The ranges in the form that the quantizer's calibrator gives: arrays of the tensor's rank."""
    return {
        name: {
            "min": np.full([1] * len(shape), low, np.float32),
            "max": np.full([1] * len(shape), high, np.float32),
        }
        for name, (shape, low, high) in ranges.items()
    }
