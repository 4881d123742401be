"""ai-edge-quantizer's static int8, with activation ranges measured here.

Its own calibrator smooths ranges over samples by a moving average, which costs accuracy; one batch
of all calibration tiles avoids that but needs a graph of that batch size. Minimum and maximum over
the tiles, taken tensor by tensor, are the same numbers.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_convert.layers import KeepingInterpreter
from winnow_convert.ptq import to_float
from winnow_convert.quiet import quiet_stderr
from winnow_convert.source import MODEL_FILE, Source
from winnow_ground.errors import MissingExtraError, ModelError

UInt8Array = npt.NDArray[np.uint8]


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
    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            job = quantizer.Quantizer(floats)
            job.load_quantization_recipe(recipe.static_wi8_ai8())
            result = job.quantize(_statistics(ranges), enable_progress_report=False)
            return bytes(result.quantized_model)
    except (RuntimeError, ValueError) as error:
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"ai-edge-quantizer: {text[0]}", where=source.folder / MODEL_FILE
        ) from None


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
