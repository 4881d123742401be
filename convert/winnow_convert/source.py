"""What is converted: the run folder that `winnow train` leaves (`model.keras` and `model.json`)."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from winnow_base.console import quiet_stderr
from winnow_base.errors import MissingExtraError, ModelError
from winnow_base.model_card import read_model_card
from winnow_base.progress import Step

MODEL_FILE, DESCRIPTION_FILE = "model.keras", "model.json"
BATCH = 64


@dataclass(frozen=True)
class Source:
    """A trained model: `model` (Keras; float32 pixels 0..255 in, logits out) and what `model.json`
    says about it. `height`, `width`, `channels` are its static input. Tiles whose best posterior is
    under `borderline` are shown to it twice (`winnow_base.views`)."""

    folder: Path
    model: Any
    name: str
    classes: tuple[str, ...]
    head: str
    height: int
    width: int
    channels: int
    temperature: float
    borderline: float = 0.0
    description: dict[str, Any] = field(default_factory=dict)

    @property
    def recipe_options(self) -> dict[str, Any]:
        """The `[convert]` table of the recipe that made the model, empty if it has none."""
        recipe = self.description.get("recipe")
        table = recipe.get("convert", {}) if isinstance(recipe, dict) else {}
        return dict(table) if isinstance(table, dict) else {}


def load_source(path: str | Path) -> Source:
    """Read a run folder and check that its model can fly.

    Raises ModelError if it is not one, or the model has a dynamic shape, several inputs or outputs,
    another number of classes than its description, or weights that are not finite.
    """
    folder = Path(path)
    if folder.is_file() and folder.name in (MODEL_FILE, DESCRIPTION_FILE):
        folder = folder.parent
    hint = f"give a folder with {MODEL_FILE} and {DESCRIPTION_FILE}, as `winnow train` writes it"
    for name in (MODEL_FILE, DESCRIPTION_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"is no trained model: no {name}", where=path, hint=hint)
    description = read_model_card(folder / DESCRIPTION_FILE)
    keras = import_keras()
    try:
        model = keras.saving.load_model(folder / MODEL_FILE, compile=False)
    except Exception as error:  # Keras raises whatever its zip, HDF5 and JSON readers raise
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"cannot be read: {text[0]}", where=folder / MODEL_FILE) from None
    source = Source(
        folder=folder,
        model=model,
        name=description["name"],
        classes=tuple(description["classes"]),
        head=description["head"],
        height=description["input"]["height"],
        width=description["input"]["width"],
        channels=description["input"]["channels"],
        temperature=float(description["temperature"]),
        borderline=float(description.get("borderline", 0.0)),
        description=description,
    )
    check_model(source)
    return source


def check_model(source: Source) -> None:
    """Raise ModelError where the model breaks what its description or a static graph promises."""
    model, where = source.model, source.folder / MODEL_FILE
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs, must have one each",
            where=where,
            hint="export the inference model of one head",
        )
    shape, wanted = tuple(model.inputs[0].shape), (source.height, source.width, source.channels)
    if None in shape[1:]:
        raise ModelError(
            f"has a dynamic input shape {shape}; int8 needs every size but the batch fixed",
            where=where,
            hint=f"build it with input {wanted}",
        )
    if shape[1:] != wanted:
        raise ModelError(f"has input {shape[1:]}, {DESCRIPTION_FILE} says {wanted}", where=where)
    logits = tuple(model.outputs[0].shape)
    if None in logits[1:] or int(np.prod(logits[1:])) != len(source.classes):
        raise ModelError(
            f"has output {logits}, {DESCRIPTION_FILE} names {len(source.classes)} classes",
            where=where,
        )
    for weight in model.weights:
        values = np.asarray(weight)
        if not np.isfinite(values).all():
            bad = int(np.size(values) - np.isfinite(values).sum())
            raise ModelError(
                f"weight {weight.path} holds {bad} values that are NaN or infinite",
                where=where,
                hint="train again with a lower learning rate",
            )


def float_logits(source: Source, tiles: Any, progress: Step) -> Any:
    """Logits of the Keras model, float64 (n, classes), of pixels uint8 (n, height, width,
    channels)."""
    logits = np.empty((len(tiles), len(source.classes)))
    for start in range(0, len(tiles), BATCH):
        batch = tiles[start : start + BATCH]
        out = np.asarray(source.model(batch.astype(np.float32), training=False))
        logits[start : start + len(batch)] = out.reshape(len(batch), -1)
        progress("float model", start + len(batch), len(tiles))
    return logits


def import_keras() -> Any:
    """Keras, or MissingExtraError where it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # graph dumps and CPU feature notes
    try:
        with quiet_stderr():
            keras = importlib.import_module("keras")
    except ImportError as error:
        raise MissingExtraError(
            f"converting needs Keras and TensorFlow ({error})",
            hint="pip install 'winnow-ground[convert]'",
        ) from None
    return keras
