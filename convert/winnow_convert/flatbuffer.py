"""What is in a TFLite flatbuffer: tensors, ops, their work, by the schema that LiteRT ships.

Only the first subgraph is read; a model with several is refused, since nothing here makes one.
"""

from __future__ import annotations

import functools
import importlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from winnow_base.errors import ModelError

BYTES = {"FLOAT32": 4, "INT32": 4, "INT8": 1, "UINT8": 1, "INT16": 2, "INT64": 8, "BOOL": 1}
BYTES |= {"FLOAT16": 2, "FLOAT64": 8}


@dataclass(frozen=True)
class Tensor:
    """A tensor: `dtype` as the schema names it, `constant` where the file holds its values,
    `scales` and `zero_points` empty if it is not quantized, `dynamic` where a size is not fixed."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool
    dynamic: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes in memory."""
        return self.size * BYTES.get(self.dtype, 4)


@dataclass(frozen=True)
class Op:
    """An op: its schema `name` (or that of the custom op) and `version`; `options` the raw fields
    of its builtin options; `fused` its fused activation function."""

    index: int
    name: str
    version: int
    custom: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: dict[str, Any]
    fused: str

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one invocation; 0 for ops that do none."""
        if self.name == "CONV_2D":  # weights (out, rows, columns, in / groups)
            return self.outputs[0].size * math.prod(self.inputs[1].shape[1:])
        if self.name == "DEPTHWISE_CONV_2D":  # weights (1, rows, columns, out)
            return self.outputs[0].size * math.prod(self.inputs[1].shape[1:3])
        if self.name == "FULLY_CONNECTED":  # weights (out, in)
            return self.outputs[0].size * self.inputs[1].shape[-1]
        if self.name == "TRANSPOSE_CONV":  # shape, weights (out, rows, columns, in), input
            weights, source = self.inputs[1], self.inputs[2]
            return source.size * weights.shape[0] * math.prod(weights.shape[1:3])
        return 0

    @property
    def parameters(self) -> int:
        """Constant values that the op multiplies with or adds: weights and biases."""
        constants = [t for t in self.inputs if t.constant]
        return sum(t.size for t in constants) if self.macs or self.name == "ADD" else 0

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written if nothing stays in a cache."""
        return sum(t.bytes for t in (*self.inputs, *self.outputs))


@dataclass(frozen=True)
class Graph:
    """The graph of a model, ops in the order of execution."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one invocation."""
        return sum(op.macs for op in self.ops)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants."""
        return sum(t.bytes for t in self.tensors if t.constant)

    def arena_bytes(self) -> int:
        """Most bytes of activations alive at once: no arena can be smaller."""
        live = [sum(t.bytes for t in alive) for alive in self.alive()]
        return max(live, default=0)

    def alive(self) -> list[list[Tensor]]:
        """For every op, the activations that are needed while it runs."""
        last: dict[int, int] = {t.index: len(self.ops) for t in self.outputs}
        first: dict[int, int] = {t.index: 0 for t in self.inputs}
        for op in self.ops:
            for tensor in op.inputs:
                last[tensor.index] = max(last.get(tensor.index, 0), op.index)
            for tensor in op.outputs:
                first.setdefault(tensor.index, op.index)
                last.setdefault(tensor.index, op.index)
        return [
            [
                t
                for t in self.tensors
                if t.index in first and first[t.index] <= op.index <= last[t.index]
            ]
            for op in self.ops
        ]


def read_graph(flatbuffer: bytes) -> Graph:
    """Parse a flatbuffer. Raises ModelError if it is none or has several subgraphs."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    model = _unpack(flatbuffer)
    if len(model.subgraphs) != 1:
        raise ModelError(f"has {len(model.subgraphs)} subgraphs, must have 1")
    graph = model.subgraphs[0]
    dtypes, builtins = _names(schema.TensorType), _names(schema.BuiltinOperator)
    fusions = _names(schema.ActivationFunctionType)
    tensors = tuple(
        _tensor(i, t, dtypes, model.buffers[t.buffer].data is not None)
        for i, t in enumerate(graph.tensors)
    )
    ops = []
    for index, op in enumerate(graph.operators):
        code = model.operatorCodes[op.opcodeIndex]
        # Old files keep small codes in a deprecated byte; the larger of the two is the code.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = builtins[number] == "CUSTOM"
        options = dict(vars(op.builtinOptions)) if op.builtinOptions is not None else {}
        ops.append(
            Op(
                index=index,
                name=code.customCode.decode() if custom else builtins[number],
                version=code.version,
                custom=custom,
                inputs=tuple(tensors[i] for i in op.inputs if i >= 0),
                outputs=tuple(tensors[i] for i in op.outputs),
                options=options,
                fused=fusions[options.get("fusedActivationFunction", 0)],
            )
        )
    return Graph(
        tensors=tensors,
        ops=tuple(ops),
        inputs=tuple(tensors[i] for i in graph.inputs),
        outputs=tuple(tensors[i] for i in graph.outputs),
    )


