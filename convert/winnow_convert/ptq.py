"""Post-training quantization: a Keras model to a full int8 TFLite flatbuffer.

Weights are quantized per output channel and symmetrically, activations per tensor and
asymmetrically, from ranges seen on calibration tiles (Jacob et al. 2018, "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", arXiv:1712.05877;
Krishnamoorthi 2018, arXiv:1806.08342).
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.console import quiet_stderr
from winnow_base.errors import MissingExtraError, ModelError
from winnow_convert.source import MODEL_FILE, Source, import_keras

UInt8Array = npt.NDArray[np.uint8]


def quantize(source: Source, calibration: UInt8Array) -> bytes:
    """The int8 flatbuffer of a model: batch 1, static signature, int8 pixels in, int8 logits out.

    `calibration` uint8 (n, height, width, channels) sets the activation ranges. Raises ModelError
    naming the ops that have no int8 kernel.
    """
    tf = import_tensorflow()
    with quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the converter's own statistics
        converter = _converter(source)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _representative(calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
        try:
            return bytes(converter.convert())
        except Exception as error:  # ConverterError, RuntimeError, ValueError ... with C++ text
            raise ModelError(
                _reason(error), where=source.folder / MODEL_FILE, hint="see docs/convert.md, ops"
            ) from None


def to_float(source: Source) -> bytes:
    """The same graph as a float32 flatbuffer, for reports and comparisons."""
    with quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bytes(_converter(source).convert())


def _converter(source: Source) -> Any:
    """A converter of the model's frozen graph, with the signature `pixels` -> `logits`.

    The variables become constants first: with them in the graph the calibrator cannot run it, and
    without a trackable object beside the function the flatbuffer would have no signature.
    """
    tf = import_tensorflow()
    freeze = importlib.import_module("tensorflow.python.framework.convert_to_constants")
    shape = (1, source.height, source.width, source.channels)

    def forward(pixels: Any) -> Any:
        logits = source.model(pixels, training=False)
        return {"logits": tf.reshape(logits, (1, len(source.classes)))}

    signature = [tf.TensorSpec(shape, tf.float32, name="pixels")]
    graph = tf.function(forward, input_signature=signature).get_concrete_function()
    frozen = freeze.convert_variables_to_constants_v2(graph)
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())


def import_tensorflow() -> Any:
    """TensorFlow, or MissingExtraError where it is not installed."""
    import_keras()
    try:
        with quiet_stderr():
            tf = importlib.import_module("tensorflow")
    except ImportError as error:
        raise MissingExtraError(
            f"converting needs TensorFlow ({error})", hint="pip install 'winnow-ground[convert]'"
        ) from None
    return tf


def _representative(calibration: UInt8Array) -> Iterator[list[npt.NDArray[np.float32]]]:
    for tile in calibration:
        yield [tile[np.newaxis].astype(np.float32)]


def _reason(error: Exception) -> str:
    """One line out of the converter's pages: the ops it could not take, else its first line."""
    text = str(error)
    ops = sorted(set(re.findall(r"\btf\.([A-Z]\w+)\(", text)) | set(_flex_list(text)))
    if ops:
        return f"has ops without an int8 TFLite kernel: {', '.join(ops)}"
    quantized = re.findall(r"Quantization not yet supported for op: '?(\w+)", text)
    if quantized:
        return f"has ops that cannot be quantized: {', '.join(sorted(set(quantized)))}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"cannot be converted: {lines[0] if lines else type(error).__name__}"


def _flex_list(text: str) -> list[str]:
    match = re.search(r"(?:Flex|Custom) ops: ([\w, ]+)", text)
    return [name.strip() for name in match[1].split(",")] if match else []
