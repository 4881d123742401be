"""Settings of a conversion: the `[convert]` table of a recipe, which options of `winnow convert`
override."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from winnow_base.errors import RecipeError
from winnow_edge.tables import Reader, setting

METHODS = ("ptq", "aeq", "qat", "auto")
FEWEST_CALIBRATION_TILES = 16


@dataclass(frozen=True)
class Conversion:
    """How a model becomes int8, and the gate: the loss on val that it may cost, as shares.

    Attributes:
        method: "ptq", "aeq", "qat" (see docs/convert.md), or "auto": the best of them.
        calibration: Calibration tiles, drawn from train and balanced over its classes.
        background: Classes that are never a detection.
        min_precision: Precision on val that the detection threshold of a class aims at.
        thresholds: Thresholds chosen on whole pictures left out (`winnow evaluate --swaths`), by
            class; a class that is not named gets the one that `min_precision` asks for.
        refit: The temperature may be fitted anew to the int8 logits of val, where that helps.
        qat_epochs: Passes over train of quantization-aware fine-tuning.
        qat_learning_rate: Learning rate of quantization-aware fine-tuning.
        max_accuracy_loss: Accuracy of float minus that of int8.
        max_recall_loss: Mean recall of the classes of float minus that of int8.
        min_agreement: Share of tiles with the same best class.
        min_rank_correlation: Spearman's rho of the downlink order.
        max_bytes: Size of the int8 model.
        max_mmac: Million multiply-accumulates for one tile.
    """

    method: str = setting("ptq", choices=METHODS)
    calibration: int = setting(400, FEWEST_CALIBRATION_TILES, 100_000, unit="tiles")
    background: tuple[str, ...] = setting(("other", "edge"))
    min_precision: float = setting(0.9, 0.0, 1.0, unit="share")
    thresholds: dict[str, float] = setting(dict, 0.0, 1.0, unit="posterior")
    refit: bool = setting(True)
    qat_epochs: int = setting(2, 1, 100, unit="epochs")
    qat_learning_rate: float = setting(1e-4, 1e-7, 0.1)
    max_accuracy_loss: float = setting(0.005, -1.0, 1.0, unit="share")
    max_recall_loss: float = setting(0.01, -1.0, 1.0, unit="share")
    min_agreement: float = setting(0.98, 0.0, 1.0, unit="share")
    min_rank_correlation: float = setting(0.99, -1.0, 1.0)
    max_bytes: int = setting(2**30, 1, 2**30, unit="bytes")
    max_mmac: float = setting(1e6, 0.001, 1e6, unit="MMAC")


def read_conversion(recipe: dict[str, Any], given: dict[str, Any], where: object) -> Conversion:
    """The `[convert]` table of a recipe with the options given on the command line (None: not
    given) in place of its own.

    Raises RecipeError for a key or value that is not legal.
    """
    values = {**recipe, **{key: value for key, value in given.items() if value is not None}}
    return Reader(where, RecipeError).table(Conversion, values, ("convert",))
