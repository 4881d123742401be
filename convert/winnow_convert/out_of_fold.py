"""The gate for a net that learned from every labelled tile: what int8 costs the nets of the folds.

Such a net has no tile left to be judged on. The nets of its cross-validation are quantized the same
way, and each judges the tiles of its fold, in float and in int8; together they are what the gate,
the temperature, the thresholds and the figures of the bundle rest on. Of the net itself one thing
is measured: on tiles that it was trained on, how often int8 and float name the same class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from winnow_base import views
from winnow_base.conversion import Conversion
from winnow_base.progress import Step
from winnow_base.tiles import LabelledTiles
from winnow_base.views import Answers
from winnow_convert.convert import Compared, Converted, judge, methods_of
from winnow_convert.data import calibration_sample, check_calibration
from winnow_convert.methods import quantize_by
from winnow_convert.source import Source, float_logits

SEEN = 2000
"""Tiles of train at most on which the net that flies is compared."""


@dataclass(frozen=True)
class FoldNet:
    """The net of a fold with the tiles that it learned from and those that it never saw; `given`
    [K] is added to its logits: what the prior chosen on all folds adds to the recipe's."""

    source: Source
    train: LabelledTiles
    held: LabelledTiles
    given: npt.NDArray[np.float64]


def compare_out_of_fold(
    source: Source,
    train: LabelledTiles,
    nets: Iterable[FoldNet],
    options: Conversion,
    progress: Step,
) -> dict[str, Converted]:
    """Every method that `options.method` asks for, by name: the net quantized on tiles of train,
    judged by what the method does to the nets of the folds.

    Raises DataError for unusable tiles and ModelError for a model that has no int8 form.
    """
    before: list[Answers] = []
    after: dict[str, list[Answers]] = {m: [] for m in methods_of(options)}
    held: list[LabelledTiles] = []
    for number, net in enumerate(nets, start=1):
        calibration = _calibration(net.source, net.train, options)
        asked = _asked(net.source, net.held.tiles, source.borderline, progress)
        before.append(_with(asked, net.given))
        for method, answers in after.items():
            progress(f"fold {number} ({method})", 0, 1)
            made = quantize_by(method, net.source, net.train, calibration, options, progress)
            said = views.ask(made.int8.real_logits, net.held.tiles, source.borderline)
            answers.append(_with(said, net.given))
            progress(f"fold {number} ({method})", 1, 1)
        held.append(net.held)
    calibration = _calibration(source, train, options)
    some = np.linspace(0, len(train.tiles) - 1, min(SEEN, len(train.tiles))).astype(int)
    wanted = float_logits(source, train.tiles[some], progress).argmax(axis=1)
    found = {}
    for method, answers in after.items():
        quantized = quantize_by(method, source, train, calibration, options, progress)
        named = quantized.int8.real_logits(train.tiles[some]).argmax(axis=1)
        compared = Compared(
            f"cross-validated, {len(held)} folds",
            np.concatenate([h.labels for h in held]),
            tuple(s for h in held for s in h.sources),
            views.join(before),
            views.join(answers),
        )
        seen = {"n": len(some), "agreement": float((named == wanted).mean())}
        manifest, failures = judge(source, options, quantized, compared, len(calibration), seen)
        found[method] = Converted(source, options, quantized, calibration, manifest, failures)
    return found


def _calibration(
    source: Source, train: LabelledTiles, options: Conversion
) -> npt.NDArray[np.uint8]:
    tiles = calibration_sample(train, len(source.classes), options.calibration)
    check_calibration(tiles, source)
    return tiles


def _asked(
    source: Source, tiles: npt.NDArray[np.uint8], borderline: float, progress: Step
) -> Answers:
    return views.ask(lambda t: np.asarray(float_logits(source, t, progress)), tiles, borderline)


def _with(answers: Answers, given: npt.NDArray[np.float64]) -> Answers:
    mirrored = None if answers.mirrored is None else answers.mirrored + given
    return replace(answers, logits=answers.logits + given, mirrored=mirrored)
