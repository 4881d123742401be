"""Run folders as others read them: the trained model and its description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from winnow_base.errors import ModelError
from winnow_base.model_card import read_model_card

MODEL, CARD, CHECKPOINT = "model.keras", "model.json", "checkpoint.npz"


def load_run(folder: Path) -> tuple[keras.Model, dict[str, Any]]:
    """Load a run folder's model and its model.json. Raises ModelError if either is unusable."""
    folder = folder.parent if folder.suffix in (".keras", ".json") else folder
    card = read_card(folder)
    path = _file(folder, MODEL)
    try:
        net = keras.models.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ModelError(f"cannot be read: {error}", where=path) from error
    return net, card


def read_card(folder: Path) -> dict[str, Any]:
    """A run folder's model.json. Raises ModelError if it is absent or lacks something."""
    return read_model_card(_file(folder, CARD))


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise ModelError(f"holds no {name}", where=folder, hint="give a run folder of winnow train")
    return folder / name
