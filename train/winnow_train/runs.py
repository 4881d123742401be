"""Run folders as others read them: the trained model and its description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras

from winnow_ground.errors import ModelError

MODEL, CARD = "model.keras", "model.json"


def load_run(folder: Path) -> tuple[keras.Model, dict[str, Any]]:
    """Load a run folder's model and its model.json. Raises ModelError if either is unusable."""
    folder = folder.parent if folder.suffix in (".keras", ".json") else folder
    card_path, model_path = folder / CARD, folder / MODEL
    for path in (card_path, model_path):
        if not path.is_file():
            raise ModelError(
                f"holds no {path.name}", where=folder, hint="give a run folder of winnow train"
            )
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        net = keras.models.load_model(model_path, compile=False)
        for key in ("classes", "head", "input", "temperature", "training"):
            card[key]
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ModelError(f"cannot be read: {error}", where=folder) from error
    return net, card