def with_outputs(flatbuffer: bytes, outputs: Sequence[int]) -> bytes:
    """The same model giving other tensors, by index, in place of its outputs; ops after the last
    that makes one of them are left out. It has no signature."""
    model = _unpack(flatbuffer)
    graph, wanted = model.subgraphs[0], set(outputs)
    last = max(i for i, op in enumerate(graph.operators) if wanted & set(map(int, op.outputs)))
    graph.operators = graph.operators[: last + 1]
    graph.outputs = list(outputs)
    model.signatureDefs = None
    return _pack(model)


def with_data_inside(flatbuffer: bytes) -> bytes:
    """The same model with all its constants in the flatbuffer itself, as every reader knows it;
    newer writers may put them behind it."""
    return _pack(_unpack(flatbuffer))


def _unpack(flatbuffer: bytes) -> Any:
    """The schema's objects. Raises ModelError if that is no flatbuffer of a model."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    if len(flatbuffer) < 8 or flatbuffer[4:8] != b"TFL3":
        raise ModelError("is not a TFLite flatbuffer")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffer, 0))
    except (struct.error, ValueError, TypeError, IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"is a damaged flatbuffer ({error})") from None
    for buffer in model.buffers:
        if buffer.offset > 1:  # from the start of the file; 0 and 1 say that there is no such data
            outside = flatbuffer[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(outside, np.uint8)
            buffer.offset = buffer.size = 0
    return model


def _pack(model: Any) -> bytes:
    import flatbuffers

    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.Pack = functools.partial(_pack_buffer, np.asarray(buffer.data, np.uint8))
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _pack_buffer(data: npt.NDArray[np.uint8], builder: Any) -> Any:
    """`BufferT.Pack`, with the alignment of 16 bytes that the schema asks for and the generated
    code forgets."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    builder.StartVector(1, data.size, 16)
    builder.head -= data.size
    builder.Bytes[builder.head : builder.head + data.size] = data.tobytes()
    vector = builder.EndVector()
    schema.BufferStart(builder)
    schema.BufferAddData(builder, vector)
    return schema.BufferEnd(builder)


def _tensor(index: int, raw: Any, dtypes: dict[int, str], constant: bool) -> Tensor:
    quantized = raw.quantization
    signature = _numbers(raw.shapeSignature)
    return Tensor(
        index=index,
        name=raw.name.decode(),
        shape=tuple(int(n) for n in _numbers(raw.shape)),
        dtype=dtypes[raw.type],
        constant=constant,
        dynamic=any(n < 0 for n in signature),
        scales=tuple(float(s) for s in _numbers(quantized.scale if quantized else None)),
        zero_points=tuple(int(z) for z in _numbers(quantized.zeroPoint if quantized else None)),
    )


def _numbers(values: Any) -> Sequence[Any]:
    return [] if values is None else list(np.asarray(values))


def _names(enumeration: Any) -> dict[int, str]:
    """The schema's enumerations are plain classes of class attributes."""
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}
