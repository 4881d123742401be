"""A runtime without an interpreter, for tests of everything around it.

The class of a tile is its brightness: with n classes, the mean pixel (0..255, rounded down) and
class centres at ``(2 k + 1) * 128 / n``, the logit of class k is ``127 - 2 * |mean - centre|``,
rounded down and clipped to int8. So a black tile is the first class and a white one the last.
"""

from __future__ import annotations

import numpy as np

from winnow_edge.bundle import Bundle, Int8Array, Logits, Tile
from winnow_edge.runtimes.contract import Runtime, register

NAME = "fake"


class FakeClassifier:
    """See the module; needs only the bundle's manifest."""

    def __init__(self, bundle: Bundle, *, requested: str = NAME) -> None:
        self.requested, self.actual = requested, NAME
        spec, count = bundle.manifest.input, len(bundle.manifest.classes)
        self._shape = (spec.height, spec.width, spec.channels)
        self._centres = (2 * np.arange(count) + 1) * 128 // count

    def infer(self, tile: Tile, logits: Logits) -> None:
        """See `Classifier.infer`."""
        self._answer(self._pixels(tile), logits)

    def infer_mirrored(self, tile: Tile, logits: Logits) -> None:
        """See `Classifier.infer_mirrored`."""
        self._answer(self._pixels(tile)[:, ::-1], logits)

    def invoke_only(self) -> None:
        """Does nothing: there is no net."""

    def _pixels(self, tile: Tile) -> Int8Array:
        pixels = tile[:, None] if tile.ndim == 1 else tile
        return pixels.view(np.int8).reshape(self._shape)

    def _answer(self, pixels: Int8Array, logits: Logits) -> None:
        mean = int(pixels.sum(dtype=np.int64)) // pixels.size + 128
        answer = np.clip(127 - 2 * np.abs(mean - self._centres), -128, 127)
        logits[:] = answer.astype(np.int8).data


def load(bundle: Bundle, *, requested: str = NAME) -> FakeClassifier:
    """Needs nothing of the bundle's model."""
    return FakeClassifier(bundle, requested=requested)


register(Runtime(NAME, lambda: None, load, lambda: "no net", has_net=False))
