"""Runtimes on the shipped bundle: golden logits, honest refusals."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow_edge.bundle import Bundle, Golden, OutputSpec, find_bundle, open_bundle
from winnow_edge.errors import BundleError, RuntimeUnavailableError
from winnow_edge.loop.band import Band, Quantizer
from winnow_edge.runtimes import available_runtimes, check_golden, edgetpu, load_classifier


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(find_bundle("hirise-landmarks"))


def test_golden_logits_come_out_exactly(bundle: Bundle) -> None:
    classifier = load_classifier(bundle, "litert")
    assert (classifier.requested, classifier.actual) == ("litert", "litert")
    assert check_golden(classifier, bundle) == 0
    assert len(bundle.golden.tiles) >= 2
    assert len(np.unique(bundle.golden.logits["litert"], axis=0)) == len(bundle.golden.tiles)


def test_tiles_may_be_strided_views_and_colourless(bundle: Bundle) -> None:
    classifier = load_classifier(bundle, "litert", self_test=False)
    spec, count = bundle.manifest.input, len(bundle.manifest.classes)
    tile = bundle.golden.tiles[0]
    whole, part = np.empty(count, np.int8), np.empty(count, np.int8)
    classifier.infer(tile, whole)
    band = np.zeros((spec.height, 3 * spec.width), np.int8)
    band[:, spec.width : 2 * spec.width] = tile[:, :, 0]
    classifier.infer(band[:, spec.width : 2 * spec.width], part)
    np.testing.assert_array_equal(whole, part)
    np.testing.assert_array_equal(whole, bundle.golden.logits["litert"][0])


@pytest.mark.parametrize("name", ["hirise-landmarks", "msl-surface"])
def test_tiles_as_opaque_lines_and_logits_in_a_memoryview_are_the_same(name: str) -> None:
    bundle = open_bundle(find_bundle(name))
    classifier = load_classifier(bundle, "litert", self_test=False)
    spec, count = bundle.manifest.input, len(bundle.manifest.classes)
    band = Band(
        3 * spec.width,
        spec.height,
        tile=spec.height,
        hop=spec.height,
        scale=1,
        channels=spec.channels,
        nodata=None,
        quantizer=Quantizer(spec),
    )
    row, tile = band.row(0), bundle.golden.tiles[0]
    row[:, 7 : 7 + spec.width] = tile[:, :, 0] if spec.channels == 1 else tile
    row[:, 9 + spec.width : 9 + 2 * spec.width] = row[:, 7 : 7 + spec.width][:, ::-1]
    plain, mirrored = band.tiles(row, [7, 9 + spec.width])
    logits = np.empty(3 * count, np.int8)
    classifier.infer(plain, logits.data[:count])
    classifier.infer_mirrored(plain, logits.data[count : 2 * count])
    classifier.infer(mirrored, logits.data[2 * count :])
    np.testing.assert_array_equal(logits[:count], bundle.golden.logits["litert"][0])
    np.testing.assert_array_equal(logits[count : 2 * count], logits[2 * count :])


def test_several_interpreters_in_threads_agree(bundle: Bundle) -> None:
    tiles, count = bundle.golden.tiles, len(bundle.manifest.classes)

    def all_logits(_: int) -> np.ndarray:
        classifier = load_classifier(bundle, "litert", self_test=False)
        out = np.empty((len(tiles), count), np.int8)
        for tile, row in zip(tiles, out, strict=True):
            classifier.infer(tile, row)
        return out

    with ThreadPoolExecutor(3) as pool:
        for logits in pool.map(all_logits, range(3)):
            np.testing.assert_array_equal(logits, bundle.golden.logits["litert"])


def test_a_failed_golden_test_names_tile_and_class(bundle: Bundle) -> None:
    wrong = {name: logits.copy() for name, logits in bundle.golden.logits.items()}
    wrong["litert"][1, 2] ^= 4
    broken = dataclasses.replace(bundle, golden=Golden(bundle.golden.tiles, wrong))
    name = bundle.manifest.classes[2]
    with pytest.raises(BundleError, match=rf"tile 1, class '{name}': logit .* must be .*\(off by"):
        load_classifier(broken, "litert")
    load_classifier(broken, "litert", self_test=False)


def test_a_runtime_without_golden_logits_is_held_to_litert_within_tolerance(
    bundle: Bundle,
) -> None:
    near = Golden(bundle.golden.tiles, dict(bundle.golden.logits))
    classifier = load_classifier(bundle, "litert", self_test=False)
    classifier.actual = "another"
    assert check_golden(classifier, dataclasses.replace(bundle, golden=near)) == 0
    far = {"litert": np.clip(near.logits["litert"].astype(np.int16) - 20, -128, 127)}
    far_golden = Golden(near.tiles, {"litert": far["litert"].astype(np.int8)})
    with pytest.raises(BundleError, match="self-test failed on another"):
        check_golden(classifier, dataclasses.replace(bundle, golden=far_golden))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"output": OutputSpec(9.0, 1)}, "the model's output has scale"),
        ({"classes": ("a", "b")}, "the model's output is int8"),
    ],
)
def test_a_model_that_contradicts_its_manifest_is_refused(
    bundle: Bundle, change: dict[str, object], complaint: str
) -> None:
    other = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, **change))
    with pytest.raises(BundleError, match=complaint):
        load_classifier(other, "litert", self_test=False)


def test_bytes_that_are_no_model_are_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"model\.tflite does not load on litert"):
        load_classifier(dataclasses.replace(bundle, model=b"nonsense" * 8), "litert")


def test_auto_falls_back_and_named_runtimes_do_not(bundle: Bundle) -> None:
    if edgetpu.device() is not None:
        pytest.skip("an Edge TPU is attached")
    classifier = load_classifier(bundle, "auto")
    assert (classifier.requested, classifier.actual) == ("auto", "litert")
    with pytest.raises(RuntimeUnavailableError, match="no Edge TPU is attached") as caught:
        load_classifier(bundle, "edgetpu")
    assert caught.value.exit_code == 4
    with pytest.raises(RuntimeUnavailableError, match="unknown runtime 'gpu'"):
        load_classifier(bundle, "gpu")


def test_tflite_is_refused_where_numpy_is_too_new(bundle: Bundle) -> None:
    reason = available_runtimes()["tflite"]
    if reason is None:
        check_golden(load_classifier(bundle, "tflite"), bundle)
        return
    with pytest.raises(RuntimeUnavailableError, match=r"tflite-runtime"):
        load_classifier(bundle, "tflite")


def test_the_delegate_is_probed_in_another_process(tmp_path: Path) -> None:
    assert "cannot be loaded" in str(edgetpu.probe(str(tmp_path / "libabsent.so")))
    # A library whose constructor crashes takes down the probe, not us.
    source = tmp_path / "crash.c"
    source.write_text("__attribute__((constructor)) void f(void) { *(volatile int *)0 = 1; }")
    library = tmp_path / "libcrash.so"
    if _compile(source, library):
        assert "crashed (signal 11)" in str(edgetpu.probe(str(library)))


def _compile(source: Path, library: Path) -> bool:
    import shutil
    import subprocess

    compiler = shutil.which("cc")
    if compiler is None:
        return False
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source)]
    return subprocess.run(command, check=False).returncode == 0


@given(st.integers(0, 255))
def test_fake_logits_are_the_documented_function_of_brightness(level: int) -> None:
    bundle = _FAKE
    count = len(bundle.manifest.classes)
    spec = bundle.manifest.input
    tile = np.full((spec.height, spec.width), level ^ 0x80, np.uint8).view(np.int8)
    logits = np.empty(count, np.int8)
    load_classifier(bundle, "fake").infer(tile, logits)
    for k in range(count):
        centre = (2 * k + 1) * 128 // count
        assert logits[k] == max(-128, 127 - 2 * abs(level - centre))
    assert abs(int(logits.argmax()) - level * count // 256) <= 1


_FAKE = open_bundle(find_bundle("hirise-landmarks"))
