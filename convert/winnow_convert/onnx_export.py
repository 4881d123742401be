"""ONNX beside the bundle: the float and the int8 model, checked against TFLite on golden tiles."""

from __future__ import annotations

import importlib
import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.console import quiet_stderr
from winnow_base.errors import GateError, MissingExtraError, ModelError
from winnow_edge.bundle import Manifest
from winnow_edge.files import write_file

OPSET = 17
FLOAT_TOLERANCE = 1e-3
"""Of the largest logit: ONNX Runtime and LiteRT sum float32 products in different orders."""
INT8_TOLERANCE = 3
"""In int8 steps: the int8 graph becomes float arithmetic between QuantizeLinear and
DequantizeLinear nodes, which rounds ties and rescales otherwise than integer kernels do."""


@dataclass(frozen=True)
class OnnxRoute:
    """One file: where it is and how far its logits are from TFLite's on the golden tiles, in logits
    for the float model and in int8 steps for the int8 model."""

    path: Path
    difference: float
    tolerance: float
    bytes: int


def export_onnx(
    manifest: Manifest, floats: bytes, int8: bytes, tiles: npt.NDArray[np.uint8], out: Path
) -> list[OnnxRoute]:
    """Write `NAME.float.onnx` and `NAME.int8.onnx` beside the bundle `out`.

    `floats` and `int8` are flatbuffers of the same net, `tiles` uint8 (n, height, width, channels).
    Raises GateError, having written neither, where ONNX Runtime and LiteRT disagree by more than
    the route's tolerance, and MissingExtraError without tf2onnx or ONNX Runtime.
    """
    routes = []
    ready = []
    for kind, flatbuffer in (("float", floats), ("int8", int8)):
        model = _to_onnx(flatbuffer, manifest, kind)
        given = tiles.astype(np.float32)
        tolerance = float(INT8_TOLERANCE)
        if kind == "int8":
            given = (tiles ^ np.uint8(0x80)).view(np.int8)
        wanted = _run_litert(flatbuffer, given).astype(np.float64)
        if kind == "float":
            tolerance = FLOAT_TOLERANCE * float(np.abs(wanted).max())
        data = model.SerializeToString()
        got = _run_onnx(data, given).astype(np.float64)
        difference = float(np.abs(got - wanted).max())
        path = out.with_name(f"{out.name.removesuffix('.winnow')}.{kind}.onnx")
        if difference > tolerance:
            raise GateError(
                f"ONNX Runtime differs from LiteRT by {difference:g}, allowed {tolerance:g}",
                where=path,
                hint="no ONNX file was written",
            )
        ready.append((path, data))
        routes.append(OnnxRoute(path, difference, tolerance, len(data)))
    for path, data in ready:
        write_file(path, data)
    return routes


def _to_onnx(flatbuffer: bytes, manifest: Manifest, kind: str) -> Any:
    onnx, tf2onnx = _import("onnx"), _import("tf2onnx")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.tflite"
        source.write_bytes(flatbuffer)
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf2onnx uses interpreters that TensorFlow deprecates
            model, _ = tf2onnx.convert.from_tflite(str(source), opset=OPSET)
    _rename(model.graph, model.graph.input[0].name, "pixels")
    _rename(model.graph, model.graph.output[0].name, "logits")
    spec, output = manifest.input, manifest.output
    preprocessing = (
        {"layout": "NHWC", "dtype": "float32", "pixels": "0..255"}
        if kind == "float"
        else {"layout": "NHWC", "dtype": "int8", "pixels": "0..255, minus 128"}
    )
    logits = {} if kind == "float" else {"scale": output.scale, "zero_point": output.zero_point}
    facts = {
        "name": manifest.name,
        "classes": list(manifest.classes),
        "head": manifest.head,
        "temperature": manifest.temperature,
        "thresholds": manifest.thresholds,
        "input": {"height": spec.height, "width": spec.width, "channels": spec.channels},
        "preprocessing": preprocessing,
        "logits": logits,
        "licence": manifest.licence,
        "attribution": manifest.attribution,
    }
    for key, value in facts.items():
        entry = model.metadata_props.add()
        entry.key = key
        entry.value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # ValidationError, and C++ errors of shape inference
        raise ModelError(f"the ONNX form is not valid: {error}") from None
    return model


def _rename(graph: Any, old: str, new: str) -> None:
    """Rename a graph's input or output wherever it is used."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _run_onnx(model: bytes, given: Any) -> Any:
    runtime = _import("onnxruntime")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["logits"], {"pixels": t[np.newaxis]})[0] for t in given])


def _run_litert(flatbuffer: bytes, given: Any) -> Any:
    litert = _import("ai_edge_litert.interpreter")
    with quiet_stderr():
        interpreter = litert.Interpreter(model_content=flatbuffer, num_threads=1)
        interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    sink = interpreter.get_output_details()[0]["index"]
    rows = []
    for tile in given:
        interpreter.set_tensor(source, tile[np.newaxis])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(sink)[0])
    return np.stack(rows)


def _import(name: str) -> Any:
    try:
        with quiet_stderr():
            return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"ONNX export needs {name} ({error})", hint="pip install 'winnow-ground[convert]'"
        ) from None
