"""What `winnow convert` is asked for: the recipe's `[convert]` table, overridden by options."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from winnow_base.errors import RecipeError
from winnow_convert.data import FEWEST_CALIBRATION_TILES

METHODS = ("ptq", "aeq", "qat", "auto")


def _within(default: Any, low: float, high: float) -> Any:
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class Options:
    """How a model becomes int8, and the gate: what that may cost on val (shares, 0.005 is half a
    percentage point).

    `background` classes get no threshold; `min_precision` is what thresholds aim at;
    `calibration` tiles are drawn from train, balanced over its classes, with `seed`;
    `max_bytes` of the flatbuffer and `max_mmac` (millions of multiply-accumulates a tile) are the
    budget of size and time;
    `qat_epochs` over train at `qat_learning_rate` is what quantization-aware fine-tuning takes.
    """

    method: str = "ptq"
    calibration: int = _within(400, FEWEST_CALIBRATION_TILES, 100_000)
    seed: int = _within(0, 0, 2**31 - 1)
    background: tuple[str, ...] = ("other", "edge")
    min_precision: float = _within(0.9, 0.0, 1.0)
    qat_epochs: int = _within(2, 1, 100)
    qat_learning_rate: float = _within(1e-4, 1e-7, 0.1)
    max_accuracy_loss: float = _within(0.005, -1.0, 1.0)
    max_recall_loss: float = _within(0.01, -1.0, 1.0)
    min_agreement: float = _within(0.98, 0.0, 1.0)
    min_rank_correlation: float = _within(0.99, -1.0, 1.0)
    max_bytes: int = _within(2**30, 1, 2**30)
    max_mmac: float = _within(1e6, 0.001, 1e6)


def _listed(names: Any) -> tuple[Any, ...]:
    return tuple(names) if isinstance(names, list | tuple) else (None,)


def make_options(recipe: dict[str, Any], given: dict[str, Any], where: object) -> Options:
    """Options from a recipe's table and those given on the command line (None: not given).

    Raises RecipeError for a key or value that is not legal.
    """
    values = {**recipe, **{key: value for key, value in given.items() if value is not None}}
    fields = {f.name: f for f in dataclasses.fields(Options)}
    for key, value in values.items():
        if key not in fields:
            raise RecipeError(
                f"unknown key convert.{key}", where=where, hint=f"known: {', '.join(fields)}"
            )
        legal = fields[key].metadata.get("range")
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if legal is not None and not (numeric and legal[0] <= value <= legal[1]):
            raise RecipeError(
                f"convert.{key} is {value!r}", where=where, hint=f"legal: {legal[0]} to {legal[1]}"
            )
        if isinstance(fields[key].default, int) and isinstance(value, float):
            raise RecipeError(f"convert.{key} is {value!r}", where=where, hint="a whole number")
    if "background" in values:
        names = values["background"]
        if isinstance(names, str) or not all(isinstance(n, str) for n in _listed(names)):
            raise RecipeError(
                f"convert.background is {names!r}", where=where, hint='a list, e.g. ["other"]'
            )
        values["background"] = tuple(names)
    options = Options(**values)
    if options.method not in METHODS:
        raise RecipeError(
            f"convert.method is {options.method!r}", where=where, hint=f"of {', '.join(METHODS)}"
        )
    return options
