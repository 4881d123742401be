"""What is done to a net to quantize it well, and what is measured layer by layer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_base.conversion import Conversion
from winnow_convert import aeq, ptq, qat
from winnow_convert.bias import correct_biases
from winnow_convert.convert import Converted, best_of, compare_methods
from winnow_convert.equalize import equalize, linear_groups
from winnow_convert.flatbuffer import read_graph
from winnow_convert.int8 import Int8Model
from winnow_convert.layers import layer_noise
from winnow_convert.methods import signal_to_noise
from winnow_convert.readiness import check_readiness
from winnow_convert.source import float_logits, load_source
from winnow_train.tasks import read_like


def silent(step: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def test_equalization_keeps_the_function_and_levels_the_channels(converted: Converted) -> None:
    source, tiles = converted.source, converted.calibration[:16]
    groups = linear_groups(source.model)
    members = [sorted(x.name for x in (*g.makers, *g.sums)) for g in groups]
    assert members == [["add", "project", "project_2"]]
    assert sorted(x.name for x in groups[0].readers) == ["expand", "widen"]
    level, count = equalize(source.model, tiles)
    assert count == 1
    same = dataclasses.replace(source, model=level)
    np.testing.assert_allclose(
        float_logits(same, tiles, silent), float_logits(source, tiles, silent), atol=1e-3
    )
    before = np.abs(np.asarray(source.model.get_layer("project").get_weights()[0])).max(
        axis=(0, 1, 2)
    )
    after = np.abs(np.asarray(level.get_layer("project").get_weights()[0])).max(axis=(0, 1, 2))
    assert (after >= before * 0.999).all()
    assert (after > before * 1.01).any()


def test_bias_correction_takes_out_a_mean_shift(converted: Converted) -> None:
    source, tiles = converted.source, converted.calibration
    plain = ptq.quantize(source, tiles)
    spoiled = dataclasses.replace(source, model=_shifted(source.model))
    shifted = ptq.quantize(spoiled, tiles)
    floats = ptq.to_float(source)
    mended = correct_biases(floats, shifted, tiles, silent)
    assert len(mended) == len(shifted)
    wanted = float_logits(source, tiles, silent)
    closeness = [
        signal_to_noise(wanted, Int8Model(source, data).real_logits(tiles))
        for data in (plain, shifted, mended)
    ]
    assert closeness[1] < closeness[2] - 3
    assert correct_biases(floats, shifted, tiles, silent) == mended


def _shifted(model: object) -> object:
    from winnow_convert.source import import_keras

    keras = import_keras()
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())  # type: ignore[attr-defined]
    kernel, bias = copy.get_layer("head").get_weights()
    copy.get_layer("head").set_weights([kernel, bias + np.array([1.0, -1.0, 0.5])])
    return copy


def test_noise_per_layer_covers_every_op_and_sees_damage(converted: Converted) -> None:
    source, tiles = converted.source, converted.calibration[:8]
    floats, int8 = ptq.to_float(source), ptq.quantize(source, converted.calibration)
    layers = layer_noise(floats, int8, tiles)
    graph = read_graph(int8)
    assert [layer.op for layer in layers] == [op.name for op in graph.ops]
    assert all(layer.sqnr > 10 for layer in layers)
    assert all(layer.saturated < 0.01 for layer in layers)
    dark = layer_noise(floats, ptq.quantize(source, converted.calibration // 4), tiles)
    assert max(layer.saturated for layer in dark) > 0.05
    weighted = [layer for layer in layers if layer.weight_sqnr is not None]
    assert len(weighted) == sum(op.macs > 0 for op in graph.ops)
    assert all(30 < float(layer.weight_sqnr or 0) < 60 for layer in weighted)


def test_aeq_takes_channels_that_training_has_emptied(converted: Converted) -> None:
    pytest.importorskip("ai_edge_quantizer")
    source, tiles = converted.source, converted.calibration
    empty = dataclasses.replace(source, model=_emptied(source.model))
    wanted = float_logits(empty, tiles, silent)
    quantized = aeq.quantize(empty, tiles)
    assert check_readiness(read_graph(quantized)).complete
    corrected = correct_biases(ptq.to_float(empty), quantized, tiles, silent)
    assert len(corrected) == len(quantized)
    got = Int8Model(empty, quantized).real_logits(tiles)
    plain = Int8Model(empty, ptq.quantize(empty, tiles)).real_logits(tiles)
    assert signal_to_noise(wanted, got) > signal_to_noise(wanted, plain) - 3


def _emptied(model: Any) -> Any:
    """Channels of no weight to speak of, but with a bias, in each kind of convolution."""
    from winnow_convert.source import import_keras

    copy = import_keras().models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name in ("stem", "depthwise", "expand"):
        kernel, bias = copy.get_layer(name).get_weights()
        if name == "depthwise":
            kernel[:, :, 2] = 1e-20
        else:
            kernel[..., 2] = 1e-20
        bias[2] = 1.4
        copy.get_layer(name).set_weights([kernel, bias])
    return copy


def test_fine_tuning_gives_a_net_of_the_same_ops(converted: Converted) -> None:
    source, tiles = converted.source, converted.calibration
    tuned = qat.fine_tune(
        source, tiles, tiles, epochs=1, learning_rate=1e-4, seed=1, progress=silent
    )
    before, after = (read_graph(ptq.quantize(s, tiles)) for s in (source, tuned))
    assert [(op.name, op.version) for op in after.ops] == [
        (op.name, op.version) for op in before.ops
    ]
    wanted, got = (float_logits(s, tiles, silent) for s in (source, tuned))
    assert (wanted.argmax(1) == got.argmax(1)).mean() > 0.9


@pytest.mark.slow
def test_all_methods_are_compared_on_the_same_tiles(
    run_folder: Path, data_root: Path, loose: Conversion
) -> None:
    options = dataclasses.replace(loose, method="auto", qat_epochs=1)
    source = load_source(run_folder)
    train, val = (
        read_like(source.description, data_root, split, silent) for split in ("train", "val")
    )
    tried = compare_methods(source, train, val, options, silent)
    assert set(tried) == {"ptq", "aeq", "qat"}
    figures = {name: found.manifest.metrics for name, found in tried.items()}
    assert len({str(m["float"]) for m in figures.values()}) == 1
    for name, metrics in figures.items():
        assert metrics["quantization"]["method"] == name
    assert best_of(tried) in tried.values()
