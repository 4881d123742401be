"""The flatbuffer read back: work, memory, Edge TPU readiness, and exports of it."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated

from winnow_base.errors import ModelError
from winnow_convert import ptq
from winnow_convert.c_array import export_c
from winnow_convert.convert import Converted, write
from winnow_convert.flatbuffer import Graph, Op, Tensor, read_graph, with_data_inside
from winnow_convert.int8 import Int8Model
from winnow_convert.onnx_export import INT8_TOLERANCE, export_onnx
from winnow_convert.profile import BOARDS, profile
from winnow_convert.readiness import check_readiness
from winnow_edge.bundle import open_bundle, shipped_bundles


@pytest.fixture(scope="module")
def graph(converted: Converted) -> Graph:
    return read_graph(converted.int8.flatbuffer)


def test_work_and_memory_are_what_the_shapes_say(graph: Graph) -> None:
    assert [op.name for op in graph.ops][:3] == ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D"]
    assert graph.ops[0].macs == 16 * 16 * 8 * 9
    assert graph.ops[1].macs == 16 * 16 * 8 * 9
    assert graph.ops[2].macs == 16 * 16 * 8 * 8
    assert graph.ops[0].parameters == 8 * 9 + 8
    assert graph.inputs[0].shape == (1, 32, 32, 1)
    assert graph.inputs[0].scales == (1.0,)
    assert graph.inputs[0].zero_points == (-128,)
    # The widest moment: 16 channels in and 8 out, beside the 8 that the addition waits for.
    assert graph.arena_bytes() == 16 * 16 * (16 + 8 + 8)
    with pytest.raises(ModelError, match="not a TFLite flatbuffer"):
        read_graph(b"PK..................")


def test_a_model_written_anew_is_the_same_and_aligned(converted: Converted) -> None:
    model = converted.int8.flatbuffer
    again = with_data_inside(model)
    assert read_graph(again).ops == read_graph(model).ops
    tiles = converted.int8.golden.tiles
    np.testing.assert_array_equal(
        Int8Model(converted.source, again).run(tiles), converted.int8.run(tiles)
    )
    weights = np.frombuffer(again, np.uint8)
    raw = schema_py_generated.Model.GetRootAs(again, 0)
    for index in range(raw.BuffersLength()):
        data = raw.Buffers(index).DataAsNumpy()
        if isinstance(data, np.ndarray):
            assert (data.ctypes.data - weights.ctypes.data) % 16 == 0


def test_profile_sums_up_and_names_what_to_shrink(graph: Graph) -> None:
    found = profile(graph)
    assert found.macs == sum(row.macs for row in found.ops) == graph.macs
    for board in BOARDS:
        assert board.source
        least = found.macs / max(board.dense, board.depthwise) * 1e3
        assert found.milliseconds[board.name] >= least
    slowest = found.shrink_first("Cortex-A72", 1)[0]
    assert slowest.milliseconds["Cortex-A72"] == max(
        row.milliseconds["Cortex-A72"] for row in found.ops
    )


def test_int8_nets_map_completely_and_float_nets_do_not(converted: Converted, graph: Graph) -> None:
    ready = check_readiness(graph)
    assert ready.complete
    assert ready.mac_share == 1
    assert ready.fits_cache
    floats = check_readiness(read_graph(ptq.to_float(converted.source)))
    assert floats.on_device == 0
    assert "must be int8" in floats.verdicts[0].reasons[0]


def test_an_op_that_does_not_map_leaves_the_rest_to_the_cpu(graph: Graph) -> None:
    odd = dataclasses.replace(graph.ops[3], name="ERF")
    newer = dataclasses.replace(graph.ops[5], version=12)
    ops = [odd if op is graph.ops[3] else newer if op is graph.ops[5] else op for op in graph.ops]
    ready = check_readiness(dataclasses.replace(graph, ops=tuple(ops)))
    assert ready.on_device == 3
    assert not ready.complete
    assert ready.mac_share < 1
    assert ready.verdicts[3].reasons == ("not in the table of supported ops",)
    assert "version 12" in ready.verdicts[5].reasons[0]


def test_shapes_and_constants_are_judged(graph: Graph) -> None:
    conv = graph.ops[0]

    def judged(**changes: object) -> str:
        op: Op = dataclasses.replace(conv, **changes)
        return "; ".join(check_readiness(dataclasses.replace(graph, ops=(op,))).verdicts[0].reasons)

    def tensor(**changes: object) -> tuple[Tensor, ...]:
        return (dataclasses.replace(conv.inputs[0], **changes), *conv.inputs[1:])

    assert "dynamic size" in judged(inputs=tensor(dynamic=True))
    assert "over three dimensions" in judged(inputs=tensor(shape=(4, 32, 32, 1)))
    loose = dataclasses.replace(conv.inputs[1], constant=False)
    assert "weights are not constant" in judged(inputs=(conv.inputs[0], loose, conv.inputs[2]))
    assert "dilation" in judged(options={**conv.options, "dilationHFactor": 2})
    even = {**conv.options, "dilationHFactor": 2, "dilationWFactor": 2}
    assert judged(options=even) == judged(name="DEPTHWISE_CONV_2D", options=even) == ""


@pytest.mark.parametrize("path", shipped_bundles(), ids=lambda path: path.stem)
def test_shipped_bundles_map_completely(path: Path) -> None:
    ready = check_readiness(read_graph(open_bundle(path).model))
    assert ready.complete, [v for v in ready.verdicts if not v.maps]
    assert ready.mac_share == 1
    assert ready.fits_cache


def test_limits_of_single_ops_are_judged(graph: Graph) -> None:
    pool = next(op for op in graph.ops if op.name == "MEAN")
    inner, outer = pool.inputs[0], pool.outputs[0]

    def judged(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[str, ...]:
        op = dataclasses.replace(
            pool,
            inputs=(dataclasses.replace(inner, shape=before), *pool.inputs[1:]),
            outputs=(dataclasses.replace(outer, shape=after),),
        )
        return check_readiness(dataclasses.replace(graph, ops=(op,))).verdicts[0].reasons

    assert judged((1, 8, 8, 6), (1, 1, 1, 6)) == ()
    assert judged((1, 8, 8, 8), (1, 8, 8, 1)) == ()
    assert "multiple of 4" in judged((1, 8, 8, 6), (1, 8, 8, 1))[0]
    assert "changes the batch" in judged((2, 1, 1, 8), (1, 1, 1, 8))


@pytest.mark.slow
def test_onnx_agrees_with_tflite_and_says_how_to_use_it(
    converted: Converted, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    tiles = (converted.int8.golden.tiles.view(np.uint8) ^ np.uint8(0x80)).astype(np.uint8)
    floats = ptq.to_float(converted.quantized.source)
    routes = export_onnx(
        converted.manifest, floats, converted.int8.flatbuffer, tiles, tmp_path / "tiny.winnow"
    )
    assert [r.path.name for r in routes] == ["tiny.float.onnx", "tiny.int8.onnx"]
    assert routes[1].difference <= INT8_TOLERANCE
    for route in routes:
        model = onnx.load(route.path)
        facts = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(facts["classes"]) == list(converted.manifest.classes)
        assert json.loads(facts["preprocessing"])["layout"] == "NHWC"
        assert model.graph.input[0].name == "pixels"
        assert model.graph.output[0].name == "logits"


def test_c_source_compiles_to_the_same_bytes(converted: Converted, tmp_path: Path) -> None:
    bundle = write(converted, tmp_path / "tiny.winnow")
    header, source = export_c(bundle, tmp_path)
    assert "#define TINY_CLASSES 3" in header.read_text()
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler; on Debian: apt-get install gcc libc6-dev")
    library = tmp_path / "tiny.so"
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))
    length = ctypes.c_uint.in_dll(loaded, "tiny_model_len").value
    array = (ctypes.c_ubyte * length).in_dll(loaded, "tiny_model")
    assert bytes(array) == bundle.model
    assert ctypes.addressof(array) % 16 == 0
    labels = (ctypes.c_char_p * 3).in_dll(loaded, "tiny_labels")
    assert [label.decode() for label in labels] == list(bundle.manifest.classes)
