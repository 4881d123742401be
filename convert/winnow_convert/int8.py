"""The int8 flatbuffer, checked and run by the code that flies."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.console import quiet_stderr
from winnow_base.errors import ModelError
from winnow_convert.golden import render_tiles
from winnow_convert.source import Source
from winnow_edge.bundle import (
    Bundle,
    Golden,
    InputSpec,
    Manifest,
    OutputSpec,
    encode_bundle,
    parse_bundle,
)
from winnow_edge.runtimes import Classifier, load_classifier

Int8Array = npt.NDArray[np.int8]
UInt8Array = npt.NDArray[np.uint8]


def quantize_pixels(tiles: UInt8Array) -> Int8Array:
    """Pixels 0..255 as the int8 values -128..127 that stand for them, exactly."""
    return (tiles ^ np.uint8(0x80)).view(np.int8)


class Int8Model:
    """A flatbuffer and its specs, loaded into LiteRT through `winnow_edge.runtimes`.

    Raises ModelError unless it takes int8 pixels with scale 1.0 and zero point -128 and gives int8
    logits, one per class, with static shapes.
    """

    def __init__(self, source: Source, flatbuffer: bytes) -> None:
        self.source, self.flatbuffer = source, flatbuffer
        self.input, self.output = _specs(source, flatbuffer)
        self.manifest = Manifest(
            name=source.name,
            classes=source.classes,
            head=source.head,
            input=self.input,
            output=self.output,
            temperature=source.temperature,
            thresholds={},
        )
        tiles = quantize_pixels(render_tiles(source.height, source.width, source.channels))
        nothing = Golden(tiles, {})
        bundle = self._bundle(nothing)
        with quiet_stderr():
            self._classifier: Classifier = load_classifier(bundle, "litert", self_test=False)
        self.golden = Golden(tiles, {"litert": self.run(tiles)})

    def run(self, tiles: Int8Array) -> Int8Array:
        """Quantized logits int8 (n, classes) of quantized tiles (n, height, width, channels)."""
        logits = np.empty((len(tiles), len(self.source.classes)), np.int8)
        for tile, row in zip(tiles, logits, strict=True):
            self._classifier.infer(tile, row)
        return logits

    def real_logits(self, tiles: UInt8Array) -> npt.NDArray[np.float64]:
        """Logits float64 (n, classes) of pixels uint8 (n, height, width, channels)."""
        quantized = self.run(quantize_pixels(tiles)).astype(np.float64)
        return self.output.scale * (quantized - self.output.zero_point)

    def _bundle(self, golden: Golden) -> Bundle:
        data = encode_bundle(self.manifest, model=self.flatbuffer, golden=golden, card="")
        return parse_bundle(data, self.source.folder / f"{self.source.name}.winnow")


def _specs(source: Source, flatbuffer: bytes) -> tuple[InputSpec, OutputSpec]:
    litert = importlib.import_module("ai_edge_litert.interpreter")
    where: Path = source.folder
    with quiet_stderr():
        interpreter = litert.Interpreter(model_content=flatbuffer, num_threads=1)
        interpreter.allocate_tensors()
    details: list[dict[str, Any]] = [
        *interpreter.get_input_details(),
        *interpreter.get_output_details(),
    ]
    if len(details) != 2:
        raise ModelError("the int8 model must have one input and one output", where=where)
    for name, tensor in zip(("input", "output"), details, strict=True):
        if tensor["dtype"] is not np.int8:
            kind = np.dtype(tensor["dtype"]).name
            raise ModelError(f"the converted model's {name} is {kind}, must be int8", where=where)
        if (tensor["shape_signature"] < 0).any():
            raise ModelError(f"the converted model's {name} has a dynamic shape", where=where)
    (in_scale, in_zero), (out_scale, out_zero) = (tensor["quantization"] for tensor in details)
    if in_scale != 1.0 or in_zero != -128:
        raise ModelError(
            f"pixels are quantized with scale {in_scale:g} and zero point {in_zero}, "
            "must be 1 and -128 so that they are exact",
            where=where,
            hint="the model must take pixels 0..255 as they are",
        )
    spec = InputSpec(source.height, source.width, source.channels, float(in_scale), int(in_zero))
    return spec, OutputSpec(float(out_scale), int(out_zero))
