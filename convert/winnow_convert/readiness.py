"""Edge TPU readiness: which ops of a flatbuffer would run on the device, read from the file alone.

Rules and limits per op: Coral, "TensorFlow models on the Edge TPU", sections "Model requirements"
and "Supported operations" (coral.ai/docs/edgetpu/models-intro; the same table in Axis, "ARTPEC-7:
supported ops", whose DLPU is an Edge TPU), for runtime 13 and later. The compiler maps a contiguous
prefix of the graph: from the first op that it cannot take, everything runs on the CPU ("Compiling",
same page). `winnow_convert.edgetpu` asks the compiler itself where it is installed.
"""

from __future__ import annotations

from dataclasses import dataclass

from winnow_convert.flatbuffer import Graph, Op, Tensor

CACHE_BYTES = 8 * 2**20
"""On-chip memory, roughly 8 MB "that can cache the model's parameter data" (Coral, "Edge TPU
Compiler", section "Parameter data caching"). The model's executable takes some of it first: logs of
version 16.0 show 7 to 8 MiB for parameters. What does not fit is fetched at every invocation."""

# Ops in the table of supported operations, by their names in the TFLite schema.
SUPPORTED = frozenset(
    [
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "EXPAND_DIMS",
        "FULLY_CONNECTED",
        "L2_NORMALIZATION",
        "LOGISTIC",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PACK",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "RSQRT",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SQUARED_DIFFERENCE",
        "SQUEEZE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    ]
)
MAX_VERSION = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "TRANSPOSE_CONV": 3,
}
"""The op versions that brought int8 (GetBuiltinOperatorVersion in TensorFlow's
lite/tools/versioning/op_version.cc); 2 for others. The last `edgetpu_compiler`, 16.0, is of 2021
and answers later ones with "Operation version not supported" (reported for FULLY_CONNECTED), so
newer counts as refused.
"""
_OTHER_VERSION = 2


@dataclass(frozen=True)
class Verdict:
    """One op: whether it maps, and the `reasons` why not (empty if it does)."""

    op: Op
    reasons: tuple[str, ...]

    @property
    def maps(self) -> bool:
        """Whether the op by itself can run on the device."""
        return not self.reasons


@dataclass(frozen=True)
class Readiness:
    """All verdicts in order; `on_device` counts the ops before the first that does not map."""

    verdicts: tuple[Verdict, ...]
    on_device: int
    mac_share: float
    parameter_bytes: int

    @property
    def complete(self) -> bool:
        """Whether the whole graph runs on the device."""
        return self.on_device == len(self.verdicts)

    @property
    def fits_cache(self) -> bool:
        """Whether all parameters stay on the device."""
        return self.parameter_bytes <= CACHE_BYTES


def check_readiness(graph: Graph) -> Readiness:
    """Judge every op of a graph."""
    verdicts = tuple(Verdict(op, tuple(_problems(op))) for op in graph.ops)
    on_device = next((i for i, v in enumerate(verdicts) if not v.maps), len(verdicts))
    macs = sum(op.macs for op in graph.ops)
    mapped = sum(v.op.macs for v in verdicts[:on_device])
    return Readiness(
        verdicts=verdicts,
        on_device=on_device,
        mac_share=mapped / macs if macs else 0.0,
        parameter_bytes=graph.weight_bytes,
    )


def _problems(op: Op) -> list[str]:
    if op.custom or op.name not in SUPPORTED:
        return ["not in the table of supported ops"]
    problems = []
    limit = MAX_VERSION.get(op.name, _OTHER_VERSION)
    if op.version > limit:
        problems.append(f"version {op.version}, known to be taken up to {limit}")
    for tensor in (*op.inputs, *op.outputs):
        problems += _tensor_problems(op, tensor)
    problems += _op_problems(op)
    return list(dict.fromkeys(problems))


def _tensor_problems(op: Op, tensor: Tensor) -> list[str]:
    what = "a constant" if tensor.constant else "an activation"
    # Biases are int32; shapes, axes and paddings are int32 without scale.
    parameter = tensor.constant and tensor.dtype in ("INT32", "INT64")
    problems = []
    if tensor.dtype not in ("INT8", "UINT8") and not parameter:
        problems.append(f"{what} is {tensor.dtype}, must be int8")
    elif not tensor.scales and not parameter:
        problems.append(f"{what} is not quantized")
    if tensor.dynamic:
        problems.append(f"{what} has a dynamic size")
    if not tensor.constant and any(n > 1 for n in tensor.shape[:-3]):
        problems.append(f"{what} has shape {tensor.shape}: over three dimensions above 1")
    if op.macs and tensor is op.inputs[1] and not tensor.constant:
        problems.append("its weights are not constant")
    return problems


def _op_problems(op: Op) -> list[str]:
    """The limits that the table states beside single ops."""
    options = op.options
    dilated = options.get("dilationHFactor", 1), options.get("dilationWFactor", 1)
    if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D") and dilated[0] != dilated[1]:
        return [f"dilation {dilated} differs in x and y"]
    if op.name == "FULLY_CONNECTED":
        if options.get("weightsFormat", 0) != 0:
            return ["weights are not in the default format"]
        if any(n > 1 for n in op.outputs[0].shape[:-1]):
            return ["its output is not one-dimensional"]
    if op.name in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION") and op.fused != "NONE":
        return [f"has a fused {op.fused}"]
    if op.name == "SOFTMAX" and (
        any(n > 1 for n in op.inputs[0].shape[:-1]) or op.inputs[0].size > 16_000
    ):
        return ["its input must be one-dimensional, at most 16,000 values"]
    before, after = op.inputs[0].shape, op.outputs[0].shape
    if op.name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "PAD") and before[:1] != after[:1]:
        return ["changes the batch"]
    if op.name == "MEAN" and before[-1:] != after[-1:] and before[-1] % 4:
        return [f"reduces {before[-1]} channels, must be a multiple of 4"]
    return []
