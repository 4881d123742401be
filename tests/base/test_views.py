"""Logits are numbers, in both views: a figure of what is none would be any figure."""

from __future__ import annotations

import numpy as np
import pytest

from winnow_base.errors import ModelError
from winnow_base.views import ask

TILES = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("view", ["first", "mirror image"])
def test_a_net_whose_logits_are_no_numbers_is_refused(view: str, value: float) -> None:
    def infer(tiles: np.ndarray) -> np.ndarray:
        logits = np.zeros((3, 4), np.float32)
        if (tiles == TILES).all() == (view == "first"):
            logits[1, 2] = value
        return logits

    with pytest.raises(ModelError, match="gives 1 logits that are NaN or infinite"):
        ask(infer, TILES, borderline=0.5)


def test_without_second_views_the_mirror_image_is_not_asked_for() -> None:
    asked: list[np.ndarray] = []

    def infer(tiles: np.ndarray) -> np.ndarray:
        asked.append(tiles)
        return np.zeros((3, 4), np.float32)

    assert ask(infer, TILES, borderline=0.0).mirrored is None
    assert len(asked) == 1
