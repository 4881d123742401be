"""The ways to int8, behind one function.

========  ========================================================================================
`ptq`     post-training quantization by the TensorFlow Lite converter, with whichever of bias
          correction and equalization brings it closer to the float net
`aeq`     ai-edge-quantizer's static int8
`qat`     quantization-aware fine-tuning, then `ptq`'s converter
`auto`    all of them, the best on val (chosen in `winnow_convert.convert`)
========  ========================================================================================

Variants within a method are compared on calibration tiles, which are of train: by how far their
logits are from the float net's. Val is left for the comparison that is reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from winnow_convert import aeq, ptq, qat
from winnow_convert.bias import correct_biases
from winnow_convert.data import LabelledTiles, Progress
from winnow_convert.equalize import equalize
from winnow_convert.int8 import Int8Model
from winnow_convert.options import Options
from winnow_convert.ptq import UInt8Array
from winnow_convert.source import Source, float_logits


@dataclass(frozen=True)
class Quantized:
    """A flatbuffer: `steps` taken on the way, and by variant the logits' signal-to-noise ratio (dB)
    against the float net on calibration tiles."""

    method: str
    int8: Int8Model
    steps: tuple[str, ...]
    variants: dict[str, float]


def quantize_by(
    method: str,
    source: Source,
    train: LabelledTiles,
    calibration: UInt8Array,
    options: Options,
    progress: Progress,
) -> Quantized:
    """Quantize `source` by one method. Raises ModelError where it has no int8 form that way."""
    makers: dict[str, Callable[[], dict[str, bytes]]] = {
        "ptq": lambda: _ptq_variants(source, calibration, progress),
        "aeq": lambda: {"": aeq.quantize(source, calibration)},
        "qat": lambda: {"": _qat(source, train, calibration, options, progress)},
    }
    progress(f"quantizing ({method})", 0, 1)
    made = {name: Int8Model(source, data) for name, data in makers[method]().items()}
    wanted = np.asarray(float_logits(source, calibration, progress))
    closeness = {
        name: signal_to_noise(wanted, model.real_logits(calibration))
        for name, model in made.items()
    }
    best = max(made, key=lambda name: closeness[name])
    progress(f"quantizing ({method})", 1, 1)
    steps = tuple(step for step in best.split("+") if step)
    named = {name or "plain": round(value, 2) for name, value in closeness.items()}
    return Quantized(method, made[best], steps, named)


def signal_to_noise(wanted: np.ndarray, got: np.ndarray) -> float:
    """Of logits (n, classes), in decibels; logits mean differences, so each tile's mean is taken
    out first."""
    wanted = wanted - wanted.mean(axis=1, keepdims=True)
    got = got - got.mean(axis=1, keepdims=True)
    noise = float(((wanted - got) ** 2).sum())
    return float(10 * np.log10(float((wanted**2).sum()) / noise)) if noise > 0 else float("inf")


def _ptq_variants(source: Source, calibration: UInt8Array, progress: Progress) -> dict[str, bytes]:
    """By the steps taken ("" for none), flatbuffers of the same net. Bias correction is tried on
    top of equalization where there is any, since it costs the most time."""
    plain = ptq.quantize(source, calibration)
    model, groups = equalize(source.model, calibration)
    if not groups:
        corrected = correct_biases(ptq.to_float(source), plain, calibration, progress)
        return {"": plain, "bias": corrected}
    level = dataclasses.replace(source, model=model)
    equalized = ptq.quantize(level, calibration)
    corrected = correct_biases(ptq.to_float(level), equalized, calibration, progress)
    return {"": plain, "equalized": equalized, "equalized+bias": corrected}


def _qat(
    source: Source,
    train: LabelledTiles,
    calibration: UInt8Array,
    options: Options,
    progress: Progress,
) -> bytes:
    tuned = qat.fine_tune(
        source,
        train.tiles,
        calibration,
        epochs=options.qat_epochs,
        learning_rate=options.qat_learning_rate,
        seed=options.seed,
        progress=progress,
    )
    return ptq.quantize(tuned, calibration)
