"""`winnow convert`: a bundle that is proven, or one line and nothing written."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_base.conversion import Conversion, read_conversion
from winnow_base.errors import DataError, GateError, ModelError, RecipeError
from winnow_base.tiles import LabelledTiles
from winnow_base.views import ask, mirror
from winnow_cli import app
from winnow_convert.convert import Compared, Converted, compare_methods, judge, write
from winnow_convert.data import calibration_sample, check_calibration
from winnow_convert.int8 import Int8Model, quantize_pixels
from winnow_convert.measure import Outputs, figures, rounded
from winnow_convert.source import float_logits, load_source
from winnow_edge.bundle import open_bundle
from winnow_edge.errors import OutputError
from winnow_edge.loop.decision import Borderline, Decider, SecondViews
from winnow_edge.runtimes import load_classifier
from winnow_train.tasks import read_like


def quantized(run_folder: Path, data_root: Path, options: Conversion) -> Converted:
    source = load_source(run_folder)
    train, val = (
        read_like(source.description, data_root, split, silent) for split in ("train", "val")
    )
    (found,) = compare_methods(source, train, val, options, silent).values()
    return found


def silent(step: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def test_the_bundle_flies_and_says_what_quantization_cost(
    converted: Converted, tmp_path: Path
) -> None:
    assert converted.failures == ()
    path = write(converted, tmp_path / "tiny.winnow").path
    bundle = open_bundle(path)
    load_classifier(bundle, "litert")  # the golden self-test
    manifest = bundle.manifest
    assert manifest.input.exact_pixels
    assert manifest.classes == ("crater", "dune", "other")
    assert "other" not in manifest.thresholds
    assert set(manifest.thresholds) == {"crater", "dune"}
    metrics = manifest.metrics
    assert metrics["split"] == "val"
    assert metrics["n"] == 45
    for kind in ("float", "int8"):
        assert metrics[kind]["accuracy"] > 0.9
        assert set(metrics[kind]["per_class"]) == set(manifest.classes)
    change = metrics["quantization"]
    loss = metrics["float"]["accuracy"] - metrics["int8"]["accuracy"]
    assert change["accuracy_loss"] == pytest.approx(loss, abs=1e-4)
    assert 0.9 <= change["agreement"] <= 1
    assert change["calibration_tiles"] == 48
    for word in ("# tiny", "drawn for a test", "Apache-2.0", "crater", "macro-F1"):
        assert word in bundle.card


def test_figures_are_of_the_second_views_that_fly(
    converted: Converted, data_root: Path, tmp_path: Path
) -> None:
    """Posteriors as the gate sees them are those that the edge's own code gives."""
    source = dataclasses.replace(converted.source, borderline=0.9)
    val = read_like(source.description, data_root, "val", silent)
    # The small net is sure of every tile, so every ninth becomes a blend of two.
    tiles = val.tiles.copy()
    tiles[::9] = tiles[::9] // 2 + np.roll(tiles, 20, axis=0)[::9] // 2
    val = dataclasses.replace(val, tiles=tiles)
    before = ask(lambda tiles: float_logits(source, tiles, silent), val.tiles, 0.9)
    after = ask(converted.int8.real_logits, val.tiles, 0.9)
    compared = Compared("val", val.labels, val.sources, before, after)
    manifest, _ = judge(source, converted.options, converted.quantized, compared, 48)
    assert manifest.borderline == 0.9

    decider, borderline = Decider(manifest, {}), Borderline(manifest, 0.9)
    int8 = converted.int8
    first, mirrored = (int8.run(quantize_pixels(t)) for t in (val.tiles, mirror(val.tiles)))
    twice = np.flatnonzero([borderline(row) for row in first])
    flown = decider.posteriors(first, SecondViews(twice, mirrored[twice]))
    assert 0 < len(twice) < len(first)
    assert not np.allclose(flown, decider.posteriors(first))

    judged = Outputs(ask(int8.real_logits, val.tiles, 0.9), "softmax", manifest.temperature)
    np.testing.assert_allclose(judged.posterior, flown, atol=1e-8)
    wanted = rounded(figures(judged, val.labels, source.classes))
    assert manifest.metrics["int8"] == wanted
    assert wanted["net_calls"] == pytest.approx(1 + len(twice) / len(first), abs=1e-5)
    in_float = Outputs(before, "softmax", source.temperature)
    agree = in_float.posterior.argmax(axis=1) == judged.posterior.argmax(axis=1)
    change = manifest.metrics["quantization"]
    assert change["agreement"] == pytest.approx(agree.mean(), abs=1e-5)
    shown = write(dataclasses.replace(converted, manifest=manifest), tmp_path / "twice.winnow")
    assert "under 0.9 is shown to the net a second time, mirrored" in shown.card


