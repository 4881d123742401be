"""The ways to int8, behind one function.

========  ========================================================================================
`ptq`     post-training quantization by the TensorFlow Lite converter, also equalized
`aeq`     ai-edge-quantizer's static int8
`qat`     quantization-aware fine-tuning, then `ptq`'s converter
`auto`    all of them, the best on val (chosen in `winnow_convert.convert`)
========  ========================================================================================

All also with corrected biases. Variants within a method are compared on calibration tiles, which
are of train: by how far their logits are from the float net's. Val is left for the comparison that
is reported.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from winnow_base.conversion import Conversion
from winnow_base.progress import Step
from winnow_base.tiles import LabelledTiles
from winnow_convert import aeq, ptq, qat
from winnow_convert.bias import correct_biases
from winnow_convert.data import CALIBRATION_SEED
from winnow_convert.equalize import equalize
from winnow_convert.int8 import Int8Model
from winnow_convert.ptq import UInt8Array
from winnow_convert.source import Source, float_logits


@dataclass(frozen=True)
class Quantized:
    """A flatbuffer: `steps` taken on the way, and by variant the logits' signal-to-noise ratio (dB)
    against the float net on calibration tiles. `source` is the float net that was quantized last:
    equalized or fine-tuned if that is among the steps."""

    method: str
    source: Source
    int8: Int8Model
    steps: tuple[str, ...]
    variants: dict[str, float]


def quantize_by(
    method: str,
    source: Source,
    train: LabelledTiles,
    calibration: UInt8Array,
    options: Conversion,
    progress: Step,
) -> Quantized:
    """Quantize `source` by one method. Raises ModelError where it has no int8 form that way."""
    progress(f"quantizing ({method})", 0, 1)
    if method == "ptq":
        made = _ptq_variants(source, calibration, progress)
    elif method == "aeq":
        plain = aeq.quantize(source, calibration)
        made = _with_biases(source, plain, calibration, progress)
    else:
        tuned = _fine_tuned(source, train, calibration, options, progress)
        plain = ptq.quantize(tuned, calibration)
        made = _with_biases(tuned, plain, calibration, progress)
    wanted = np.asarray(float_logits(source, calibration, progress))
    models = {name: Int8Model(source, data) for name, (_, data) in made.items()}
    closeness = {
        name: signal_to_noise(wanted, model.real_logits(calibration))
        for name, model in models.items()
    }
    best = max(made, key=lambda name: closeness[name])
    progress(f"quantizing ({method})", 1, 1)
    return Quantized(
        method=method,
        source=made[best][0],
        int8=models[best],
        steps=tuple(step for step in best.split("+") if step),
        variants={name or "plain": round(value, 2) for name, value in closeness.items()},
    )


def signal_to_noise(wanted: np.ndarray, got: np.ndarray) -> float:
    """Of logits (n, classes), in decibels; logits mean differences, so each tile's mean is taken
    out first."""
    wanted = wanted - wanted.mean(axis=1, keepdims=True)
    got = got - got.mean(axis=1, keepdims=True)
    noise = float(((wanted - got) ** 2).sum())
    return float(10 * np.log10(float((wanted**2).sum()) / noise)) if noise > 0 else float("inf")


def _ptq_variants(
    source: Source, calibration: UInt8Array, progress: Step
) -> dict[str, tuple[Source, bytes]]:
    """By the steps taken ("" for none), the float net and its flatbuffer. Bias correction is tried
    on top of equalization where there is any, since it costs the most time."""
    plain = ptq.quantize(source, calibration)
    model, groups = equalize(source.model, calibration)
    if not groups:
        return _with_biases(source, plain, calibration, progress)
    level = dataclasses.replace(source, model=model)
    equalized = ptq.quantize(level, calibration)
    corrected = correct_biases(ptq.to_float(level), equalized, calibration, progress)
    return {
        "": (source, plain),
        "equalized": (level, equalized),
        "equalized+bias": (level, corrected),
    }


def _with_biases(
    source: Source, plain: bytes, calibration: UInt8Array, progress: Step
) -> dict[str, tuple[Source, bytes]]:
    """An int8 flatbuffer of `source` as it is, and with corrected biases."""
    corrected = correct_biases(ptq.to_float(source), plain, calibration, progress)
    return {"": (source, plain), "bias": (source, corrected)}


def _fine_tuned(
    source: Source,
    train: LabelledTiles,
    calibration: UInt8Array,
    options: Conversion,
    progress: Step,
) -> Source:
    return qat.fine_tune(
        source,
        train.tiles,
        calibration,
        epochs=options.qat_epochs,
        learning_rate=options.qat_learning_rate,
        seed=CALIBRATION_SEED,
        progress=progress,
    )
