"""Whether a swath looks like what a net was trained on is told from brightness and contrast."""

from __future__ import annotations

import json

import numpy as np

from winnow_base.appearance import Measured, describe, notices


def tiles(mean: float, spread: float, n: int = 200) -> np.ndarray:
    rng = np.random.default_rng(1)
    means = rng.normal(mean, 10, (n, 1, 1))
    return np.clip(rng.normal(means, spread, (n, 16, 16)), 0, 255).astype(np.uint8)


def test_a_swath_like_the_training_tiles_raises_no_notice() -> None:
    table = describe(Measured.of(tiles(120, 20)))
    assert table["tiles"] == 200
    assert table["brightness"]["p1"] < table["brightness"]["p50"] < table["brightness"]["p99"]
    training = json.loads(json.dumps({"appearance": table}))
    assert notices(training, Measured.of(tiles(121, 20, 90)), "b") == []
    assert notices(training, None, "b") == []


def test_another_brightness_or_contrast_is_said_with_its_figures() -> None:
    training = {"appearance": describe(Measured.of(tiles(120, 20)))}
    (dark,) = notices(training, Measured.of(tiles(40, 20)), "b")
    assert "brightness of 100%" in dark and "lower than" in dark
    (flat,) = notices(training, Measured.of(tiles(120, 4)), "b")
    assert "contrast" in flat and "not calibrated" in flat


def test_a_bundle_that_does_not_say_is_told_of() -> None:
    (said,) = notices({}, Measured.of(tiles(1, 1)), "old")
    assert "Bundle old does not say" in said
    broken = {"appearance": {"brightness": "?", "contrast": {"p1": None}}}
    assert notices(broken, Measured.of(tiles(1, 1)), "b") == []


def test_a_swath_without_a_whole_tile_is_not_judged() -> None:
    training = {"appearance": describe(Measured.of(tiles(120, 20)))}
    none = Measured.joined([Measured.of(np.empty((0, 16, 16), np.uint8))])
    assert notices(training, none, "b") == []


def test_colour_is_measured_as_grey() -> None:
    grey = tiles(100, 15)
    same = Measured.of(np.repeat(grey[..., None], 3, axis=3))
    assert np.allclose(same.brightness, Measured.of(grey).brightness)
    assert np.allclose(same.contrast, Measured.of(grey).contrast)