def test_a_limit_that_means_nothing_is_refused(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    card = json.loads((folder / "model.json").read_text())
    assert load_source(folder).borderline == 0
    for change in (
        {"borderline": 2},
        {"borderline": "often"},
        {"head": "sigmoid", "borderline": 1},
    ):
        (folder / "model.json").write_text(json.dumps({**card, **change}))
        with pytest.raises(ModelError, match="`borderline`"):
            load_source(folder)


def test_int8_logits_follow_float_logits(converted: Converted, data_root: Path) -> None:
    model, source = converted.int8, converted.source
    tiles = converted.calibration[:20]
    real = model.real_logits(tiles)
    wanted = np.asarray(source.model(tiles.astype(np.float32), training=False))
    noise = np.sqrt(np.mean((real - wanted) ** 2))
    assert noise < 0.1 * np.sqrt(np.mean(wanted**2))


def test_the_same_inputs_give_the_same_bytes(
    run_folder: Path, data_root: Path, converted: Converted, loose: Conversion, tmp_path: Path
) -> None:
    again = quantized(run_folder, data_root, loose)
    first = write(converted, tmp_path / "one.winnow").path.read_bytes()
    assert write(again, tmp_path / "two.winnow").path.read_bytes() == first


def test_a_failed_gate_writes_nothing_and_says_by_how_much(
    run_folder: Path, data_root: Path, loose: Conversion, tmp_path: Path
) -> None:
    out = tmp_path / "tiny.winnow"
    out.write_bytes(b"the bundle of yesterday")
    strict = dataclasses.replace(loose, max_accuracy_loss=-1.0, max_bytes=100, max_mmac=0.1)
    failed = quantized(run_folder, data_root, strict)
    with pytest.raises(GateError, match=r"accuracy loss is .*, max_accuracy_loss is -1") as caught:
        write(failed, out)
    assert re.search(r"the model has \d+ bytes, max_bytes is 100", str(caught.value))
    assert re.search(r"a tile takes 0.\d MMAC, max_mmac is 0.1", str(caught.value))
    assert caught.value.exit_code == 5
    assert out.read_bytes() == b"the bundle of yesterday"
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.winnow"]


def test_the_command_prints_json_and_maps_errors_to_one_line(
    run_folder: Path,
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "tiny.winnow"
    limits = ["--max-accuracy-loss", "0.1", "--max-recall-loss", "0.1", "--min-agreement", "0.9",
              "--min-rank-correlation", "0.5"]  # fmt: skip
    command = ["winnow", "convert", str(run_folder), "--data", str(data_root), "--out", str(out)]
    assert _run(monkeypatch, [*command, *limits, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sha256"] == open_bundle(out).sha256
    assert report["metrics"]["n"] == 45

    before = out.read_bytes()
    assert _run(monkeypatch, [*command, *limits]) == 3
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "tiny.winnow: is there already; name another --out, or add --force" in shown
    assert _run(monkeypatch, [*command, *limits, "--force", "--max-accuracy-loss", "-1"]) == 5
    assert capsys.readouterr().err.count("\n") == 1
    assert out.read_bytes() == before
    command[2] = str(tmp_path / "absent")
    assert _run(monkeypatch, [*command, "--force"]) == 3
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "is no trained model: no model.keras" in shown
    command[2], command[-1] = str(run_folder), str(tmp_path / "absent" / "x.winnow")
    assert _run(monkeypatch, command) == 3
    assert "no such folder" in capsys.readouterr().err


def _run(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    monkeypatch.setattr("sys.argv", arguments)
    try:
        app.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_models_that_cannot_fly_are_refused(
    tiny_model: Any, write_run: Callable[..., Path], tmp_path: Path
) -> None:
    from winnow_convert.source import import_keras

    keras = import_keras()
    layers = keras.layers
    cases: list[tuple[Any, dict[str, Any], str]] = []
    free = keras.Input((None, None, 1))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(free))
    cases.append((keras.Model(free, pooled), {}, "dynamic input shape"))
    cases.append((tiny_model, {"classes": ["a", "b"]}, "names 2 classes"))
    size = {"height": 64, "width": 64, "channels": 1}
    cases.append((tiny_model, {"input": size}, r"has input \(32, 32, 1\), model.json says"))
    two = keras.Model(tiny_model.input, [tiny_model.output, tiny_model.output])
    cases.append((two, {}, "2 outputs"))
    broken = keras.models.clone_model(tiny_model)
    weights = tiny_model.get_weights()
    weights[0] = weights[0].copy()
    weights[0].flat[:2] = np.nan
    broken.set_weights(weights)
    cases.append((broken, {}, "holds 2 values that are NaN"))
    for model, changes, complaint in cases:
        with pytest.raises(ModelError, match=complaint):
            load_source(write_run(model, **changes))
    folder = write_run(tiny_model)
    (folder / "model.keras").write_bytes(b"no zip")
    with pytest.raises(ModelError, match=r"model\.keras: cannot be read"):
        load_source(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model\.json: is not JSON that can be read"):
        load_source(folder)
    with pytest.raises(ModelError, match=r"no model\.keras"):
        load_source(tmp_path)


def test_ops_without_an_int8_kernel_are_named(
    write_run: Callable[..., Path], converted: Converted
) -> None:
    from winnow_convert.ptq import quantize
    from winnow_convert.source import import_keras

    keras = import_keras()
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(3, 3)(inputs)
    x = keras.ops.erfinv(x * 1e-6)
    x = keras.layers.GlobalAveragePooling2D()(x)
    source = load_source(write_run(keras.Model(inputs, x)))
    with pytest.raises(ModelError, match=r"without an int8 TFLite kernel: Erfinv"):
        quantize(source, converted.calibration)


def test_models_that_do_not_take_pixels_as_they_are_are_refused(
    write_run: Callable[..., Path], tiny_model: Any, converted: Converted
) -> None:
    from winnow_convert.ptq import quantize

    source = load_source(write_run(tiny_model))
    dim = converted.calibration // 2  # never reaches 255: the range would not be 0..255
    with pytest.raises(ModelError, match="pixels are quantized with scale"):
        Int8Model(source, quantize(source, dim))


@pytest.mark.parametrize(
    ("tiles", "complaint"),
    [
        (np.zeros((1, 32, 32, 1), np.uint8), "1 calibration tiles are too few"),
        (np.full((40, 32, 32, 1), 90, np.uint8), "constant"),
        (np.zeros((40, 32, 32, 3), np.uint8), r"\(32, 32, 3\), the model's input is \(32, 32, 1\)"),
    ],
)
def test_useless_calibration_sets_are_refused(
    converted: Converted, tiles: np.ndarray, complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        check_calibration(tiles, converted.source)


def test_calibration_is_balanced_over_classes_and_pins_the_pixel_range() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [100, 10, 3])
    tiles = rng.integers(50, 200, (113, 4, 4, 1), dtype=np.uint8)
    tiles[:, 0, 0, 0] = labels
    sample = calibration_sample(
        LabelledTiles(tiles, labels, tuple("abc"[k] for k in labels)), 3, 30
    )
    assert len(sample) == 30
    assert np.bincount(sample[:, 0, 0, 0]).tolist() == [17, 10, 3]
    assert sample.min() == 0
    assert sample.max() == 255


def test_calibration_of_a_sigmoid_head_has_tiles_of_no_class_too() -> None:
    truth = np.array([[1, 0]] * 5 + [[0, 1]] * 5 + [[1, 1]] * 2 + [[0, 0]] * 200)
    tiles = np.full((len(truth), 4, 4, 1), 100, np.uint8)
    tiles[:, 1, 1, 0] = truth @ [1, 2]
    sample = calibration_sample(LabelledTiles(tiles, truth, ("a",) * len(truth)), 2, 30)
    none, crater, dune, both = np.bincount(sample[:, 1, 1, 0], minlength=4)
    assert (crater, dune, both) == (5, 5, 2)
    assert none == 18


def test_options_refuse_unknown_keys_and_illegal_values() -> None:
    assert read_conversion({"calibration": 64}, {"calibration": None}, "r").calibration == 64
    assert read_conversion({"calibration": 64}, {"calibration": 80}, "r").calibration == 80
    for bad in ({"background": "other"}, {"background": 5}, {"qat_epochs": 1.5}):
        with pytest.raises(RecipeError, match=f"`convert.{next(iter(bad))}` is "):
            read_conversion(bad, {}, "r")
    with pytest.raises(RecipeError, match=r"unknown key `convert\.speed`"):
        read_conversion({"speed": 1}, {}, "r")
    with pytest.raises(RecipeError, match=r"`convert\.min_agreement` is 2.0, legal is 0 to 1"):
        read_conversion({"min_agreement": 2}, {}, "r")
    with pytest.raises(RecipeError, match=r"`convert\.calibration` is 1, legal is 16 to 100_000"):
        read_conversion({}, {"calibration": 1}, "r")
    with pytest.raises(RecipeError, match=r"convert\.method"):
        read_conversion({"method": "magic"}, {}, "r")


def test_an_unwritable_bundle_path_leaves_nothing(converted: Converted, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write(converted, tmp_path / "absent" / "tiny.winnow")
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, sys
from pathlib import Path
from winnow_edge.bundle import open_bundle, write_bundle
from winnow_edge.errors import OutputError
from winnow_edge.files import write_file
bundle = open_bundle(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (
    lambda: write_bundle(Path(sys.argv[2]), bundle.manifest, model=bundle.model,
                         golden=bundle.golden, card=bundle.card),
    lambda: write_file(Path(sys.argv[2]), bundle.model),
):
    try:
        write()
    except OutputError as error:
        print(error)
"""


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_other(
    converted: Converted, tmp_path: Path
) -> None:
    """The system refuses what lies beyond 4 kB, as it does where there is no space."""
    whole = write(converted, tmp_path / "whole.winnow").path
    folder = tmp_path / "disk"
    folder.mkdir()
    old = folder / "tiny.winnow"
    old.write_bytes(b"the bundle of yesterday")
    command = [sys.executable, "-c", FULL, str(whole), str(old)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count(f"{old}: cannot be written: File too large") == 2
    assert old.read_bytes() == b"the bundle of yesterday"
    assert list(folder.iterdir()) == [old]


def test_a_flatbuffer_that_is_not_int8_is_refused(converted: Converted) -> None:
    from winnow_convert.ptq import to_float

    with pytest.raises(ModelError, match="the converted model's input is float32, must be int8"):
        Int8Model(converted.source, to_float(converted.source))


def test_a_data_set_with_too_few_tiles_to_calibrate_is_one_line(
    run_folder: Path,
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = tmp_path / "data"
    for split, kind in itertools.product(("train", "val"), ("crater", "dune", "other")):
        folder = few / split / kind
        folder.mkdir(parents=True)
        found = sorted((data_root / split / kind).iterdir())
        for tile in found[:1]:
            shutil.copy(tile, folder)
    out = tmp_path / "tiny.winnow"
    arguments = ["convert", str(run_folder), "--data", str(few), "--out", str(out)]
    assert _run(monkeypatch, ["winnow", *arguments]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "3 calibration tiles are too few, at least 16" in said
    assert not out.exists()
